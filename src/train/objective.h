/* What a network is trained for: the task, its loss, its targets, and the score that is compared.
 */
#ifndef HT_TRAIN_OBJECTIVE_H
#define HT_TRAIN_OBJECTIVE_H

#include "autograd/graph.h"
#include "base/error.h"
#include "config/experiment.h"
#include "data/dataset.h"

enum ht_task { HT_CLASSIFICATION, HT_REGRESSION, HT_AUTOENCODER };

struct ht_teacher; /* train/teacher.h */

struct ht_objective {
    enum ht_task task;
    const char *task_name; /* static: "classification", ... */
    const char *loss;      /* static: cross_entropy mse bce squared_hinge */
    const char *score;     /* static: "accuracy", or "r2" = 1 - squared error / variance */
    size_t outputs;        /* of the network */
    size_t target_columns; /* of the loss's target matrix */
    bool one_hot;          /* classification by an element-wise loss over all classes */
    double label_smoothing;
    /* Training follows the outputs of another network, too: its loss is 1 - share of the loss above
     * and `share` of the difference from `teacher` (borrowed, set by whoever trains; NULL: none).
     */
    struct ht_teacher *teacher;
    double share, temperature;
};

/* Works out the task and checks that loss, last layer and data fit; errors carry the position in
 * the experiment file. */
enum ht_status ht_objective_init(struct ht_objective *o, const struct ht_experiment *e,
                                 const struct ht_dataset *d, struct ht_error *err);

/* The loss node on top of y. target [batch, target_columns]; teacher [batch, outputs], or NULL for
 * the loss alone. */
struct ht_node *ht_objective_loss(const struct ht_objective *o, struct ht_graph *g,
                                  struct ht_node *y, struct ht_node *target,
                                  struct ht_node *teacher);

/* Targets of samples[count] into target[count, target_columns]; x are their features. */
void ht_objective_targets(const struct ht_objective *o, const struct ht_dataset *d,
                          const uint32_t *samples, size_t count, const ht_real *x, ht_real *target);

/* Class of one row of outputs: argmax, the lowest index at a tie; one output: y > 0. */
size_t ht_objective_class(const struct ht_objective *o, const ht_real *y);

/* Sums over a split, in a fixed order. Zero-initialize. */
struct ht_scorer {
    size_t n, correct;
    double squared_error, sum, square; /* of targets */
    size_t values;
};
/* y[count, outputs], target as above. */
void ht_scorer_add(struct ht_scorer *s, const struct ht_objective *o, const ht_real *y,
                   const ht_real *target, size_t count);
double ht_scorer_result(const struct ht_scorer *s, const struct ht_objective *o);
/* Mean squared error of the outputs (probabilities with bce); NAN for classification. */
double ht_scorer_error(const struct ht_scorer *s, const struct ht_objective *o);

/* The squared error of one row of outputs, summed: how badly an input is reconstructed. */
double ht_objective_row_error(const struct ht_objective *o, const ht_real *y,
                              const ht_real *target);

#endif
