#include "qmodel/bound.h"

static int64_t largest(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t magnitude(int64_t a)
{
    return a < 0 ? -a : a;
}

/* A row of weights as far as its products with any a in [lo, hi] matter. */
struct row_sums {
    int64_t positive, negative; /* sums of the positive and of the negative weights */
};

static void add(struct row_sums *s, int w)
{
    s->positive += w > 0 ? w : 0;
    s->negative += w < 0 ? w : 0;
}

/* Largest |start + sum of a * w| over a in [lo, hi]. */
static int64_t worst(const struct row_sums *s, int64_t lo, int64_t hi, int64_t start)
{
    return largest(magnitude(start + hi * s->positive + lo * s->negative),
                   magnitude(start + lo * s->positive + hi * s->negative));
}

/* Smallest sum of a * w over a in [lo, hi]. */
static int64_t smallest(const struct row_sums *s, int64_t lo, int64_t hi)
{
    return lo * s->positive + hi * s->negative;
}

/* Levels of a row, whatever zero point the row has; the sums start from 0. */
static struct ht_neuron_bound dynamic_bound(const struct ht_qactivation *a,
                                            const struct row_sums *raw,
                                            const struct row_sums *centred, int64_t row_sum)
{
    const int64_t lo = a->lo < 0 ? a->lo : 0, hi = a->hi > 0 ? a->hi : 0;
    const int64_t span = a->hi - a->lo; /* of level - zero point, to both sides */
    const bool shifted = a->grid.has_zero_point;
    const int64_t accumulator =
        shifted ? worst(centred, -span, span, 0) : worst(centred, lo, hi, 0);
    const int64_t correction = shifted ? hi * magnitude(centred->positive + centred->negative) : 0;
    const int64_t sums = largest(worst(raw, lo, hi, 0), worst(centred, lo, hi, 0));
    const int64_t least = shifted ? -span : lo, most = shifted ? span : hi;
    struct ht_neuron_bound b = {.min = smallest(centred, least, most),
                                .max = -smallest(centred, -most, -least),
                                .accumulator = accumulator};
    b.product_min = b.min;
    b.product_max = b.max;
    b.sums = largest(largest(sums, accumulator), largest(correction, row_sum));
    return b;
}

struct ht_neuron_bound ht_neuron_bound(const struct ht_qmodel *m, size_t layer, size_t neuron)
{
    const struct ht_qlayer *l = &m->layers[layer];
    const struct ht_qweights *w = &l->weights;
    const struct ht_qactivation *a = ht_qlayer_input_quant(m, layer);
    const enum ht_qoutput_kind kind = ht_qlayer_input_kind(m, layer);
    if (kind == HT_QOUTPUT_REAL)
        return (struct ht_neuron_bound){0};
    const int32_t z_w = w->zero_point ? w->zero_point[w->channels == 1 ? 0 : neuron] : 0;
    struct row_sums raw = {0}, centred = {0};
    for (size_t k = 0; k < l->in; k++) {
        const int level = ht_qlayer_weight(l, neuron, k);
        add(&raw, level);
        add(&centred, level - z_w);
    }
    /* Part of a sum is the sum with some a = 0. */
    const int64_t lo = a->lo < 0 ? a->lo : 0, hi = a->hi > 0 ? a->hi : 0;
    const int64_t row_sum = (int64_t)l->in * largest(-lo, hi);
    if (kind == HT_QOUTPUT_DYNAMIC)
        return dynamic_bound(a, &raw, &centred, magnitude(z_w * row_sum));
    const int64_t correction = (int64_t)a->zero_point * (centred.positive + centred.negative);
    const int64_t init = l->bias[neuron] - correction;
    int64_t sums = largest(worst(&raw, lo, hi, init), worst(&centred, lo, hi, init));
    sums = largest(sums, largest(worst(&raw, lo, hi, 0), worst(&centred, lo, hi, 0)));
    sums = largest(sums, largest(magnitude(correction), magnitude(init)));
    sums = largest(sums, magnitude(z_w * row_sum));
    const int64_t least = a->lo - a->zero_point, most = a->hi - a->zero_point;
    const int64_t below = least < 0 ? least : 0, above = most > 0 ? most : 0;
    struct ht_neuron_bound b = {.min = smallest(&centred, least, most) + l->bias[neuron],
                                .max = -smallest(&centred, -most, -least) + l->bias[neuron],
                                .product_min = smallest(&centred, below, above),
                                .product_max = -smallest(&centred, -above, -below),
                                .sums = sums};
    b.accumulator = largest(magnitude(b.min), magnitude(b.max));
    return b;
}

/* Of a signed integer that holds lo..hi. */
static int bits_of(int64_t lo, int64_t hi)
{
    int bits = 1;
    while (lo < -(INT64_C(1) << (bits - 1)) || hi > (INT64_C(1) << (bits - 1)) - 1)
        bits++;
    return bits;
}

struct ht_accumulators ht_qlayer_accumulators(const struct ht_qmodel *m, size_t layer)
{
    struct ht_accumulators r = {.min = 1};
    int64_t lo = 0, hi = 0;
    for (size_t n = 0; n < m->layers[layer].out; n++) {
        const struct ht_neuron_bound b = ht_neuron_bound(m, layer, n);
        if (b.max - b.min > r.max - r.min) {
            r.min = b.min;
            r.max = b.max;
            r.neuron = n;
        }
        lo = -largest(-lo, -b.min);
        hi = largest(hi, b.max);
        r.product_min = -largest(-r.product_min, -b.product_min);
        r.product_max = largest(r.product_max, b.product_max);
    }
    r.bits = bits_of(lo, hi);
    r.product_bits = bits_of(r.product_min, r.product_max);
    return r;
}

int64_t ht_qlayer_worst_accumulator(const struct ht_qmodel *m, size_t layer)
{
    int64_t most = 0;
    for (size_t n = 0; n < m->layers[layer].out; n++)
        most = largest(most, ht_neuron_bound(m, layer, n).accumulator);
    return most;
}
