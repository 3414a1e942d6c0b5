/* Learning rate over time. */
#ifndef HT_OPTIM_SCHEDULE_H
#define HT_OPTIM_SCHEDULE_H

struct ht_schedule;

struct ht_schedule_kind {
    const char *name;
    /* Share of the learning rate, `t` epochs after the warm-up. */
    double (*share)(const struct ht_schedule *s, double t);
};

/* With r = learning_rate, w = warmup, e = epoch and t = max(0, e - w):
 * rate = r * min(1, e / w) * share(t), where share(t) is
 *   constant:    1
 *   step:        factor ^ floor(t / step_epochs)
 *   exponential: factor ^ t
 *   cosine:      final + (1 - final) * (1 + cos(pi * min(1, t / (epochs - w)))) / 2
 *                (Loshchilov and Hutter 2017, eq. 5, without restarts) */
struct ht_schedule {
    const struct ht_schedule_kind *kind;
    double learning_rate;
    double warmup; /* epochs of linear warm-up */
    double epochs; /* cosine: of the whole training */
    double step_epochs;
    double factor;      /* step, exponential */
    double final_share; /* cosine: where it ends, as a share of learning_rate */
};

/* constant step cosine exponential; NULL for an unknown name. */
const struct ht_schedule_kind *ht_schedule_find(const char *name);

/* Learning rate at `epoch`, counted from 0, with fractions: batch / batches per epoch. */
double ht_schedule_rate(const struct ht_schedule *s, double epoch);

#endif
