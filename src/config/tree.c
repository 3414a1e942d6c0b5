#include "config/tree.h"

#include <stdalign.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/alloc.h"

#define CHUNK_BYTES 16384

struct ht_tree_chunk {
    struct ht_tree_chunk *next;
    size_t used, size;
    alignas(16) char bytes[];
};

static void *tree_alloc(struct ht_tree *tree, size_t n)
{
    n = (n + 15) / 16 * 16;
    struct ht_tree_chunk *c = tree->chunks;
    if (!c || c->size - c->used < n) {
        size_t size = n > CHUNK_BYTES ? n : CHUNK_BYTES;
        c = ht_calloc(1, sizeof *c + size);
        if (!c)
            return NULL;
        c->size = size;
        c->next = tree->chunks;
        tree->chunks = c;
    }
    void *p = c->bytes + c->used;
    c->used += n;
    return p;
}

static const char *tree_string(struct ht_tree *tree, const char *s, size_t n)
{
    char *p = tree_alloc(tree, n + 1);
    if (p)
        memcpy(p, s, n);
    return p;
}

void ht_tree_finish(struct ht_tree *tree)
{
    while (tree->chunks) {
        struct ht_tree_chunk *next = tree->chunks->next;
        ht_free(tree->chunks);
        tree->chunks = next;
    }
    *tree = (struct ht_tree){0};
}

/* The containers that are open while events come in. */
struct level {
    struct ht_tree_node *node, *last;
    const char *key; /* a key whose value comes next */
    struct ht_place key_place;
};

struct builder {
    struct ht_tree *tree;
    struct ht_diagnostics *d;
    struct level levels[HT_TREE_MAX_DEPTH];
    int depth;
};

static struct ht_place place_of(const yaml_mark_t *mark)
{
    return (struct ht_place){0, {(int)mark->line + 1, (int)mark->column + 1}};
}

static enum ht_status out_of_memory(struct builder *b)
{
    b->d->out_of_memory = true;
    return HT_ERR_MEMORY;
}

static enum ht_status refuse(struct builder *b, struct ht_place place, const char *why)
{
    ht_diagnostics_add(b->d, place, "%s", why);
    return b->d->out_of_memory ? HT_ERR_MEMORY : HT_ERR_CONFIG;
}

/* Hangs a new node into the innermost open container, or makes it the root. */
static enum ht_status add_node(struct builder *b, enum ht_tree_kind kind, struct ht_place place,
                               struct ht_tree_node **ret)
{
    if (++b->tree->n_nodes > HT_TREE_MAX_NODES)
        return refuse(b, place, "more than 20000 values in one file");
    struct ht_tree_node *node = tree_alloc(b->tree, sizeof *node);
    if (!node)
        return out_of_memory(b);
    node->kind = kind;
    node->place = place;
    if (b->depth == 0) {
        b->tree->root = node;
    } else {
        struct level *top = &b->levels[b->depth - 1];
        node->key = top->key;
        node->key_place = top->key_place;
        top->key = NULL;
        if (top->last)
            top->last->next = node;
        else
            top->node->first = node;
        top->last = node;
    }
    *ret = node;
    return HT_OK;
}

static bool expects_key(const struct builder *b)
{
    return b->depth > 0 && b->levels[b->depth - 1].node->kind == HT_TREE_MAP &&
           !b->levels[b->depth - 1].key;
}

static enum ht_status add_key(struct builder *b, const char *text, size_t n, struct ht_place place)
{
    struct level *top = &b->levels[b->depth - 1];
    const char *key = tree_string(b->tree, text, n);
    if (!key)
        return out_of_memory(b);
    const struct ht_tree_node *first = ht_tree_get(top->node, key);
    if (first)
        ht_diagnostics_add(b->d, place, "duplicate key '%.100s' (first at line %d, column %d)", key,
                           first->key_place.at.line, first->key_place.at.column);
    top->key = key;
    top->key_place = place;
    return HT_OK;
}

static enum ht_status on_scalar(struct builder *b, const yaml_event_t *event)
{
    struct ht_place place = place_of(&event->start_mark);
    const char *text = (const char *)event->data.scalar.value;
    size_t n = event->data.scalar.length;
    if (event->data.scalar.anchor)
        return refuse(b, place, "anchors (&name) are not supported");
    if (event->data.scalar.tag)
        return refuse(b, place, "tags (!name) are not supported");
    if (memchr(text, 0, n))
        return refuse(b, place, "a NUL character");
    if (expects_key(b))
        return add_key(b, text, n, place);
    struct ht_tree_node *node;
    enum ht_status status = add_node(b, HT_TREE_SCALAR, place, &node);
    if (status)
        return status;
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->text = tree_string(b->tree, text, n);
    return node->text ? HT_OK : out_of_memory(b);
}

static enum ht_status on_open(struct builder *b, enum ht_tree_kind kind, const yaml_event_t *event)
{
    struct ht_place place = place_of(&event->start_mark);
    bool map = kind == HT_TREE_MAP;
    if (map ? event->data.mapping_start.anchor : event->data.sequence_start.anchor)
        return refuse(b, place, "anchors (&name) are not supported");
    if (map ? event->data.mapping_start.tag : event->data.sequence_start.tag)
        return refuse(b, place, "tags (!name) are not supported");
    if (expects_key(b))
        return refuse(b, place, "a key must be a single word, not a map or list");
    if (b->depth == HT_TREE_MAX_DEPTH)
        return refuse(b, place, "nested deeper than 32 levels");
    struct ht_tree_node *node;
    enum ht_status status = add_node(b, kind, place, &node);
    if (status == HT_OK)
        b->levels[b->depth++] = (struct level){.node = node};
    return status;
}

static enum ht_status on_event(struct builder *b, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->tree->root)
            return refuse(b, place_of(&event->start_mark),
                          "only one document is allowed in a file");
        return HT_OK;
    case YAML_ALIAS_EVENT:
        return refuse(b, place_of(&event->start_mark), "aliases (*name) are not supported");
    case YAML_SCALAR_EVENT:
        return on_scalar(b, event);
    case YAML_MAPPING_START_EVENT:
        return on_open(b, HT_TREE_MAP, event);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(b, HT_TREE_LIST, event);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        b->depth--;
        return HT_OK;
    default:
        return HT_OK;
    }
}

static enum ht_status syntax_error(struct builder *b, const yaml_parser_t *parser)
{
    const char *problem = parser->problem ? parser->problem : "not valid YAML";
    if (parser->error == YAML_MEMORY_ERROR)
        return out_of_memory(b);
    struct ht_place place = place_of(&parser->problem_mark);
    if (parser->error == YAML_READER_ERROR) {
        place.at = ht_diagnostics_position(b->d->text, b->d->length, parser->problem_offset);
        ht_diagnostics_add(b->d, place, "not UTF-8 text: %s", problem);
    } else if (strstr(problem, "cannot start any token") && parser->unread > 0 &&
               parser->buffer.pointer[0] == '\t') {
        ht_diagnostics_add(b->d, place, "a tab: YAML allows only spaces for indentation");
    } else if (parser->context) {
        ht_diagnostics_add(b->d, place, "%s (%s that began at line %d, column %d)", problem,
                           parser->context, (int)parser->context_mark.line + 1,
                           (int)parser->context_mark.column + 1);
    } else {
        ht_diagnostics_add(b->d, place, "%s", problem);
    }
    return b->d->out_of_memory ? HT_ERR_MEMORY : HT_ERR_CONFIG;
}

enum ht_status ht_tree_parse(struct ht_tree *tree, const char *text, size_t length,
                             struct ht_diagnostics *d)
{
    struct builder b = {.tree = tree, .d = d};
    struct ht_place start = {0, {1, 1}};
    if (length > HT_TREE_MAX_BYTES)
        return refuse(&b, (struct ht_place){0}, "larger than 1 MiB");
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return out_of_memory(&b);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    enum ht_status status = HT_OK;
    for (bool end = false; !end && status == HT_OK;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            status = syntax_error(&b, &parser);
            break;
        }
        status = on_event(&b, &event);
        end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    if (status == HT_OK && d->out_of_memory)
        return HT_ERR_MEMORY;
    if (status == HT_OK && (!tree->root || ht_tree_is_null(tree->root)))
        return refuse(&b, start, "the file is empty");
    if (status == HT_OK && tree->root->kind != HT_TREE_MAP)
        return refuse(&b, tree->root->place, "expected keys and values, such as 'name: test'");
    return status;
}

/* The maps of a dotted key, innermost open in b. */
static enum ht_status open_maps(struct builder *b, const char *key, struct ht_place place)
{
    for (const char *s = key;; s++) {
        size_t n = strcspn(s, ".=");
        struct ht_tree_node *node;
        if (n == 0 || b->depth == HT_TREE_MAX_DEPTH)
            return refuse(b, place, n ? "too many parts in the key" : "a part of the key is empty");
        enum ht_status status = add_node(b, HT_TREE_MAP, place, &node);
        if (status)
            return status;
        b->levels[b->depth++] = (struct level){.node = node};
        status = add_key(b, s, n, place);
        s += n;
        if (status || *s == '=')
            return status;
    }
}

struct ht_tree_node *ht_tree_from_argument(struct ht_tree *tree, const char *argument, int source,
                                           struct ht_diagnostics *d)
{
    struct builder b = {.tree = tree, .d = d};
    struct ht_place place = {source, {0, 0}};
    struct ht_tree_node *file_root = tree->root, *value = NULL;
    const char *equals = strchr(argument, '=');
    enum ht_status status;
    if (!equals || equals == argument)
        status = refuse(&b, place, "expected key=value, such as train.epochs=3");
    else if (equals[1] == '[' || equals[1] == '{')
        status = refuse(&b, place, "lists and maps cannot be set by an argument: edit the file");
    else
        status = open_maps(&b, argument, place);
    if (status == HT_OK)
        status = add_node(&b, HT_TREE_SCALAR, place, &value);
    if (status == HT_OK) {
        value->plain = equals[1] != 0; /* nothing after '=' is the empty text, not null */
        value->text = tree_string(tree, equals + 1, strlen(equals + 1));
        status = value->text ? HT_OK : out_of_memory(&b);
    }
    struct ht_tree_node *root = tree->root;
    tree->root = file_root;
    return status == HT_OK ? root : NULL;
}

struct ht_tree_node *ht_tree_get(const struct ht_tree_node *map, const char *key)
{
    for (struct ht_tree_node *n = map->first; n; n = n->next)
        if (n->key && strcmp(n->key, key) == 0)
            return n;
    return NULL;
}

bool ht_tree_is_null(const struct ht_tree_node *node)
{
    if (node->kind != HT_TREE_SCALAR || !node->plain)
        return false;
    return !*node->text || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0 ||
           strcmp(node->text, "Null") == 0 || strcmp(node->text, "NULL") == 0;
}

void ht_tree_describe(const struct ht_tree_node *node, char *ret, size_t size)
{
    if (node->kind != HT_TREE_SCALAR)
        snprintf(ret, size, "%s", node->kind == HT_TREE_MAP ? "a map" : "a list");
    else if (ht_tree_is_null(node))
        snprintf(ret, size, "nothing");
    else if (node->plain)
        snprintf(ret, size, "'%.60s'", node->text);
    else
        snprintf(ret, size, "the quoted text \"%.60s\"", node->text);
}
