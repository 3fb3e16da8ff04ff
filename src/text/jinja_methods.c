// The methods that values have: of dicts, lists and loops here, of strings in jinja_methods_text.c and _form.c; and those that the
// sandbox withholds. See jinja_eval.h.
#include <string.h>

#include "text/jinja_eval.h"

const qn_jinja_builtin *qn_jinja_row(const qn_jinja_table *table, const char *name, size_t n)
{
    for (size_t i = 0; i < table->n; i++) {
        if (!strncmp(table->rows[i].name, name, n) && !table->rows[i].name[n]) {
            return &table->rows[i];
        }
    }
    return NULL;
}

// ---- dicts ----

static int dict_view(qn_jinja_run *r, const qn_jinja_dict *d, qn_jinja_flavour flavour,
                     qn_jinja_value *out)
{
    if (qn_jinja_charge(r, d->n / 8)) return r->code;
    if (qn_jinja_new_list(r, d->n, flavour, out)) return r->code;
    for (size_t i = 0; i < d->n; i++) {
        qn_jinja_value *item = &out->list->items[i];
        const qn_jinja_entry *entry = &d->entries[i];
        if (flavour != QN_JINJA_ITEMS) {
            *item = flavour == QN_JINJA_KEYS ? entry->key : entry->value;
            continue;
        }
        if (qn_jinja_new_list(r, 2, QN_JINJA_TUPLE, item)) return r->code;
        item->list->items[0] = entry->key;
        item->list->items[1] = entry->value;
    }
    return 0;
}

static int dict_keys(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return dict_view(r, c->self.dict, QN_JINJA_KEYS, out);
}

static int dict_values(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return dict_view(r, c->self.dict, QN_JINJA_VALUES, out);
}

static int dict_items(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return dict_view(r, c->self.dict, QN_JINJA_ITEMS, out);
}

static int dict_get(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    const qn_jinja_value *member;
    if (qn_jinja_dict_get(r, c->self.dict, &c->slot[0], &member)) return r->code;
    *out = member ? *member : c->slot[1].kind == QN_JINJA_ABSENT ? qn_jinja_none() : c->slot[1];
    return 0;
}

static int dict_copy(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    const qn_jinja_dict *d = c->self.dict;
    if (qn_jinja_new_dict(r, d->n, out) || qn_jinja_charge(r, d->n / 8)) return r->code;
    if (d->n) memcpy(out->dict->entries, d->entries, d->n * sizeof *d->entries);
    out->dict->n = d->n;
    return 0;
}

// ---- lists ----

static int list_count(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    const qn_jinja_list *list = c->self.list;
    int64_t n = 0;
    for (size_t i = 0; i < list->n; i++) {
        bool same;
        if (qn_jinja_equal(r, &list->items[i], &c->slot[0], &same)) return r->code;
        n += same;
    }
    *out = qn_jinja_int(n);
    return 0;
}

static int list_index(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    const qn_jinja_list *list = c->self.list;
    for (size_t i = 0; i < list->n; i++) {
        bool same;
        if (qn_jinja_equal(r, &list->items[i], &c->slot[0], &same)) return r->code;
        if (same) return *out = qn_jinja_int((int64_t)i), 0;
    }
    return qn_jinja_fail(r, "ValueError", "the value is not in the %s", qn_jinja_type(&c->self));
}

static int list_copy(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    (void)r;
    *out = c->self; // nothing can change it
    return 0;
}

// ---- loop ----

static int loop_cycle(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    if (!c->args.n) return qn_jinja_fail(r, "TypeError", "no items for cycling given");
    *out = c->args.positional[c->self.loop->index % c->args.n];
    return 0;
}

static int loop_changed(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_loop *loop = c->self.loop;
    qn_jinja_value now;
    bool same = false;
    if (qn_jinja_new_list(r, c->args.n, QN_JINJA_TUPLE, &now)) return r->code;
    for (size_t i = 0; i < c->args.n; i++)
        now.list->items[i] = c->args.positional[i];
    if (loop->changed.kind != QN_JINJA_ABSENT) {
        if (qn_jinja_equal(r, &loop->changed, &now, &same)) return r->code;
    }
    loop->changed = now;
    *out = qn_jinja_bool(!same);
    return 0;
}

static const qn_jinja_builtin dict_rows[] = {
    {"get", dict_get, "key default", 1}, {"items", dict_items, "", 0}, {"keys", dict_keys, "", 0},
    {"values", dict_values, "", 0},      {"copy", dict_copy, "", 0},
};
static const qn_jinja_builtin list_rows[] = {
    {"count", list_count, "value", 1},
    {"index", list_index, "value", 1},
    {"copy", list_copy, "", 0},
};
static const qn_jinja_builtin loop_rows[] = {
    {"cycle", loop_cycle, "*", 0},
    {"changed", loop_changed, "*", 0},
};

#define TABLE(rows) ((qn_jinja_table){rows, sizeof rows / sizeof *rows})

const qn_jinja_builtin *qn_jinja_find_method(const qn_jinja_value *object, const char *name,
                                             size_t n)
{
    qn_jinja_table table = {0};
    switch (object->kind) {
    case QN_JINJA_STRING: {
        const qn_jinja_builtin *row = qn_jinja_row(&qn_jinja_text_methods, name, n);
        return row ? row : qn_jinja_row(&qn_jinja_form_methods, name, n);
    }
    case QN_JINJA_DICT:
        table = TABLE(dict_rows);
        break;
    case QN_JINJA_LOOP:
        table = TABLE(loop_rows);
        break;
    case QN_JINJA_LIST:
        if (object->list->flavour <= QN_JINJA_RANGE) table = TABLE(list_rows);
        if (object->list->flavour != QN_JINJA_PLAIN_LIST && table.n) table.n--; // no copy
        break;
    default:
        break;
    }
    return qn_jinja_row(&table, name, n);
}

bool qn_jinja_withheld(const qn_jinja_value *object, const char *name, size_t n)
{
    static const char *const of_lists[] = {"append", "clear",  "pop",    "reverse", "insert",
                                           "sort",   "extend", "remove", NULL};
    static const char *const of_dicts[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
    static const char *const none[] = {NULL};
    bool list = object->kind == QN_JINJA_LIST && object->list->flavour == QN_JINJA_PLAIN_LIST;
    const char *const *names = list ? of_lists : object->kind == QN_JINJA_DICT ? of_dicts : none;
    for (; *names; names++) {
        if (strlen(*names) == n && !memcmp(*names, name, n)) return true;
    }
    return false;
}
