// Executes statements into a builder: the rendering's output, or a string being captured. See jinja_eval.h.
#include <string.h>

#include "text/jinja_eval.h"

// ---- assignment ----

static int assign_member(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_node *target,
                         const qn_jinja_value *v)
{
    qn_jinja_value object, key = {.kind = QN_JINJA_STRING, .string = target->member.member};
    if (qn_jinja_frame_get(r, f, target->member.name, &object)) return r->code;
    if (object.kind != QN_JINJA_NAMESPACE) {
        return qn_jinja_fail(r, "TemplateRuntimeError",
                             "cannot assign attribute on non-namespace object");
    }
    if (key.string->n && *key.string->data == '_') {
        return qn_jinja_fail(r, "SecurityError",
                             "a namespace cannot have attributes that begin with an underscore");
    }
    return qn_jinja_dict_set(r, object.dict, key, *v);
}

static int assign_tuple(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_nodes *targets,
                        const qn_jinja_value *v)
{
    qn_jinja_value *items;
    size_t n;
    if (!qn_jinja_iterable(v)) {
        return qn_jinja_fail(r, "TypeError", "cannot unpack non-iterable %s object",
                             qn_jinja_type(v));
    }
    if (qn_jinja_iterate(r, v, &items, &n)) return r->code;
    if (n != targets->n) {
        return qn_jinja_fail(r, "ValueError",
                             n < targets->n ? "not enough values to unpack (expected %u, got %zu)"
                                            : "too many values to unpack (expected %u, got %zu)",
                             targets->n, n);
    }
    for (uint32_t i = 0; i < targets->n; i++) {
        if (qn_jinja_assign(r, f, targets->items[i], &items[i])) return r->code;
    }
    return 0;
}

// Recurses as deep as the parser let targets nest.
int qn_jinja_assign(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_node *target,
                    const qn_jinja_value *v)
{
    if (target->kind == QN_NODE_NAME) return qn_jinja_frame_set(r, f, target->name, *v);
    if (target->kind == QN_NODE_MEMBER) return assign_member(r, f, target, v);
    return assign_tuple(r, f, &target->items, v);
}

// ---- statements ----

static int execute_if(qn_jinja_run *r, qn_jinja_frame *f, qn_jinja_builder *out,
                      const qn_jinja_node *node)
{
    for (uint32_t i = 0; i < node->branch.tests.n; i++) {
        qn_jinja_value test;
        if (qn_jinja_evaluate(r, f, node->branch.tests.items[i], &test)) return r->code;
        if (qn_jinja_truth(&test)) {
            return qn_jinja_execute_body(r, f, out, &node->branch.bodies[i]);
        }
    }
    return qn_jinja_execute_body(r, f, out, &node->branch.otherwise);
}

// for x in … if filter: keeps the items that pass. Their order and identity stay.
static int filter_items(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_node *node,
                        qn_jinja_loop *loop)
{
    qn_jinja_frame *inner;
    qn_jinja_value *kept = qn_jinja_take(r, loop->n, sizeof *kept);
    size_t n = 0;
    if (!kept || qn_jinja_frame_new(r, f, &inner)) return r->code;
    for (size_t i = 0; i < loop->n; i++) {
        qn_jinja_value test;
        if (qn_jinja_assign(r, inner, node->loop.target, &loop->items[i])) return r->code;
        if (qn_jinja_evaluate(r, inner, node->loop.filter, &test)) return r->code;
        if (qn_jinja_truth(&test)) kept[n++] = loop->items[i];
    }
    loop->items = kept;
    loop->n = n;
    return 0;
}

static int begin_loop(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_node *node,
                      qn_jinja_loop **out)
{
    qn_jinja_value over;
    qn_jinja_loop *loop = *out = qn_jinja_take(r, 1, sizeof *loop);
    if (!loop || qn_jinja_evaluate(r, f, node->loop.over, &over)) return r->code;
    if (qn_jinja_iterate(r, &over, &loop->items, &loop->n)) return r->code;
    return node->loop.filter ? filter_items(r, f, node, loop) : 0;
}

static int execute_for(qn_jinja_run *r, qn_jinja_frame *f, qn_jinja_builder *out,
                       const qn_jinja_node *node)
{
    qn_jinja_loop *loop;
    qn_jinja_frame *inner;
    if (begin_loop(r, f, node, &loop) || qn_jinja_frame_new(r, f, &inner)) return r->code;
    qn_jinja_value self = {.kind = QN_JINJA_LOOP, .loop = loop};
    bool completed = false; // Jinja2 runs `else` unless one iteration reached its end
    for (loop->index = 0; loop->index < loop->n; loop->index++) {
        inner->n = 0; // what the body sets ends with the iteration
        if (qn_jinja_charge(r, 1)) return r->code;
        if (qn_jinja_frame_set(r, inner, QN_NAME_LOOP, self)) return r->code;
        if (qn_jinja_assign(r, inner, node->loop.target, &loop->items[loop->index])) {
            return r->code;
        }
        int code = qn_jinja_execute_body(r, inner, out, &node->loop.body);
        if (code < 0) return code;
        if (code == QN_JINJA_BROKE) break;
        completed |= code == 0;
    }
    if (completed) return 0;
    inner->n = 0;
    return qn_jinja_execute_body(r, inner, out, &node->loop.otherwise);
}

static int execute_set(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_node *node)
{
    qn_jinja_value v;
    if (qn_jinja_evaluate(r, f, node->set.value, &v)) return r->code;
    return qn_jinja_assign(r, f, node->set.target, &v);
}

// {% set x %}…{% endset %} and {% filter f %}…{% endfilter %}
static int execute_capture(qn_jinja_run *r, qn_jinja_frame *f, qn_jinja_builder *out,
                           const qn_jinja_node *node)
{
    qn_jinja_frame *inner;
    qn_jinja_builder text = {.run = r};
    qn_jinja_value v;
    if (qn_jinja_frame_new(r, f, &inner)) return r->code;
    int code = qn_jinja_execute_body(r, inner, &text, &node->capture.body);
    if (code) return code; // break or continue leave the block and its text
    if (qn_jinja_build(&text, &v)) return r->code;
    const qn_jinja_suffixes *filters = &node->capture.filters;
    if (qn_jinja_apply_suffixes(r, inner, filters->items, filters->n, &v)) return r->code;
    if (node->capture.target) return qn_jinja_assign(r, f, node->capture.target, &v);
    qn_jinja_add_str(out, &v);
    return r->code;
}

static int new_macro(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_signature *signature,
                     qn_jinja_value *out)
{
    qn_jinja_macro *m = qn_jinja_take(r, 1, sizeof *m);
    if (!m) return r->code;
    *m = (qn_jinja_macro){signature, f, signature->name == QN_NAME_CALLER};
    *out = (qn_jinja_value){.kind = QN_JINJA_MACRO, .macro = m};
    return 0;
}

static int execute_macro(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_node *node)
{
    qn_jinja_value v;
    if (new_macro(r, f, node->macro, &v)) return r->code;
    return qn_jinja_frame_set(r, f, node->macro->name, v);
}

// args and one keyword argument more: caller.
static int add_caller(qn_jinja_run *r, qn_jinja_args *args, const qn_jinja_value *caller)
{
    size_t n = args->n_named;
    const qn_jinja_string **names = qn_jinja_take(r, n + 1, sizeof *names);
    qn_jinja_value *named = names ? qn_jinja_take(r, n + 1, sizeof *named) : NULL;
    if (!named) return r->code;
    if (n) memcpy(names, args->names, n * sizeof *names);
    if (n) memcpy(named, args->named, n * sizeof *named);
    names[n] = r->program->names[QN_NAME_CALLER];
    named[n] = *caller;
    args->names = names;
    args->named = named;
    args->n_named = n + 1;
    return 0;
}

static int execute_call(qn_jinja_run *r, qn_jinja_frame *f, qn_jinja_builder *out,
                        const qn_jinja_node *node)
{
    const qn_jinja_node *call = node->call.call;
    const qn_jinja_suffixes *list = &call->suffix.suffixes;
    qn_jinja_value callee, caller, text;
    qn_jinja_args args;
    if (qn_jinja_evaluate(r, f, call->suffix.base, &callee)) return r->code;
    if (qn_jinja_apply_suffixes(r, f, list->items, list->n - 1, &callee)) return r->code;
    const qn_jinja_arguments *arguments = &list->items[list->n - 1].arguments;
    if (qn_jinja_evaluate_args(r, f, arguments, &args)) return r->code;
    if (new_macro(r, f, node->call.caller, &caller)) return r->code;
    if (add_caller(r, &args, &caller)) return r->code;
    if (qn_jinja_invoke(r, &callee, &args, &text)) return r->code;
    qn_jinja_add_str(out, &text);
    return r->code;
}

static int execute_with(qn_jinja_run *r, qn_jinja_frame *f, qn_jinja_builder *out,
                        const qn_jinja_node *node)
{
    qn_jinja_frame *inner;
    if (qn_jinja_frame_new(r, f, &inner)) return r->code;
    for (uint32_t i = 0; i < node->with.targets.n; i++) {
        qn_jinja_value v;
        if (qn_jinja_evaluate(r, f, node->with.values.items[i], &v)) return r->code;
        if (qn_jinja_assign(r, inner, node->with.targets.items[i], &v)) return r->code;
    }
    return qn_jinja_execute_body(r, inner, out, &node->with.body);
}

static int execute_output(qn_jinja_run *r, qn_jinja_frame *f, qn_jinja_builder *out,
                          const qn_jinja_node *node)
{
    qn_jinja_value v;
    if (qn_jinja_evaluate(r, f, node->operand, &v)) return r->code;
    qn_jinja_add_str(out, &v);
    return r->code;
}

static int execute_node(qn_jinja_run *r, qn_jinja_frame *f, qn_jinja_builder *out,
                        const qn_jinja_node *node)
{
    r->line = node->line;
    switch (node->kind) {
    case QN_NODE_TEXT:
        qn_jinja_add(out, node->constant.string);
        return r->code;
    case QN_NODE_OUTPUT:
        return execute_output(r, f, out, node);
    case QN_NODE_IF:
        return execute_if(r, f, out, node);
    case QN_NODE_FOR:
        return execute_for(r, f, out, node);
    case QN_NODE_SET:
        return execute_set(r, f, node);
    case QN_NODE_SET_BLOCK:
    case QN_NODE_FILTER_BLOCK:
        return execute_capture(r, f, out, node);
    case QN_NODE_MACRO:
        return execute_macro(r, f, node);
    case QN_NODE_CALL_BLOCK:
        return execute_call(r, f, out, node);
    case QN_NODE_WITH:
        return execute_with(r, f, out, node);
    case QN_NODE_BREAK:
        return QN_JINJA_BROKE;
    default:
        return QN_JINJA_CONTINUED;
    }
}

int qn_jinja_execute_body(qn_jinja_run *r, qn_jinja_frame *f, qn_jinja_builder *out,
                          const qn_jinja_nodes *body)
{
    int code = 0;
    if (r->depth >= QN_JINJA_MAX_EVAL_DEPTH) {
        return qn_jinja_limit(r, "its limit of nested evaluations");
    }
    r->depth++;
    for (uint32_t i = 0; !code && i < body->n; i++) {
        code = qn_jinja_charge(r, 1);
        if (!code) code = execute_node(r, f, out, body->items[i]);
    }
    r->depth--;
    return code;
}

int qn_jinja_execute(qn_jinja_run *r, qn_buffer *text, qn_buffer *trusted)
{
    qn_jinja_builder out = {.run = r, .root = text, .root_trust = trusted};
    qn_jinja_frame *root;
    r->globals = qn_jinja_take(r, r->program->n_names, sizeof *r->globals);
    if (!r->globals || qn_jinja_frame_new(r, NULL, &root)) return r->code;
    return qn_jinja_execute_body(r, root, &out, &r->program->body);
}
