/* oneDNN on int8: its gemm from bytes to int32, and its matmul with weights packed beforehand and
 * results requantized to bytes. ONEDNN_MAX_CPU_ISA limits its instructions for a whole process. */
#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker.h"

/* --- gemm: packs the weights in each call --- */

struct product {
    long m, n, k;
    uint8_t *a; /* [m, k] */
    int8_t *b;  /* [k, n] */
    int32_t *c; /* [m, n] */
};

static void call_gemm(void *state)
{
    const struct product *p = state;
    const int32_t zero = 0;
    dnnl_gemm_u8s8s32('N', 'N', 'F', p->m, p->n, p->k, 1, p->a, p->k, 0, p->b, p->n, 0, 0, p->c,
                      p->n, &zero);
}

static void close_gemm(void *state)
{
    struct product *p = state;
    free(p->a);
    free(p->b);
    free(p->c);
    free(p);
}

/* m, n, k */
static const char *open_gemm(struct worker_case *c, const long *arguments)
{
    const size_t m = (size_t)arguments[0], n = (size_t)arguments[1], k = (size_t)arguments[2];
    struct product *p = calloc(1, sizeof *p);
    if (!p)
        return "out of memory";
    *p = (struct product){arguments[0],        arguments[1],        arguments[2],
                          worker_noise(m * k), worker_noise(n * k), calloc(m * n, sizeof(int32_t))};
    if (!p->a || !p->b || !p->c) {
        close_gemm(p);
        return "out of memory";
    }
    *c = (struct worker_case){p, call_gemm, close_gemm, (double)m * (double)n * (double)k};
    return NULL;
}

#if DNNL_VERSION_MAJOR == 2

/* --- matmul --- */

enum { SOURCE, WEIGHTS, RESULT, N_MEMORIES };

struct matmul {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[N_MEMORIES];
};

static void call_matmul(void *state)
{
    const struct matmul *m = state;
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, m->memory[SOURCE]},
                                         {DNNL_ARG_WEIGHTS, m->memory[WEIGHTS]},
                                         {DNNL_ARG_DST, m->memory[RESULT]}};
    dnnl_primitive_execute(m->primitive, m->stream, 3, arguments);
    dnnl_stream_wait(m->stream);
}

static void close_matmul(void *state)
{
    struct matmul *m = state;
    dnnl_primitive_destroy(m->primitive);
    for (int i = 0; i < N_MEMORIES; i++)
        dnnl_memory_destroy(m->memory[i]);
    dnnl_stream_destroy(m->stream);
    dnnl_engine_destroy(m->engine);
    free(m);
}

/* bytes [rows, columns] of noise; all memory is the library's own. */
static dnnl_status_t make_memory(dnnl_memory_t *ret, const dnnl_memory_desc_t *md,
                                 dnnl_engine_t engine)
{
    void *bytes, *noise = worker_noise(dnnl_memory_desc_get_size(md));
    dnnl_status_t status = dnnl_memory_create(ret, md, engine, DNNL_MEMORY_ALLOCATE);
    if (status == dnnl_success)
        status = dnnl_memory_get_data_handle(*ret, &bytes);
    if (status == dnnl_success && noise)
        memcpy(bytes, noise, dnnl_memory_desc_get_size(md));
    free(noise);
    return status;
}

/* From rows to the order that the primitive chose. */
static dnnl_status_t pack_weights(struct matmul *m, const dnnl_memory_desc_t *plain,
                                  const dnnl_memory_desc_t *chosen)
{
    dnnl_memory_t from = NULL;
    dnnl_primitive_desc_t description = NULL;
    dnnl_primitive_t reorder = NULL;
    dnnl_status_t status = make_memory(&from, plain, m->engine);
    if (status == dnnl_success)
        status = dnnl_memory_create(&m->memory[WEIGHTS], chosen, m->engine, DNNL_MEMORY_ALLOCATE);
    if (status == dnnl_success)
        status = dnnl_reorder_primitive_desc_create(&description, plain, m->engine, chosen,
                                                    m->engine, NULL);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&reorder, description);
    if (status == dnnl_success) {
        const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from},
                                             {DNNL_ARG_TO, m->memory[WEIGHTS]}};
        status = dnnl_primitive_execute(reorder, m->stream, 2, arguments);
        dnnl_stream_wait(m->stream);
    }
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(description);
    dnnl_memory_destroy(from);
    return status;
}

/* One scale for each output, as ours has. */
static dnnl_status_t make_attributes(dnnl_primitive_attr_t *ret, size_t n, size_t k)
{
    float *scale = calloc(n, sizeof *scale);
    if (!scale)
        return dnnl_out_of_memory;
    for (size_t i = 0; i < n; i++)
        scale[i] = 1.0f / (float)(k << 8);
    dnnl_status_t status = dnnl_primitive_attr_create(ret);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_output_scales(*ret, (dnnl_dim_t)n, 1 << 1, scale);
    free(scale);
    return status;
}

static dnnl_status_t make_matmul(struct matmul *m, dnnl_dim_t rows, dnnl_dim_t n, dnnl_dim_t k)
{
    const dnnl_dims_t a = {rows, k}, b = {k, n}, c = {rows, n};
    dnnl_memory_desc_t source, weights, any, result;
    dnnl_matmul_desc_t operation;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t description = NULL;
    dnnl_memory_desc_init_by_tag(&source, 2, a, dnnl_u8, dnnl_ab);
    dnnl_memory_desc_init_by_tag(&weights, 2, b, dnnl_s8, dnnl_ab);
    dnnl_memory_desc_init_by_tag(&any, 2, b, dnnl_s8, dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&result, 2, c, dnnl_u8, dnnl_ab);
    dnnl_status_t status = dnnl_engine_create(&m->engine, dnnl_cpu, 0);
    if (status == dnnl_success)
        status = dnnl_stream_create(&m->stream, m->engine, dnnl_stream_default_flags);
    if (status == dnnl_success)
        status = make_attributes(&attributes, (size_t)n, (size_t)k);
    if (status == dnnl_success)
        status = dnnl_matmul_desc_init(&operation, &source, &any, NULL, &result);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&description, &operation, attributes, m->engine, NULL);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&m->primitive, description);
    if (status == dnnl_success)
        status = make_memory(&m->memory[SOURCE], &source, m->engine);
    if (status == dnnl_success)
        status = make_memory(&m->memory[RESULT], &result, m->engine);
    if (status == dnnl_success)
        status = pack_weights(m, &weights,
                              dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0));
    dnnl_primitive_desc_destroy(description);
    dnnl_primitive_attr_destroy(attributes);
    return status;
}

/* m, n, k */
static const char *open_matmul(struct worker_case *c, const long *arguments)
{
    struct matmul *m = calloc(1, sizeof *m);
    if (!m)
        return "out of memory";
    if (make_matmul(m, arguments[0], arguments[1], arguments[2]) != dnnl_success) {
        close_matmul(m);
        return "oneDNN makes no such matmul";
    }
    *c = (struct worker_case){m, call_matmul, close_matmul,
                              (double)arguments[0] * (double)arguments[1] * (double)arguments[2]};
    return NULL;
}

#else

static const char *open_matmul(struct worker_case *c, const long *arguments)
{
    (void)c;
    (void)arguments;
    return "written for oneDNN 2";
}

#endif

int main(void)
{
    static const struct worker_kind kinds[] = {{"gemm", 3, open_gemm}, {"matmul", 3, open_matmul}};
    const dnnl_version_t *v = dnnl_version();
    char about[64];
    snprintf(about, sizeof about, "oneDNN %d.%d.%d isa 0x%x", v->major, v->minor, v->patch,
             (unsigned)dnnl_get_effective_cpu_isa());
    return worker_main(about, kinds, sizeof kinds / sizeof *kinds);
}
