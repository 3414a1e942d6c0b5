#include "base/text.h"
#include "cli/cli.h"
#include "config/descriptor.h"

#include <string.h>

static enum ht_status run(const struct ht_cli *cli, struct ht_error *err)
{
    struct ht_text text = {0};
    if (strcmp(cli->args[0], "config") == 0)
        ht_config_print_reference(&text);
    else if (strcmp(cli->args[0], "dataset") == 0)
        ht_descriptor_print_reference(&text);
    else
        return ht_fail(err, HT_ERR_CONFIG, "there is help for: config, dataset");
    bool failed = text.failed;
    fputs(ht_text_str(&text), stdout);
    ht_text_finish(&text);
    return failed ? ht_fail_memory(err) : HT_OK;
}

const struct ht_command ht_command_help = {
    .name = "help",
    .arguments = "config|dataset",
    .summary = "print the reference of all keys of experiment or dataset files (Markdown)",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
