/* The forward arithmetic of training against naive implementations of docs/numerics.md in double
 * and int64, bit for bit. */
#include "quant_support.h"

/* Scale and zero point by hand, so that nothing is observed. */
static void set_range(struct ht_quantizer *q, float scale, int zero_point)
{
    for (size_t c = 0; c < q->channels; c++) {
        q->scale[c] = scale * (1 + (float)c / 8);
        q->zero_point[c] = q->grid.has_zero_point ? (float)zero_point : 0;
    }
    q->ready[0] = 1;
}

/* Over the levels and beyond, every third value exactly half way between two whole numbers, every
 * fifth a whole number, and some that are special. */
static void fill(const struct ht_quantizer *q, float *x, size_t length, uint64_t seed)
{
    static const float special[] = {0, -0.0f, 1e30f, -1e30f, 1e-40f, -1e-40f, 3e38f, -3e38f};
    for (size_t c = 0; c < q->channels; c++)
        for (size_t i = 0; i < length; i++) {
            const double z = (double)q->zero_point[c];
            double u =
                q->grid.lo - z - 2 + uniform(seed, c * length + i) * (q->grid.hi - q->grid.lo + 4);
            if (i % 3 == 0)
                u = floor(u) + 0.5;
            else if (i % 5 == 0)
                u = floor(u);
            x[c * length + i] =
                i % 11 == 10 ? special[i / 11 % 8] : (float)(u * (double)q->scale[c]);
        }
}

/* --- fake_quant --- */

#define ROWS 6
#define COLS 37

static void check_fake_quant(struct ht_quantizer_spec spec, bool of_weights, float scale,
                             int zero_point)
{
    struct fixture f = {0};
    struct ht_error err = {0};
    struct ht_run run = {.mode = HT_MODE_EVAL};
    ht_params_declare(&f.params, "x", ROWS, COLS, 0, 0, 0);
    struct ht_quantizer *q = add_quantizer(&f, "q", spec, of_weights, ROWS);
    ready(&f);
    set_range(q, scale, zero_point);
    float *x = values(&f, "x");
    const size_t length = ROWS * COLS / q->channels;
    fill(q, x, length, 5);
    struct ht_graph *g = ht_graph_create(1);
    struct ht_node *y = ht_fake_quant(g, leaf(g, &f, "x"), q, &f.params);
    struct ht_node *real = y->n_scale == 1 ? ht_dequantize(g, y) : NULL;
    ht_graph_keep(g, y);
    if (real)
        ht_graph_keep(g, real);
    ASSERT_OK(ht_graph_plan(g, NULL, 0, &err), err);
    for (int mode = HT_MODE_EVAL; mode <= HT_MODE_TRAIN; mode++) {
        run.mode = (enum ht_mode)mode;
        ht_graph_forward(g, &run);
        for (size_t i = 0; i < ROWS * COLS; i++) {
            const float expected = (float)naive_level(q, i / length, x[i]);
            cr_assert_eq(memcmp(&y->value[i], &expected, sizeof expected), 0,
                         "%s%d %s, scale %g, zero point %d: %.9g gives %g, not %g", spec.grid,
                         spec.bits, spec.rounding, (double)scale, zero_point, (double)x[i],
                         (double)y->value[i], (double)expected);
            cr_assert(ht_grid_code_valid(
                &q->grid, ht_grid_code(&q->grid, (int)(expected + q->zero_point[i / length]))));
            const float product = expected * q->scale[0];
            cr_assert(!real || memcmp(&real->value[i], &product, sizeof product) == 0);
        }
        cr_assert_eq(memcmp(y->scale, q->scale, q->channels * sizeof(float)), 0);
    }
    ht_graph_destroy(g);
    finish(&f);
}

Test(fake_quant, every_grid_width_and_rounding)
{
    static const float scales[] = {0.25f, 0.0371f, 3.7f};
    for (size_t k = 0; k < N_GRIDS; k++)
        for (int bits = grids[k].min_bits; bits <= grids[k].max_bits; bits++)
            for (int kind = 0; kind < 3; kind++) /* activations; weights by tensor, channel */
                for (size_t s = 0; s < 3; s++)
                    for (int z = 0; z < 1 << bits; z += 1 + (1 << bits) / 3) {
                        const bool affine = strcmp(grids[k].name, "affine") == 0;
                        const bool odd = grids[k].max_bits < 8;
                        if ((kind && k == 0 && bits == 8) || (z && !affine))
                            continue;
                        struct ht_quantizer_spec spec =
                            spec_of(grids[k].name, bits, "learned", "nearest_even", kind == 2);
                        check_fake_quant(spec, kind > 0, scales[s], z);
                        spec.rounding = "floor";
                        if (!odd)
                            check_fake_quant(spec, kind > 0, scales[s], z);
                    }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(fake_quant, every_table)
{
    static const float scales[] = {0.25f, 0.0371f, 3.7f};
    for (size_t k = 0; k < N_TABLES; k++)
        for (int channel = 0; channel < 2; channel++)
            for (size_t s = 0; s < 3; s++)
                check_fake_quant(
                    spec_of(tables[k].name, tables[k].bits, "learned", "nearest_even", channel),
                    true, scales[s], 0);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* --- quant_dense --- */

struct dense_case {
    size_t rows, in, out;
    struct ht_quantizer_spec x, w, y; /* y.bits 32: real output */
    float x_scale, w_scale, y_scale;
    int x_zero, w_zero, y_zero;
    bool bias, batchnorm, extreme;
    double clamp_lo, clamp_hi;
};

struct dense {
    const struct dense_case *c;
    struct fixture f;
    struct ht_quantizer *qx, *qw, *qy;
    struct ht_quant_dense spec;
    float mean[64], var[64];
    struct ht_graph *g;
    struct ht_node *x, *w, *y;
};

static void declare_dense(struct dense *d)
{
    const struct dense_case *c = d->c;
    struct ht_params *p = &d->f.params;
    ht_params_declare(p, "x", c->rows, c->in, 0, 0, 0);
    ht_params_declare(p, "w", c->out, c->in, 0, 0, 0);
    ht_params_declare(p, "bias", 1, c->out, 0, 0, 0);
    ht_params_declare(p, "gamma", 1, c->out, 0, 0, 0);
    ht_params_declare(p, "beta", 1, c->out, 0, 0, 0);
    d->qx = add_quantizer(&d->f, "qx", c->x, false, 1);
    d->qw = add_quantizer(&d->f, "qw", c->w, true, c->out);
    d->qy = c->y.bits == 32 ? NULL : add_quantizer(&d->f, "qy", c->y, false, 1);
    ready(&d->f);
    set_range(d->qx, c->x_scale, c->x_zero);
    set_range(d->qw, c->w_scale, c->w_zero);
    if (d->qy)
        set_range(d->qy, c->y_scale, c->y_zero);
}

static void fill_dense(struct dense *d)
{
    const struct dense_case *c = d->c;
    float *x = values(&d->f, "x"), *w = values(&d->f, "w");
    fill(d->qx, x, c->rows * c->in, 1);
    fill(d->qw, w, c->out * c->in / d->qw->channels, 2);
    for (size_t i = 0; c->extreme && i < c->rows * c->in; i++)
        x[i] = i / c->in % 3 == 2 ? -1e9f : 1e9f; /* rows of the largest, of the smallest level */
    for (size_t i = 0; c->extreme && i < c->out * c->in; i++)
        w[i] = i / c->in % 3 == 2 ? -1e9f : i % c->in == 3 ? 0 : 1e9f;
    for (size_t j = 0; j < c->out; j++) {
        const double unit = (double)(c->x_scale * c->w_scale);
        values(&d->f, "bias")[j] = (float)((uniform(3, j) - 0.5) * 300 * unit);
        if (j % 7 == 3)
            values(&d->f, "bias")[j] = (float)((floor(uniform(3, j) * 100) + 0.5) * unit);
        if (j % 7 == 5)
            values(&d->f, "bias")[j] = j % 2 ? 1e30f : -1e30f;
        values(&d->f, "gamma")[j] = j % 9 == 8 ? 1e-5f : (float)(0.2 + uniform(4, j));
        values(&d->f, "beta")[j] = (float)(uniform(5, j) - 0.5);
        d->mean[j] = (float)((uniform(6, j) - 0.5) * 100 * unit);
        d->var[j] = j % 9 == 7 ? 0 : (float)(uniform(7, j) * 1e4 * unit * unit);
    }
}

static void build_dense(struct dense *d, const struct dense_case *c)
{
    struct ht_error err = {0};
    d->c = c;
    declare_dense(d);
    fill_dense(d);
    d->spec = (struct ht_quant_dense){.has_bias = c->bias,
                                      .has_batchnorm = c->batchnorm,
                                      .momentum = 0.25f,
                                      .epsilon = 1e-5f,
                                      .running_mean = d->mean,
                                      .running_var = d->var,
                                      .clamp_lo = (float)c->clamp_lo,
                                      .clamp_hi = (float)c->clamp_hi,
                                      .out = d->qy,
                                      .product_bound = (double)ht_quantizer_bound(d->qx) *
                                                       ht_quantizer_bound(d->qw)};
    d->g = ht_graph_create(1);
    d->x = ht_fake_quant(d->g, leaf(d->g, &d->f, "x"), d->qx, &d->f.params);
    d->w = ht_fake_quant(d->g, leaf(d->g, &d->f, "w"), d->qw, &d->f.params);
    d->y = ht_quant_dense(d->g, &d->spec, &d->f.params, d->x, d->w,
                          leaf(d->g, &d->f, c->bias ? "bias" : "gamma"), leaf(d->g, &d->f, "beta"));
    ht_graph_keep(d->g, d->x);
    ht_graph_keep(d->g, d->w);
    ht_graph_keep(d->g, d->y);
    ASSERT_OK(ht_graph_plan(d->g, NULL, 0, &err), err);
}

static void finish_dense(struct dense *d)
{
    ht_graph_destroy(d->g);
    finish(&d->f);
}

static int64_t naive_sum(const struct dense *d, size_t b, size_t j)
{
    int64_t acc = 0;
    for (size_t k = 0; k < d->c->in; k++)
        acc += (int64_t)d->x->value[b * d->c->in + k] * (int64_t)d->w->value[j * d->c->in + k];
    return acc;
}

/* bias_q: rne(offset / unit), held to what int32 takes beside the worst sum of products. */
static int64_t naive_bias(const struct dense *d, float offset, float unit)
{
    const double room = 2147483647.0 - (double)d->c->in * d->spec.product_bound;
    return (int64_t)naive_clamp(rint((double)(offset / unit)), -room, room);
}

/* Sections 3 to 6 of docs/numerics.md, folded batch normalization as in section 5. */
static float naive_output(struct dense *d, size_t b, size_t j)
{
    const struct ht_quantizer *q = d->qy;
    float weight_scale = d->qw->scale[d->qw->channels == 1 ? 0 : j], offset = 0;
    if (d->c->bias)
        offset = values(&d->f, "bias")[j];
    if (d->c->batchnorm) {
        struct ht_folded folded =
            ht_fold_batchnorm(weight_scale, values(&d->f, "gamma")[j], values(&d->f, "beta")[j],
                              d->mean[j], d->var[j], d->spec.epsilon);
        weight_scale = folded.weight_scale;
        offset = folded.offset;
    }
    const float unit = d->qx->scale[0] * weight_scale;
    const int64_t acc = naive_sum(d, b, j) + naive_bias(d, offset, unit);
    cr_assert(acc >= INT32_MIN && acc <= INT32_MAX, "accumulator %lld", (long long)acc);
    if (!q)
        return (float)(int32_t)acc * unit;
    const float multiplier = unit / q->scale[0];
    const float u = (float)(int32_t)acc * multiplier;
    const double z = (double)q->zero_point[0];
    double lo = q->grid.lo - z, hi = q->grid.hi - z;
    if (!isinf(d->c->clamp_lo)) /* relu, relu6: a tighter clamp of the levels */
        lo = naive_clamp(naive_round(q, d->c->clamp_lo / (double)q->scale[0]), lo, hi);
    if (!isinf(d->c->clamp_hi))
        hi = naive_clamp(naive_round(q, (double)((float)d->c->clamp_hi / q->scale[0])), lo, hi);
    return (float)naive_clamp(naive_round(q, (double)u), lo, hi);
}

static void expect_naive(struct dense *d, const char *what)
{
    const struct dense_case *c = d->c;
    for (size_t b = 0; b < c->rows; b++)
        for (size_t j = 0; j < c->out; j++) {
            const float expected = naive_output(d, b, j), given = d->y->value[b * c->out + j];
            cr_assert_eq(memcmp(&expected, &given, sizeof given), 0,
                         "%s, x %s%d w %s%d y %s%d, %zu inputs%s%s, [%zu, %zu]: %.9g, not %.9g",
                         what, c->x.grid, c->x.bits, c->w.grid, c->w.bits, c->y.grid, c->y.bits,
                         c->in, c->bias ? ", bias" : "", c->batchnorm ? ", batchnorm" : "", b, j,
                         (double)given, (double)expected);
        }
}

static void check_folded(const struct dense_case *c)
{
    struct dense d = {0};
    struct ht_run run = {.mode = HT_MODE_EVAL};
    build_dense(&d, c);
    ht_graph_forward(d.g, &run);
    expect_naive(&d, "eval");
    run = (struct ht_run){.mode = HT_MODE_TRAIN, .freeze_batchnorm = true};
    ht_graph_forward(d.g, &run);
    expect_naive(&d, "train, frozen");
    if (!c->batchnorm) {
        run.freeze_batchnorm = false;
        ht_graph_forward(d.g, &run);
        expect_naive(&d, "train");
    }
    finish_dense(&d);
}

static struct ht_quantizer_spec draw_spec(uint64_t seed, bool of_weights)
{
    const size_t t = (size_t)(uniform(seed, 5) * N_TABLES);
    if (of_weights && uniform(seed, 6) < 0.3)
        return spec_of(tables[t].name, tables[t].bits, "learned", "nearest_even",
                       uniform(seed, 3) < 0.5);
    const size_t k = (size_t)(uniform(seed, 0) * N_GRIDS);
    const int widths = grids[k].max_bits - grids[k].min_bits + 1;
    int bits = grids[k].min_bits + (int)(uniform(seed, 1) * widths);
    if (of_weights && k == 0 && bits == 8)
        bits = 7;
    const bool floor = grids[k].max_bits == 8 && uniform(seed, 2) < 0.4;
    return spec_of(grids[k].name, bits, "learned", floor ? "floor" : "nearest_even",
                   uniform(seed, 3) < 0.5);
}

static int draw_zero(uint64_t seed, struct ht_quantizer_spec s)
{
    return (int)(uniform(seed, 4) * (1 << s.bits));
}

Test(quant_dense, random_grids_shapes_and_activations)
{
    static const double clamp[3][2] = {{-INFINITY, INFINITY}, {0, INFINITY}, {0, 6}};
    ht_blas_init();
    for (uint64_t i = 0; i < 600; i++) {
        const uint64_t seed = 10 * i;
        struct dense_case c = {.rows = 1 + (size_t)(uniform(seed, 20) * 6),
                               .in = 1 + (size_t)(uniform(seed, 21) * 40),
                               .out = 1 + (size_t)(uniform(seed, 22) * 20),
                               .x = draw_spec(seed + 1, false),
                               .w = draw_spec(seed + 2, true),
                               .y = draw_spec(seed + 3, false)};
        const bool ties = i % 4 == 0; /* powers of two: many values are exactly half way */
        c.x_scale = ties ? 0.125f : (float)(0.01 + uniform(seed, 23));
        c.w_scale = ties ? 0.5f : (float)(0.01 + uniform(seed, 24));
        c.y_scale = ties ? 0.125f : (float)(0.05 + uniform(seed, 25) * (double)c.in);
        c.x_zero = draw_zero(seed + 1, c.x);
        c.w_zero = draw_zero(seed + 2, c.w);
        c.y_zero = draw_zero(seed + 3, c.y);
        c.bias = i % 3 == 0;
        c.batchnorm = i % 3 == 1;
        const size_t activation = i / 3 % 4;
        if (activation == 3)
            c.y.bits = 32;
        c.clamp_lo = clamp[activation % 3][0];
        c.clamp_hi = clamp[activation % 3][1];
        check_folded(&c);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Sums that float32 does not hold: rows go in chunks. */
Test(quant_dense, long_rows_of_extremes)
{
    static const struct {
        size_t in;
        const char *x, *w;
        int x_bits, w_bits, zero;
    } k[] = {{5000, "affine", "narrow", 8, 8, 0},  {5000, "affine", "affine", 8, 8, 255},
             {515, "affine", "narrow", 8, 8, 0},   {517, "full", "narrow", 8, 8, 0},
             {1031, "affine", "affine", 8, 8, 0},  {8300, "affine", "narrow", 8, 4, 0},
             {16500, "affine", "affine", 8, 8, 17}};
    for (size_t i = 0; i < sizeof k / sizeof *k; i++)
        for (int form = 0; form < 4; form++) {
            struct dense_case c = {.rows = 4,
                                   .in = k[i].in,
                                   .out = 7,
                                   .x = spec_of(k[i].x, k[i].x_bits, "learned", "nearest_even", 0),
                                   .w = spec_of(k[i].w, k[i].w_bits, "learned", "nearest_even", 1),
                                   .y = spec_of("affine", 8, "learned", "nearest_even", 0),
                                   .x_scale = 0.01f,
                                   .w_scale = 0.003f,
                                   .y_scale = 40,
                                   .x_zero = k[i].zero,
                                   .w_zero = k[i].zero / 2,
                                   .y_zero = 100,
                                   .bias = form == 1,
                                   .batchnorm = form == 2,
                                   .extreme = form < 3,
                                   .clamp_lo = -INFINITY,
                                   .clamp_hi = INFINITY};
            if (form != 2)
                c.y.bits = 32;
            check_folded(&c);
        }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Batch statistics: their bits are not part of the contract, their values are. */
static void check_batch_statistics(const struct dense_case *c)
{
    struct dense d = {0};
    float mean[64], var[64];
    struct ht_run run = {.mode = HT_MODE_TRAIN};
    size_t differ = 0;
    build_dense(&d, c);
    memcpy(mean, d.mean, sizeof mean);
    memcpy(var, d.var, sizeof var);
    ht_graph_forward(d.g, &run);
    for (size_t j = 0; j < c->out; j++) {
        const float unit = d.qx->scale[0] * d.qw->scale[d.qw->channels == 1 ? 0 : j];
        double sum = 0, square = 0, rows = (double)c->rows;
        for (size_t b = 0; b < c->rows; b++)
            sum += (double)((float)naive_sum(&d, b, j) * unit);
        for (size_t b = 0; b < c->rows; b++)
            square += pow((double)((float)naive_sum(&d, b, j) * unit) - sum / rows, 2);
        const double sigma = sqrt(square / rows + (double)d.spec.epsilon);
        const double new_mean = 0.75 * (double)mean[j] + 0.25 * sum / rows;
        const double new_var =
            c->rows > 1 ? 0.75 * (double)var[j] + 0.25 * square / (rows - 1) : (double)var[j];
        cr_assert_float_eq((double)d.mean[j], new_mean, 1e-5 * (fabs(new_mean) + sigma));
        cr_assert_float_eq((double)d.var[j], new_var, 1e-4 * new_var + 1e-12, "%g %g",
                           (double)d.var[j], new_var);
        for (size_t b = 0; b < c->rows; b++) {
            const double v = (double)((float)naive_sum(&d, b, j) * unit);
            double y = (double)values(&d.f, "gamma")[j] * (v - sum / rows) / sigma +
                       (double)values(&d.f, "beta")[j];
            const double given = (double)d.y->value[b * c->out + j];
            if (!d.qy) {
                cr_assert_float_eq(given, y, 1e-4 * (1 + fabs(y)), "%g %g", given, y);
                continue;
            }
            y = naive_clamp(y, c->clamp_lo, c->clamp_hi);
            const double expected = naive_level(d.qy, 0, (float)y);
            cr_assert_leq(fabs(expected - given), d.qy->grid.step, "%g %g", given, expected);
            differ += expected != given;
        }
    }
    cr_assert_leq(differ * 50, c->rows * c->out, "%zu of %zu levels", differ, c->rows * c->out);
    finish_dense(&d);
}

Test(quant_dense, batch_statistics)
{
    static const double clamp[3][2] = {{-INFINITY, INFINITY}, {0, INFINITY}, {0, 1.5}};
    for (size_t i = 0; i < 24; i++) {
        struct dense_case c = {
            .rows = i % 4 == 0 ? 1 : 33,
            .in = 41,
            .out = 30,
            .x = spec_of("affine", 8, "learned", "nearest_even", 0),
            .w = spec_of("narrow", i % 2 ? 4 : 8, "learned", "nearest_even", i % 3 == 0),
            .y = spec_of(i % 2 ? "affine" : "zero_free", 4, "learned", "nearest_even", 0),
            .x_scale = 0.02f,
            .w_scale = 0.03f,
            .y_scale = 0.21f,
            .x_zero = 77,
            .y_zero = 7,
            .batchnorm = true,
            .clamp_lo = clamp[i % 3][0],
            .clamp_hi = clamp[i % 3][1]};
        if (i % 3 == 0 && i % 2)
            c.y.bits = 32;
        check_batch_statistics(&c);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(quant_dense, refusals)
{
    static const char *const says[] = {
        "quantized with one scale",      "do not fit", "too many inputs", "not both",
        "real output has no activation", "[1, out]"};
    for (int k = 0; k < 6; k++) {
        struct fixture f = {0};
        struct ht_error err = {0};
        ht_params_declare(&f.params, "x", 3, k == 1 ? 5 : 4, 0, 0, 0);
        ht_params_declare(&f.params, "w", 2, 4, 0, 0, 0);
        ht_params_declare(&f.params, "bias", 1, k == 5 ? 3 : 2, 0, 0, 0);
        struct ht_quantizer *qx =
            add_quantizer(&f, "qx", spec_of("affine", 8, "ema", "nearest_even", 0), false, 1);
        struct ht_quantizer *qw =
            add_quantizer(&f, "qw", spec_of("narrow", 8, "min_max", "nearest_even", 1), true, 2);
        ready(&f);
        struct ht_quant_dense spec = {.clamp_lo = k == 4 ? 0 : -INFINITY,
                                      .clamp_hi = INFINITY,
                                      .has_bias = k == 3 || k == 5,
                                      .has_batchnorm = k == 3,
                                      .product_bound = k == 2 ? 3e8 : 1};
        struct ht_graph *g = ht_graph_create(1);
        struct ht_node *x = leaf(g, &f, "x"), *b = leaf(g, &f, "bias");
        if (k > 0)
            x = ht_fake_quant(g, x, qx, &f.params);
        struct ht_node *y = ht_quant_dense(g, &spec, &f.params, x,
                                           ht_fake_quant(g, leaf(g, &f, "w"), qw, &f.params), b, b);
        cr_assert_null(y);
        cr_assert_eq(ht_graph_plan(g, NULL, 0, &err), HT_ERR_CONFIG);
        cr_assert_not_null(strstr(err.msg, says[k]), "%d: %s", k, err.msg);
        ht_graph_destroy(g);
        finish(&f);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* --- bias and batch normalization --- */

Test(bias, rounds_to_even_and_saturates)
{
    cr_assert_eq(ht_quantize_bias(0, 0.5f, 10, 100), 0);
    cr_assert_eq(ht_quantize_bias(1.25f, 0.5f, 10, 100), 2);
    cr_assert_eq(ht_quantize_bias(1.75f, 0.5f, 10, 100), 4);
    cr_assert_eq(ht_quantize_bias(-1.25f, 0.5f, 10, 100), -2);
    cr_assert_eq(ht_quantize_bias(-0.75f, 0.5f, 10, 100), -2);
    /* A float32 quotient: 0.1 / 0.003 is 33.3333321 there. */
    cr_assert_eq(ht_quantize_bias(0.1f, 0.003f, 10, 100), 33);
    static const float huge[] = {3e9f, 1e30f, INFINITY};
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(ht_quantize_bias(huge[i], 1, 10, 100), INT32_MAX - 1000);
        cr_assert_eq(ht_quantize_bias(-huge[i], 1, 10, 100), -(INT32_MAX - 1000));
        cr_assert_eq(ht_quantize_bias(huge[i], 1, 1000, 255 * 255), INT32_MAX - 65025000);
    }
    cr_assert_eq(ht_quantize_bias(2e9f, 1, 10, 100), 2000000000);
}

Test(batchnorm, folds)
{
    for (size_t i = 0; i < 2000; i++) {
        const float scale = (float)(0.001 + uniform(1, i)), gamma = (float)(1e-5 + uniform(2, i));
        const float beta = (float)uniform(3, i) - 0.5f, mean = (float)uniform(4, i) * 10 - 5;
        const float var = i % 5 ? (float)uniform(5, i) * 3 : 0, epsilon = i % 2 ? 1e-5f : 1e-3f;
        const struct ht_folded f = ht_fold_batchnorm(scale, gamma, beta, mean, var, epsilon);
        const double gain = (double)gamma / sqrt((double)var + (double)epsilon);
        cr_assert_float_eq((double)f.weight_scale, (double)scale * gain,
                           3e-7 * (double)scale * gain);
        cr_assert_float_eq((double)f.offset, (double)beta - (double)mean * gain,
                           3e-7 * (1 + fabs((double)mean) * gain));
        cr_assert_gt(f.weight_scale, 0);
    }
}

/* --- tallies --- */

/* Levels -3..3 and scale 1: beyond +-3.5 is clipped. */
Test(tally, of_weights_by_hand)
{
    static const float x[] = {0.2f, -0.4f, 1, 3.4f, 3.6f, -9, -3.5f, 2.5f};
    struct fixture f = {0};
    struct ht_tally tally = {0};
    float level[8], plain[8];
    const struct ht_place_in_run eval = {NULL, 0};
    struct ht_quantizer *q =
        add_quantizer(&f, "q", spec_of("narrow", 3, "learned", "nearest_even", false), true, 1);
    ready(&f);
    set_range(q, 1, 0);
    ht_quantizer_levels(q, 0, eval, x, 8, plain);
    q->tally = &tally;
    ht_quantizer_levels(q, 0, eval, x, 8, level);
    cr_assert_eq(memcmp(level, plain, sizeof level), 0, "counting changes a level");
    cr_assert_eq(tally.n, 8);
    cr_assert_eq(tally.clipped, 2);
    static const size_t counts[7] = {2, 0, 0, 2, 1, 1, 2}; /* -3 .. 3 */
    for (size_t i = 0; i < 256; i++)
        cr_assert_eq(tally.level[i], i < 7 ? counts[i] : 0, "%zu", i);
    cr_assert_eq(ht_tally_codes_used(&tally), 5);
    finish(&f);
}

/* Levels 0..15 with zero point 4, from units: -4.5..11.5 is inside. A table's outer steps differ.
 */
Test(tally, of_zero_points_and_tables)
{
    static const float u[] = {-4.4f, -4.6f, 11.4f, 11.6f, 0};
    struct fixture f = {0};
    struct ht_tally tally = {0}, table = {0};
    float level[5];
    const struct ht_place_in_run eval = {NULL, 0};
    struct ht_quantizer *q =
        add_quantizer(&f, "q", spec_of("affine", 4, "ema", "nearest_even", false), false, 1);
    struct ht_quantizer *p =
        add_quantizer(&f, "p", spec_of("pow2", 3, "ema", "nearest_even", false), true, 1);
    ready(&f);
    set_range(q, 1, 4);
    set_range(p, 1, 0);
    q->tally = &tally;
    p->tally = &table;
    ht_quantizer_round_units(q, eval, u, 5, level);
    cr_assert_eq(tally.clipped, 2);
    cr_assert_eq(tally.level[0], 2);
    cr_assert_eq(tally.level[15], 2);
    cr_assert_eq(tally.level[4], 1);
    ht_quantizer_levels(p, 0, eval, u, 5, level); /* -4 -2 -1 0 1 2 4: +-5 is inside */
    cr_assert_eq(table.clipped, 2);
    finish(&f);
}
