// Evaluates expressions. Depth is counted at every node, so that the C stack stays small; what needs much stack lives
// in other files. See jinja_eval.h.
#include "text/jinja_eval.h"

static int evaluate_items(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_node *node,
                          qn_jinja_value *out)
{
    const qn_jinja_nodes *items = &node->items;
    qn_jinja_flavour flavour = node->kind == QN_NODE_TUPLE ? QN_JINJA_TUPLE : QN_JINJA_PLAIN_LIST;
    if (qn_jinja_new_list(r, items->n, flavour, out)) return r->code;
    qn_jinja_list *list = out->list;
    for (uint32_t i = 0; i < items->n; i++) {
        if (qn_jinja_evaluate(r, f, items->items[i], &list->items[i])) return r->code;
    }
    return 0;
}

static int evaluate_dict(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_nodes *items,
                         qn_jinja_value *out)
{
    if (qn_jinja_new_dict(r, items->n / 2, out)) return r->code;
    qn_jinja_dict *dict = out->dict;
    for (uint32_t i = 0; i + 1 < items->n; i += 2) {
        qn_jinja_value key, value;
        if (qn_jinja_evaluate(r, f, items->items[i], &key)) return r->code;
        if (qn_jinja_evaluate(r, f, items->items[i + 1], &value)) return r->code;
        if (qn_jinja_dict_set(r, dict, key, value)) return r->code;
    }
    return 0;
}

static int evaluate_math(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_node *node,
                         qn_jinja_value *out)
{
    qn_jinja_value left, right;
    if (qn_jinja_evaluate(r, f, node->chain.first, &left)) return r->code;
    for (uint32_t i = 0; i < node->chain.n; i++) {
        const qn_jinja_link *link = &node->chain.links[i];
        if (qn_jinja_evaluate(r, f, link->right, &right)) return r->code;
        if (qn_jinja_calculate(r, link->op, &left, &right, out)) return r->code;
        left = *out;
    }
    return 0;
}

static int evaluate_compare(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_node *node,
                            qn_jinja_value *out)
{
    qn_jinja_value left, right;
    bool holds = true;
    if (qn_jinja_evaluate(r, f, node->chain.first, &left)) return r->code;
    for (uint32_t i = 0; holds && i < node->chain.n; i++) {
        const qn_jinja_link *link = &node->chain.links[i];
        if (qn_jinja_evaluate(r, f, link->right, &right)) return r->code;
        if (qn_jinja_compare(r, link->op, &left, &right, &holds)) return r->code;
        left = right;
    }
    *out = qn_jinja_bool(holds);
    return 0;
}

static int evaluate_concat(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_nodes *items,
                           qn_jinja_value *out)
{
    qn_jinja_builder b = {.run = r};
    for (uint32_t i = 0; i < items->n; i++) {
        qn_jinja_value part;
        if (qn_jinja_evaluate(r, f, items->items[i], &part)) return r->code;
        qn_jinja_add_str(&b, &part);
    }
    return qn_jinja_build(&b, out);
}

// and, or: the first operand that decides.
static int evaluate_logic(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_node *node,
                          qn_jinja_value *out)
{
    bool stops_at = node->kind == QN_NODE_OR;
    for (uint32_t i = 0; i < node->items.n; i++) {
        if (qn_jinja_evaluate(r, f, node->items.items[i], out)) return r->code;
        if (qn_jinja_truth(out) == stops_at) break;
    }
    return 0;
}

static int evaluate_choice(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_node *node,
                           qn_jinja_value *out)
{
    qn_jinja_value test;
    if (qn_jinja_evaluate(r, f, node->choice.test, &test)) return r->code;
    bool yes = qn_jinja_truth(&test);
    if (yes) return qn_jinja_evaluate(r, f, node->choice.yes, out);
    if (node->choice.no) return qn_jinja_evaluate(r, f, node->choice.no, out);
    return qn_jinja_undefined_hint(r,
                                   "the inline if-expression evaluated to false and no else "
                                   "section was defined.",
                                   out);
}

static int evaluate_slice(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_suffix *s,
                          const qn_jinja_value *object, qn_jinja_value *out)
{
    qn_jinja_value bounds[3];
    for (int i = 0; i < 3; i++) {
        bounds[i] = qn_jinja_none();
        if (s->bounds[i] && qn_jinja_evaluate(r, f, s->bounds[i], &bounds[i])) return r->code;
    }
    return qn_jinja_slice(r, object, bounds, out);
}

static int apply_builtin(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_suffix *s,
                         const qn_jinja_value *object, qn_jinja_value *out)
{
    qn_jinja_args args;
    if (qn_jinja_evaluate_args(r, f, &s->arguments, &args)) return r->code;
    if (qn_jinja_invoke_builtin(r, s->builtin, object, &args, out)) return r->code;
    if (s->negated) *out = qn_jinja_bool(!qn_jinja_truth(out));
    return 0;
}

static int apply_call(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_suffix *s,
                      const qn_jinja_value *callee, qn_jinja_value *out)
{
    qn_jinja_args args;
    if (qn_jinja_evaluate_args(r, f, &s->arguments, &args)) return r->code;
    return qn_jinja_invoke(r, callee, &args, out);
}

static int apply_suffix(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_suffix *s,
                        const qn_jinja_value *object, qn_jinja_value *out)
{
    qn_jinja_value key;
    if (qn_jinja_charge(r, 1)) return r->code;
    switch (s->kind) {
    case QN_SUFFIX_ATTRIBUTE:
        key = (qn_jinja_value){.kind = QN_JINJA_STRING, .string = s->name};
        return qn_jinja_attribute(r, object, &key, out);
    case QN_SUFFIX_ITEM:
        if (qn_jinja_evaluate(r, f, s->bounds[0], &key)) return r->code;
        return qn_jinja_item(r, object, &key, out);
    case QN_SUFFIX_SLICE:
        return evaluate_slice(r, f, s, object, out);
    case QN_SUFFIX_CALL:
        return apply_call(r, f, s, object, out);
    default:
        return apply_builtin(r, f, s, object, out);
    }
}

int qn_jinja_apply_suffixes(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_suffix *list,
                            uint32_t n, qn_jinja_value *value)
{
    for (uint32_t i = 0; i < n; i++) {
        qn_jinja_value object = *value;
        if (apply_suffix(r, f, &list[i], &object, value)) return r->code;
    }
    return 0;
}

static int evaluate_suffix(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_node *node,
                           qn_jinja_value *out)
{
    if (qn_jinja_evaluate(r, f, node->suffix.base, out)) return r->code;
    const qn_jinja_suffixes *list = &node->suffix.suffixes;
    return qn_jinja_apply_suffixes(r, f, list->items, list->n, out);
}

static int evaluate_unary(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_node *node,
                          qn_jinja_value *out)
{
    qn_jinja_value v;
    if (qn_jinja_evaluate(r, f, node->operand, &v)) return r->code;
    if (node->kind != QN_NODE_NOT) {
        return qn_jinja_negate(r, &v, node->kind == QN_NODE_NEGATE, out);
    }
    *out = qn_jinja_bool(!qn_jinja_truth(&v));
    return 0;
}

static int evaluate(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_node *node,
                    qn_jinja_value *out)
{
    switch (node->kind) {
    case QN_NODE_CONSTANT:
        *out = node->constant;
        return 0;
    case QN_NODE_NAME:
        return qn_jinja_frame_get(r, f, node->name, out);
    case QN_NODE_LIST:
    case QN_NODE_TUPLE:
        return evaluate_items(r, f, node, out);
    case QN_NODE_DICT:
        return evaluate_dict(r, f, &node->items, out);
    case QN_NODE_NOT:
    case QN_NODE_NEGATE:
    case QN_NODE_PLUS:
        return evaluate_unary(r, f, node, out);
    case QN_NODE_MATH:
        return evaluate_math(r, f, node, out);
    case QN_NODE_COMPARE:
        return evaluate_compare(r, f, node, out);
    case QN_NODE_CONCAT:
        return evaluate_concat(r, f, &node->items, out);
    case QN_NODE_AND:
    case QN_NODE_OR:
        return evaluate_logic(r, f, node, out);
    case QN_NODE_CHOICE:
        return evaluate_choice(r, f, node, out);
    case QN_NODE_SUFFIX:
        return evaluate_suffix(r, f, node, out);
    default:
        return qn_jinja_fail(r, "TypeError", "not an expression");
    }
}

int qn_jinja_evaluate(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_node *node,
                      qn_jinja_value *out)
{
    if (qn_jinja_charge(r, 1)) return r->code;
    if (r->depth >= QN_JINJA_MAX_EVAL_DEPTH) {
        return qn_jinja_limit(r, "its limit of nested evaluations");
    }
    r->depth++;
    int code = evaluate(r, f, node, out);
    r->depth--;
    return code;
}
