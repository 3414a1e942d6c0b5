/* AVX-512 with AMX (Sapphire Rapids and later): tiles of 16 rows x 64 bytes, multiplied by tdpbusd
 * and tdpbssd. Weights are packed as avx512vnni packs them: 16 lines of a strip are a tile, 64
 * inputs of 16 outputs. Activations are read where they are, or from a copy with aligned rows. What
 * avx512vnni does as well or better is left to it: few rows, signs, levels that do not fit bytes.
 */
#include "kernels/x86/zmm.h"

#include "kernels/x86/detect.h"
#include "kernels/x86/layer.h"
#include "kernels/x86/unpack.h"

#define MIN_ROWS      4            /* that are faster in tiles than one by one, */
#define MIN_UNPACKED  8            /* and where weights need unpacking */
#define STEP_K        ((size_t)64) /* inputs of a tile */
#define STEP_LINES    (STEP_K / 4) /* of weights */
#define BLOCK_ROWS    ((size_t)32) /* 2 x 2 tiles of sums */
#define BLOCK_COLUMNS ((size_t)2 * LANES)
#define PANEL_ROWS    ((size_t)256)  /* that share weights in the inner caches */
#define PANEL_K       ((size_t)4096) /* inputs that are summed in one go */
#define UNPACKED_K    ((size_t)1024) /* the same of weights under 8 bits */

_Static_assert(HT_KERNEL_COLUMN_STEP % (8 * LANES) == 0, "threads share no strip");

/* What the compiler knows nothing of: that tiles are read from memory, p or what it knows of. */
HT_INLINE void finish_stores(const void *p)
{
    __asm__ volatile("" ::"r"(p) : "memory");
}

/* --- the shapes of tiles: 0..3 are sums, 4 and 5 activations, 6 and 7 weights --- */

/* What ldtilecfg reads (Intel SDM, volume 1, 18.2). */
struct tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_shapes) == 64, "a line of the hardware's");

/* Tiles of `first` and of `second` rows of activations. Clears them. */
static void shape_tiles(size_t first, size_t second)
{
    struct tile_shapes shapes = {.palette = 1};
    const size_t rows[] = {first, first, second, second, first, second, STEP_LINES, STEP_LINES};
    for (size_t i = 0; i < 8; i++) {
        shapes.row_bytes[i] = STEP_K;
        shapes.rows[i] = (uint8_t)rows[i];
    }
    finish_stores(&shapes);
    _tile_loadconfig(&shapes);
}

/* --- from sums to levels, while the tiles multiply --- */

/* Sums of a block that have still to become levels. */
struct pending {
    struct packer packer;
    vfloat multipliers[2];
    vint start[2]; /* to be added to the sums */
    const int32_t (*sums)[BLOCK_COLUMNS];
    const int32_t *row_sums;     /* of activations */
    const uint8_t *coefficients; /* of their outputs, or NULL */
    uint8_t *levels;
    size_t n, rows;
};

/* What a layer needs on the way; known when compiling. */
enum way {
    PLAIN,    /* levels are 0..255 */
    CLAMPED,  /* to fewer, or moved */
    CORRECTED /* by zero points too */
};

/* Rows i and other. */
HT_INLINE void put_pair(enum way way, const struct pending *p, size_t i, size_t other)
{
    const vfloat multipliers[4] = {p->multipliers[0], p->multipliers[1], p->multipliers[0],
                                   p->multipliers[1]};
    vint sums[4] = {v_add(v_load(p->sums[i]), p->start[0]),
                    v_add(v_load(p->sums[i] + LANES), p->start[1]),
                    v_add(v_load(p->sums[other]), p->start[0]),
                    v_add(v_load(p->sums[other] + LANES), p->start[1])};
    if (way == CORRECTED) {
        const vint c0 = v_load(p->coefficients), c1 = v_load(p->coefficients + LINE);
        const vint a0 = v_splat(p->row_sums[i]), a1 = v_splat(p->row_sums[other]);
        sums[0] = v_add(sums[0], v_mul(c0, a0));
        sums[1] = v_add(sums[1], v_mul(c1, a0));
        sums[2] = v_add(sums[2], v_mul(c0, a1));
        sums[3] = v_add(sums[3], v_mul(c1, a1));
    }
    v_store_halves(p->levels + i * p->n, p->levels + other * p->n,
                   pack_sums(&p->packer, way == PLAIN, sums, multipliers));
}

/* --- the products of a block: at most BLOCK_ROWS x BLOCK_COLUMNS --- */

struct block {
    const uint8_t *a; /* rows at a distance of `stride`, first of which are in the first tiles */
    size_t stride, first;
    const uint8_t *w[2];   /* lines of bytes */
    size_t steps;          /* of STEP_K whole inputs, */
    const uint8_t *a_last; /* and the last inputs with zeros after them, or NULL */
    size_t last_stride;
    const uint8_t *w_last[2];
    int32_t (*sums)[BLOCK_COLUMNS];
    bool adds; /* to what is in sums */
};

HT_INLINE void block_step(bool a_signed, size_t lines, const uint8_t *a0, const uint8_t *a1,
                          size_t stride, const uint8_t *w0, const uint8_t *w1)
{
#define MULTIPLY(sums, a, w)                                                                       \
    do {                                                                                           \
        if (a_signed)                                                                              \
            _tile_dpbssd(sums, a, w);                                                              \
        else                                                                                       \
            _tile_dpbusd(sums, a, w);                                                              \
    } while (0)
    _tile_loadd(6, w0, LINE);
    _tile_loadd(4, a0, stride);
    MULTIPLY(0, 4, 6);
    if (lines > 1) {
        _tile_loadd(7, w1, LINE);
        MULTIPLY(1, 4, 7);
    }
    _tile_loadd(5, a1, stride);
    MULTIPLY(2, 5, 6);
    if (lines > 1)
        MULTIPLY(3, 5, 7);
#undef MULTIPLY
}

HT_INLINE void begin_sums(size_t lines, const struct block *b)
{
    int32_t(*sums)[BLOCK_COLUMNS] = b->sums + b->first;
    if (!b->adds) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        return;
    }
    _tile_loadd(0, b->sums[0], sizeof b->sums[0]);
    _tile_loadd(2, sums[0], sizeof sums[0]);
    if (lines > 1) {
        _tile_loadd(1, b->sums[0] + LANES, sizeof b->sums[0]);
        _tile_loadd(3, sums[0] + LANES, sizeof sums[0]);
    }
}

HT_INLINE void store_sums(size_t lines, const struct block *b)
{
    int32_t(*sums)[BLOCK_COLUMNS] = b->sums + b->first;
    _tile_stored(0, b->sums[0], sizeof b->sums[0]);
    _tile_stored(2, sums[0], sizeof sums[0]);
    if (lines > 1) {
        _tile_stored(1, b->sums[0] + LANES, sizeof b->sums[0]);
        _tile_stored(3, sums[0] + LANES, sizeof sums[0]);
    }
}

/* Puts what is pending on the way, evenly, and all of it before the sums are stored. */
HT_INLINE void block_products(bool a_signed, size_t lines, enum way way, const struct block *block,
                              struct pending *pending)
{
    const struct block b = *block;     /* in registers: stores cannot */
    const struct pending p = *pending; /* change them */
    const size_t a_first = b.first * b.stride;
    const size_t a_pairs = b.steps ? (p.rows / 2 + b.steps - 1) / b.steps * 2 : 0;
    size_t done = 0;
    finish_stores(block);
    begin_sums(lines, &b);
    for (size_t i = 0; i < b.steps; i++) {
        const uint8_t *a = b.a + i * STEP_K;
        const size_t at = i * STEP_LINES * LINE;
        block_step(a_signed, lines, a, a + a_first, b.stride, b.w[0] + at, b.w[1] + at);
        for (const size_t end = done + a_pairs; done < end && done + 1 < p.rows; done += 2)
            put_pair(way, &p, done, done + 1);
    }
    if (b.a_last)
        block_step(a_signed, lines, b.a_last, b.a_last + b.first * b.last_stride, b.last_stride,
                   b.w_last[0], b.w_last[1]);
    for (; done + 1 < p.rows; done += 2)
        put_pair(way, &p, done, done + 1);
    if (done < p.rows)
        put_pair(way, &p, done, done);
    pending->rows = 0;
    store_sums(lines, &b);
}

typedef void (*block_function)(const struct block *b, struct pending *pending);

#define BLOCK(name, a_signed, lines, way)                                                          \
    static void name(const struct block *b, struct pending *pending)                               \
    {                                                                                              \
        block_products(a_signed, lines, way, b, pending);                                          \
    }
BLOCK(unsigned_line_plain, false, 1, PLAIN)
BLOCK(unsigned_line_clamped, false, 1, CLAMPED)
BLOCK(unsigned_line_corrected, false, 1, CORRECTED)
BLOCK(unsigned_lines_plain, false, 2, PLAIN)
BLOCK(unsigned_lines_clamped, false, 2, CLAMPED)
BLOCK(unsigned_lines_corrected, false, 2, CORRECTED)
BLOCK(signed_line_plain, true, 1, PLAIN)
BLOCK(signed_line_clamped, true, 1, CLAMPED)
BLOCK(signed_line_corrected, true, 1, CORRECTED)
BLOCK(signed_lines_plain, true, 2, PLAIN)
BLOCK(signed_lines_clamped, true, 2, CLAMPED)
BLOCK(signed_lines_corrected, true, 2, CORRECTED)
#undef BLOCK

static const block_function block_functions[2][2][3] = {
    {{unsigned_line_plain, unsigned_line_clamped, unsigned_line_corrected},
     {unsigned_lines_plain, unsigned_lines_clamped, unsigned_lines_corrected}},
    {{signed_line_plain, signed_line_clamped, signed_line_corrected},
     {signed_lines_plain, signed_lines_clamped, signed_lines_corrected}}};

static enum way find_way(const struct pending *p)
{
    return p->coefficients ? CORRECTED : p->packer.plain ? PLAIN : CLAMPED;
}

static void put_pending(struct pending *p)
{
    for (size_t i = 0; i < p->rows; i += 2) {
        const size_t other = i + (i + 1 < p->rows);
        if (p->coefficients)
            put_pair(CORRECTED, p, i, other);
        else
            put_pair(CLAMPED, p, i, other);
    }
    p->rows = 0;
}

/* --- panels: rows that share what is made of the weights --- */

/* Where the sums of all its rows are kept: inputs in parts, or weights unpacked. */
struct panel_parts {
    int32_t sums[PANEL_ROWS][BLOCK_COLUMNS];
    uint8_t weights[2][UNPACKED_K * LANES];
};

struct panel_copy {
    int32_t sums[2 * BLOCK_ROWS][BLOCK_COLUMNS];
    uint8_t rows[sizeof(struct panel_parts) - 2 * BLOCK_ROWS * BLOCK_COLUMNS * sizeof(int32_t)];
};

struct panel {
    _Alignas(64) union {
        struct panel_parts parts;
        struct panel_copy copy; /* of activations, rows padded to whole steps */
    };
    uint8_t w_last[2][STEP_LINES * LINE];
    uint8_t a_last[PANEL_ROWS][STEP_K]; /* inputs after the last whole step */
    int32_t row_sums[PANEL_ROWS];
    const struct layer *l;
    size_t row, rows;
    const uint8_t *a; /* its rows, */
    size_t stride;    /* at this distance */
    bool copied;
    size_t height; /* rows of its blocks, the last one may have less */
    size_t turn;   /* which half of sums' first rows the next block gets */
    size_t shaped; /* rows of a block that tiles have the shapes for */
    size_t inputs; /* of a part */
    struct pending pending;
};

/* The next 2 lines of outputs, and a part of their inputs. */
struct part {
    size_t column, lines;
    size_t k, count;
    bool first, last;
    bool packs;
    vint start[2]; /* to be added to the sums */
};

/* Weights after the last whole step. Zeros of activations meet what follows them, if anything does.
 */
static const uint8_t *last_weights(const struct layer *l, const uint8_t *from, size_t lines,
                                   uint8_t *copy)
{
    const size_t strips = (l->n + LANES - 1) / LANES;
    const uint8_t *end = l->lines + strips * l->k4 * LINE;
    if (l->planes == 1 && (size_t)(end - from) >= STEP_LINES * LINE)
        return from;
    memcpy(copy, from, lines * LINE);
    memset(copy + lines * LINE, 0, (STEP_LINES - lines) * LINE);
    return copy;
}

/* Weights of a part: as they lie, or unpacked. */
static void part_weights(struct panel *p, const struct part *part, struct block *b)
{
    const struct layer *l = p->l;
    const size_t line = part->column / LANES, whole = b->steps * STEP_LINES * LINE;
    const size_t groups = (part->count + 3) / 4;
    const uint8_t *lines = l->lines + (line / l->planes * l->k4 + part->k / 4) * LINE;
    b->w[0] = lines;
    b->w[1] = part->lines > 1 ? lines + l->k4 * LINE : lines;
    if (l->planes > 1) {
        unpack_planes(l, lines, line % l->planes, groups, p->parts.weights[0], p->parts.weights[1]);
        b->w[0] = p->parts.weights[0];
        b->w[1] = p->parts.weights[1];
    }
    for (size_t i = 0; i < 2 && b->a_last; i++)
        b->w_last[i] =
            last_weights(l, b->w[i] + whole, groups - b->steps * STEP_LINES, p->w_last[i]);
}

/* What has to be done at once: sums, floats, and levels that need the slower way. */
static void put_block(const struct panel *p, const struct part *part, size_t i, size_t rows,
                      int32_t (*sums)[BLOCK_COLUMNS])
{
    const struct layer *l = p->l;
    for (size_t j = 0; j < part->lines; j++) {
        const size_t column = part->column + j * LANES;
        for (size_t r = 0; r < rows; r++) {
            int32_t *at = sums[r] + j * LANES;
            vint sum = v_add(v_load(at), part->start[j]);
            if (l->layout.has_coefficients) {
                const vint coefficient = v_load(l->coefficients + column * sizeof(int32_t));
                sum = v_add(sum, v_mul(coefficient, v_splat(p->row_sums[i + r])));
            }
            v_store(at, sum);
        }
        put(l, column, p->row + i, rows, sums[0] + j * LANES, BLOCK_COLUMNS);
    }
}

/* Leaves the rows from i on to be put beside the next products. */
static void leave_block(struct panel *p, const struct part *part, size_t i, size_t rows,
                        int32_t (*sums)[BLOCK_COLUMNS])
{
    const struct layer *l = p->l;
    struct pending *pending = &p->pending;
    const vfloat m0 = v_floats(v_load(l->d->multiplier + part->column));
    const vfloat m1 = v_floats(v_load(l->d->multiplier + part->column + LANES));
    pending->multipliers[0] = m0;
    pending->multipliers[1] = m1;
    pending->start[0] = part->start[0];
    pending->start[1] = part->start[1];
    pending->sums = (const int32_t(*)[BLOCK_COLUMNS])sums;
    pending->row_sums = p->row_sums + i;
    if (pending->coefficients)
        pending->coefficients = l->coefficients + part->column * sizeof(int32_t);
    pending->levels = (uint8_t *)l->d->levels + (p->row + i) * l->n + part->column;
    pending->rows = rows;
}

static void part_blocks(struct panel *p, const struct part *part)
{
    const struct layer *l = p->l;
    const bool alone = part->first && part->last;
    const block_function products =
        block_functions[l->d->a_signed][part->lines > 1][find_way(&p->pending)];
    struct block b = {.stride = p->stride, .steps = part->count / STEP_K, .adds = !part->first};
    const size_t whole = part->k + b.steps * STEP_K;
    b.last_stride = p->copied ? p->stride : STEP_K;
    if (part->count % STEP_K)
        b.a_last = p->copied ? p->a + whole : p->a_last[0];
    part_weights(p, part, &b);
    for (size_t i = 0; i < p->rows; i += p->height) {
        const size_t rows = p->rows - i < p->height ? p->rows - i : p->height;
        b.first = (rows + 1) / 2;
        if (p->shaped != rows)
            shape_tiles(b.first, rows - b.first);
        p->shaped = rows;
        b.a = p->a + i * p->stride + part->k;
        if (alone) { /* in turns: the ones before are pending */
            b.sums = p->parts.sums + p->turn;
            p->turn ^= BLOCK_ROWS;
        } else {
            b.sums = p->parts.sums + i;
        }
        products(&b, &p->pending);
        if (part->last && part->packs)
            leave_block(p, part, i, rows, b.sums);
        else if (part->last)
            put_block(p, part, i, rows, b.sums);
        if (b.a_last)
            b.a_last += p->height * b.last_stride;
    }
}

static void panel_columns(struct panel *p, size_t column)
{
    const struct layer *l = p->l;
    struct part part = {.column = column, .lines = column + LANES < l->n ? 2 : 1, .first = true};
    part.packs = can_pack(l, column, 2);
    for (size_t j = 0; j < part.lines; j++)
        part.start[j] = starting_sum(l, column + j * LANES);
    for (; part.k < l->k; part.k += p->inputs) {
        part.last = l->k - part.k <= p->inputs;
        part.count = part.last ? l->k - part.k : p->inputs;
        part_blocks(p, &part);
        part.first = false;
    }
}

/* How many rows a copy holds where copies pay, else 0: where tiles would be read across the
 * hardware's lines, many times. */
static size_t copied_rows(const struct layer *l)
{
    const size_t padded = (l->k + STEP_K - 1) / STEP_K * STEP_K;
    const size_t rows = sizeof((struct panel_copy *)NULL)->rows / padded / BLOCK_ROWS * BLOCK_ROWS;
    if (l->planes > 1 || ((uintptr_t)l->d->a | l->k) % STEP_K == 0)
        return 0;
    return l->end - l->column <= 2 * BLOCK_COLUMNS ? 0 : rows < PANEL_ROWS ? rows : PANEL_ROWS;
}

/* What depends on the rows alone. */
static void panel_rows(struct panel *p)
{
    const struct layer *l = p->l;
    const size_t whole = l->k / STEP_K * STEP_K, rest = l->k - whole;
    const size_t blocks = (p->rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    const uint8_t *a = (const uint8_t *)l->d->a + p->row * l->k;
    p->height = (p->rows + blocks - 1) / blocks;
    p->a = p->copied ? p->copy.rows : a;
    p->stride = p->copied ? whole + (rest ? STEP_K : 0) : l->k;
    for (size_t i = 0; i < p->rows && (rest || p->copied); i++, a += l->k) {
        uint8_t *last = p->copied ? p->copy.rows + i * p->stride + whole : p->a_last[i];
        if (p->copied)
            copy_activations(last - whole, a, whole, false);
        if (rest)
            memset(last, 0, STEP_K);
        copy_activations(last, a + whole, rest, false);
    }
    for (size_t i = 0; i < p->rows && l->layout.has_coefficients; i++)
        p->row_sums[i] = (int32_t)layer_row_sum(l, p->row + i);
}

static void dense_panels(const struct layer *l)
{
    struct panel p;
    const size_t most = l->planes > 1 ? UNPACKED_K : PANEL_K, copied = copied_rows(l);
    const size_t steps = (l->k + STEP_K - 1) / STEP_K, parts = (l->k + most - 1) / most;
    const size_t rows = copied ? copied : PANEL_ROWS;
    size_t panels = (l->d->m + rows - 1) / rows;
    p.l = l;
    p.copied = copied > 0;
    p.inputs = (steps + parts - 1) / parts * STEP_K;
    p.shaped = p.turn = 0;
    p.pending = (struct pending){.n = l->n};
    if (l->layout.has_coefficients)
        p.pending.coefficients = l->coefficients;
    if (l->d->levels)
        p.pending.packer = make_packer(l->d->quantizer);
    for (p.row = 0; p.row < l->d->m; p.row += p.rows, panels--) {
        p.rows = (l->d->m - p.row + panels - 1) / panels;
        panel_rows(&p);
        for (size_t column = l->column; column < l->end; column += BLOCK_COLUMNS)
            panel_columns(&p, column);
        put_pending(&p.pending); /* these rows' sums of activations end here */
    }
    _tile_release(); /* a thread with empty tiles is cheaper to switch */
}

/* --- the bundle's members --- */

static void dense(const struct ht_kernel_dense *d)
{
    struct layer l;
    if (d->m < MIN_ROWS) {
        ht_x86_dense_avx512vnni(d);
        return;
    }
    layer_init(&l, d);
    if (l.layout.reference || l.layout.binary || (l.planes > 1 && d->m < MIN_UNPACKED)) {
        ht_x86_dense_avx512vnni(d);
        return;
    }
    l.flipped = false; /* signed bytes are multiplied as they are */
    dense_panels(&l);
}

#define PEAK_SUMS 6

/* tdpbusd alone. Of numbers as they come: of zeros it takes less power, and the clock is faster. */
static uint64_t peak(uint64_t rounds)
{
    uint8_t bytes[2][STEP_LINES * LINE];
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i / sizeof bytes[0]][i % sizeof bytes[0]] =
            (uint8_t)((random = random * 1664525u + 1013904223u) >> 24);
    shape_tiles(STEP_LINES, STEP_LINES);
    finish_stores(bytes);
    _tile_loadd(6, bytes[0], STEP_K);
    _tile_loadd(7, bytes[1], STEP_K);
    for (uint64_t r = 0; r < rounds; r++) {
        _tile_dpbusd(0, 6, 7);
        _tile_dpbusd(1, 6, 7);
        _tile_dpbusd(2, 6, 7);
        _tile_dpbusd(3, 6, 7);
        _tile_dpbusd(4, 6, 7);
        _tile_dpbusd(5, 6, 7);
    }
    _tile_release();
    return rounds * PEAK_SUMS * STEP_LINES * LANES * STEP_K;
}

void ht_kernels_install_amx(struct ht_kernels *k)
{
    ht_kernels_install_avx512vnni(k);
    k->isa = "amx";
    k->dense = dense;
    k->quantize = quantize;
    k->lookup = lookup;
    k->peak = peak;
}
