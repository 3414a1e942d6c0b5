/* data.anomaly_classes: names of classes. Whether the data has them, its reader knows. */
#include <string.h>

#include "config/tables.h"
#include "config/values.h"

static void read_class(struct ht_reader *r, struct ht_experiment *e, const struct ht_tree_node *n)
{
    static const struct ht_field name = {.type = HT_FIELD_TEXT, .size = HT_NAME_LENGTH};
    char why[256], *class = e->data.anomaly_classes[e->data.n_anomaly_classes];
    if (n->kind != HT_TREE_SCALAR || !*n->text) {
        ht_diagnostics_add(r->d, n->place, "a class must be a name");
        return;
    }
    if (!ht_value_parse(&name, n->text, true, class, why, sizeof why)) {
        ht_diagnostics_add(r->d, n->place, "the class %s", why);
        return;
    }
    for (size_t i = 0; i < e->data.n_anomaly_classes; i++)
        if (strcmp(e->data.anomaly_classes[i], n->text) == 0)
            ht_diagnostics_add(r->d, n->place, "the class '%s' is listed twice", n->text);
    e->data.n_anomaly_classes++;
}

static void read_anomalies(struct ht_reader *r, const struct ht_field *f, size_t base,
                           struct ht_tree_node *node)
{
    struct ht_experiment *e = (struct ht_experiment *)(void *)r->object;
    (void)f;
    (void)base;
    if (node->kind != HT_TREE_LIST) {
        ht_reader_wrong_type(r, node, "a list of names, such as [Bag, Sandal]");
        return;
    }
    memset(e->data.anomaly_classes, 0, sizeof e->data.anomaly_classes); /* a variant has its own */
    e->data.n_anomaly_classes = 0;
    for (const struct ht_tree_node *n = node->first; n; n = n->next) {
        if (e->data.n_anomaly_classes == HT_MAX_ANOMALIES) {
            ht_diagnostics_add(r->d, n->place, "more than %d classes", HT_MAX_ANOMALIES);
            return;
        }
        read_class(r, e, n);
    }
}

static void print_anomalies(const void *table_struct, int indent, struct ht_text *out)
{
    /* The table's struct is the experiment itself. */
    const struct ht_experiment *e = table_struct;
    if (e->data.n_anomaly_classes == 0)
        return;
    ht_text_printf(out, "%*sanomaly_classes: [", indent, "");
    for (size_t i = 0; i < e->data.n_anomaly_classes; i++) {
        ht_text_printf(out, "%s", i ? ", " : "");
        ht_fields_print_text(e->data.anomaly_classes[i], out);
    }
    ht_text_printf(out, "]\n");
}

const struct ht_field_custom ht_anomalies_field = {read_anomalies, print_anomalies, "list of names",
                                                   true};
