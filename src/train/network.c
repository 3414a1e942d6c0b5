#include "train/network.h"

#include <string.h>

#include "base/alloc.h"
#include "train/teacher.h"

enum ht_status ht_network_init(struct ht_network *n, struct ht_model *model,
                               const struct ht_objective *objective, size_t max_batch,
                               enum ht_form form, bool training, const struct ht_kernels *kernels,
                               struct ht_error *err)
{
    n->graph = ht_graph_create(max_batch);
    if (!n->graph)
        return ht_fail_memory(err);
    ht_graph_use_kernels(n->graph, kernels);
    n->x = ht_graph_input(n->graph, model->inputs);
    n->target = ht_graph_input(n->graph, objective->target_columns);
    n->y = ht_model_build(model, n->graph, n->x, form, NULL);
    n->teacher =
        training && objective->teacher ? ht_graph_input(n->graph, objective->outputs) : NULL;
    n->loss = ht_objective_loss(objective, n->graph, n->y, n->target, n->teacher);
    ht_graph_keep(n->graph, n->y);
    enum ht_status status = ht_graph_plan(n->graph, n->loss, training ? HT_PLAN_TRAINING : 0, err);
    if (status != HT_OK)
        ht_network_finish(n);
    return status;
}

const struct ht_kernels *ht_network_training_kernels(const struct ht_kernels *kernels)
{
    return strcmp(kernels->isa, "c") == 0 ? NULL : kernels;
}

void ht_network_finish(struct ht_network *n)
{
    ht_graph_destroy(n->graph);
    n->graph = NULL;
}

void ht_network_load(struct ht_network *n, const struct ht_objective *objective,
                     const struct ht_dataset *d, const uint32_t *samples, size_t count,
                     const struct ht_augment *augment, uint64_t seed, uint64_t epoch)
{
    ht_graph_set_batch(n->graph, count);
    ht_dataset_features(d, samples, count, augment, seed, epoch, n->x->value);
    ht_objective_targets(objective, d, samples, count, n->x->value, n->target->value);
    if (n->teacher)
        ht_teacher_outputs(objective->teacher, n->x->value, count, n->teacher->value);
}
