#include "cli/cli.h"
#include "train/run.h"

enum ht_status ht_cli_pool(struct ht_pool **ret, struct ht_error *err)
{
    unsigned threads;
    const enum ht_status status = ht_run_threads(&threads, err);
    return status == HT_OK ? ht_pool_create(ret, threads, err) : status;
}
