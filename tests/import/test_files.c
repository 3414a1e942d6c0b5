/* The importers: what they read, and that no file, whatever is in it, is more than refused. */
#include "support.h"

#include "import_files.h"

#include "base/rng.h"

static const struct ht_import_format *const formats[] = {&ht_import_safetensors, &ht_import_onnx};

static float parameter(const struct ht_params *p, const char *name, size_t i)
{
    const struct ht_span *s = ht_params_find(p, name);
    cr_assert(s && i < s->n, "%s", name);
    return p->value[s->offset + i];
}

static float seed_number(size_t tensor, size_t element)
{
    return 0.25f * (float)(1 + (tensor + element) % 16);
}

/* Every seed of both formats is the same network. */
static void expect_network(const struct ht_model *m, bool onnx, int seed)
{
    for (size_t n = 0; n < 4; n++) {
        for (size_t k = 0; k < 3; k++) {
            const size_t at = onnx && seed >= 3 ? k * 4 + n : n * 3 + k;
            cr_assert_eq(parameter(&m->params, "dense1.weight", n * 3 + k), seed_number(0, at));
        }
        cr_assert_eq(parameter(&m->params, "dense1.gamma", n), seed_number(2, n));
        cr_assert_eq(parameter(&m->params, "dense1.beta", n), seed_number(3, n));
        cr_assert_eq(parameter(&m->state, "dense1.running_mean", n),
                     seed_number(4, n) - seed_number(1, n));
        cr_assert_eq(parameter(&m->state, "dense1.running_var", n), seed_number(5, n));
    }
    for (size_t n = 0; n < 2; n++)
        cr_assert_eq(parameter(&m->params, "dense2.bias", n), seed_number(7, n));
}

Test(import, seeds_are_read)
{
    struct ht_model *m = model_of_seeds();
    struct ht_error err;
    struct bytes b;
    for (size_t k = 0; k < 2; k++)
        for (int seed = 0; seed < SEEDS; seed++) {
            seed_of(&b, formats[k], seed);
            cr_assert_eq(try_file(formats[k], b.data, b.size, m, &err), 3, "%s %d: %s",
                         formats[k]->name, seed, err.msg);
            expect_network(m, k == 1, seed);
        }
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* --- hostile files, one rule each --- */

static void refuses(const struct ht_import_format *format, const void *data, size_t size,
                    const char *message)
{
    struct ht_error err = {0};
    struct ht_import_file *f = NULL;
    void *copy = malloc(size ? size : 1); /* of the exact size: a sanitizer sees what is beyond */
    memcpy(copy, data, size);
    cr_assert_eq(ht_import_parse(&f, format, copy, size, "a.file", &err), HT_ERR_MODEL, "%s",
                 message);
    cr_assert_eq(strncmp(err.msg, "a.file: ", 8), 0, "%s", err.msg);
    cr_assert(strstr(err.msg, message), "'%s' lacks '%s'", err.msg, message);
    free(copy);
    cr_assert_eq(ht_alloc_live(), 0);
}

static void refuses_header(const char *header, size_t body, const char *message)
{
    uint8_t file[1024] = {0};
    const size_t n = strlen(header);
    file[0] = (uint8_t)n;
    file[1] = (uint8_t)(n >> 8);
    memcpy(file + 8, header, n);
    refuses(&ht_import_safetensors, file, 8 + n + body, message);
}

#define ONE(dtype, shape, offsets)                                                                 \
    "{\"a.weight\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

Test(import, safetensors_that_are_refused)
{
    refuses(&ht_import_safetensors, "", 0, "the file is empty");
    refuses(&ht_import_safetensors, "1234567", 7, "7 bytes are no safetensors file");
    refuses(&ht_import_safetensors, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, "is it safetensors?");
    refuses(&ht_import_safetensors, "\x01\0\0\0\0\0\0\0", 8, "is it safetensors?");
    refuses_header("[1,2]", 0, "no JSON object");
    refuses_header("{\"a\":", 0, "no JSON object");
    refuses_header("{\"a\":{},\"a\":{}}", 0, "no JSON object");
    refuses_header("{\"a\":{}}", 0, "a: dtype is missing");
    refuses_header("{\"a\":3}", 0, "a: dtype is missing");
    refuses_header("{\"\\u001b[31m\":{}}", 0, "control characters");
    refuses_header("{\"\\u009b31m\":{}}", 0, "control characters");
    refuses_header(ONE("F31", "[2]", "[0,8]"), 8, "dtype is missing or unknown");
    refuses_header(ONE("F32", "2", "[0,8]"), 8, "shape is no list");
    refuses_header(ONE("F32", "[2.0]", "[0,8]"), 8, "whole numbers");
    refuses_header(ONE("F32", "[-2]", "[0,8]"), 8, "whole numbers");
    refuses_header(ONE("F32", "[99999999999999999999]", "[0,8]"), 8, "no JSON object");
    refuses_header(ONE("F32", "[16777217]", "[0,8]"), 8, "one above");
    refuses_header(ONE("F32", "[16777216,16777216]", "[0,8]"), 8, "too many elements");
    refuses_header(ONE("F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), 8, "more than 8 dimensions");
    refuses_header(ONE("F32", "[2]", "[0,9]"), 8, "data_offsets are not in the 8 bytes");
    refuses_header(ONE("F32", "[2]", "[8,0]"), 8, "data_offsets are not in");
    refuses_header(ONE("F32", "[2]", "[0]"), 8, "data_offsets are not in");
    refuses_header(ONE("F32", "[2]", "[0,4]"), 8, "4 bytes of data for 2 elements of F32");
    refuses_header(ONE("F32", "[2]", "[4,12]"), 12, "does not begin where");
    refuses_header(ONE("F32", "[2]", "[0,8]"), 9, "1 bytes of data belong to no tensor");
    refuses_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                   "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
                   3, "b: its data does not begin where");
    refuses_header(ONE("F32", "[0,3]", "[0,0]"), 0, "a is empty");
    refuses_header("{\"a.running_mean\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                   4, "a.running_mean has no running_var");
}

Test(import, onnx_that_is_refused)
{
    static const char *const long_name =
        "0123456789012345678901234567890123456789012345678901234567"
        "8901234567890123456789012345678901234567890123456789012345"
        "6789012345678901234567890123456789012345678901234567890123"
        "4567890123456789012345678901234567890123456789012345678901"
        "2345678901234567890123456789";
    struct bytes b = {.size = 0}, graph = {.size = 0}, tensor = {.size = 0};
    const struct ht_import_format *onnx = &ht_import_onnx;
    refuses(onnx, "", 0, "the file is empty");
    refuses(onnx, "\x3a", 1, "is it ONNX?");
    refuses(onnx, "\x3a\x05", 2, "is it ONNX?");
    refuses(onnx, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, "is it ONNX?");
    refuses(onnx, "\x3b\x3c", 2, "is it ONNX?");                  /* groups */
    refuses(onnx, "\x07\x00", 2, "is it ONNX?");                  /* field 0 */
    refuses(onnx, "\x08\x08", 2, "the model is damaged");         /* no graph */
    refuses(onnx, "\x3a\x00\x3a\x00", 4, "the model is damaged"); /* two */
    refuses(onnx, "\x3a\x02\x0a\x7f", 4, "the graph is damaged");
    refuses(onnx, "\x3a\x03\x2a\x01\x0a", 5, "a tensor is damaged");
    refuses(onnx, "\x3a\x03\x0a\x01\x0a", 5, "a node is damaged");
    refuses(onnx, "\x3a\x03\x7a\x01\x00", 5, "sparse");
    put_integer(&tensor, 1, UINT64_MAX);
    put_word(&tensor, 8, "minus");
    put_field(&graph, 5, tensor.data, tensor.size);
    put_field(&b, 7, graph.data, graph.size);
    refuses(onnx, b.data, b.size, "minus has more than 8 dimensions, or one above");
    b.size = graph.size = tensor.size = 0;
    put_integer(&tensor, 1, 3);
    put_integer(&tensor, 2, 1);
    put_word(&tensor, 8, "short");
    put_field(&tensor, 9, "12345678", 8);
    put_field(&graph, 5, tensor.data, tensor.size);
    put_field(&b, 7, graph.data, graph.size);
    refuses(onnx, b.data, b.size, "short: 8 bytes of data for 3 elements of float");
    b.size = graph.size = tensor.size = 0;
    put_word(&tensor, 8, long_name);
    put_field(&graph, 5, tensor.data, tensor.size);
    put_field(&b, 7, graph.data, graph.size);
    refuses(onnx, b.data, b.size, "more than 255 bytes");
}

/* A name that begins with a dot is that of no module; fuzzing found what was made of it. */
Test(import, names_without_module)
{
    static const char header[] =
        "{\".running_mean\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
        "\".running_var\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},"
        "\".weight\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[8,12]}}";
    uint8_t file[8 + sizeof header + 12] = {(uint8_t)(sizeof header - 1)};
    struct ht_import_file *f;
    struct ht_error err;
    memcpy(file + 8, header, sizeof header - 1);
    ASSERT_OK(
        ht_import_parse(&f, &ht_import_safetensors, file, 8 + sizeof header - 1 + 12, "f", &err),
        err);
    cr_assert(f->n_tensors == 3 && f->n_layers == 0);
    ht_import_destroy(f);
}

/* --- changed files --- */

struct random_source {
    uint64_t seed, draws;
};

static size_t draw(struct random_source *r, size_t n)
{
    return (size_t)ht_rng_below(r->seed, HT_RNG_TEST, r->draws++, n);
}

/* One of: a bit, a byte that matters somewhere, a run cut out, a run written twice. */
static void change(struct random_source *r, struct bytes *b)
{
    static const uint8_t telling[] = {0, 1, 0x7f, 0x80, 0xff, '0', '9', '[', ']', '{', '"', ','};
    const size_t at = draw(r, b->size), n = 1 + draw(r, 8), kind = draw(r, 5);
    if (kind == 0) {
        b->data[at] ^= (uint8_t)(1u << draw(r, 8));
    } else if (kind == 1) {
        b->data[at] = telling[draw(r, sizeof telling)];
    } else if (kind == 2 && at + n < b->size) {
        memmove(b->data + at, b->data + at + n, b->size - at - n);
        b->size -= n;
    } else if (kind == 3 && at + n < b->size && b->size + n < SEED_SIZE) {
        memmove(b->data + at + n, b->data + at, b->size - at);
        b->size += n;
    } else if (b->data[at] >= '0' && b->data[at] <= '9') {
        b->data[at] = (uint8_t)('0' + draw(r, 10));
    }
}

/* HALFTONE_CHANGES=1000000 for a long run of each format. */
Test(import, changed_files_are_refused_or_read, .timeout = 0)
{
    const char *given = getenv("HALFTONE_CHANGES");
    const int changes = given ? atoi(given) : 20000;
    struct random_source r = {7, 0};
    struct ht_model *m = model_of_seeds();
    const long live = ht_alloc_live();
    int reached[2][4] = {{0}};
    for (int i = 0; i < 2 * changes; i++) {
        struct bytes b;
        struct ht_error err;
        seed_of(&b, formats[i % 2], (int)draw(&r, SEEDS));
        const size_t before = b.size;
        for (size_t n = 1 + draw(&r, 4); n > 0 && b.size; n--)
            change(&r, &b);
        if (i % 2 == 0 && draw(&r, 4)) { /* else most would be refused for their length alone */
            const size_t length = (size_t)(b.data[0] | b.data[1] << 8) + b.size - before;
            b.data[0] = (uint8_t)length;
            b.data[1] = (uint8_t)(length >> 8);
        }
        uint8_t *copy = malloc(b.size ? b.size : 1);
        memcpy(copy, b.data, b.size);
        reached[i % 2][try_file(formats[i % 2], copy, b.size, m, &err)]++;
        free(copy);
        cr_assert_eq(ht_alloc_live(), live, "%s, change %d: a leak", formats[i % 2]->name, i);
    }
    for (int k = 0; k < 2; k++) /* not all ends at the door */
        cr_assert(reached[k][0] > 500 && reached[k][1] > 200 && reached[k][3] > 200,
                  "%s: %d %d %d %d", formats[k]->name, reached[k][0], reached[k][1], reached[k][2],
                  reached[k][3]);
    ht_model_destroy(m);
}

Test(import, memory_that_runs_out)
{
    struct ht_model *m = model_of_seeds();
    struct bytes b;
    for (size_t k = 0; k < 2; k++) {
        const long live = ht_alloc_live();
        int reached = 0;
        long n = 0;
        seed_of(&b, formats[k], 4);
        while (reached != 3) {
            struct ht_error err = {0};
            ht_alloc_fail_at(++n);
            reached = try_file(formats[k], b.data, b.size, m, &err);
            ht_alloc_fail_at(0);
            cr_assert(reached == 3 || err.code == HT_ERR_MEMORY, "%ld: %s", n, err.msg);
            cr_assert_eq(ht_alloc_live(), live, "%s, allocation %ld: a leak", formats[k]->name, n);
        }
        cr_assert_gt(n, 5);
    }
    ht_model_destroy(m);
}
