#include "data/loading.h"

#include <math.h>

#include "base/rng.h"

#define RADIANS_PER_DEGREE 0.017453292519943295

void ht_augment_draw(struct ht_motion *m, const struct ht_augment *augment, uint64_t seed,
                     uint64_t epoch, uint32_t sample)
{
    struct ht_rng_block b = ht_rng_block(seed, HT_RNG_STREAM(HT_RNG_AUGMENT, epoch), sample);
    uint64_t choices = 2 * (uint64_t)augment->shift + 1;
    m->dx = (int)(b.v[0] * choices >> 32) - augment->shift;
    m->dy = (int)(b.v[1] * choices >> 32) - augment->shift;
    double angle = (b.v[2] * (1.0 / 2147483648.0) - 1.0) * augment->rotation * RADIANS_PER_DEGREE;
    m->rotated = augment->rotation != 0;
    m->sine = sin(angle);
    m->cosine = cos(angle);
}

struct picture {
    const uint8_t *bytes; /* [rows, columns], or NULL: */
    const float *values;
    ptrdiff_t rows, columns;
};

static float pixel(const struct picture *p, ptrdiff_t row, ptrdiff_t column)
{
    if (row < 0 || column < 0 || row >= p->rows || column >= p->columns)
        return 0;
    ptrdiff_t i = row * p->columns + column;
    return p->bytes ? (float)p->bytes[i] : p->values[i];
}

/* The value that lands on pixel (row, column) of the result. */
static float moved_pixel(const struct ht_motion *m, const struct picture *p, ptrdiff_t row,
                         ptrdiff_t column)
{
    ptrdiff_t y = row - m->dy, x = column - m->dx;
    if (!m->rotated)
        return pixel(p, y, x);
    double center_y = (double)(p->rows - 1) / 2, center_x = (double)(p->columns - 1) / 2;
    double from_y = (double)y - center_y, from_x = (double)x - center_x;
    double source_x = m->cosine * from_x + m->sine * from_y + center_x;
    double source_y = m->cosine * from_y - m->sine * from_x + center_y;
    ptrdiff_t top = (ptrdiff_t)floor(source_y), left = (ptrdiff_t)floor(source_x);
    float down = (float)(source_y - floor(source_y)), right = (float)(source_x - floor(source_x));
    float a = pixel(p, top, left), b = pixel(p, top, left + 1);
    float c = pixel(p, top + 1, left), d = pixel(p, top + 1, left + 1);
    float upper = a + (b - a) * right, lower = c + (d - c) * right;
    return upper + (lower - upper) * down;
}

void ht_augment_bytes(const struct ht_motion *m, const uint8_t *in, size_t rows, size_t columns,
                      const ht_real table[256], ht_real *out)
{
    struct picture p = {in, NULL, (ptrdiff_t)rows, (ptrdiff_t)columns};
    for (ptrdiff_t i = 0; i < p.rows; i++)
        for (ptrdiff_t j = 0; j < p.columns; j++) /* 0 <= the value <= 255 */
            *out++ = table[(int)(moved_pixel(m, &p, i, j) + 0.5f)];
}

void ht_augment_values(const struct ht_motion *m, const float *in, size_t rows, size_t columns,
                       ht_real *out)
{
    struct picture p = {NULL, in, (ptrdiff_t)rows, (ptrdiff_t)columns};
    for (ptrdiff_t i = 0; i < p.rows; i++)
        for (ptrdiff_t j = 0; j < p.columns; j++)
            *out++ = moved_pixel(m, &p, i, j);
}
