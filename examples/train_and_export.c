/* Trains an experiment, exports its integer model and classifies a few rows, through the public
 * API.
 *
 *     cc train_and_export.c $(pkg-config --cflags --libs halftone) -o train_and_export
 *     ./train_and_export EXPERIMENT.yaml [key=value ...]
 */
#include <stdio.h>
#include <stdlib.h>

#include <halftone/halftone.h>

static void on_progress(void *user, const struct ht_training_progress *p)
{
    (void)user;
    if (p->epoch_end)
        printf("epoch %lld of %lld: loss %.4f, validation score %.4f\n", (long long)p->epoch,
               (long long)p->epochs, p->train_loss, p->validation_score);
}

static int fail(const struct ht_error *err)
{
    fprintf(stderr, "%s\n", err->msg);
    return ht_error_exit_code(err);
}

int main(int argc, char **argv)
{
    struct ht_training_options options = {.progress = on_progress};
    struct ht_training_result trained;
    struct ht_export_result exported;
    struct ht_predictor *predictor;
    struct ht_error err;

    if (argc < 2) {
        fprintf(stderr, "usage: %s EXPERIMENT.yaml [key=value ...]\n", argv[0]);
        return 2;
    }
    options.overrides = (const char *const *)(argv + 2);
    options.n_overrides = (size_t)(argc - 2);
    if (ht_train(argv[1], &options, &trained, &err) != HT_OK)
        return fail(&err);
    printf("%s %.4f, by the integer path %.4f; %zu of %zu outputs differ\n", trained.score_name,
           trained.score, trained.integer_score, trained.mismatched_outputs,
           trained.outputs_compared);

    /* The run has its model.h5 already; exporting again shows how to do it from a checkpoint. */
    if (ht_export(trained.run_dir, "hdf5", "exported.h5", &exported, &err) != HT_OK)
        return fail(&err);
    printf("exported.h5: %zu bytes of weights instead of %zu; %zu outputs differ\n",
           exported.model_bytes, trained.float_bytes, exported.mismatched_outputs);

    if (ht_predictor_open(&predictor, "exported.h5", 1, &err) != HT_OK)
        return fail(&err);
    float *row = calloc(ht_predictor_features(predictor), sizeof *row);
    float *outputs = calloc(ht_predictor_outputs(predictor), sizeof *outputs);
    if (row && outputs) {
        ht_predictor_run(predictor, row, 1, outputs);
        const char *name =
            ht_predictor_class_name(predictor, ht_predictor_class(predictor, outputs));
        printf("a row of zeros is %s\n", name ? name : "a number");
    }
    free(row);
    free(outputs);
    ht_predictor_close(predictor);
    return 0;
}
