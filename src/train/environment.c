#include "train/environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <jansson.h>

#include "kernels/kernels.h"
#include "tensor/blas.h"

#include <halftone/version.h>

/* The value of the first line of /proc/cpuinfo that starts with one of two keys (x86; aarch64). */
static void cpu_info(const char *key, const char *other_key, char *value, size_t capacity)
{
    char line[4096];
    FILE *f = fopen("/proc/cpuinfo", "r");
    snprintf(value, capacity, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, strlen(key)) != 0 &&
            strncmp(line, other_key, strlen(other_key)) != 0)
            continue;
        char *colon = strchr(line, ':');
        if (!colon)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(value, capacity, "%s", colon + 1 + (colon[1] == ' '));
        break;
    }
    if (f)
        fclose(f);
}

/* Of the CPU's flags, those that kernels or BLAS may choose by. */
static json_t *vector_extensions(void)
{
    static const char *const known[] = {"sse4_1",      "avx",      "avx2",        "fma",
                                        "f16c",        "avx512f",  "avx512bw",    "avx512vl",
                                        "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8",
                                        "asimd",       "asimddp",  "i8mm",        "sve"};
    char flags[4096], *save = NULL;
    json_t *list = json_array();
    cpu_info("flags", "Features", flags, sizeof flags);
    for (char *word = strtok_r(flags, " ", &save); word; word = strtok_r(NULL, " ", &save))
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (strcmp(known[i], word) == 0)
                json_array_append_new(list, json_string(word));
    return list;
}

void ht_environment_experiment_file(const struct ht_experiment *e, char path[HT_PATH_LENGTH])
{
    char here[HT_PATH_LENGTH] = "";
    int n;
    if (e->path[0] == '/')
        n = snprintf(path, HT_PATH_LENGTH, "%s", e->path);
    else if (getcwd(here, sizeof here))
        n = snprintf(path, HT_PATH_LENGTH, "%s/%s", here, e->path);
    else
        n = HT_PATH_LENGTH;
    if (n >= HT_PATH_LENGTH)
        path[0] = '\0';
}

void ht_environment_print(const struct ht_experiment *e, const struct ht_dataset *d,
                          const char *experiment_file, struct ht_text *out)
{
    char cpu[256], system[256] = "unknown";
    struct ht_kernels kernels;
    struct utsname name;
    unsigned mask = HT_ISA_ALL;
    const char *isa = getenv("HALFTONE_ISA");
    if (isa)
        ht_kernels_isa_mask(isa, &mask);
    ht_kernels_init(&kernels, mask);
    cpu_info("model name", "CPU part", cpu, sizeof cpu);
    if (uname(&name) == 0)
        snprintf(system, sizeof system, "%.60s %.60s %.60s", name.sysname, name.release,
                 name.machine);
    json_t *o = json_object();
    json_object_set_new(o, "halftone", json_string(HALFTONE_VERSION));
    json_object_set_new(o, "compiler", json_string(HALFTONE_COMPILER));
    json_object_set_new(o, "system", json_string(system));
    json_object_set_new(o, "cpu", json_string(cpu));
    json_object_set_new(o, "cpu_extensions", vector_extensions());
    json_object_set_new(o, "blas", json_string(ht_blas_version()));
    json_object_set_new(o, "blas_core", json_string(ht_blas_core()));
    json_object_set_new(o, "seed", json_integer((json_int_t)e->seed));
    json_object_set_new(o, "data", json_string(d->name));
    json_object_set_new(o, "data_sha256", json_string(d->hash));
    if (experiment_file) { /* what does not change the outcome stays out of checkpoints */
        json_object_set_new(o, "kernels", json_string(kernels.isa));
        json_object_set_new(o, "experiment_file", json_string(experiment_file));
    }
    char *text = json_dumps(o, JSON_INDENT(2));
    if (text)
        ht_text_printf(out, "%s\n", text);
    free(text);
    json_decref(o);
}
