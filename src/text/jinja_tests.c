// The tests of `x is test`. See jinja_eval.h.
#include <math.h>
#include <string.h>

#include "text/jinja_eval.h"

// A test that looks at the value alone.
#define SIMPLE_TEST(name, condition)                                                               \
    static int name(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)                        \
    {                                                                                              \
        const qn_jinja_value *v = &c->self;                                                        \
        (void)r;                                                                                   \
        *out = qn_jinja_bool(condition);                                                           \
        return 0;                                                                                  \
    }
SIMPLE_TEST(test_defined, v->kind != QN_JINJA_UNDEFINED)
SIMPLE_TEST(test_undefined, v->kind == QN_JINJA_UNDEFINED)
SIMPLE_TEST(test_none, v->kind == QN_JINJA_NONE)
SIMPLE_TEST(test_boolean, v->kind == QN_JINJA_BOOL)
SIMPLE_TEST(test_true, v->kind == QN_JINJA_BOOL && v->boolean)
SIMPLE_TEST(test_false, v->kind == QN_JINJA_BOOL && !v->boolean)
SIMPLE_TEST(test_integer, v->kind == QN_JINJA_INT)
SIMPLE_TEST(test_float, v->kind == QN_JINJA_FLOAT)
SIMPLE_TEST(test_number,
            v->kind == QN_JINJA_INT || v->kind == QN_JINJA_FLOAT || v->kind == QN_JINJA_BOOL)
SIMPLE_TEST(test_string, v->kind == QN_JINJA_STRING)
SIMPLE_TEST(test_mapping, v->kind == QN_JINJA_DICT)
SIMPLE_TEST(test_iterable, qn_jinja_iterable(v))
SIMPLE_TEST(test_sequence, v->kind == QN_JINJA_UNDEFINED || v->kind == QN_JINJA_STRING ||
                               v->kind == QN_JINJA_DICT ||
                               (v->kind == QN_JINJA_LIST && v->list->flavour <= QN_JINJA_RANGE))
SIMPLE_TEST(test_callable, v->kind >= QN_JINJA_LOOP || v->kind == QN_JINJA_UNDEFINED)
SIMPLE_TEST(test_escaped, v->kind == QN_JINJA_STRING && v->string->markup)
SIMPLE_TEST(test_filter, v->kind == QN_JINJA_STRING &&
                             qn_jinja_find_filter(v->string->data, v->string->n) != NULL)
SIMPLE_TEST(test_test,
            v->kind == QN_JINJA_STRING && qn_jinja_find_test(v->string->data, v->string->n) != NULL)

static int test_case(qn_jinja_run *r, const qn_jinja_call *c, bool upper, qn_jinja_value *out)
{
    qn_jinja_string s;
    if (qn_jinja_to_string(r, &c->self, &s) || qn_jinja_charge(r, s.n / 32)) return r->code;
    *out = qn_jinja_bool(qn_jinja_has_case(&s, upper));
    return 0;
}

static int test_lower(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return test_case(r, c, false, out);
}

static int test_upper(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return test_case(r, c, true, out);
}

// value % divisor == wanted
static int test_modulo(qn_jinja_run *r, const qn_jinja_call *c, const qn_jinja_value *divisor,
                       int64_t wanted, qn_jinja_value *out)
{
    qn_jinja_value rest, expected = qn_jinja_int(wanted);
    bool same;
    if (qn_jinja_calculate(r, QN_JINJA_MOD, &c->self, divisor, &rest)) return r->code;
    if (qn_jinja_equal(r, &rest, &expected, &same)) return r->code;
    *out = qn_jinja_bool(same);
    return 0;
}

static int test_odd(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    const qn_jinja_value two = qn_jinja_int(2);
    return test_modulo(r, c, &two, 1, out);
}

static int test_even(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    const qn_jinja_value two = qn_jinja_int(2);
    return test_modulo(r, c, &two, 0, out);
}

static int test_divisibleby(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return test_modulo(r, c, &c->slot[0], 0, out);
}

static int test_sameas(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    (void)r;
    *out = qn_jinja_bool(qn_jinja_identical(&c->self, &c->slot[0]));
    return 0;
}

#define COMPARE_TEST(name, op)                                                                     \
    static int name(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)                        \
    {                                                                                              \
        bool holds;                                                                                \
        if (qn_jinja_compare(r, op, &c->self, &c->slot[0], &holds)) return r->code;                \
        *out = qn_jinja_bool(holds);                                                               \
        return 0;                                                                                  \
    }
COMPARE_TEST(test_eq, QN_JINJA_EQ)
COMPARE_TEST(test_ne, QN_JINJA_NE)
COMPARE_TEST(test_lt, QN_JINJA_LT)
COMPARE_TEST(test_le, QN_JINJA_LE)
COMPARE_TEST(test_gt, QN_JINJA_GT)
COMPARE_TEST(test_ge, QN_JINJA_GE)
COMPARE_TEST(test_in, QN_JINJA_IN)

static const qn_jinja_builtin rows[] = {
    {"defined", test_defined, "", 0},    {"undefined", test_undefined, "", 0},
    {"none", test_none, "", 0},          {"boolean", test_boolean, "", 0},
    {"true", test_true, "", 0},          {"false", test_false, "", 0},
    {"integer", test_integer, "", 0},    {"float", test_float, "", 0},
    {"number", test_number, "", 0},      {"string", test_string, "", 0},
    {"mapping", test_mapping, "", 0},    {"iterable", test_iterable, "", 0},
    {"sequence", test_sequence, "", 0},  {"callable", test_callable, "", 0},
    {"escaped", test_escaped, "", 0},    {"filter", test_filter, "", 0},
    {"test", test_test, "", 0},          {"lower", test_lower, "", 0},
    {"upper", test_upper, "", 0},        {"odd", test_odd, "", 0},
    {"even", test_even, "", 0},          {"divisibleby", test_divisibleby, "num", 1},
    {"sameas", test_sameas, "other", 1}, {"==", test_eq, "other", 1},
    {"eq", test_eq, "other", 1},         {"equalto", test_eq, "other", 1},
    {"!=", test_ne, "other", 1},         {"ne", test_ne, "other", 1},
    {"<", test_lt, "other", 1},          {"lt", test_lt, "other", 1},
    {"lessthan", test_lt, "other", 1},   {"<=", test_le, "other", 1},
    {"le", test_le, "other", 1},         {">", test_gt, "other", 1},
    {"gt", test_gt, "other", 1},         {"greaterthan", test_gt, "other", 1},
    {">=", test_ge, "other", 1},         {"ge", test_ge, "other", 1},
    {"in", test_in, "seq", 1},
};

const qn_jinja_builtin *qn_jinja_find_test(const char *name, size_t n)
{
    return qn_jinja_row(&(qn_jinja_table){rows, sizeof rows / sizeof *rows}, name, n);
}
