// Arithmetic as Python does it, on 64-bit integers. See jinja_value.h.
#include <math.h>
#include <string.h>

#include "text/jinja_value.h"

static const char *const signs[] = {
    [QN_JINJA_ADD] = "+",           [QN_JINJA_SUB] = "-",    [QN_JINJA_MUL] = "*",
    [QN_JINJA_DIV] = "/",           [QN_JINJA_FLOOR] = "//", [QN_JINJA_MOD] = "%",
    [QN_JINJA_POW] = "** or pow()",
};

static int unsupported(qn_jinja_run *r, qn_jinja_operator op, const qn_jinja_value *a,
                       const qn_jinja_value *b)
{
    if (a->kind == QN_JINJA_UNDEFINED) return qn_jinja_fail_undefined(r, a);
    if (b->kind == QN_JINJA_UNDEFINED) return qn_jinja_fail_undefined(r, b);
    const char *left = qn_jinja_type(a), *right = qn_jinja_type(b);
    bool sequence = a->kind == QN_JINJA_STRING || a->kind == QN_JINJA_LIST;
    if (op == QN_JINJA_ADD && sequence) {
        return qn_jinja_fail(r, "TypeError", "can only concatenate %s (not \"%s\") to %s", left,
                             right, left);
    }
    if (op == QN_JINJA_MUL && (sequence || b->kind == QN_JINJA_STRING)) {
        return qn_jinja_fail(r, "TypeError", "can't multiply sequence by non-int of type '%s'",
                             sequence ? right : left);
    }
    return qn_jinja_fail(r, "TypeError", "unsupported operand type(s) for %s: '%s' and '%s'",
                         signs[op], left, right);
}

static int too_large(qn_jinja_run *r)
{
    return qn_jinja_limit(r, "64-bit integers");
}

static int by_zero(qn_jinja_run *r)
{
    return qn_jinja_fail(r, "ZeroDivisionError", "division by zero");
}

static int power_int(qn_jinja_run *r, int64_t base, int64_t exponent, qn_jinja_value *out)
{
    if (exponent < 0) {
        if (!base) return by_zero(r);
        *out = qn_jinja_float(pow((double)base, (double)exponent));
        return 0;
    }
    int64_t result = 1;
    while (exponent) {
        if (exponent & 1 && __builtin_mul_overflow(result, base, &result)) return too_large(r);
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base)) return too_large(r);
    }
    *out = qn_jinja_int(result);
    return 0;
}

static int calculate_int(qn_jinja_run *r, qn_jinja_operator op, int64_t a, int64_t b,
                         qn_jinja_value *out)
{
    int64_t i = 0;
    bool over = false;
    switch (op) {
    case QN_JINJA_ADD:
        over = __builtin_add_overflow(a, b, &i);
        break;
    case QN_JINJA_SUB:
        over = __builtin_sub_overflow(a, b, &i);
        break;
    case QN_JINJA_MUL:
        over = __builtin_mul_overflow(a, b, &i);
        break;
    case QN_JINJA_POW:
        return power_int(r, a, b, out);
    case QN_JINJA_DIV:
        if (!b) return by_zero(r);
        *out = qn_jinja_float((double)a / (double)b);
        return 0;
    default: // // and % round towards minus infinity
        if (!b) return by_zero(r);
        if (b == -1) { // INT64_MIN / -1 would trap
            over = op == QN_JINJA_FLOOR && __builtin_sub_overflow((int64_t)0, a, &i);
            break;
        }
        i = a % b;
        bool inexact = i != 0 && (i < 0) != (b < 0);
        i = op == QN_JINJA_MOD ? i + (inexact ? b : 0) : a / b - inexact;
    }
    if (over) return too_large(r);
    *out = qn_jinja_int(i);
    return 0;
}

static double modulo(double a, double b)
{
    double m = fmod(a, b);
    if (m == 0) return copysign(0, b);
    return (m < 0) != (b < 0) ? m + b : m;
}

static double floor_divide(double a, double b)
{
    double quotient = (a - modulo(a, b)) / b;
    if (quotient == 0) return copysign(0, a / b);
    double whole = floor(quotient);
    return quotient - whole > 0.5 ? whole + 1 : whole;
}

static int calculate_real(qn_jinja_run *r, qn_jinja_operator op, double a, double b,
                          qn_jinja_value *out)
{
    double d;
    switch (op) {
    case QN_JINJA_ADD:
        d = a + b;
        break;
    case QN_JINJA_SUB:
        d = a - b;
        break;
    case QN_JINJA_MUL:
        d = a * b;
        break;
    case QN_JINJA_POW:
        if (a == 0 && b < 0) return by_zero(r);
        if (a < 0 && isfinite(b) && b != floor(b)) {
            return qn_jinja_fail(r, "TypeError", "complex numbers are not supported");
        }
        d = pow(a, b);
        if (isinf(d) && isfinite(a) && isfinite(b)) {
            return qn_jinja_fail(r, "OverflowError", "Numerical result out of range");
        }
        break;
    default:
        if (b == 0) return by_zero(r);
        d = op == QN_JINJA_DIV ? a / b : op == QN_JINJA_MOD ? modulo(a, b) : floor_divide(a, b);
    }
    *out = qn_jinja_float(d);
    return 0;
}

static int add_strings(qn_jinja_run *r, const qn_jinja_string *a, const qn_jinja_string *b,
                       qn_jinja_value *out)
{
    qn_jinja_value escaped;
    if (a->markup == b->markup) return qn_jinja_concat(r, a, b, out);
    if (qn_jinja_escape(r, a->markup ? b : a, &escaped)) return r->code;
    return qn_jinja_concat(r, a->markup ? a : escaped.string, a->markup ? escaped.string : b, out);
}

static int add_lists(qn_jinja_run *r, const qn_jinja_list *a, const qn_jinja_list *b,
                     qn_jinja_value *out)
{
    if (qn_jinja_charge(r, (a->n + b->n) / 8)) return r->code;
    if (qn_jinja_new_list(r, a->n + b->n, a->flavour, out)) return r->code;
    if (a->n) memcpy(out->list->items, a->items, a->n * sizeof *a->items);
    if (b->n) memcpy(out->list->items + a->n, b->items, b->n * sizeof *b->items);
    return 0;
}

static int repeat_string(qn_jinja_run *r, const qn_jinja_string *s, uint64_t times,
                         qn_jinja_value *out)
{
    qn_jinja_builder b = {.run = r};
    if (qn_jinja_charge(r, s->n ? times / 8 : 0)) return r->code;
    for (uint64_t i = 0; s->n && i < times && !r->code; i++)
        qn_jinja_add(&b, s);
    return qn_jinja_build(&b, out);
}

static int repeat_list(qn_jinja_run *r, const qn_jinja_list *list, uint64_t times,
                       qn_jinja_value *out)
{
    size_t n = list->n ? (size_t)times : 0;
    if (n > QN_JINJA_MAX_STEPS) return qn_jinja_charge(r, QN_JINJA_MAX_STEPS);
    if (qn_jinja_charge(r, n * list->n / 8)) return r->code;
    if (qn_jinja_new_list(r, n * list->n, list->flavour, out)) return r->code;
    for (size_t i = 0; i < n; i++) {
        memcpy(out->list->items + i * list->n, list->items, list->n * sizeof *list->items);
    }
    return 0;
}

static bool is_plain(const qn_jinja_value *v)
{
    return v->kind == QN_JINJA_LIST &&
           (v->list->flavour == QN_JINJA_PLAIN_LIST || v->list->flavour == QN_JINJA_TUPLE);
}

static int calculate_sequence(qn_jinja_run *r, qn_jinja_operator op, const qn_jinja_value *a,
                              const qn_jinja_value *b, qn_jinja_value *out)
{
    int64_t times;
    if (op == QN_JINJA_MOD && a->kind == QN_JINJA_STRING) {
        return qn_jinja_percent(r, a->string, b, out);
    }
    if (op == QN_JINJA_ADD && a->kind == QN_JINJA_STRING && b->kind == QN_JINJA_STRING) {
        return add_strings(r, a->string, b->string, out);
    }
    if (op == QN_JINJA_ADD && is_plain(a) && is_plain(b) && a->list->flavour == b->list->flavour) {
        return add_lists(r, a->list, b->list, out);
    }
    const qn_jinja_value *sequence = qn_jinja_as_int(b, &times) ? a : b;
    bool repeats = op == QN_JINJA_MUL && qn_jinja_as_int(sequence == a ? b : a, &times);
    if (repeats && times < 0) times = 0;
    if (repeats && sequence->kind == QN_JINJA_STRING) {
        return repeat_string(r, sequence->string, (uint64_t)times, out);
    }
    if (repeats && is_plain(sequence)) return repeat_list(r, sequence->list, (uint64_t)times, out);
    return unsupported(r, op, a, b);
}

int qn_jinja_calculate(qn_jinja_run *r, qn_jinja_operator op, const qn_jinja_value *a,
                       const qn_jinja_value *b, qn_jinja_value *out)
{
    int64_t i, j;
    double d, f;
    if (qn_jinja_as_int(a, &i) && qn_jinja_as_int(b, &j)) return calculate_int(r, op, i, j, out);
    if (qn_jinja_as_real(a, &d) && qn_jinja_as_real(b, &f)) {
        return calculate_real(r, op, d, f, out);
    }
    return calculate_sequence(r, op, a, b, out);
}

int qn_jinja_negate(qn_jinja_run *r, const qn_jinja_value *v, bool minus, qn_jinja_value *out)
{
    int64_t i;
    if (qn_jinja_as_int(v, &i)) {
        if (minus && __builtin_sub_overflow((int64_t)0, i, &i)) return too_large(r);
        *out = qn_jinja_int(i);
        return 0;
    }
    if (v->kind == QN_JINJA_FLOAT) {
        *out = qn_jinja_float(minus ? -v->real : v->real);
        return 0;
    }
    if (v->kind == QN_JINJA_UNDEFINED) return qn_jinja_fail_undefined(r, v);
    return qn_jinja_fail(r, "TypeError", "bad operand type for unary %c: '%s'", minus ? '-' : '+',
                         qn_jinja_type(v));
}
