/* What `halftone bits` shows. */
#ifndef HT_CLI_BITS_H
#define HT_CLI_BITS_H

#include "cli/cli.h"
#include "mixed/table.h"

/* Every slot at every width. score_name: "accuracy" or "r2". */
enum ht_status ht_cli_bits_cells(const struct ht_cli *cli, const struct ht_mixed_table *t,
                                 const char *score_name, struct ht_error *err);
/* The steps of ht_mixed_order. */
enum ht_status ht_cli_bits_steps(const struct ht_cli *cli, const struct ht_mixed_table *t,
                                 const struct ht_mixed_step *steps, size_t n, struct ht_error *err);
/* A row for each layer with the widths that were chosen, and the real ones they stand for
 * (learned [n_slots], or NULL), to stdout; or, with `comment`, as lines of YAML comments into it.
 */
enum ht_status ht_cli_bits_choice(const struct ht_cli *cli, const struct ht_mixed_table *t,
                                  const size_t *choice, const double *learned,
                                  struct ht_text *comment, struct ht_error *err);

#endif
