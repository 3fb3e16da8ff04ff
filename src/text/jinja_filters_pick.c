// map, select, reject, selectattr, rejectattr: filters that apply others to each item. They give iterators, as
// Jinja2's generators are: consumed once. See jinja_eval.h.
#include <string.h>

#include "text/jinja_eval.h"

static int begin(qn_jinja_run *r, const qn_jinja_call *c, qn_jinja_value **items, size_t *n,
                 qn_jinja_value *out)
{
    *items = NULL;
    *n = 0;
    if (qn_jinja_truth(&c->self) && qn_jinja_iterate(r, &c->self, items, n)) return r->code;
    if (qn_jinja_charge(r, *n) || qn_jinja_new_list(r, *n, QN_JINJA_ITERATOR, out)) return r->code;
    out->list->n = 0;
    return 0;
}

// The arguments after the first `n` positional ones.
static qn_jinja_args rest_of(const qn_jinja_args *args, size_t n)
{
    qn_jinja_args rest = *args;
    if (n) rest.positional += n;
    rest.n -= n;
    return rest;
}

static int named_builtin(qn_jinja_run *r, const qn_jinja_value *name, bool test,
                         const qn_jinja_builtin **out)
{
    const qn_jinja_string *s = name->kind == QN_JINJA_STRING ? name->string : NULL;
    *out = !s     ? NULL
           : test ? qn_jinja_find_test(s->data, s->n)
                  : qn_jinja_find_filter(s->data, s->n);
    if (*out) return 0;
    return qn_jinja_fail(r, "TemplateRuntimeError", "No %s named '%.*s'.", test ? "test" : "filter",
                         s ? qn_jinja_at_most(s->n, 100) : 0, s ? s->data : "");
}

static int map_attribute(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_value *items, path = {QN_JINJA_ABSENT, {0}}, otherwise = path;
    size_t n;
    for (size_t i = 0; i < c->args.n_named; i++) {
        if (qn_jinja_is(c->args.names[i], "attribute")) path = c->args.named[i];
        if (qn_jinja_is(c->args.names[i], "default")) otherwise = c->args.named[i];
    }
    if (path.kind == QN_JINJA_ABSENT) {
        return qn_jinja_fail(r, "FilterArgumentError", "map requires a filter argument");
    }
    if (begin(r, c, &items, &n, out)) return r->code;
    for (size_t i = 0; i < n; i++) {
        qn_jinja_value *to = &out->list->items[out->list->n++];
        if (qn_jinja_path(r, &items[i], &path, to)) return r->code;
        if (to->kind == QN_JINJA_UNDEFINED && qn_jinja_given(&otherwise)) *to = otherwise;
    }
    return 0;
}

static int filter_map(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    const qn_jinja_builtin *filter;
    qn_jinja_value *items;
    size_t n;
    if (!c->args.n) return map_attribute(r, c, out);
    if (named_builtin(r, &c->args.positional[0], false, &filter)) return r->code;
    // map('map', 'map', …): as deep as expressions may be, no deeper.
    if (r->depth >= QN_JINJA_MAX_EVAL_DEPTH)
        return qn_jinja_limit(r, "its limit of nested filters");
    qn_jinja_args rest = rest_of(&c->args, 1);
    if (begin(r, c, &items, &n, out)) return r->code;
    r->depth++;
    for (size_t i = 0; i < n; i++) {
        qn_jinja_value *to = &out->list->items[out->list->n++];
        if (qn_jinja_invoke_builtin(r, filter, &items[i], &rest, to)) return r->code;
    }
    r->depth--;
    return 0;
}

typedef struct {
    bool by_attribute, keeps; // keeps: what passes the test
} picking;

static int pick(qn_jinja_run *r, qn_jinja_call *c, picking how, qn_jinja_value *out)
{
    const qn_jinja_builtin *test = NULL;
    qn_jinja_value *items, subject, verdict;
    size_t n, n_fixed = how.by_attribute;
    if (c->args.n < n_fixed) {
        return qn_jinja_fail(r, "FilterArgumentError", "Missing parameter for attribute name");
    }
    if (c->args.n > n_fixed && named_builtin(r, &c->args.positional[n_fixed], true, &test)) {
        return r->code;
    }
    qn_jinja_args rest = rest_of(&c->args, n_fixed + (test != NULL));
    if (begin(r, c, &items, &n, out)) return r->code;
    for (size_t i = 0; i < n; i++) {
        verdict = subject = items[i];
        if (how.by_attribute && qn_jinja_path(r, &items[i], &c->args.positional[0], &subject)) {
            return r->code;
        }
        verdict = subject;
        if (test && qn_jinja_invoke_builtin(r, test, &subject, &rest, &verdict)) return r->code;
        if (qn_jinja_truth(&verdict) == how.keeps) out->list->items[out->list->n++] = items[i];
    }
    return 0;
}

static int filter_select(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return pick(r, c, (picking){false, true}, out);
}

static int filter_reject(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return pick(r, c, (picking){false, false}, out);
}

static int filter_selectattr(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return pick(r, c, (picking){true, true}, out);
}

static int filter_rejectattr(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return pick(r, c, (picking){true, false}, out);
}

static const qn_jinja_builtin rows[] = {
    {"map", filter_map, "*", 0},
    {"select", filter_select, "*", 0},
    {"reject", filter_reject, "*", 0},
    {"selectattr", filter_selectattr, "*", 0},
    {"rejectattr", filter_rejectattr, "*", 0},
};
const qn_jinja_table qn_jinja_pick_filters = {rows, sizeof rows / sizeof *rows};
