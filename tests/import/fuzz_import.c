/* A fuzz target for libFuzzer: one of the importers, by HT_FUZZ_FORMAT (docs/import.md says how to
 * run it). HALFTONE_SEEDS=FOLDER writes a few valid files to start from. */
#include "import_files.h"

#include "base/alloc.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size); /* libFuzzer's */

static struct ht_model *model;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *folder = getenv("HALFTONE_SEEDS");
    model = model_of_seeds();
    for (int seed = 0; folder && seed < SEEDS; seed++) {
        static struct bytes b;
        char path[512];
        seed_of(&b, &HT_FUZZ_FORMAT, seed);
        snprintf(path, sizeof path, "%s/seed%d", folder, seed);
        FILE *f = fopen(path, "wb");
        if (!f || fwrite(b.data, 1, b.size, f) != b.size || fclose(f) != 0)
            abort();
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ht_error err;
    const long live = ht_alloc_live();
    (void)try_file(&HT_FUZZ_FORMAT, data, size, model, &err);
    if (ht_alloc_live() != live)
        abort();
    return 0;
}

/* The length in front of a safetensors header mostly follows what happens to the header; else
 * nearly all changes would be refused for it alone. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    const size_t length = size >= 8 ? (size_t)(data[0] | data[1] << 8) : size;
    if (&HT_FUZZ_FORMAT != &ht_import_safetensors || length + 8 > size || seed % 8 == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    if (seed % 8 == 1 && size > length + 8)
        return length + 8 +
               LLVMFuzzerMutate(data + 8 + length, size - 8 - length, max_size - 8 - length);
    uint8_t *body = malloc(size);
    const size_t rest = size - 8 - length;
    if (!body || rest + 8 > max_size) {
        free(body);
        return size;
    }
    memcpy(body, data + 8 + length, rest);
    const size_t n = LLVMFuzzerMutate(data + 8, length, max_size - 8 - rest);
    memcpy(data + 8 + n, body, rest);
    free(body);
    data[0] = (uint8_t)n;
    data[1] = (uint8_t)(n >> 8);
    memset(data + 2, 0, 6);
    return 8 + n + rest;
}
