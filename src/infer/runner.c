/* How a run is divided depends on its rows and the model, never on the number of threads, and no
 * output depends on how it is divided.
 *
 *   Many rows: parts of rows, each through the whole network; threads meet once, at the end.
 *   Few rows:  layers that are worth it are divided by outputs; threads meet after each. */
#include "infer/layers.h"

#include <assert.h>
#include <stdatomic.h>

#include "base/alloc.h"

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
};

/* What the rows of one part need on their way through the network. */
struct slot {
    atomic_flag taken;
    float *x;                   /* [features]: one row, transformed */
    uint8_t *input;             /* [rows, features] */
    struct activations *layers; /* [n_layers] */
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

static bool create_slot(struct slot *s, const struct ht_qmodel *m, size_t rows)
{
    size_t bytes;
    atomic_flag_clear(&s->taken);
    if (ht_mul_size(rows, m->input.features, &bytes))
        s->input = ht_calloc(bytes, 1);
    s->x = ht_calloc(m->input.features, sizeof *s->x);
    s->layers = ht_calloc(m->n_layers, sizeof *s->layers);
    bool made = s->x && s->input && s->layers;
    for (size_t i = 0; made && i < m->n_layers; i++) {
        const struct ht_qlayer *l = &m->layers[i];
        made = ht_mul_size(rows, l->out, &bytes);
        if (made && l->output == HT_QOUTPUT_CODES)
            made = (s->layers[i].levels = ht_calloc(bytes, 1));
        if (made && l->has_table)
            made = (s->layers[i].before = ht_calloc(bytes, 1));
    }
    return made;
}

static void destroy_slot(struct slot *s, const struct ht_qmodel *m)
{
    for (size_t i = 0; s->layers && i < m->n_layers; i++) {
        ht_free(s->layers[i].levels);
        ht_free(s->layers[i].before);
    }
    ht_free(s->layers);
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
    const struct ht_kernel_dense *dense;
    size_t step;
};

static void run_columns(void *user, size_t part)
{
    const struct columns *c = user;
    struct ht_kernel_dense dense = *c->dense;
    dense.column = part * c->step;
    dense.columns = smaller(c->step, dense.weights->n - dense.column);
    c->runtime->kernels.dense(&dense);
}

/* pool NULL: all of it on the calling thread. */
static void run_dense(const struct ht_runtime *r, const struct ht_kernel_dense *dense, size_t bytes,
                      struct ht_pool *pool)
{
    const size_t n = dense->weights->n;
    const double column = (double)dense->m * (double)dense->weights->k; /* products of one */
    const bool large = (double)bytes > COLUMN_BYTES || column * (double)n > COLUMN_PRODUCTS;
    if (!pool || !large || n <= HT_KERNEL_COLUMN_STEP) {
        r->kernels.dense(dense);
        return;
    }
    struct columns c = {r, dense, HT_KERNEL_COLUMN_STEP};
    while (column * (double)c.step < PART_PRODUCTS)
        c.step += HT_KERNEL_COLUMN_STEP;
    ht_pool_run(pool, divide_up(n, c.step), run_columns, &c);
}

/* y[rows, outputs] is for the last layer, when it is real. */
static void run_layer(const struct ht_runtime *r, struct slot *s, size_t index, const void *a,
                      size_t rows, float *y, struct ht_pool *pool)
{
    const struct ht_qlayer *l = &r->model->layers[index];
    const struct activations *to = &s->layers[index];
    struct ht_kernel_dense dense = r->layers[index].dense;
    dense.m = rows;
    dense.a = a;
    if (l->output == HT_QOUTPUT_REAL)
        dense.real = y;
    else
        dense.levels = l->has_table ? to->before : to->levels;
    run_dense(r, &dense, r->layers[index].bytes, pool);
    if (l->has_table)
        r->kernels.lookup(to->before, l->quant.is_signed, rows * l->out, l->quant.grid.lo, l->table,
                          to->levels);
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

/* The rows as levels: made in the slot, or where they are already. */
static const void *input_levels(const struct batch *b, struct slot *s, size_t first, size_t rows)
{
    const struct ht_runtime *r = b->runner->runtime;
    const struct ht_qinput *in = &r->model->input;
    const size_t n = in->features;
    if (b->levels)
        return b->levels + first * n;
    if (b->x) {
        r->kernels.quantize(b->x + first * n, rows * n, in->quant.scale, &r->input_quantizer,
                            s->input);
        return s->input;
    }
    for (size_t i = 0; i < rows; i++) {
        ht_qmodel_transform_input(r->model, b->raw + (first + i) * n, 1, s->x);
        r->kernels.quantize(s->x, n, in->quant.scale, &r->input_quantizer, s->input + i * n);
    }
    return s->input;
}

static void run_rows(const struct batch *b, struct slot *s, size_t first, size_t rows,
                     struct ht_pool *pool)
{
    const struct ht_runtime *r = b->runner->runtime;
    const struct ht_qmodel *m = r->model;
    const void *a = input_levels(b, s, first, rows);
    float *y = b->y + first * m->outputs;
    for (size_t i = 0; i < m->n_layers; i++) {
        run_layer(r, s, i, a, rows, y, pool);
        a = s->layers[i].levels;
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
