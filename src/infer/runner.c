/* How a run is divided depends on its rows and the model, never on the number of threads, and no
 * output depends on how it is divided.
 *
 *   Many rows: parts of rows, each through the whole network; threads meet once, at the end.
 *   Few rows:  layers that are worth it are divided by outputs; threads meet after each. */
#include "infer/layers.h"

#include <assert.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/vectorized.h"
#include "quant/dynamic.h"

/* Measured with `halftone bench infer`: below, meeting costs more than it saves. */
#define THREAD_PRODUCTS 2e6 /* of a run: some 10 us on one thread */
#define COLUMN_PRODUCTS 2e6 /* of a layer that is divided by outputs ... */
#define COLUMN_BYTES    1e6 /* ... or of its packed weights: they come from afar, slowly */
#define PART_PRODUCTS   2e5 /* of such a part */
#define MIN_PART_ROWS   32
#define PART_STEP       16
#define USUAL_PARTS     4 /* of a batch: more than threads, so that one that is late does less */

struct activations {
    uint8_t *levels; /* [rows, out]; NULL for real outputs */
    uint8_t *before; /* [rows, out]: what goes into the table; NULL without one */
    float *real;     /* [rows, out]: real values; NULL without any, and of the last layer */
};

/* What the rows of one part need on their way through the network. */
struct slot {
    atomic_flag taken;
    float *x;                   /* [features]: one row, transformed; [rows, features] if real */
    uint8_t *input;             /* [rows, features] */
    struct activations *layers; /* [n_layers] */
    struct ht_row_scale *scale; /* [rows]: of the dynamic levels that were made last */
    int32_t *acc;               /* [rows, out] of one layer of dynamic inputs; NULL without any */
};

struct ht_runner {
    const struct ht_runtime *runtime;
    struct ht_pool *pool;   /* NULL: no threads */
    size_t max_batch, rows; /* of a batch, of a slot */
    size_t n_slots;
    struct slot *slots; /* [n_slots]: as many as parts that may run at the same time */
};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t divide_up(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}

/* --- making --- */

static bool create_activations(struct activations *a, const struct ht_qmodel *m, size_t index,
                               size_t rows)
{
    const struct ht_qlayer *l = &m->layers[index];
    size_t n;
    bool made = ht_mul_size(rows, l->out, &n);
    if (made && l->output != HT_QOUTPUT_REAL)
        made = (a->levels = ht_calloc(n, 1));
    if (made && l->has_table)
        made = (a->before = ht_calloc(n, 1));
    if (made && ht_qlayer_is_real(m, index) && index + 1 < m->n_layers)
        made = (a->real = ht_calloc(n, sizeof *a->real));
    return made;
}

/* The most outputs of a layer of dynamic inputs. */
static size_t widest_dynamic(const struct ht_qmodel *m)
{
    size_t widest = 0;
    for (size_t i = 0; i < m->n_layers; i++)
        if (ht_qlayer_input_kind(m, i) == HT_QOUTPUT_DYNAMIC && m->layers[i].out > widest)
            widest = m->layers[i].out;
    return widest;
}

static bool create_slot(struct slot *s, const struct ht_qmodel *m, size_t rows)
{
    size_t n, sums;
    const bool real = m->input.kind == HT_QOUTPUT_REAL;
    atomic_flag_clear(&s->taken);
    if (!ht_mul_size(rows, m->input.features, &n) || !ht_mul_size(rows, widest_dynamic(m), &sums))
        return false;
    s->input = ht_calloc(n, 1);
    s->x = ht_calloc(real ? n : m->input.features, sizeof *s->x);
    s->layers = ht_calloc(m->n_layers, sizeof *s->layers);
    s->scale = ht_calloc(rows, sizeof *s->scale);
    bool made = s->x && s->input && s->layers && s->scale;
    if (made && sums)
        made = (s->acc = ht_calloc(sums, sizeof *s->acc));
    for (size_t i = 0; made && i < m->n_layers; i++)
        made = create_activations(&s->layers[i], m, i, rows);
    return made;
}

static void destroy_slot(struct slot *s, const struct ht_qmodel *m)
{
    for (size_t i = 0; s->layers && i < m->n_layers; i++) {
        ht_free(s->layers[i].levels);
        ht_free(s->layers[i].before);
        ht_free(s->layers[i].real);
    }
    ht_free(s->layers);
    ht_free(s->scale);
    ht_free(s->acc);
    ht_free(s->x);
    ht_free(s->input);
}

enum ht_status ht_runner_create(struct ht_runner **ret, const struct ht_runtime *runtime,
                                size_t max_batch, struct ht_pool *pool, struct ht_error *err)
{
    if (max_batch < 1)
        return ht_fail(err, HT_ERR_CONFIG, "a batch of %zu samples is not possible", max_batch);
    struct ht_runner *r = ht_calloc(1, sizeof *r);
    if (!r)
        return ht_fail_memory(err);
    r->runtime = runtime;
    r->pool = ht_pool_threads(pool) > 1 ? pool : NULL;
    r->max_batch = max_batch;
    r->rows = smaller(max_batch, HT_RUNNER_ROWS);
    r->n_slots = smaller(ht_pool_threads(pool), divide_up(max_batch, MIN_PART_ROWS));
    r->slots = ht_calloc(r->n_slots, sizeof *r->slots);
    bool made = r->slots;
    for (size_t i = 0; made && i < r->n_slots; i++)
        made = create_slot(&r->slots[i], runtime->model, r->rows);
    if (!made) {
        ht_runner_destroy(r);
        return ht_fail_memory(err);
    }
    *ret = r;
    return HT_OK;
}

void ht_runner_destroy(struct ht_runner *r)
{
    if (!r)
        return;
    for (size_t i = 0; r->slots && i < r->n_slots; i++)
        destroy_slot(&r->slots[i], r->runtime->model);
    ht_free(r->slots);
    ht_free(r);
}

/* --- one layer --- */

struct columns {
    const struct ht_runtime *runtime;
    const struct ht_kernel_dense *dense; /* NULL: real */
    const struct ht_kernel_real *real;
    size_t n, step;
};

static void run_columns(void *user, size_t part)
{
    const struct columns *c = user;
    const size_t first = part * c->step, left = smaller(c->step, c->n - first);
    const size_t count = left < c->n ? left : 0; /* all of them */
    if (c->dense) {
        struct ht_kernel_dense dense = *c->dense;
        dense.column = first;
        dense.columns = count;
        c->runtime->kernels.dense(&dense);
    } else {
        struct ht_kernel_real real = *c->real;
        real.column = first;
        real.columns = count;
        c->runtime->kernels.real(&real);
    }
}

/* Products of a layer, integer or real. pool NULL: all of it on the calling thread. */
static void run_products(const struct ht_runtime *r, const struct ht_runtime_layer *layer,
                         const struct ht_kernel_dense *dense, const struct ht_kernel_real *real,
                         struct ht_pool *pool)
{
    const size_t n = layer->weights.n, rows = dense ? dense->m : real->m;
    const double column = (double)rows * (double)layer->weights.k; /* products of one */
    const bool large = (double)layer->bytes > COLUMN_BYTES || column * (double)n > COLUMN_PRODUCTS;
    struct columns c = {r, dense, real, n, HT_KERNEL_COLUMN_STEP};
    if (!pool || !large || n <= HT_KERNEL_COLUMN_STEP) {
        c.step = n;
        run_columns(&c, 0);
        return;
    }
    while (column * (double)c.step < PART_PRODUCTS)
        c.step += HT_KERNEL_COLUMN_STEP;
    ht_pool_run(pool, divide_up(n, c.step), run_columns, &c);
}

/* From levels to levels. */
static void run_integer_layer(const struct ht_runtime *r, struct slot *s, size_t index,
                              const void *a, size_t rows, struct ht_pool *pool)
{
    const struct ht_qlayer *l = &r->model->layers[index];
    const struct activations *to = &s->layers[index];
    struct ht_kernel_dense dense = r->layers[index].dense;
    dense.m = rows;
    dense.a = a;
    dense.levels = l->has_table ? to->before : to->levels;
    run_products(r, &r->layers[index], &dense, NULL, pool);
    if (l->has_table)
        r->kernels.lookup(to->before, l->quant.is_signed, rows * l->out, l->quant.grid.lo, l->table,
                          to->levels);
}

/* --- layers with real values in them --- */

/* Levels of each row, by the scale that it finds for itself. */
static void quantize_rows(const struct ht_runtime *r, const struct ht_qactivation *q,
                          const float *x, size_t rows, size_t n, struct ht_row_scale *scale,
                          uint8_t *levels)
{
    const struct ht_kernel_quantizer any = ht_runtime_quantizer(q);
    for (size_t i = 0; i < rows; i++) {
        struct ht_kernel_quantizer of_row = any;
        scale[i] = ht_row_scale(&q->grid, x + i * n, n);
        of_row.lo -= scale[i].zero_point;
        of_row.hi -= scale[i].zero_point;
        of_row.zero_point = scale[i].zero_point;
        r->kernels.quantize(x + i * n, n, scale[i].scale, &of_row, levels + i * n);
    }
}

HT_VECTORIZED static void sums_of_row(const int32_t *acc, const int32_t *weight_sum, size_t n,
                                      int32_t zero_point, float *sum)
{
    for (size_t j = 0; j < n; j++)
        sum[j] = (float)(acc[j] - zero_point * weight_sum[j]);
}

/* a -> real values in front of the activation. */
static void run_to_real(const struct ht_runtime *r, struct slot *s, size_t index, const void *a,
                        size_t rows, float *y, struct ht_pool *pool)
{
    const struct ht_qlayer *l = &r->model->layers[index];
    const struct ht_runtime_layer *layer = &r->layers[index];
    struct ht_kernel_dense dense = layer->dense;
    struct ht_kernel_real real = layer->real;
    const bool dynamic = layer->input == HT_QOUTPUT_DYNAMIC;
    dense.m = real.m = rows;
    dense.a = a;
    real.x = a;
    real.sum = y;
    if (dynamic)
        dense.acc = s->acc;
    else
        dense.real = y;
    run_products(r, layer, layer->input == HT_QOUTPUT_REAL ? NULL : &dense, &real, pool);
    if (layer->input == HT_QOUTPUT_CODES)
        return;
    for (size_t i = 0; i < rows; i++) {
        const struct ht_row_scale scale = dynamic ? s->scale[i] : (struct ht_row_scale){1, 0};
        float *row = y + i * l->out;
        if (dynamic)
            sums_of_row(s->acc + i * l->out, layer->weight_sum, l->out, scale.zero_point, row);
        ht_real_outputs(row, l->out, scale.scale, layer->scale, l->real_bias, row);
    }
}

/* y[rows, outputs] is where the last layer's real values go. */
static void run_real_layer(const struct ht_runtime *r, struct slot *s, size_t index, const void *a,
                           size_t rows, float *y, struct ht_pool *pool)
{
    const struct ht_qlayer *l = &r->model->layers[index];
    const struct ht_runtime_layer *layer = &r->layers[index];
    const struct activations *to = &s->layers[index];
    float *real = to->real ? to->real : y;
    run_to_real(r, s, index, a, rows, real, pool);
    if (layer->activation)
        layer->activation->values(real, rows * l->out, l->slope, real);
    if (l->output == HT_QOUTPUT_CODES)
        r->kernels.quantize(real, rows * l->out, l->quant.scale, &layer->quantizer, to->levels);
    else if (l->output == HT_QOUTPUT_DYNAMIC)
        quantize_rows(r, &l->quant, real, rows, l->out, s->scale, to->levels);
}

/* y = scale * (level - zero_point) for a model whose last layer gives codes. */
static void dequantize(const struct ht_qactivation *q, const uint8_t *levels, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++) {
        const int level = q->is_signed ? (int8_t)levels[i] : levels[i];
        y[i] = q->scale * (float)(level - q->zero_point);
    }
}

/* --- rows --- */

/* Two of the three inputs are NULL; each is [n, features]. */
struct batch {
    struct ht_runner *runner;
    const float *raw, *x;
    const uint8_t *levels;
    size_t n, part_rows;
    float *y; /* [n, outputs] */
};

/* rows of x to levels, and the scales that they find: scale[rows]. */
static void quantize_input(const struct ht_runtime *r, const float *x, size_t rows,
                           struct ht_row_scale *scale, uint8_t *levels)
{
    const struct ht_qinput *in = &r->model->input;
    if (in->kind == HT_QOUTPUT_DYNAMIC)
        quantize_rows(r, &in->quant, x, rows, in->features, scale, levels);
    else
        r->kernels.quantize(x, rows * in->features, in->quant.scale, &r->input_quantizer, levels);
}

/* The rows as the first layer takes them: made in the slot, or where they are already. */
static const void *input_rows(const struct batch *b, struct slot *s, size_t first, size_t rows)
{
    const struct ht_runtime *r = b->runner->runtime;
    const struct ht_qinput *in = &r->model->input;
    const size_t n = in->features;
    const bool real = in->kind == HT_QOUTPUT_REAL;
    if (b->levels)
        return b->levels + first * n;
    if (b->x && real)
        return b->x + first * n;
    if (b->x)
        quantize_input(r, b->x + first * n, rows, s->scale, s->input);
    else if (real)
        ht_qmodel_transform_input(r->model, b->raw + first * n, rows, s->x);
    for (size_t i = 0; !b->x && !real && i < rows; i++) {
        ht_qmodel_transform_input(r->model, b->raw + (first + i) * n, 1, s->x);
        quantize_input(r, s->x, 1, s->scale + i, s->input + i * n);
    }
    return real ? (const void *)s->x : s->input;
}

static void run_rows(const struct batch *b, struct slot *s, size_t first, size_t rows,
                     struct ht_pool *pool)
{
    const struct ht_runtime *r = b->runner->runtime;
    const struct ht_qmodel *m = r->model;
    const void *a = input_rows(b, s, first, rows);
    float *y = b->y + first * m->outputs;
    for (size_t i = 0; i < m->n_layers; i++) {
        const struct activations *to = &s->layers[i];
        if (ht_qlayer_is_real(m, i))
            run_real_layer(r, s, i, a, rows, y, pool);
        else
            run_integer_layer(r, s, i, a, rows, pool);
        a = to->levels ? (const void *)to->levels : to->real;
    }
    const struct ht_qlayer *last = &m->layers[m->n_layers - 1];
    if (last->output == HT_QOUTPUT_CODES)
        dequantize(ht_qlayer_output_quant(last), a, rows * last->out, y);
}

/* No more parts run at a time than there are slots, so that one is free. */
static struct slot *take_slot(struct ht_runner *r)
{
    size_t i = 0;
    while (atomic_flag_test_and_set_explicit(&r->slots[i].taken, memory_order_acquire))
        i = (i + 1) % r->n_slots;
    return &r->slots[i];
}

static void run_part(void *user, size_t part)
{
    const struct batch *b = user;
    const size_t first = part * b->part_rows;
    struct slot *s = take_slot(b->runner);
    run_rows(b, s, first, smaller(b->part_rows, b->n - first), NULL);
    atomic_flag_clear_explicit(&s->taken, memory_order_release);
}

/* Rows of a part of n. */
static size_t divide_rows(size_t n)
{
    const size_t rows = divide_up(divide_up(n, USUAL_PARTS), PART_STEP) * PART_STEP;
    if (rows < MIN_PART_ROWS)
        return MIN_PART_ROWS;
    return smaller(rows, HT_RUNNER_ROWS);
}

static void run_batch(struct batch *b)
{
    struct ht_runner *r = b->runner;
    struct ht_pool *pool = (double)b->n * r->runtime->products < THREAD_PRODUCTS ? NULL : r->pool;
    b->part_rows = pool ? smaller(divide_rows(b->n), r->rows) : r->rows;
    if (b->n <= b->part_rows)
        run_rows(b, &r->slots[0], 0, b->n, pool);
    else
        ht_pool_run(pool, divide_up(b->n, b->part_rows), run_part, b);
}

static void run(struct batch all)
{
    const struct ht_qmodel *m = all.runner->runtime->model;
    const size_t step = all.runner->max_batch;
    for (size_t done = 0; done < all.n; done += step) {
        const size_t at = done * m->input.features;
        struct batch b = {.runner = all.runner, .n = smaller(all.n - done, step)};
        b.raw = all.raw ? all.raw + at : NULL;
        b.x = all.x ? all.x + at : NULL;
        b.levels = all.levels ? all.levels + at : NULL;
        b.y = all.y + done * m->outputs;
        run_batch(&b);
    }
}

void ht_runner_run(struct ht_runner *r, const float *x, size_t n, float *y)
{
    run((struct batch){.runner = r, .x = x, .n = n, .y = y});
}

void ht_runner_run_levels(struct ht_runner *r, const void *levels, size_t n, float *y)
{
    assert(r->runtime->model->input.kind == HT_QOUTPUT_CODES);
    run((struct batch){.runner = r, .levels = levels, .n = n, .y = y});
}

void ht_runner_run_raw(struct ht_runner *r, const float *raw, size_t n, float *y)
{
    run((struct batch){.runner = r, .raw = raw, .n = n, .y = y});
}

const void *ht_runner_layer_levels(const struct ht_runner *r, size_t index)
{
    return r->slots[0].layers[index].levels;
}
