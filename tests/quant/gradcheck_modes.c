/* Gradient checks of the ops without a scale that is known before: linked with
 * test_gradcheck_quant.c, which lists them. */
#include "gradcheck.h"

#include "quant/half.h"
#include "quant/real_dense.h"

void gradcheck_dynamic_quant(void);
void gradcheck_round_half(void);
void gradcheck_real_dense(void);

#define ROWS 4
#define IN   7
#define OUT  5

static struct ht_quantizer dynamic(const char *grid, int bits, bool floor)
{
    struct ht_quantizer q;
    struct ht_error err = {0};
    const struct ht_quantizer_spec spec = {.grid = grid,
                                           .bits = bits,
                                           .range = "dynamic",
                                           .estimator = "ste",
                                           .rounding = floor ? "floor" : "nearest_even"};
    ASSERT_OK(ht_quantizer_init(&q, &spec, false, 1, &err), err);
    return q;
}

static const struct {
    const char *grid;
    int bits;
    bool floor;
} grids[] = {{"affine", 8, false}, {"affine", 3, false}, {"affine", 4, true},
             {"narrow", 4, false}, {"narrow", 2, false}, {"full", 5, true}};
#define N_GRIDS (sizeof grids / sizeof *grids)

static struct ht_node *build_dynamic(struct ht_graph *g, const struct ht_params *p, void *user)
{
    return test_weigh(g, ht_dynamic_quant(g, ht_graph_param(g, p, 0), user));
}

/* Rows of all sorts: of one sign, of both, and of zeros. */
void gradcheck_dynamic_quant(void)
{
    for (size_t i = 0; i < N_GRIDS; i++) {
        struct ht_quantizer q = dynamic(grids[i].grid, grids[i].bits, grids[i].floor);
        struct ht_params p = {0};
        struct ht_error err = {0};
        ht_params_declare(&p, "x", ROWS, IN, 0, 0, 0);
        ASSERT_OK(ht_params_allocate(&p, true, &err), err);
        test_fill(p.value, IN, i, -1, 2, NULL, 0, 0);
        test_fill(p.value + IN, IN, i + 10, 0, 1e-3, NULL, 0, 0);
        test_fill(p.value + 2 * IN, IN, i + 20, -30, 0, NULL, 0, 0);
        const struct gradcheck c = {.build = build_dynamic, .user = &q, .params = &p};
        gradcheck_assert(&c, grids[i].grid);
        ht_params_finish(&p);
    }
}

static struct ht_node *build_half(struct ht_graph *g, const struct ht_params *p, void *user)
{
    return test_weigh(g, ht_round_half(g, ht_graph_param(g, p, 0)));
}

void gradcheck_round_half(void)
{
    struct ht_params p = {0};
    struct ht_error err = {0};
    ht_params_declare(&p, "w", OUT, IN, 0, 0, 0);
    ASSERT_OK(ht_params_allocate(&p, true, &err), err);
    test_fill(p.value, OUT * IN, 3, -0.5, 0.5, NULL, 0, 0);
    const struct gradcheck c = {.build = build_half, .params = &p};
    gradcheck_assert(&c, "round_half");
    ht_params_finish(&p);
}

/* --- real_dense, with what enters it and batch normalization behind --- */

struct dense {
    struct ht_quantizer *x; /* NULL: real */
    struct ht_quantizer *w; /* NULL: float16 */
    bool bias, batchnorm, frozen;
    ht_real mean[OUT], var[OUT];
};

static struct ht_node *span_node(struct ht_graph *g, const struct ht_params *p, const char *name)
{
    return ht_graph_param(g, p, (int)(ht_params_find(p, name) - p->spans));
}

static struct ht_node *build_dense(struct ht_graph *g, const struct ht_params *p, void *user)
{
    struct dense *k = user;
    struct ht_real_dense spec = {.has_bias = k->bias};
    struct ht_node *x = span_node(g, p, "x"), *w = span_node(g, p, "w");
    struct ht_node *gamma = k->batchnorm ? span_node(g, p, "gamma") : NULL;
    struct ht_node *beta = k->batchnorm ? span_node(g, p, "beta") : NULL;
    if (k->batchnorm)
        spec = (struct ht_real_dense){false, 0, gamma->value, beta->value, k->mean, k->var, 1e-3};
    if (k->x)
        spec.product_bound = (double)ht_quantizer_bound(k->x) * ht_quantizer_bound(k->w);
    x = k->x ? ht_dynamic_quant(g, x, k->x) : x;
    w = k->w ? ht_fake_quant(g, w, k->w, p) : ht_round_half(g, w);
    x = ht_real_dense(g, &spec, x, w, k->bias ? span_node(g, p, "bias") : NULL);
    if (k->batchnorm) {
        const struct ht_attr_batchnorm attr = {0.1, 1e-3, k->mean, k->var, true};
        struct ht_node *in[3] = {x, gamma, beta};
        x = ht_graph_add(g, &ht_op_batchnorm, &attr, 3, in);
    }
    return test_weigh(g, x);
}

static void declare_dense(const struct dense *k, struct ht_params *p, struct ht_params *state)
{
    struct ht_error err = {0};
    ht_params_declare(p, "x", ROWS, IN, 0, 0, 0);
    ht_params_declare(p, "w", OUT, IN, 0, 0, 0);
    if (k->bias)
        ht_params_declare(p, "bias", 1, OUT, 0, 0, 0);
    if (k->batchnorm) {
        ht_params_declare(p, "gamma", 1, OUT, 0, 0, 0);
        ht_params_declare(p, "beta", 1, OUT, 0, 0, 0);
    }
    if (k->w)
        ht_quantizer_declare(k->w, "sw", p, state);
    else
        ht_params_declare(state, "nothing", 1, 1, 0, 0, 0);
    ASSERT_OK(ht_params_allocate(p, true, &err), err);
    ASSERT_OK(ht_params_allocate(state, false, &err), err);
    if (k->w)
        ht_quantizer_bind(k->w, p, state);
}

static void fill_dense(struct dense *k, struct ht_params *p)
{
    for (size_t i = 0; i < p->n_spans; i++)
        test_fill(p->value + p->spans[i].offset, p->spans[i].n, i + 1, 0.3, 1.3, NULL, 0, 0);
    test_fill(ht_params_find(p, "x")->offset + p->value, ROWS * IN, 11, -1, 2, NULL, 0, 0);
    /* |w| < 7 * 0.3: away from where it clips. */
    test_fill(ht_params_find(p, "w")->offset + p->value, OUT * IN, 12, -1, 1, NULL, 0, 0);
    for (size_t c = 0; k->w && c < k->w->channels; c++)
        k->w->scale[c] = 0.3 + 0.01 * (double)c;
    if (k->w)
        k->w->ready[0] = 1;
    test_fill(k->mean, OUT, 13, -1, 1, NULL, 0, 0);
    test_fill(k->var, OUT, 14, 0.5, 3, NULL, 0, 0);
}

void gradcheck_real_dense(void)
{
    for (int form = 0; form < 4; form++)
        for (int modes = 0; modes < 5; modes++) { /* w float16 with x real; else w 4 bits */
            struct ht_quantizer x = dynamic(modes == 1 ? "affine" : "narrow", 6, false), w;
            struct dense k = {.bias = form == 1, .batchnorm = form >= 2, .frozen = form == 3};
            struct ht_params p = {0}, state = {0};
            struct ht_error err = {0};
            const struct ht_quantizer_spec spec = {.grid = "narrow",
                                                   .bits = 4,
                                                   .range = "learned",
                                                   .estimator = "lsq",
                                                   .rounding = "nearest_even",
                                                   .per_channel = modes % 2};
            ASSERT_OK(ht_quantizer_init(&w, &spec, true, OUT, &err), err);
            w.scale_gradient_factor = 1;
            k.x = modes == 1 || modes == 2 ? &x : NULL;
            k.w = modes == 0 ? NULL : &w;
            declare_dense(&k, &p, &state);
            fill_dense(&k, &p);
            char what[64];
            snprintf(what, sizeof what, "real_dense, form %d, modes %d", form, modes);
            const struct gradcheck c = {.build = build_dense,
                                        .user = &k,
                                        .params = &p,
                                        .step = 2e-4,
                                        .tolerance = 3e-8,
                                        .run = {.freeze_batchnorm = k.frozen}};
            gradcheck_assert(&c, what);
            ht_params_finish(&p);
            ht_params_finish(&state);
        }
}
