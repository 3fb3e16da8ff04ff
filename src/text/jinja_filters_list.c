// Filters of sequences that keep, order or sum up their items. See jinja_eval.h.
#include <string.h>

#include "text/jinja_eval.h"

static int items_of(qn_jinja_run *r, const qn_jinja_call *c, qn_jinja_value **items, size_t *n)
{
    if (qn_jinja_iterate(r, &c->self, items, n)) return r->code;
    return qn_jinja_charge(r, *n / 8);
}

static int list_of(qn_jinja_run *r, const qn_jinja_value *items, size_t n, qn_jinja_flavour flavour,
                   qn_jinja_value *out)
{
    if (qn_jinja_new_list(r, n, flavour, out)) return r->code;
    if (n) memcpy(out->list->items, items, n * sizeof *items);
    return 0;
}

static int filter_list(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_value *items;
    size_t n;
    if (items_of(r, c, &items, &n)) return r->code;
    return list_of(r, items, n, QN_JINJA_PLAIN_LIST, out);
}

static int filter_first(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_value *items;
    size_t n;
    if (c->self.kind == QN_JINJA_LIST && c->self.list->flavour == QN_JINJA_ITERATOR) {
        qn_jinja_list *list = c->self.list; // takes one item and leaves the others
        if (list->next < list->n) return *out = list->items[list->next++], 0;
    } else {
        qn_jinja_call head = *c;
        qn_jinja_string first;
        if (c->self.kind == QN_JINJA_STRING &&
            c->self.string->n) { // not all characters of a long text
            uint32_t code;
            first = qn_jinja_view(c->self.string, 0, qn_jinja_character(c->self.string, 0, &code));
            return qn_jinja_string_value(r, &first, out);
        }
        if (items_of(r, &head, &items, &n)) return r->code;
        if (n) return *out = items[0], 0;
    }
    return qn_jinja_undefined_hint(r, "No first item, sequence was empty.", out);
}

static int filter_last(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_value *items;
    size_t n;
    if (c->self.kind == QN_JINJA_LIST && c->self.list->flavour == QN_JINJA_ITERATOR) {
        return qn_jinja_fail(r, "TypeError", "'generator' object is not reversible");
    }
    if (items_of(r, c, &items, &n)) return r->code;
    if (n) return *out = items[n - 1], 0;
    return qn_jinja_undefined_hint(r, "No last item, sequence was empty.", out);
}

static int filter_reverse(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_value *items;
    size_t n;
    if (c->self.kind == QN_JINJA_STRING) {
        const qn_jinja_value bounds[3] = {qn_jinja_none(), qn_jinja_none(), qn_jinja_int(-1)};
        return qn_jinja_slice(r, &c->self, bounds, out);
    }
    bool consumes = c->self.kind == QN_JINJA_LIST && c->self.list->flavour == QN_JINJA_ITERATOR;
    if (items_of(r, c, &items, &n)) return r->code;
    qn_jinja_flavour flavour = consumes ? QN_JINJA_PLAIN_LIST : QN_JINJA_ITERATOR;
    if (qn_jinja_new_list(r, n, flavour, out)) return r->code;
    for (size_t i = 0; i < n; i++)
        out->list->items[i] = items[n - 1 - i];
    return 0;
}

static int filter_join(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_builder b = {.run = r};
    qn_jinja_value *items;
    qn_jinja_string separator = qn_jinja_literal("", true);
    size_t n;
    if (c->slot[0].kind != QN_JINJA_ABSENT && qn_jinja_to_string(r, &c->slot[0], &separator)) {
        return r->code;
    }
    if (items_of(r, c, &items, &n)) return r->code;
    for (size_t i = 0; i < n; i++) {
        qn_jinja_value item;
        if (qn_jinja_charge(r, 1) || qn_jinja_path(r, &items[i], &c->slot[1], &item))
            return r->code;
        if (i) qn_jinja_add(&b, &separator);
        qn_jinja_add_str(&b, &item);
    }
    return qn_jinja_build(&b, out);
}

// ---- by keys ----

static int fold(qn_jinja_run *r, bool exact, qn_jinja_value *key)
{
    if (exact || key->kind != QN_JINJA_STRING) return 0;
    const qn_jinja_string *s = key->string;
    return qn_jinja_change_case(r, s, QN_JINJA_LOWER, key);
}

// The key of an item: itself or an attribute, without regard to case unless `exact`.
static int key_of(qn_jinja_run *r, const qn_jinja_value *item, const qn_jinja_value *path,
                  bool exact, qn_jinja_value *out)
{
    if (qn_jinja_path(r, item, path, out)) return r->code;
    return fold(r, exact, out);
}

// "a,b": a list of keys.
static int sort_key(qn_jinja_run *r, const qn_jinja_value *item, const qn_jinja_value *path,
                    bool exact, qn_jinja_value *out)
{
    const qn_jinja_string comma = qn_jinja_literal(",", true);
    if (path->kind != QN_JINJA_STRING || qn_jinja_find(path->string, &comma, 0) == SIZE_MAX) {
        return key_of(r, item, path, exact, out);
    }
    size_t capacity = 0;
    if (qn_jinja_new_list(r, 0, QN_JINJA_PLAIN_LIST, out)) return r->code;
    for (size_t from = 0; from <= path->string->n;) {
        size_t to = qn_jinja_find(path->string, &comma, from);
        if (to == SIZE_MAX) to = path->string->n;
        qn_jinja_string part = qn_jinja_view(path->string, from, to);
        const qn_jinja_value name = {.kind = QN_JINJA_STRING, .string = &part};
        qn_jinja_value key;
        if (key_of(r, item, &name, exact, &key)) return r->code;
        if (qn_jinja_push(r, out->list, &capacity, key)) return r->code;
        from = to + 1;
    }
    return 0;
}

static int filter_sort(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    bool reverse = qn_jinja_truth(&c->slot[0]), exact = qn_jinja_truth(&c->slot[1]);
    qn_jinja_value *items;
    uint32_t *order;
    size_t n;
    if (items_of(r, c, &items, &n)) return r->code;
    qn_jinja_value *keys = qn_jinja_take(r, n, sizeof *keys);
    if (!keys) return r->code;
    for (size_t i = 0; i < n; i++) {
        if (sort_key(r, &items[i], &c->slot[2], exact, &keys[i])) return r->code;
    }
    if (qn_jinja_sort(r, keys, n, reverse, &order)) return r->code;
    if (qn_jinja_new_list(r, n, QN_JINJA_PLAIN_LIST, out)) return r->code;
    for (size_t i = 0; i < n; i++)
        out->list->items[i] = items[order[i]];
    return 0;
}

static int filter_unique(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_value *items, seen;
    size_t n, capacity = 0;
    if (items_of(r, c, &items, &n) || qn_jinja_new_dict(r, 0, &seen)) return r->code;
    if (qn_jinja_new_list(r, 0, QN_JINJA_ITERATOR, out)) return r->code;
    for (size_t i = 0; i < n; i++) {
        qn_jinja_value key;
        const qn_jinja_value *known;
        if (key_of(r, &items[i], &c->slot[1], qn_jinja_truth(&c->slot[0]), &key)) return r->code;
        if (qn_jinja_dict_get(r, seen.dict, &key, &known)) return r->code;
        if (known) continue;
        if (qn_jinja_dict_set(r, seen.dict, key, qn_jinja_none())) return r->code;
        if (qn_jinja_push(r, out->list, &capacity, items[i])) return r->code;
    }
    return 0;
}

static int extreme(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_operator op, qn_jinja_value *out)
{
    bool exact = qn_jinja_truth(&c->slot[0]), better;
    qn_jinja_value *items, best, key;
    size_t n;
    if (items_of(r, c, &items, &n)) return r->code;
    if (!n) return qn_jinja_undefined_hint(r, "No aggregated item, sequence was empty.", out);
    *out = items[0];
    if (key_of(r, &items[0], &c->slot[1], exact, &best)) return r->code;
    for (size_t i = 1; i < n; i++) {
        if (key_of(r, &items[i], &c->slot[1], exact, &key)) return r->code;
        if (qn_jinja_charge(r, 1) || qn_jinja_compare(r, op, &key, &best, &better)) return r->code;
        if (!better) continue;
        best = key;
        *out = items[i];
    }
    return 0;
}

static int filter_min(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return extreme(r, c, QN_JINJA_LT, out);
}

static int filter_max(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return extreme(r, c, QN_JINJA_GT, out);
}

static int filter_sum(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_value *items, item;
    size_t n;
    qn_jinja_value sum = c->slot[1].kind == QN_JINJA_ABSENT ? qn_jinja_int(0) : c->slot[1];
    if (sum.kind == QN_JINJA_STRING) {
        return qn_jinja_fail(r, "TypeError", "sum() can't sum strings [use ''.join(seq) instead]");
    }
    if (items_of(r, c, &items, &n)) return r->code;
    for (size_t i = 0; i < n; i++) {
        if (qn_jinja_path(r, &items[i], &c->slot[0], &item)) return r->code;
        if (qn_jinja_charge(r, 1)) return r->code;
        if (qn_jinja_calculate(r, QN_JINJA_ADD, &sum, &item, out)) return r->code;
        sum = *out;
    }
    *out = sum;
    return 0;
}

// ---- rows and columns ----

static int append_part(qn_jinja_run *r, qn_jinja_list *to, const qn_jinja_value *items, size_t n,
                       const qn_jinja_value *filler, size_t n_filler)
{
    qn_jinja_value *part = &to->items[to->n++];
    if (qn_jinja_charge(r, 1 + (n + n_filler) / 8)) return r->code;
    if (qn_jinja_new_list(r, n + n_filler, QN_JINJA_PLAIN_LIST, part)) return r->code;
    if (n) memcpy(part->list->items, items, n * sizeof *items);
    for (size_t i = 0; i < n_filler; i++)
        part->list->items[n + i] = *filler;
    return 0;
}

static int filter_batch(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    int64_t size;
    qn_jinja_value *items;
    size_t n;
    if (qn_jinja_int_argument(r, &c->slot[0], 1, &size) || items_of(r, c, &items, &n))
        return r->code;
    if (size < 1) return qn_jinja_fail(r, "ValueError", "batch needs a positive count");
    size_t row = (uint64_t)size > QN_JINJA_MAX_STEPS ? QN_JINJA_MAX_STEPS : (size_t)size;
    if (qn_jinja_new_list(r, n / row + 1, QN_JINJA_ITERATOR, out)) return r->code;
    out->list->n = 0;
    for (size_t i = 0; i < n; i += row) {
        size_t here = n - i < row ? n - i : row;
        size_t n_filler = qn_jinja_given(&c->slot[1]) ? row - here : 0;
        if (append_part(r, out->list, items + i, here, &c->slot[1], n_filler)) return r->code;
    }
    return 0;
}

static int filter_slice(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    int64_t slices;
    qn_jinja_value *items;
    size_t n;
    if (qn_jinja_int_argument(r, &c->slot[0], 1, &slices) || items_of(r, c, &items, &n)) {
        return r->code;
    }
    if (slices == 0) return qn_jinja_fail(r, "ZeroDivisionError", "integer division by zero");
    if (slices < 0) slices = 0;
    if (slices > QN_JINJA_MAX_STEPS) return qn_jinja_charge(r, QN_JINJA_MAX_STEPS + 1);
    if (qn_jinja_new_list(r, (size_t)slices, QN_JINJA_ITERATOR, out)) return r->code;
    out->list->n = 0;
    for (size_t i = 0, at = 0; i < (size_t)slices; i++) {
        bool extra = i < n % (size_t)slices;
        size_t here = n / (size_t)slices + extra, n_filler = qn_jinja_given(&c->slot[1]) && !extra;
        if (append_part(r, out->list, n ? items + at : NULL, here, &c->slot[1], n_filler))
            return r->code;
        at += here;
    }
    return 0;
}

static const qn_jinja_builtin rows[] = {
    {"list", filter_list, "", 0},
    {"first", filter_first, "", 0},
    {"last", filter_last, "", 0},
    {"reverse", filter_reverse, "", 0},
    {"join", filter_join, "d attribute", 0},
    {"sort", filter_sort, "reverse case_sensitive attribute", 0},
    {"unique", filter_unique, "case_sensitive attribute", 0},
    {"min", filter_min, "case_sensitive attribute", 0},
    {"max", filter_max, "case_sensitive attribute", 0},
    {"sum", filter_sum, "attribute start", 0},
    {"batch", filter_batch, "linecount fill_with", 1},
    {"slice", filter_slice, "slices fill_with", 1},
};
const qn_jinja_table qn_jinja_list_filters = {rows, sizeof rows / sizeof *rows};
