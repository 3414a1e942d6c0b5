/* Values of widths that are learned, by a plain loop; and that the gradient of the width is HGQ's.
 */
#include "support.h"

#include <math.h>

#include "autograd/op.h"
#include "base/rng.h"
#include "quant/learned_bits.h"
#include "quant/quantizer.h"
#include "tensor/blas.h"

#define ROWS 4
#define COLS 50

struct fixture {
    struct ht_params params, target;
    struct ht_learned_bits l;
    struct ht_graph *graph;
    struct ht_node *y, *loss;
};

/* The loss is the mean square of y. */
static void start(struct fixture *f, bool of_weights, size_t channels, double bits)
{
    struct ht_error err = {0};
    memset(f, 0, sizeof *f);
    ht_blas_init();
    ht_params_declare(&f->params, "x", ROWS, COLS, 0, 0, 0);
    const int zero = ht_params_declare(&f->target, "zero", ROWS, COLS, 0, 0, 0);
    ht_learned_bits_declare(&f->l, &f->params, "x", of_weights, channels, bits, 2);
    ASSERT_OK(ht_params_allocate(&f->params, true, &err), err);
    ASSERT_OK(ht_params_allocate(&f->target, false, &err), err);
    for (size_t i = 0; i < ROWS * COLS; i++)
        f->params.value[i] = (float)ht_rng_normal(1, HT_RNG_TEST, i);
    for (size_t c = 0; c < channels; c++)
        ht_learned_bits_clip(&f->l)[c] = 1.5f + 0.1f * (float)c;
    f->graph = ht_graph_create(1);
    f->y = ht_bits_quant(f->graph, ht_graph_param(f->graph, &f->params, 0), &f->l);
    struct ht_node *in[2] = {f->y, ht_graph_param(f->graph, &f->target, zero)};
    f->loss = ht_graph_add(f->graph, &ht_op_mse, NULL, 2, in);
    ht_graph_keep(f->graph, f->y);
    ASSERT_OK(ht_graph_plan(f->graph, f->loss, HT_PLAN_TRAINING, &err), err);
    const struct ht_run run = {.mode = HT_MODE_TRAIN};
    ht_graph_forward(f->graph, &run);
}

static void finish(struct fixture *f)
{
    ht_graph_destroy(f->graph);
    ht_params_finish(&f->params);
    ht_params_finish(&f->target);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(learned_bits, values)
{
    static const double bits[] = {2, 2.49, 2.51, 3, 4.4, 6.6, 8};
    for (size_t b = 0; b < sizeof bits / sizeof *bits; b++)
        for (int kind = 0; kind < 3; kind++) {
            struct fixture f;
            const bool of_weights = kind < 2;
            const double width = floor(bits[b] + 0.5);
            start(&f, of_weights, kind == 1 ? ROWS : 1, bits[b]);
            for (size_t i = 0; i < ROWS * COLS; i++) {
                const double clip = 1.5 + (kind == 1 ? 0.1 * (double)(i / COLS) : 0);
                const double low = of_weights ? -clip : 0;
                const double levels = of_weights ? pow(2, width - 1) - 1 : pow(2, width) - 1;
                const double step = clip / levels;
                const double x = fmin(fmax((double)f.params.value[i], low), clip);
                const double u = x / step;
                if (fabs(u - floor(u) - 0.5) < 1e-4)
                    continue; /* the middle of two levels: float and double may differ */
                cr_assert_float_eq((double)f.y->value[i], step * rint(u), 1e-5 * clip,
                                   "%g bits, kind %d", bits[b], kind);
            }
            finish(&f);
        }
}

/* HGQ: dL/db = sum over dy * ln 2 * (x - y); here times 2^b / (2^b - 2) or 2^b / (2^b - 1). */
Test(learned_bits, gradient_of_the_width_by_hand)
{
    for (int of_weights = 0; of_weights < 2; of_weights++) {
        struct fixture f;
        const struct ht_run run = {.mode = HT_MODE_TRAIN};
        double sum = 0;
        start(&f, of_weights, 1, 3.2);
        ht_graph_backward(f.graph, &run);
        for (size_t i = 0; i < ROWS * COLS; i++) {
            const double x = (double)f.params.value[i], y = (double)f.y->value[i];
            const double dy = 2 * y / (ROWS * COLS);
            if (x < 1.5 && x > (of_weights ? -1.5 : 0))
                sum += dy * log(2) * (x - y);
        }
        sum *= of_weights ? 8.0 / 6 : 8.0 / 7;
        const double got = (double)f.params.grad[f.params.spans[f.l.bits_span].offset];
        cr_assert_float_eq(got, sum, 1e-5 * fabs(sum) + 1e-7, "%g, not %g", got, sum);
        finish(&f);
    }
}
