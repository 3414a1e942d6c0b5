/* Field tables: one row per key says its type, place in the struct, default, range and help. The
 * same row reads, checks, prints and documents the key. */
#ifndef HT_CONFIG_FIELDS_H
#define HT_CONFIG_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"
#include "config/diagnostics.h"
#include "config/experiment.h"
#include "config/tree.h"

struct ht_reader;
struct ht_field;

struct ht_field_table {
    const struct ht_field *fields;
    size_t n;
};
#define HT_FIELD_TABLE(array)                                                                      \
    {                                                                                              \
        array, sizeof(array) / sizeof(array)[0]                                                    \
    }

/* How a field reads and prints what no plain type covers (lists, maps with free keys). `base` is
 * the offset of the table's struct in the reader's object. */
struct ht_field_custom {
    void (*read)(struct ht_reader *r, const struct ht_field *f, size_t base,
                 struct ht_tree_node *node);
    void (*print)(const void *table_struct, int indent, struct ht_text *out); /* NULL: skipped */
    const char *type; /* for the reference */
    bool list;
};

enum ht_field_type {
    HT_FIELD_INT,        /* int */
    HT_FIELD_UINT64,     /* uint64_t */
    HT_FIELD_DOUBLE,     /* double */
    HT_FIELD_BOOL,       /* bool */
    HT_FIELD_CHOICE,     /* char[HT_NAME_LENGTH], one of `choices` */
    HT_FIELD_TEXT,       /* char[size] */
    HT_FIELD_IDENTIFIER, /* char[size], letters, digits and `alphabet` only */
    HT_FIELD_MAP,        /* the fields of `table`, in the struct at `offset` */
    HT_FIELD_CUSTOM
};

enum {
    HT_FIELD_REQUIRED = 1,
    HT_FIELD_OPEN_MIN = 2,  /* min itself is not allowed */
    HT_FIELD_OPEN_MAX = 4,  /* max itself is not allowed */
    HT_FIELD_COUNT = 8,     /* double: < 1 a share, >= 1 a whole number */
    HT_FIELD_BASE_ONLY = 16 /* not allowed in a variant */
};

struct ht_field {
    const char *name;
    enum ht_field_type type;
    size_t offset; /* in the table's struct */
    size_t size;   /* text: bytes with the NUL; nullable map: bytes of its struct */
    unsigned flags;
    double min, max;
    int also[2]; /* int: more allowed values outside min..max; 0 = none */
    const char *const *choices;
    const char *alphabet;
    const char *fallback; /* default, as it would be written; NULL: zero */
    const struct ht_field_table *table;
    const char *const *fallbacks; /* map: [table->n], in place of the rows' own */
    size_t at;     /* map: offset of its ht_source_position, in the table's struct; */
    bool has_at;   /* ...if it has one */
    size_t given;  /* map: offset of a bool; null sets it to false; */
    bool nullable; /* ...if it has one */
    const struct ht_field_custom *custom;
    const char *help;
};

/* Which node gave the value at an offset of the object. */
struct ht_reader_place {
    size_t offset;
    struct ht_tree_node *node;
};

struct ht_reader {
    struct ht_diagnostics *d;
    const struct ht_tree *tree;
    char *object;
    bool in_variant;
    char path[256]; /* of the map that is being read, for messages: "data.augment" */
    struct ht_reader_place *places;
    size_t n_places, places_capacity;
};

/* Sets the defaults of all fields (of maps too). */
void ht_fields_defaults(const struct ht_field_table *table, const char *const *fallbacks,
                        void *table_struct);

/* Reads the keys of `map` into the struct at `base`; keys that are not there change nothing. */
void ht_fields_read(struct ht_reader *r, const struct ht_field_table *table, size_t base,
                    const struct ht_tree_node *map);
/* One entry of such a map; reports a key that is not in the table. */
void ht_fields_read_key(struct ht_reader *r, const struct ht_field_table *table, size_t base,
                        struct ht_tree_node *node);
void ht_fields_read_one(struct ht_reader *r, const struct ht_field *f, size_t base,
                        struct ht_tree_node *node);
/* Reports required fields that no node gave; `at`: the place of the map. */
void ht_fields_require(struct ht_reader *r, const struct ht_field_table *table, size_t base,
                       struct ht_place at);

/* Remembers which node gave the value at the offset; `ht_reader_find` returns the last one, or
 * NULL. */
void ht_reader_remember(struct ht_reader *r, size_t offset, struct ht_tree_node *node);
struct ht_tree_node *ht_reader_find(const struct ht_reader *r, size_t offset);
void ht_reader_forget(struct ht_reader *r, size_t offset, size_t size);
void ht_reader_finish(struct ht_reader *r);

/* Puts a name in front of r->path's keys; pop with the returned length. */
size_t ht_reader_push(struct ht_reader *r, const char *name);
void ht_reader_pop(struct ht_reader *r, size_t length);

/* "PATH must be EXPECTED, found NODE" at the node. */
void ht_reader_wrong_type(struct ht_reader *r, struct ht_tree_node *node, const char *expected);
/* "unknown WHAT 'name' in CONTEXT (did you mean ...?)", or with the list of names. */
void ht_reader_unknown(struct ht_reader *r, struct ht_place place, const char *what,
                       const char *name, const char *where, const char *const *names, size_t n);

/* As YAML, a key per line, `indent` spaces deep. */
void ht_fields_print(const struct ht_field_table *table, const void *table_struct, int indent,
                     struct ht_text *out);
/* One value as YAML, without its key. */
void ht_fields_print_value(const struct ht_field *f, const void *table_struct, struct ht_text *out);
/* A text as a YAML scalar, quoted where it must be. */
void ht_fields_print_text(const char *s, struct ht_text *out);

/* A Markdown table of the fields, without those of nested maps; its heading has `level` #. */
void ht_fields_print_reference(const struct ht_field_table *table, const char *const *fallbacks,
                               const char *heading, const char *text, struct ht_text *out);

/* Copies into a fixed buffer and clears the rest, so that equal structs have equal bytes. */
void ht_fields_copy_text(char *ret, size_t size, const char *s);

#endif
