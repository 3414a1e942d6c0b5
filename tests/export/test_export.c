/* Writers: memory that runs out, equal bytes, formats by name. */
#include "qmodel/random_model.h"

#include "export/export.h"

static char folder[64];

static void setup(void)
{
    make_temp_dir(folder);
}

static void teardown(void)
{
    remove_temp_dir(folder);
}

TestSuite(export, .init = setup, .fini = teardown);

static const char *in_folder(char path[128], const char *name)
{
    snprintf(path, 128, "%s/%s", folder, name);
    return path;
}

static enum ht_status write_as(const char *format_name, const struct ht_qmodel *m,
                               enum ht_export_input input, const char *path, struct ht_error *err)
{
    const struct ht_export_format *format;
    const struct ht_export_source source = {m, NULL};
    const struct ht_export_options options = {.input = input};
    cr_assert_eq(ht_export_format_find(&format, format_name, NULL), HT_OK);
    return format->write(&source, &options, path, err);
}

/* A model that both formats take. */
static struct ht_qmodel *usual_model(void)
{
    struct ht_qmodel *m = plain_model();
    m->layers[0].quant = activation("affine", 8, 0.1f, 0);
    m->input.pixel_range = 255;
    return m;
}

Test(export, memory_that_runs_out)
{
    static const char *const formats[] = {"onnx", "qonnx", "safetensors", "c"};
    static const long at_least[] = {100, 100, 4, 20};
    struct ht_qmodel *m = usual_model();
    struct ht_error err;
    char path[128];
    for (size_t i = 0; i < 4; i++) {
        const long live = ht_alloc_live();
        enum ht_status status = HT_ERR_INTERNAL;
        long n = 0;
        in_folder(path, formats[i]);
        while (status != HT_OK) {
            cr_assert_neq(access(path, F_OK), 0, "a failed export left a file");
            ht_alloc_fail_at(++n);
            status = write_as(formats[i], m, HT_EXPORT_FLOAT, path, &err);
            ht_alloc_fail_at(0);
            cr_assert(status == HT_OK || strstr(err.msg, "memory"), "%ld: %s", n, err.msg);
            cr_assert_eq(ht_alloc_live(), live, "%s, allocation %ld: a leak", formats[i], n);
        }
        cr_assert_gt(n, at_least[i]);
    }
    ht_qmodel_destroy(m);
}

Test(export, equal_models_give_equal_bytes)
{
    struct ht_qmodel *a = random_model(7), *b = random_model(7);
    struct ht_error err;
    char path[2][128], command[300];
    ASSERT_OK(write_as("onnx", a, HT_EXPORT_FLOAT, in_folder(path[0], "a"), &err), err);
    ASSERT_OK(write_as("onnx", b, HT_EXPORT_FLOAT, in_folder(path[1], "b"), &err), err);
    snprintf(command, sizeof command, "cmp -s '%s' '%s'", path[0], path[1]);
    cr_assert_eq(system(command), 0);
    ht_qmodel_destroy(a);
    ht_qmodel_destroy(b);
}

Test(export, bytes_are_the_input_of_images_only)
{
    struct ht_qmodel *m = usual_model();
    struct ht_error err;
    char path[128];
    in_folder(path, "bytes");
    ASSERT_OK(write_as("onnx", m, HT_EXPORT_U8, path, &err), err);
    m->input.pixel_range = 0;
    cr_assert_eq(write_as("onnx", m, HT_EXPORT_U8, path, &err), HT_ERR_CONFIG);
    cr_assert(strstr(err.msg, "plain: bytes are"), "%s", err.msg);
    cr_assert_eq(write_as("qonnx", m, HT_EXPORT_U8, path, &err), HT_ERR_CONFIG);
    ht_qmodel_destroy(m);
}

Test(export, formats_by_name)
{
    const struct ht_export_format *format;
    enum ht_export_input input;
    struct ht_error err;
    ASSERT_OK(ht_export_format_find(&format, "qonnx", &err), err);
    cr_assert_str_eq(format->suffix, ".qonnx.onnx");
    ASSERT_OK(ht_export_format_find(&format, "c", &err), err);
    cr_assert(format->code);
    cr_assert_eq(ht_export_format_find(&format, "ONXN", &err), HT_ERR_CONFIG);
    cr_assert(strstr(err.msg, "did you mean 'onnx'?"), "%s", err.msg);
    ASSERT_OK(ht_export_input_find(&input, "u8", &err), err);
    cr_assert_eq(input, HT_EXPORT_U8);
    cr_assert_eq(ht_export_input_find(&input, "s8", &err), HT_ERR_CONFIG);
}
