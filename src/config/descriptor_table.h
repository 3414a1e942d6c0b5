/* The field table of dataset descriptors. */
#ifndef HT_CONFIG_DESCRIPTOR_TABLE_H
#define HT_CONFIG_DESCRIPTOR_TABLE_H

#include "config/descriptor.h"
#include "config/fields.h"

extern const struct ht_field_table ht_descriptor_table;

#endif
