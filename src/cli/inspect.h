/* Private to src/cli: the parts of inspect. */
#ifndef HT_CLI_INSPECT_H
#define HT_CLI_INSPECT_H

#include "cli/cli.h"

enum ht_status ht_cli_inspect_model(const struct ht_cli *cli, const char *path,
                                    struct ht_error *err);

#endif
