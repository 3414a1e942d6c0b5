#include "cli/cli.h"

static enum ht_status run(const struct ht_cli *cli, struct ht_error *err)
{
    return ht_fail(err, HT_ERR_CONFIG, "bench %s is not built yet", cli->args[0]);
}

const struct ht_command ht_command_bench = {
    .name = "bench",
    .arguments = "kernels|infer|train",
    .summary = "measure speed on this machine (not built yet)",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
