#include "tensor/params.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

int ht_params_declare(struct ht_params *p, const char *name, size_t rows, size_t cols,
                      unsigned flags, ht_real initial, ht_real minimum)
{
    struct ht_span *spans = ht_grow(p->spans, p->n_spans + 1, sizeof *spans);
    if (!spans) {
        p->n = (size_t)-1;
        return -1;
    }
    p->spans = spans;
    struct ht_span *s = &spans[p->n_spans];
    memset(s, 0, sizeof *s);
    snprintf(s->name, sizeof s->name, "%s", name);
    s->rows = rows;
    s->cols = cols;
    s->flags = flags;
    s->initial = initial;
    s->minimum = minimum;
    s->offset = p->n;
    if (p->n == (size_t)-1 || !ht_mul_size(rows, cols, &s->n) ||
        !ht_add_size(p->n, (s->n + 15) / 16 * 16, &p->n)) /* each span starts on a cache line */
        p->n = (size_t)-1;
    return (int)p->n_spans++;
}

enum ht_status ht_params_allocate(struct ht_params *p, bool with_grad, struct ht_error *err)
{
    if (p->n == (size_t)-1)
        return ht_fail_memory(err);
    p->value = ht_calloc(p->n, sizeof *p->value);
    if (with_grad)
        p->grad = ht_calloc(p->n, sizeof *p->grad);
    if (!p->value || (with_grad && !p->grad))
        return ht_fail_memory(err);
    for (size_t i = 0; i < p->n_spans; i++)
        for (size_t j = 0; j < p->spans[i].n; j++)
            p->value[p->spans[i].offset + j] = p->spans[i].initial;
    return HT_OK;
}

const struct ht_span *ht_params_find(const struct ht_params *p, const char *name)
{
    for (size_t i = 0; i < p->n_spans; i++)
        if (strcmp(p->spans[i].name, name) == 0)
            return &p->spans[i];
    return NULL;
}

void ht_params_finish(struct ht_params *p)
{
    ht_free(p->spans);
    ht_free(p->value);
    ht_free(p->grad);
    memset(p, 0, sizeof *p);
}
