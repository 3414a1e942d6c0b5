#include <halftone/train.h>

#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "export/export.h"
#include "train/export.h"
#include "train/run.h"

struct bridge {
    const struct ht_training_options *options;
};

static void on_event(void *user, const struct ht_train_event *e)
{
    const struct ht_training_options *o = ((struct bridge *)user)->options;
    if (e->rounding) /* not an epoch yet */
        return;
    const struct ht_training_progress p = {
        .epoch = e->epoch,
        .epochs = e->epochs,
        .step = e->step,
        .steps = e->steps,
        .train_loss = e->train_loss,
        .epoch_end = e->epoch_end,
        .validation_loss = e->validation_loss,
        .validation_score = e->validation_score,
    };
    if (o->progress)
        o->progress(o->user, &p);
}

static enum ht_status train_config(const struct ht_config *config,
                                   const struct ht_training_options *options,
                                   struct ht_training_result *result, struct ht_error *err)
{
    struct ht_run_result r;
    struct bridge bridge = {options};
    const struct ht_train_hooks hooks = {on_event, &bridge, options->stop, NULL};
    enum ht_status status =
        ht_run_train(&r, ht_config_experiment(config), options->resume != 0, &hooks, NULL, err);
    if (status != HT_OK && status != HT_ERR_THRESHOLD)
        return status;
    memset(result, 0, sizeof *result);
    snprintf(result->run_dir, sizeof result->run_dir, "%s", r.run_dir);
    snprintf(result->model_path, sizeof result->model_path, "%s", r.model_path);
    snprintf(result->score_name, sizeof result->score_name, "%s", r.score_name);
    snprintf(result->split, sizeof result->split, "%s", r.split);
    result->score = r.score;
    result->integer_score = r.integer_score;
    result->outputs_compared = r.outputs_compared;
    result->mismatched_outputs = r.mismatched_outputs;
    result->model_bytes = r.model_bytes;
    result->float_bytes = r.float_bytes;
    result->train_seconds = r.train_seconds;
    return status;
}

enum ht_status ht_train(const char *experiment_path, const struct ht_training_options *options,
                        struct ht_training_result *result, struct ht_error *err)
{
    struct ht_config *config;
    enum ht_status status = ht_config_load(&config, experiment_path, options->overrides,
                                           options->n_overrides, NULL, err);
    if (status != HT_OK)
        return status;
    status = train_config(config, options, result, err);
    ht_config_destroy(config);
    return status;
}

enum ht_status ht_train_text(const char *name, const char *yaml, size_t length,
                             const struct ht_training_options *options,
                             struct ht_training_result *result, struct ht_error *err)
{
    struct ht_config *config;
    enum ht_status status = ht_config_parse(&config, name, yaml, length, options->overrides,
                                            options->n_overrides, NULL, err);
    if (status != HT_OK)
        return status;
    status = train_config(config, options, result, err);
    ht_config_destroy(config);
    return status;
}

static enum ht_status write_export(struct ht_export_report *report, struct ht_session *session,
                                   const struct ht_export_format *format, const char *path,
                                   struct ht_error *err)
{
    struct ht_export_options options = {0};
    struct ht_qmodel *m = NULL;
    if (!format->write)
        return ht_export_session(report, session, path, err);
    enum ht_status status = ht_export_check_source(format, session->model, err);
    if (status == HT_OK)
        status = ht_export_lowered(&m, report, session, err);
    if (status == HT_OK) {
        options.split = report->split;
        options.score = report->parity.fake_quant_score;
        status = ht_export_write(format, m, session->model, &options, path, err);
    }
    ht_qmodel_destroy(m);
    return status;
}

enum ht_status ht_export(const char *run_or_checkpoint, const char *format_name, const char *path,
                         struct ht_export_result *result, struct ht_error *err)
{
    struct ht_session session;
    struct ht_export_report report;
    const struct ht_export_format *format;
    enum ht_status status = ht_export_format_find(&format, format_name, err);
    if (status == HT_OK)
        status = ht_session_from_checkpoint(&session, run_or_checkpoint, err);
    if (status != HT_OK)
        return status;
    status = write_export(&report, &session, format, path, err);
    ht_session_finish(&session);
    if (status != HT_OK && status != HT_ERR_THRESHOLD)
        return status;
    result->outputs_compared = report.parity.outputs_compared;
    result->mismatched_outputs = report.parity.mismatched_outputs;
    result->fake_quant_score = report.parity.fake_quant_score;
    result->integer_score = report.parity.integer_score;
    result->model_bytes = report.model_bytes;
    snprintf(result->split, sizeof result->split, "%s", report.split);
    return status;
}
