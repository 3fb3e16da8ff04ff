// Equality, order and membership as Python has them. See jinja_value.h.
#include <math.h>
#include <string.h>

#include "text/jinja_value.h"

static bool is_number(const qn_jinja_value *v)
{
    return v->kind == QN_JINJA_BOOL || v->kind == QN_JINJA_INT || v->kind == QN_JINJA_FLOAT;
}

// -1, 0, 1; 2 where one is NaN. Exact for ints beyond 2^53 too.
static int order_int_real(int64_t i, double d)
{
    if (isnan(d)) return 2;
    if (d >= 9223372036854775808.0) return -1;
    if (d < -9223372036854775808.0) return 1;
    int64_t whole = (int64_t)d;
    if (i != whole) return i < whole ? -1 : 1;
    double rest = d - (double)whole;
    return rest > 0 ? -1 : rest < 0 ? 1 : 0;
}

static int order_numbers(const qn_jinja_value *a, const qn_jinja_value *b)
{
    int64_t i, j;
    bool left = qn_jinja_as_int(a, &i), right = qn_jinja_as_int(b, &j);
    if (left && right) return (i > j) - (i < j);
    if (left) return order_int_real(i, b->real);
    if (right) {
        int order = order_int_real(j, a->real);
        return order == 2 ? 2 : -order;
    }
    if (isnan(a->real) || isnan(b->real)) return 2;
    return (a->real > b->real) - (a->real < b->real);
}

static int equal(qn_jinja_run *r, const qn_jinja_value *a, const qn_jinja_value *b, int depth,
                 bool *out);

static int equal_lists(qn_jinja_run *r, const qn_jinja_list *a, const qn_jinja_list *b, int depth,
                       bool *out)
{
    *out = a == b || (a->flavour == b->flavour && a->flavour != QN_JINJA_ITERATOR && a->n == b->n);
    if (a == b) return 0;
    for (size_t i = 0; *out && i < a->n; i++) {
        if (equal(r, &a->items[i], &b->items[i], depth, out)) return r->code;
    }
    return 0;
}

static int equal_dicts(qn_jinja_run *r, qn_jinja_dict *a, qn_jinja_dict *b, int depth, bool *out)
{
    *out = a->n == b->n;
    for (size_t i = 0; a != b && *out && i < a->n; i++) {
        const qn_jinja_value *other;
        if (qn_jinja_dict_get(r, b, &a->entries[i].key, &other)) return r->code;
        if (!other) return *out = false, 0;
        if (equal(r, &a->entries[i].value, other, depth, out)) return r->code;
    }
    return 0;
}

static int equal(qn_jinja_run *r, const qn_jinja_value *a, const qn_jinja_value *b, int depth,
                 bool *out)
{
    if (qn_jinja_charge(r, 1)) return r->code;
    if (depth > QN_JINJA_MAX_DATA_DEPTH) {
        return qn_jinja_limit(r, "its limit of 128 levels of nested data");
    }
    if (is_number(a) && is_number(b)) return *out = order_numbers(a, b) == 0, 0;
    if (a->kind != b->kind) return *out = false, 0;
    switch (a->kind) {
    case QN_JINJA_ABSENT:
    case QN_JINJA_UNDEFINED:
    case QN_JINJA_NONE:
        return *out = true, 0;
    case QN_JINJA_STRING:
        *out = qn_jinja_same(a->string, b->string);
        return *out ? qn_jinja_charge_bytes(r, a->string->n) : 0;
    case QN_JINJA_LIST:
        return equal_lists(r, a->list, b->list, depth + 1, out);
    case QN_JINJA_DICT:
        return equal_dicts(r, a->dict, b->dict, depth + 1, out);
    default:
        return *out = qn_jinja_identical(a, b), 0;
    }
}

int qn_jinja_equal(qn_jinja_run *r, const qn_jinja_value *a, const qn_jinja_value *b, bool *out)
{
    return equal(r, a, b, 0, out);
}

bool qn_jinja_identical(const qn_jinja_value *a, const qn_jinja_value *b)
{
    if (a->kind != b->kind) return false;
    switch (a->kind) {
    case QN_JINJA_ABSENT:
    case QN_JINJA_NONE:
        return true;
    case QN_JINJA_BOOL:
        return a->boolean == b->boolean;
    case QN_JINJA_INT:
        return a->integer == b->integer;
    case QN_JINJA_FLOAT:
        return a->real == b->real;
    case QN_JINJA_STRING: // Python shares equal short strings more often than not
        return qn_jinja_same(a->string, b->string);
    default:
        return a->list == b->list; // every other kind holds one pointer
    }
}

static bool ordered(qn_jinja_operator op, int order)
{
    if (order == 2) return op == QN_JINJA_NE;
    switch (op) {
    case QN_JINJA_EQ:
        return order == 0;
    case QN_JINJA_NE:
        return order != 0;
    case QN_JINJA_LT:
        return order < 0;
    case QN_JINJA_LE:
        return order <= 0;
    case QN_JINJA_GT:
        return order > 0;
    default:
        return order >= 0;
    }
}

static bool same_sequence(const qn_jinja_value *a, const qn_jinja_value *b)
{
    return a->kind == QN_JINJA_LIST && b->kind == QN_JINJA_LIST &&
           a->list->flavour == b->list->flavour &&
           (a->list->flavour == QN_JINJA_PLAIN_LIST || a->list->flavour == QN_JINJA_TUPLE);
}

static int compare(qn_jinja_run *r, qn_jinja_operator op, const qn_jinja_value *a,
                   const qn_jinja_value *b, bool *out)
{
    static const char *const signs[] = {
        [QN_JINJA_LT] = "<", [QN_JINJA_LE] = "<=", [QN_JINJA_GT] = ">", [QN_JINJA_GE] = ">="};
    // Sequences are ordered by their first elements that differ; a loop, for they may nest.
    for (int depth = 0; same_sequence(a, b); depth++) {
        size_t n = a->list->n < b->list->n ? a->list->n : b->list->n, i = 0;
        if (depth > QN_JINJA_MAX_DATA_DEPTH) {
            return qn_jinja_limit(r, "its limit of 128 levels of nested data");
        }
        for (bool same = true; i < n; i++) {
            if (qn_jinja_equal(r, &a->list->items[i], &b->list->items[i], &same)) return r->code;
            if (!same) break;
        }
        if (i == n) {
            *out = ordered(op, (a->list->n > b->list->n) - (a->list->n < b->list->n));
            return 0;
        }
        const qn_jinja_value *left = &a->list->items[i];
        b = &b->list->items[i];
        a = left;
    }
    if (is_number(a) && is_number(b)) return *out = ordered(op, order_numbers(a, b)), 0;
    if (a->kind == QN_JINJA_STRING && b->kind == QN_JINJA_STRING) {
        *out = ordered(op, qn_jinja_order(a->string, b->string));
        return qn_jinja_charge_bytes(r, a->string->n < b->string->n ? a->string->n : b->string->n);
    }
    if (a->kind == QN_JINJA_UNDEFINED) return qn_jinja_fail_undefined(r, a);
    if (b->kind == QN_JINJA_UNDEFINED) return qn_jinja_fail_undefined(r, b);
    return qn_jinja_fail(r, "TypeError", "'%s' not supported between instances of '%s' and '%s'",
                         signs[op], qn_jinja_type(a), qn_jinja_type(b));
}

int qn_jinja_compare(qn_jinja_run *r, qn_jinja_operator op, const qn_jinja_value *a,
                     const qn_jinja_value *b, bool *out)
{
    int code;
    switch (op) {
    case QN_JINJA_EQ:
        return qn_jinja_equal(r, a, b, out);
    case QN_JINJA_NE:
        code = qn_jinja_equal(r, a, b, out);
        *out = !*out;
        return code;
    case QN_JINJA_IN:
        return qn_jinja_contains(r, a, b, out);
    case QN_JINJA_NOT_IN:
        code = qn_jinja_contains(r, a, b, out);
        *out = !*out;
        return code;
    default:
        return compare(r, op, a, b, out);
    }
}

static int in_list(qn_jinja_run *r, const qn_jinja_value *item, qn_jinja_list *list, bool *out)
{
    bool consumes = list->flavour == QN_JINJA_ITERATOR;
    for (size_t i = consumes ? list->next : 0; !*out && i < list->n; i++) {
        if (consumes) list->next = i + 1;
        if (qn_jinja_equal(r, item, &list->items[i], out)) return r->code;
    }
    return 0;
}

int qn_jinja_contains(qn_jinja_run *r, const qn_jinja_value *item, const qn_jinja_value *in,
                      bool *out)
{
    const qn_jinja_value *found;
    *out = false;
    switch (in->kind) {
    case QN_JINJA_UNDEFINED:
        return 0;
    case QN_JINJA_STRING:
        if (item->kind != QN_JINJA_STRING) {
            return qn_jinja_fail(r, "TypeError",
                                 "'in <string>' requires string as left operand, not %s",
                                 qn_jinja_type(item));
        }
        *out = qn_jinja_find(in->string, item->string, 0) != SIZE_MAX;
        return qn_jinja_charge_bytes(r, in->string->n);
    case QN_JINJA_LIST:
        return in_list(r, item, in->list, out);
    case QN_JINJA_DICT:
        if (qn_jinja_dict_get(r, in->dict, item, &found)) return r->code;
        *out = found != NULL;
        return 0;
    default:
        return qn_jinja_fail(r, "TypeError", "argument of type '%s' is not iterable",
                             qn_jinja_type(in));
    }
}
