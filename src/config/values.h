/* Scalars of a field table: text <-> value, with the reason when a text is no such value. */
#ifndef HT_CONFIG_VALUES_H
#define HT_CONFIG_VALUES_H

#include "config/fields.h"

/* Stores the text into `ret`, the field's value. False: nothing stored, `why` says what is wrong:
 * "must be a whole number, found 'x'". */
bool ht_value_parse(const struct ht_field *f, const char *text, bool plain, void *ret, char *why,
                    size_t why_size);

/* The allowed values in words: "0..100", "one of a, b". */
void ht_value_describe(const struct ht_field *f, struct ht_text *out);

/* The shortest decimal that reads back as the same double. */
void ht_value_print_double(double x, struct ht_text *out);

#endif
