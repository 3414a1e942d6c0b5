#include "optim/schedule.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define PI 3.14159265358979323846

static double constant(const struct ht_schedule *s, double t)
{
    return 1;
}

static double step(const struct ht_schedule *s, double t)
{
    return pow(s->factor, floor(t / s->step_epochs));
}

static double exponential(const struct ht_schedule *s, double t)
{
    return pow(s->factor, t);
}

static double cosine(const struct ht_schedule *s, double t)
{
    const double length = s->epochs - s->warmup;
    const double done = t < length ? t / length : 1;
    return s->final_share + (1 - s->final_share) * 0.5 * (1 + cos(PI * done));
}

static const struct ht_schedule_kind kinds[] = {
    {"constant", constant},
    {"step", step},
    {"cosine", cosine},
    {"exponential", exponential},
};

const struct ht_schedule_kind *ht_schedule_find(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

double ht_schedule_rate(const struct ht_schedule *s, double epoch)
{
    if (epoch < s->warmup)
        return s->learning_rate * (epoch / s->warmup); /* share(0) is 1 */
    return s->learning_rate * s->kind->share(s, epoch - s->warmup);
}
