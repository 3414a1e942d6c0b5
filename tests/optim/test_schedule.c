#include <math.h>

#include "optim/schedule.h"
#include "support.h"

static struct ht_schedule make(const char *name)
{
    struct ht_schedule s = {.kind = ht_schedule_find(name),
                            .learning_rate = 0.2,
                            .epochs = 20,
                            .step_epochs = 4,
                            .factor = 0.5,
                            .final_share = 0.1};
    cr_assert_not_null(s.kind);
    cr_assert_str_eq(s.kind->name, name);
    return s;
}

struct point {
    double epoch, rate;
};

static void check(const char *name, double warmup, const struct point *points, size_t n)
{
    struct ht_schedule s = make(name);
    s.warmup = warmup;
    for (size_t i = 0; i < n; i++)
        cr_assert_float_eq(ht_schedule_rate(&s, points[i].epoch), points[i].rate, 1e-15,
                           "%s, warm-up %g, at %g: %.17g", name, warmup, points[i].epoch,
                           ht_schedule_rate(&s, points[i].epoch));
}
#define CHECK(name, warmup, ...)                                                                   \
    do {                                                                                           \
        const struct point points_[] = {__VA_ARGS__};                                              \
        check(name, warmup, points_, sizeof points_ / sizeof *points_);                            \
    } while (0)

Test(schedule, constant)
{
    CHECK("constant", 0, {0, 0.2}, {0.5, 0.2}, {20, 0.2}, {1000, 0.2});
    CHECK("constant", 2, {0, 0}, {0.5, 0.05}, {1, 0.1}, {2, 0.2}, {20, 0.2});
}

Test(schedule, step)
{
    CHECK("step", 0, {0, 0.2}, {3.999, 0.2}, {4, 0.1}, {7.999, 0.1}, {8, 0.05}, {16, 0.0125});
    /* counted from the end of the warm-up */
    CHECK("step", 2, {1, 0.1}, {2, 0.2}, {5.999, 0.2}, {6, 0.1}, {10, 0.05});
}

Test(schedule, exponential)
{
    CHECK("exponential", 0, {0, 0.2}, {1, 0.1}, {0.5, 0.2 * 0.70710678118654752}, {3, 0.025});
    CHECK("exponential", 1, {0.25, 0.05}, {1, 0.2}, {2, 0.1});
}

Test(schedule, cosine)
{
    /* cos(pi / 3) = 1 / 2; in the middle the mean of start and end */
    CHECK("cosine", 0, {0, 0.2}, {20. / 3, 0.02 + 0.18 * 0.75}, {10, 0.11}, {20, 0.02}, {25, 0.02});
    CHECK("cosine", 5, {0, 0}, {2.5, 0.1}, {5, 0.2}, {12.5, 0.11}, {20, 0.02});
    /* nothing but warm-up */
    CHECK("cosine", 20, {10, 0.1}, {20, 0.02});
}

Test(schedule, cosine_falls)
{
    struct ht_schedule s = make("cosine");
    for (double e = 0; e < 20; e += 0.125)
        cr_assert_lt(ht_schedule_rate(&s, e + 0.125), ht_schedule_rate(&s, e));
}

Test(schedule, unknown_name)
{
    cr_assert_null(ht_schedule_find("linear"));
    cr_assert_null(ht_schedule_find(""));
}
