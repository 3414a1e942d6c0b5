#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "import/match.h"
#include "train/checkpoint.h"
#include "train/environment.h"
#include "train/evaluate.h"
#include "train/run.h"
#include "train/setup.h"

enum { OUT, MAP };

static const struct ht_column columns[] = {
    {.key = "parameter", .kind = HT_COLUMN_TEXT},
    {.key = "tensor", .kind = HT_COLUMN_TEXT},
    {.key = "shape", .kind = HT_COLUMN_TEXT, .align = HT_ALIGN_RIGHT},
    {.key = "type", .kind = HT_COLUMN_TEXT},
    {.key = "note", .kind = HT_COLUMN_TEXT},
};

/* What is done to a tensor on its way. */
static const char *note_of(const struct ht_block *b, const struct ht_import_source *source,
                           enum ht_import_slot slot)
{
    if (slot == HT_SLOT_WEIGHT && source->transposed)
        return "transposed";
    if (slot == HT_SLOT_BIAS && b->batchnorm)
        return "subtracted from running_mean";
    return NULL;
}

static enum ht_status print_sources(const struct ht_cli *cli, const struct ht_model *m,
                                    const struct ht_import_file *f,
                                    const struct ht_import_source *sources, struct ht_error *err)
{
    struct ht_table *t;
    enum ht_status status = ht_table_create(&t, columns, sizeof columns / sizeof *columns, err);
    if (status != HT_OK)
        return status;
    for (size_t i = 0; i < m->n_blocks; i++)
        for (int k = 0; k < HT_SLOTS; k++) {
            char name[96], shape[96];
            if (sources[i].tensor[k] < 0)
                continue;
            const struct ht_import_tensor *tensor = &f->tensors[sources[i].tensor[k]];
            snprintf(name, sizeof name, "%s.%s", m->blocks[i].name,
                     ht_import_slot_name((enum ht_import_slot)k));
            ht_import_print_shape(tensor, shape);
            ht_table_add_row(t);
            ht_table_set_text(t, "parameter", name);
            ht_table_set_text(t, "tensor", tensor->name);
            ht_table_set_text(t, "shape", shape);
            ht_table_set_text(t, "type", tensor->type);
            ht_table_set_text(t, "note",
                              note_of(&m->blocks[i], &sources[i], (enum ht_import_slot)k));
        }
    status = ht_table_write(t, cli->format, stdout, err);
    ht_table_destroy(t);
    return status;
}

/* The same network in float32, as the checkpoint's own experiment: not trained, from this file. */
static enum ht_status float_experiment(struct ht_experiment *e, const char *file,
                                       struct ht_error *err)
{
    memset(&e->quant, 0, sizeof e->quant);
    e->n_variants = 0;
    e->train.epochs = 0;
    if (strlen(file) >= sizeof e->train.from)
        return ht_fail(err, HT_ERR_CONFIG, "%s: the path is too long", file);
    snprintf(e->train.from, sizeof e->train.from, "%s", file);
    return HT_OK;
}

/* A checkpoint of a training is worth more than this command can make. */
static enum ht_status check_out(const char *path, struct ht_error *err)
{
    struct ht_progress_state state;
    if (!path)
        return ht_fail(err, HT_ERR_CONFIG, "--out must say where the checkpoint goes");
    if (ht_checkpoint_progress(path, &state, NULL) == HT_OK && state.step > 0)
        return ht_fail(err, HT_ERR_CONFIG,
                       "--out: %s is the checkpoint of a training; it is not overwritten", path);
    return HT_OK;
}

static enum ht_status save(struct ht_model *m, const struct ht_experiment *e,
                           const struct ht_dataset *d, const char *path, struct ht_error *err)
{
    struct ht_text experiment = {0}, environment = {0};
    struct ht_optimizer *optimizer = NULL;
    struct ht_schedule schedule;
    const struct ht_progress_state state = {0};
    enum ht_status status = ht_setup_optimizer(&optimizer, &schedule, e, &m->params, err);
    ht_text_printf(&experiment, "# data: sha256 %s\n", d->hash);
    ht_experiment_print_training(e, &experiment);
    ht_environment_print(e, d, NULL, &environment);
    if (status == HT_OK && (experiment.failed || environment.failed))
        status = ht_fail_memory(err);
    if (status == HT_OK)
        status = ht_checkpoint_save(path, m, optimizer, &state, ht_text_str(&experiment),
                                    ht_text_str(&environment), err);
    ht_optimizer_destroy(optimizer);
    ht_text_finish(&experiment);
    ht_text_finish(&environment);
    return status;
}

/* Whether the data goes in as the network expects it shows in its score. */
static enum ht_status say_score(const struct ht_cli *cli, struct ht_model *m,
                                const struct ht_objective *o, const struct ht_dataset *d,
                                struct ht_error *err)
{
    struct ht_network network = {0};
    struct ht_evaluation v;
    const enum ht_split split = ht_evaluation_split(d);
    enum ht_status status = ht_network_init(&network, m, o, 256, HT_FORM_FLOAT, false, NULL, err);
    if (status == HT_OK)
        status = ht_evaluate(&v, &network, o, d, split, err);
    if (status == HT_OK)
        ht_cli_say(cli, "%s of the imported network on the %s part of %s: %.4f", o->score,
                   ht_split_name(split), d->name, v.score);
    ht_network_finish(&network);
    return status;
}

static void say_epsilon(const struct ht_cli *cli, const struct ht_model *m,
                        const struct ht_import_source *sources)
{
    for (size_t i = 0; i < m->n_blocks; i++)
        if (m->blocks[i].batchnorm && !(sources[i].epsilon >= 0)) {
            ht_cli_say(cli,
                       "the file does not say the epsilon of its batch normalization; that of "
                       "the experiment is %g",
                       m->blocks[i].epsilon);
            return;
        }
}

static enum ht_status import(const struct ht_cli *cli, const struct ht_import_file *f,
                             const struct ht_experiment *e, struct ht_error *err)
{
    struct ht_dataset *d = NULL;
    struct ht_model *m = NULL;
    struct ht_import_source *sources = NULL;
    struct ht_objective o;
    enum ht_status status = ht_setup_dataset(&d, e, err);
    if (status == HT_OK)
        status = ht_objective_init(&o, e, d, err);
    if (status == HT_OK)
        status = ht_setup_model(&m, e, d->features, err);
    if (status == HT_OK)
        status = ht_import_match(&sources, f, m, cli->values[MAP], err);
    if (status == HT_OK)
        status = ht_import_apply(m, f, sources, err);
    if (status == HT_OK)
        status = save(m, e, d, cli->values[OUT], err);
    if (status == HT_OK)
        status = print_sources(cli, m, f, sources, err);
    if (status == HT_OK) {
        say_epsilon(cli, m, sources);
        status = say_score(cli, m, &o, d, err);
    }
    ht_free(sources);
    ht_model_destroy(m);
    ht_dataset_destroy(d);
    return status;
}

static enum ht_status run(const struct ht_cli *cli, struct ht_error *err)
{
    struct ht_config *config = NULL;
    struct ht_import_file *f = NULL;
    struct ht_experiment *e = ht_calloc(1, sizeof *e);
    struct ht_cli of_experiment = *cli; /* its arguments without the file */
    of_experiment.args++;
    of_experiment.n_args--;
    enum ht_status status = e ? check_out(cli->values[OUT], err) : ht_fail_memory(err);
    if (status == HT_OK)
        status = ht_cli_config(&of_experiment, &config, err);
    if (status == HT_OK) {
        *e = *ht_config_experiment(config);
        status = float_experiment(e, cli->args[0], err);
    }
    if (status == HT_OK)
        status = ht_import_read(&f, cli->args[0], err);
    if (status == HT_OK)
        status = import(cli, f, e, err);
    if (status == HT_ERR_CONFIG && config)
        ht_cli_show_place(config, err);
    ht_import_destroy(f);
    ht_config_destroy(config);
    ht_free(e);
    return status;
}

const struct ht_command ht_command_import = {
    .name = "import",
    .arguments = "FILE EXPERIMENT.yaml --out CHECKPOINT.h5 [key=value ...]",
    .summary = "take the weights of a float network (safetensors, ONNX) as a start",
    .details =
        "Reads dense layers and batch normalizations with PyTorch's names, or from an ONNX\n"
        "graph, puts them into the experiment's network, and writes a float32 checkpoint for\n"
        "train.from. The file is not trusted. docs/import.md says more.",
    .options = {[OUT] = {"out", 0, "FILE", "the checkpoint to write"},
                [MAP] = {"map", 0, "LAYER=NAME,...",
                         "which layer of the file a layer takes; LAYER.PART=TENSOR for parts"}},
    .min_args = 2,
    .max_args = -1,
    .run = run,
};
