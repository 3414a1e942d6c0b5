#ifndef HT_CLI_CHECK_H
#define HT_CLI_CHECK_H

#include "cli/cli.h"

/* What an experiment would train: a row a layer with shapes, parameters, bits and bytes; memory and
 * steps as talk. */
enum ht_status ht_cli_print_plan(const struct ht_cli *cli, const struct ht_experiment *e,
                                 struct ht_error *err);

#endif
