/* Optimizers over the flat arrays of struct ht_params; they know no graph. */
#ifndef HT_OPTIM_OPTIMIZER_H
#define HT_OPTIM_OPTIMIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/pool.h"
#include "tensor/params.h"

#define HT_MAX_SLOTS 2

struct ht_optimizer_config {
    const char *name;             /* sgd adam adamw */
    double momentum;              /* sgd, [0, 1) */
    bool nesterov;                /* sgd; needs momentum */
    double beta1, beta2, epsilon; /* adam, adamw */
    double weight_decay;          /* of spans with HT_SPAN_DECAY only */
};

struct ht_optimizer_kind;

/* Work is divided the same way for any number of threads. */
struct ht_optimizer_part {
    size_t span, offset, n; /* parameters offset..offset + n, whole rows of that span */
    double squares;         /* of the gradients, in the last step */
    bool finite;            /* the values after it */
    bool done;              /* in the step under way */
};

struct ht_optimizer {
    const struct ht_optimizer_kind *kind;
    struct ht_optimizer_config config;
    struct ht_params *params;
    /* What a checkpoint keeps: the steps done, and arrays [params->n] laid out as the values. */
    uint64_t step;
    double learning_rate; /* of the step under way, as all below */
    bool measures;        /* takes the norm of the gradients */
    double correction[2]; /* Adam's of the moments: 1 - beta^step */
    int n_slots;
    const char *slot_names[HT_MAX_SLOTS]; /* "momentum", or "m" and "v"; static strings */
    ht_real *slots[HT_MAX_SLOTS];
    struct ht_optimizer_part *parts; /* [n_parts] */
    size_t n_parts;
    size_t *first_part; /* [n_spans] */
};

/* The defaults of PyTorch for that name; false for an unknown one. config->name becomes static. */
bool ht_optimizer_defaults(struct ht_optimizer_config *config, const char *name);

/* params (with gradients, allocated) must outlive the optimizer. HT_ERR_CONFIG for unknown names
 * and settings out of range. */
enum ht_status ht_optimizer_create(struct ht_optimizer **ret,
                                   const struct ht_optimizer_config *config,
                                   struct ht_params *params, struct ht_error *err);
void ht_optimizer_destroy(struct ht_optimizer *o);

struct ht_optimizer_result {
    double
        gradient_norm; /* L2, of all gradients before clipping, summed in double; 0 unless asked */
    bool finite;       /* all parameters after the step: also not when a gradient was not */
};

/* One step against the gradients; spans with a minimum are kept >= it. clip_norm > 0: gradients
 * (the arrays themselves) are scaled so that their norm is at most that, and nothing changes when
 * the norm is not finite. One pass over all arrays, two with clipping. pool NULL: one thread; the
 * same bits for every pool. */
struct ht_optimizer_result ht_optimizer_step(struct ht_optimizer *o, double learning_rate,
                                             double clip_norm, struct ht_pool *pool);

/* The same step without clipping, and with the norm only on demand (it costs a pass), while
 * backward is still going on: begin, then rows row..row + rows of a span as their gradients are
 * final (row a multiple of HT_OPTIMIZER_ROWS, rows too but for the end; different rows from
 * different threads), then end for all that is left. */
#define HT_OPTIMIZER_ROWS ((size_t)64)
void ht_optimizer_begin(struct ht_optimizer *o, double learning_rate, bool measures);
void ht_optimizer_update_rows(struct ht_optimizer *o, size_t span, size_t row, size_t rows);
struct ht_optimizer_result ht_optimizer_end(struct ht_optimizer *o, struct ht_pool *pool);

#endif
