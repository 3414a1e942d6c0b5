/* Private to src/export: the writers of ONNX files (struct ht_export_format). */
#ifndef HT_EXPORT_ONNX_H
#define HT_EXPORT_ONNX_H

#include "export/export.h"

/* docs/onnx.md: integer networks bit for bit, float32 networks but for rounding. */
enum ht_status ht_export_onnx(const struct ht_export_source *source,
                              const struct ht_export_options *options, const char *path,
                              struct ht_error *err);

/* Bits, but where a runtime sums products of real numbers, or has a tanh of its own. */
enum ht_agreement ht_onnx_agreement(const struct ht_export_source *source);
enum ht_agreement ht_qonnx_agreement(const struct ht_export_source *source);

/* QONNX: Quant nodes over real values, for FINN and hls4ml. */
enum ht_status ht_export_qonnx(const struct ht_export_source *source,
                               const struct ht_export_options *options, const char *path,
                               struct ht_error *err);

#endif
