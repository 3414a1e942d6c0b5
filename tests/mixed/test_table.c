/* Costs of widths by hand, the choice of widths, and the experiment it becomes. */
#include "support.h"

#include <math.h>

#include "config/config.h"
#include "mixed/table.h"

/* 10 -> 8 -> 6 -> 3 */
static const char text[] =
    "name: t\ndata: {name: d.yaml}\n"
    "model: {layers: [{dense: 8, name: a}, relu, {dense: 6}, relu, {dense: 3, name: c}]}\n"
    "quant: {weights: {bits: 4}, activations: {bits: 6},\n"
    "  layers: {first: {weights: {bits: 8, range: min_max, estimator: ste}}}}\n";

struct fixture {
    struct ht_config *config;
    struct ht_experiment e;
    struct ht_mixed_table *t;
    struct ht_error err;
};

static void start(struct fixture *f, const int *widths, size_t n, bool weights, bool activations)
{
    memset(f, 0, sizeof *f);
    ASSERT_OK(ht_config_parse(&f->config, "t.yaml", text, strlen(text), NULL, 0, NULL, &f->err),
              f->err);
    f->e = *ht_config_experiment(f->config);
    ASSERT_OK(ht_mixed_table_create(&f->t, &f->e, 10, widths, n, weights, activations, &f->err),
              f->err);
}

static void finish(struct fixture *f)
{
    ht_mixed_table_destroy(f->t);
    ht_config_destroy(f->config);
    cr_assert_eq(ht_alloc_live(), 0);
}

static const int widths[] = {2, 8, 4};

Test(table, layers_and_slots)
{
    struct fixture f;
    start(&f, widths, 3, true, true);
    cr_assert_eq(f.t->n_layers, 3);
    cr_assert_eq(f.t->n_slots, 5);
    const size_t macs[] = {80, 48, 18};
    const int input_bits[] = {8, 6, 6}, weight_bits[] = {8, 4, 4};
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(f.t->layers[i].macs, macs[i]);
        cr_assert_eq(f.t->layers[i].input_bits, input_bits[i]);
        cr_assert_eq(f.t->layers[i].weight_bits, weight_bits[i]);
    }
    cr_assert_str_eq(f.t->layers[1].name, "dense2");
    cr_assert(f.t->widths[0] == 8 && f.t->widths[1] == 4 && f.t->widths[2] == 2, "descending");
    cr_assert_eq(f.t->layers[0].input_slot, -1, "the network's input stays");
    finish(&f);
}

Test(table, bit_operations_by_hand)
{
    struct fixture f;
    start(&f, widths, 3, true, true);
    /* slots: a, a's output, dense2, its output, c */
    const size_t choice[] = {1, 2, 0, 1, 2};
    /* 80 x 4 x 8 + 48 x 8 x 2 + 18 x 2 x 4 */
    cr_assert_eq(ht_mixed_bops(f.t, choice), 2560 + 768 + 144);
    finish(&f);
    start(&f, widths, 3, true, false);
    const size_t weights[] = {1, 0, 2};
    cr_assert_eq(ht_mixed_bops(f.t, weights), 80 * 4 * 8 + 48 * 8 * 6 + 18 * 2 * 6);
    finish(&f);
    start(&f, widths, 3, false, true);
    const size_t activations[] = {1, 0};
    cr_assert_eq(ht_mixed_bops(f.t, activations), 80 * 8 * 8 + 48 * 4 * 4 + 18 * 4 * 8);
    finish(&f);
}

/* Sensitivities and bytes that are easy to follow: slot i, width w. */
static void fill(struct ht_mixed_table *t)
{
    for (size_t i = 0; i < t->n_slots; i++)
        for (size_t w = 0; w < t->n_widths; w++)
            ht_mixed_cell(t, i, w)->sensitivity = (double)(w * (i + 1) * (i + 1));
    for (size_t i = 0; i < t->n_layers; i++)
        for (size_t w = 0; w < t->n_widths; w++)
            t->layers[i].bytes[w] = t->layers[i].macs * (size_t)t->widths[w] / 8;
}

/* Each choice of a table, one after the other: false after the last. */
static bool next(const struct ht_mixed_table *t, size_t *choice)
{
    for (size_t i = 0; i < t->n_slots; i++) {
        if (++choice[i] < t->n_widths)
            return true;
        choice[i] = 0;
    }
    return false;
}

Test(table, choice_is_the_best_of_all)
{
    struct fixture f;
    for (int part = 0; part < 3; part++)
        for (int unit = HT_MIXED_BYTES; unit <= HT_MIXED_BOPS; unit++) {
            start(&f, widths, 3, part != 1, part != 0);
            fill(f.t);
            for (uint64_t budget = 40; budget < 8000; budget += 61) {
                size_t choice[5] = {0}, all[5] = {0};
                double best = INFINITY;
                do {
                    if (ht_mixed_cost(f.t, (enum ht_mixed_unit)unit, all) <= budget)
                        best = fmin(best, ht_mixed_sensitivity(f.t, all));
                } while (next(f.t, all));
                const enum ht_status status =
                    ht_mixed_choose(f.t, (enum ht_mixed_unit)unit, budget, choice, &f.err);
                cr_assert_eq(status, isinf(best) ? HT_ERR_CONFIG : HT_OK, "%d %d %d", part, unit,
                             (int)budget);
                if (status != HT_OK)
                    continue;
                cr_assert(ht_mixed_cost(f.t, (enum ht_mixed_unit)unit, choice) <= budget);
                cr_assert_float_eq(ht_mixed_sensitivity(f.t, choice), best, 1e-12);
            }
            finish(&f);
        }
}

Test(table, a_budget_that_is_too_small_names_the_smallest)
{
    struct fixture f;
    size_t choice[3];
    start(&f, widths, 3, true, false);
    fill(f.t);
    cr_assert_eq(ht_mixed_choose(f.t, HT_MIXED_BYTES, 35, choice, &f.err), HT_ERR_CONFIG);
    cr_assert(strstr(f.err.msg, "smallest possible") && strstr(f.err.msg, " 36"), "%s", f.err.msg);
    ASSERT_OK(ht_mixed_choose(f.t, HT_MIXED_BYTES, 36, choice, &f.err), f.err);
    finish(&f);
}

Test(table, order_goes_from_narrow_to_wide_by_gain)
{
    struct fixture f;
    struct ht_mixed_step *steps;
    size_t n, choice[3] = {2, 2, 2};
    start(&f, widths, 3, true, false);
    fill(f.t);
    ASSERT_OK(ht_mixed_order(f.t, HT_MIXED_BYTES, &steps, &n, &f.err), f.err);
    /* Gain a byte of 2 -> 4 bits: 1 / 20, 4 / 12, 9 / 4.5; 4 -> 8 costs twice that. */
    const size_t slots[] = {2, 2, 1, 1, 0, 0};
    cr_assert_eq(n, 6);
    for (size_t i = 0; i < n; i++) {
        cr_assert_eq(steps[i].slot, slots[i], "step %zu", i);
        cr_assert_eq(steps[i].from, choice[slots[i]]);
        choice[slots[i]] = steps[i].to;
        cr_assert_eq(steps[i].bytes, ht_mixed_bytes(f.t, choice));
        cr_assert_eq(steps[i].bops, ht_mixed_bops(f.t, choice));
        cr_assert_float_eq(steps[i].sensitivity, ht_mixed_sensitivity(f.t, choice), 1e-12);
    }
    cr_assert_eq(steps[n - 1].sensitivity, 0);
    ht_free(steps);
    finish(&f);
}

Test(table, becomes_an_experiment)
{
    struct fixture f;
    const size_t choice[] = {1, 2, 0, 1, 2};
    start(&f, widths, 3, true, true);
    ASSERT_OK(ht_mixed_apply(f.t, choice, &f.e, &f.err), f.err);
    const int w[] = {4, 8, 2}, a[] = {2, 4};
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(ht_experiment_weights(&f.e, i)->bits, w[i], "layer %zu", i);
    for (size_t i = 0; i < 2; i++)
        cr_assert_eq(ht_experiment_activations(&f.e, i)->bits, a[i], "layer %zu", i);
    cr_assert_str_eq(ht_experiment_weights(&f.e, 0)->range, "min_max", "what `first` says stays");
    cr_assert_eq(f.e.quant.weights.bits, 4);
    cr_assert_eq(f.e.quant.activations.bits, 6);
    finish(&f);
}

Test(table, refuses_widths_that_are_none)
{
    static const struct {
        int widths[9];
        size_t n;
    } bad[] = {{{8, 0}, 2}, {{9}, 1}, {{4, 2, 4}, 3}, {{1}, 0}, {{1, 2, 3, 4, 5, 6, 7, 8, 1}, 9}};
    struct fixture f;
    struct ht_mixed_table *t;
    start(&f, widths, 3, true, false);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(
            ht_mixed_table_create(&t, &f.e, 10, bad[i].widths, bad[i].n, true, true, &f.err),
            HT_ERR_CONFIG, "%zu", i);
    f.e.quant.given = false;
    cr_assert_eq(ht_mixed_table_create(&t, &f.e, 10, widths, 3, true, true, &f.err), HT_ERR_CONFIG);
    finish(&f);
}

Test(table, out_of_memory)
{
    struct fixture f;
    struct ht_mixed_table *t;
    struct ht_mixed_step *steps;
    size_t n, choice[3];
    start(&f, widths, 3, true, false);
    fill(f.t);
    const long live = ht_alloc_live();
    for (long at = 1; at <= 4; at++) {
        ht_alloc_fail_at(at);
        cr_assert_eq(ht_mixed_table_create(&t, &f.e, 10, widths, 3, true, false, &f.err),
                     HT_ERR_MEMORY);
        cr_assert_eq(ht_alloc_live(), live);
    }
    for (long at = 1; at <= 10; at++) {
        ht_alloc_fail_at(at);
        cr_assert_eq(ht_mixed_choose(f.t, HT_MIXED_BOPS, 4000, choice, &f.err), HT_ERR_MEMORY);
        cr_assert_eq(ht_alloc_live(), live);
    }
    for (long at = 1; at <= 2; at++) {
        ht_alloc_fail_at(at);
        cr_assert_eq(ht_mixed_order(f.t, HT_MIXED_BOPS, &steps, &n, &f.err), HT_ERR_MEMORY);
        cr_assert_eq(ht_alloc_live(), live);
    }
    ht_alloc_fail_at(0);
    finish(&f);
}
