/* A fuzz target for libFuzzer: one of the importers, by HT_FUZZ_FORMAT (docs/import.md says how to
 * run it). HALFTONE_SEEDS=FOLDER writes a few valid files to start from. */
#include "import_files.h"

#include "base/alloc.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
