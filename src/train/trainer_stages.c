/* Widths that shrink: quant.progressive. */
#include "base/alloc.h"
#include "train/setup.h"
#include "train/trainer_internal.h"

void ht_trainer_leave_stage(struct ht_trainer *t)
{
    for (int form = 0; form < HT_N_FORMS; form++) {
        ht_network_finish(&t->train[form]);
        ht_network_finish(&t->evaluation[form]);
    }
    ht_optimizer_destroy(t->optimizer);
    ht_model_destroy(t->model);
    t->optimizer = NULL;
    t->model = NULL;
}

enum ht_status ht_trainer_enter_stage(struct ht_trainer *t, size_t stage, struct ht_error *err)
{
    struct ht_experiment *e = ht_calloc(1, sizeof *e);
    struct ht_model *model = NULL;
    struct ht_optimizer *optimizer = NULL;
    struct ht_schedule schedule;
    if (!e)
        return ht_fail_memory(err);
    enum ht_status status = ht_experiment_stage(e, t->e, stage, err);
    if (status == HT_OK)
        status = ht_setup_model(&model, e, t->d->features, err);
    if (status == HT_OK && model->quantized)
        status = ht_setup_input_range(model, t->d, err);
    if (status == HT_OK)
        status = ht_setup_optimizer(&optimizer, &schedule, e, &model->params, err);
    if (status != HT_OK) {
        ht_model_destroy(model);
        ht_free(e);
        return status;
    }
    if (t->model)
        ht_model_copy_network(model, t->model);
    ht_trainer_leave_stage(t);
    ht_free(t->stage_experiment);
    schedule.epochs =
        ht_experiment_stage_start(t->e, stage + 1) - ht_experiment_stage_start(t->e, stage);
    t->stage = stage;
    t->stage_experiment = e;
    t->model = model;
    t->optimizer = optimizer;
    t->schedule = schedule;
    return HT_OK;
}
