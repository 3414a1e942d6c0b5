/* YAML as a small syntax tree that remembers the place of every key and value. A strict subset:
 * one document; no anchors, aliases, tags or duplicate keys. */
#ifndef HT_CONFIG_TREE_H
#define HT_CONFIG_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "config/diagnostics.h"

#define HT_TREE_MAX_BYTES (1024 * 1024)
#define HT_TREE_MAX_DEPTH 32
#define HT_TREE_MAX_NODES 20000

enum ht_tree_kind { HT_TREE_SCALAR, HT_TREE_MAP, HT_TREE_LIST };

struct ht_tree_node {
    enum ht_tree_kind kind;
    bool plain;  /* scalar: written without quotes */
    bool failed; /* its value was refused: rules across fields leave it alone */
    struct ht_place place, key_place;
    const char *key;  /* of a map's entry, else NULL */
    const char *text; /* scalar: its value, else NULL */
    struct ht_tree_node *first, *next;
};

struct ht_tree_chunk;

/* Zero-initialize. Nodes and their texts live until ht_tree_finish. */
struct ht_tree {
    struct ht_tree_chunk *chunks;
    struct ht_tree_node *root;
    size_t n_nodes;
};

/* The file's text -> tree->root. HT_ERR_CONFIG with errors in d (where YAML itself is broken, only
 * the first), or HT_ERR_MEMORY. */
enum ht_status ht_tree_parse(struct ht_tree *tree, const char *text, size_t length,
                             struct ht_diagnostics *d);

/* "a.b.c=value" as the tree {a: {b: {c: value}}}; source = number of the argument, from 1. NULL
 * with an error in d. */
struct ht_tree_node *ht_tree_from_argument(struct ht_tree *tree, const char *argument, int source,
                                           struct ht_diagnostics *d);
void ht_tree_finish(struct ht_tree *tree);

/* The map's entry of that key, or NULL. */
struct ht_tree_node *ht_tree_get(const struct ht_tree_node *map, const char *key);

/* Nothing written, null, or ~. */
bool ht_tree_is_null(const struct ht_tree_node *node);

/* What a node is, for "found ...". */
void ht_tree_describe(const struct ht_tree_node *node, char *ret, size_t size);

#endif
