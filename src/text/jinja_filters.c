// Filters of single values: defaults, lengths, numbers, JSON, dicts; and the look-up of all filters. See jinja_eval.h.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_eval.h"

static int filter_default(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    bool missing = c->self.kind == QN_JINJA_UNDEFINED ||
                   (qn_jinja_truth(&c->slot[1]) && !qn_jinja_truth(&c->self));
    const qn_jinja_string nothing = qn_jinja_literal("", true);
    *out = missing ? c->slot[0] : c->self;
    return out->kind == QN_JINJA_ABSENT ? qn_jinja_string_value(r, &nothing, out) : 0;
}

static int filter_length(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    size_t n;
    if (!qn_jinja_length(&c->self, &n)) {
        return qn_jinja_fail(r, "TypeError", "object of type '%s' has no len()",
                             qn_jinja_type(&c->self));
    }
    *out = qn_jinja_int((int64_t)n);
    return c->self.kind == QN_JINJA_STRING ? qn_jinja_charge_bytes(r, c->self.string->n) : 0;
}

static int filter_string(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_string s;
    if (qn_jinja_to_string(r, &c->self, &s)) return r->code;
    return qn_jinja_string_value(r, &s, out);
}

static int filter_safe(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_string s;
    if (qn_jinja_to_string(r, &c->self, &s)) return r->code;
    s.markup = true;
    return qn_jinja_string_value(r, &s, out);
}

// ---- numbers ----

static int filter_int(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    const qn_jinja_value *v = &c->self;
    int64_t base, i;
    double d;
    *out = c->slot[0].kind == QN_JINJA_ABSENT ? qn_jinja_int(0) : c->slot[0];
    if (qn_jinja_int_argument(r, &c->slot[1], 10, &base)) return r->code;
    if (v->kind == QN_JINJA_UNDEFINED) return qn_jinja_fail_undefined(r, v);
    if (v->kind == QN_JINJA_FLOAT && !isnan(v->real)) return qn_jinja_real_to_int(r, v->real, out);
    if (qn_jinja_as_int(v, &i) ||
        (v->kind == QN_JINJA_STRING && qn_jinja_parse_int(v->string, base, &i))) {
        return *out = qn_jinja_int(i), 0;
    }
    if (v->kind == QN_JINJA_STRING && qn_jinja_parse_real(v->string, &d) && isfinite(d)) {
        return qn_jinja_real_to_int(r, d, out);
    }
    return 0;
}

static int filter_float(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    const qn_jinja_value *v = &c->self;
    double d;
    *out = c->slot[0].kind == QN_JINJA_ABSENT ? qn_jinja_float(0) : c->slot[0];
    if (v->kind == QN_JINJA_UNDEFINED) return qn_jinja_fail_undefined(r, v);
    if (qn_jinja_as_real(v, &d) ||
        (v->kind == QN_JINJA_STRING && qn_jinja_parse_real(v->string, &d))) {
        *out = qn_jinja_float(d);
    }
    return 0;
}

static int filter_abs(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    const qn_jinja_value *v = &c->self;
    int64_t i;
    if (v->kind == QN_JINJA_FLOAT) return *out = qn_jinja_float(fabs(v->real)), 0;
    if (qn_jinja_as_int(v, &i)) return qn_jinja_negate(r, v, i < 0, out);
    if (v->kind == QN_JINJA_UNDEFINED) return qn_jinja_fail_undefined(r, v);
    return qn_jinja_fail(r, "TypeError", "bad operand type for abs(): '%s'", qn_jinja_type(v));
}

// Python's round: exact in decimal, halves to even.
static double round_real(double d, int64_t precision)
{
    if (!isfinite(d) || precision > 300) return d;
    if (precision < 0) {
        double unit = pow(10, (double)-precision);
        return isfinite(unit) ? rint(d / unit) * unit : 0 * d;
    }
    char text[700];
    snprintf(text, sizeof text, "%.*f", (int)precision, d);
    return strtod(text, NULL);
}

static int64_t round_int(int64_t i, int64_t precision)
{
    if (precision >= 0) return i;
    if (precision < -18) return 0;
    int64_t unit = 1;
    for (; precision < 0; precision++)
        unit *= 10;
    int64_t rest = i % unit, whole = i / unit;
    if (rest < 0) rest += unit, whole--;
    bool up = rest > unit - rest || (rest == unit - rest && whole % 2);
    __builtin_mul_overflow(whole + up, unit, &i);
    return i;
}

static int filter_round(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    int64_t precision, i;
    qn_jinja_string method;
    double d;
    if (qn_jinja_int_argument(r, &c->slot[0], 0, &precision)) return r->code;
    if (qn_jinja_string_argument(r, &c->slot[1], "common", &method)) return r->code;
    bool up = qn_jinja_is(&method, "ceil"), down = qn_jinja_is(&method, "floor");
    if (!up && !down && !qn_jinja_is(&method, "common")) {
        return qn_jinja_fail(r, "FilterArgumentError", "method must be common, ceil or floor");
    }
    if (c->self.kind == QN_JINJA_UNDEFINED) return qn_jinja_fail_undefined(r, &c->self);
    if (!qn_jinja_as_real(&c->self, &d)) {
        return qn_jinja_fail(r, "TypeError", "type %s doesn't define __round__ method",
                             qn_jinja_type(&c->self));
    }
    if (up || down) {
        double unit = pow(10, (double)precision);
        *out = qn_jinja_float((up ? ceil(d * unit) : floor(d * unit)) / unit);
    } else if (qn_jinja_as_int(&c->self, &i)) {
        *out = qn_jinja_int(round_int(i, precision));
    } else {
        *out = qn_jinja_float(round_real(d, precision));
    }
    return 0;
}

// ---- JSON ----

static int read_separators(qn_jinja_run *r, const qn_jinja_value *v, qn_jinja_json_style *style)
{
    if (v->kind != QN_JINJA_LIST || v->list->n != 2) {
        return qn_jinja_fail(r, "TypeError", "separators must be two strings");
    }
    if (qn_jinja_string_argument(r, &v->list->items[0], NULL, &style->item_separator)) {
        return r->code;
    }
    return qn_jinja_string_argument(r, &v->list->items[1], NULL, &style->key_separator);
}

static int read_indent(qn_jinja_run *r, const qn_jinja_value *v, qn_jinja_string *out)
{
    int64_t n;
    if (v->kind == QN_JINJA_STRING) return *out = *v->string, 0;
    if (qn_jinja_int_argument(r, v, 0, &n)) return r->code;
    if (n > 1000) return qn_jinja_limit(r, "an indent of 1000");
    char *spaces = qn_jinja_take(r, n > 0 ? (size_t)n : 0, 1);
    if (!spaces) return r->code;
    if (n > 0) memset(spaces, ' ', (size_t)n);
    *out = (qn_jinja_string){spaces, NULL, n > 0 ? (size_t)n : 0, true, false};
    return 0;
}

static int filter_tojson(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_string indent;
    qn_jinja_json_style style = {
        .ensure_ascii = qn_jinja_truth(&c->slot[0]),
        .sort_keys = qn_jinja_truth(&c->slot[3]),
        .item_separator = qn_jinja_literal(", ", false),
        .key_separator = qn_jinja_literal(": ", false),
    };
    if (qn_jinja_given(&c->slot[1])) {
        if (read_indent(r, &c->slot[1], &indent)) return r->code;
        style.indent = &indent;
        style.item_separator.n = 1;
    }
    if (qn_jinja_given(&c->slot[2]) && read_separators(r, &c->slot[2], &style)) return r->code;
    return qn_jinja_to_json(r, &c->self, &style, out);
}

// ---- dicts ----

// (key, value) pairs of a dict.
static int pairs(qn_jinja_run *r, const qn_jinja_dict *d, qn_jinja_flavour flavour,
                 qn_jinja_value *out)
{
    if (qn_jinja_charge(r, d->n / 4) || qn_jinja_new_list(r, d->n, flavour, out)) return r->code;
    for (size_t i = 0; i < d->n; i++) {
        qn_jinja_value *pair = &out->list->items[i];
        if (qn_jinja_new_list(r, 2, QN_JINJA_TUPLE, pair)) return r->code;
        pair->list->items[0] = d->entries[i].key;
        pair->list->items[1] = d->entries[i].value;
    }
    return 0;
}

static int filter_items(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    if (c->self.kind == QN_JINJA_UNDEFINED) return qn_jinja_new_list(r, 0, QN_JINJA_ITERATOR, out);
    if (c->self.kind != QN_JINJA_DICT) {
        return qn_jinja_fail(r, "TypeError", "Can only get item pairs from a mapping.");
    }
    return pairs(r, c->self.dict, QN_JINJA_ITERATOR, out);
}

static int filter_dictsort(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_string by;
    uint32_t *order;
    bool exact = qn_jinja_truth(&c->slot[0]), reverse = qn_jinja_truth(&c->slot[2]);
    if (qn_jinja_string_argument(r, &c->slot[1], "key", &by)) return r->code;
    bool value = qn_jinja_is(&by, "value");
    if (!value && !qn_jinja_is(&by, "key")) {
        return qn_jinja_fail(r, "FilterArgumentError",
                             "You can only sort by either \"key\" or \"value\"");
    }
    if (c->self.kind == QN_JINJA_UNDEFINED) return qn_jinja_fail_undefined(r, &c->self);
    if (c->self.kind != QN_JINJA_DICT) {
        return qn_jinja_fail(r, "TypeError", "dictsort needs a dict, not %s",
                             qn_jinja_type(&c->self));
    }
    size_t n = c->self.dict->n;
    qn_jinja_value unsorted, *keys = qn_jinja_take(r, n, sizeof *keys);
    if (!keys || pairs(r, c->self.dict, QN_JINJA_PLAIN_LIST, &unsorted)) return r->code;
    for (size_t i = 0; i < n; i++) {
        keys[i] = unsorted.list->items[i].list->items[value];
        if (exact || keys[i].kind != QN_JINJA_STRING) continue;
        const qn_jinja_string *s = keys[i].string;
        if (qn_jinja_change_case(r, s, QN_JINJA_LOWER, &keys[i])) return r->code;
    }
    if (qn_jinja_sort(r, keys, n, reverse, &order)) return r->code;
    if (qn_jinja_new_list(r, n, QN_JINJA_PLAIN_LIST, out)) return r->code;
    for (size_t i = 0; i < n; i++)
        out->list->items[i] = unsorted.list->items[order[i]];
    return 0;
}

static const qn_jinja_builtin rows[] = {
    {"default", filter_default, "default_value boolean", 0},
    {"d", filter_default, "default_value boolean", 0},
    {"length", filter_length, "", 0},
    {"count", filter_length, "", 0},
    {"string", filter_string, "", 0},
    {"safe", filter_safe, "", 0},
    {"int", filter_int, "default base", 0},
    {"float", filter_float, "default", 0},
    {"abs", filter_abs, "", 0},
    {"round", filter_round, "precision method", 0},
    {"tojson", filter_tojson, "ensure_ascii indent separators sort_keys", 0},
    {"items", filter_items, "", 0},
    {"dictsort", filter_dictsort, "case_sensitive by reverse", 0},
};
static const qn_jinja_table own = {rows, sizeof rows / sizeof *rows};

const qn_jinja_builtin *qn_jinja_find_filter(const char *name, size_t n)
{
    const qn_jinja_table *const tables[] = {&own, &qn_jinja_text_filters, &qn_jinja_list_filters,
                                            &qn_jinja_pick_filters};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        const qn_jinja_builtin *row = qn_jinja_row(tables[i], name, n);
        if (row) return row;
    }
    return NULL;
}
