/* Classes and outputs of rows of numbers, by a model that halftone trained.
 *
 *     ./predict MODEL.h5 < rows.csv
 *
 * A row is as many numbers as the model has features, one line each, commas or spaces between them.
 * Prints the class and all outputs of each row. CMakeLists.txt and Makefile build it.
 */
#include <stdio.h>
#include <stdlib.h>

#include <halftone/halftone.h>

/* 1: a row is there; 0: no more rows; -1: something else than a number, or a row that ends early.
 */
static int read_row(float *row, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            (void)!scanf(" ,");
        const int got = scanf("%f", &row[i]);
        if (got != 1)
            return i == 0 && got == EOF ? 0 : -1;
    }
    return 1;
}

static void print(const struct ht_predictor *p, const float *outputs, size_t n)
{
    if (ht_predictor_classes(p) > 0)
        printf("%s", ht_predictor_class_name(p, ht_predictor_class(p, outputs)));
    for (size_t i = 0; i < n; i++)
        printf("%s%.9g", i > 0 || ht_predictor_classes(p) > 0 ? "," : "", (double)outputs[i]);
    printf("\n");
}

int main(int argc, char **argv)
{
    struct ht_predictor *predictor;
    struct ht_error error;
    int got;

    if (argc != 2) {
        fprintf(stderr, "usage: %s MODEL < ROWS\n", argv[0]);
        return 2;
    }
    if (ht_predictor_open(&predictor, argv[1], 1, &error) != HT_OK) {
        fprintf(stderr, "%s\n", error.msg);
        return ht_error_exit_code(&error);
    }
    const size_t features = ht_predictor_features(predictor), n = ht_predictor_outputs(predictor);
    float *row = malloc(features * sizeof *row), *outputs = malloc(n * sizeof *outputs);
    if (!row || !outputs) {
        fprintf(stderr, "out of memory\n");
        return 1;
    }
    while ((got = read_row(row, features)) == 1) {
        ht_predictor_run(predictor, row, 1, outputs);
        print(predictor, outputs, n);
    }
    if (got < 0)
        fprintf(stderr, "a row is %zu numbers\n", features);
    free(row);
    free(outputs);
    ht_predictor_close(predictor);
    return got < 0 ? 3 : 0;
}
