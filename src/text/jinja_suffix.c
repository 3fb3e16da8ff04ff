// The parser of what follows an operand: .name, [key], [a:b:c], (arguments), |filter, is test. See jinja_ast.h.
#include "text/jinja_eval.h"

static int fail(qn_jinja_parser *p, const char *message)
{
    return qn_jinja_syntax(p->error, p->program->name, p->current.line, "%s", message);
}

static int add_suffix(qn_jinja_parser *p, qn_jinja_suffixes *list, qn_jinja_suffix_kind kind,
                      qn_jinja_suffix **out)
{
    *out = qn_jinja_grow(p, &list->items, &list->n, &list->capacity, sizeof **out);
    if (!*out) return qn_jinja_no_room(p);
    (*out)->kind = kind;
    (*out)->line = p->current.line;
    return 0;
}

static int parse_argument(qn_jinja_parser *p, qn_jinja_arguments *out)
{
    const qn_jinja_token *next;
    qn_jinja_node *value;
    int code = qn_jinja_peek(p, &next);
    if (code) return code;
    bool named = p->current.kind == QN_TOKEN_NAME && next->kind == QN_TOKEN_OPERATOR &&
                 next->n == 1 && *next->text == '=';
    if (!named) {
        if (out->named.n) return fail(p, "invalid syntax for function call expression");
        code = qn_jinja_parse_expression(p, &value);
        return code ? code : qn_jinja_nodes_add(p, &out->positional, value);
    }
    uint32_t n = out->named.n, capacity = out->named.capacity;
    const qn_jinja_string **name = qn_jinja_grow(p, &out->names, &n, &capacity, sizeof *name);
    if (!name) return qn_jinja_no_room(p);
    if ((code = qn_jinja_keep_string(p, p->current.text, p->current.n, name))) return code;
    if ((code = qn_jinja_advance(p)) || (code = qn_jinja_advance(p))) return code;
    code = qn_jinja_parse_expression(p, &value);
    return code ? code : qn_jinja_nodes_add(p, &out->named, value);
}

static int parse_arguments(qn_jinja_parser *p, qn_jinja_arguments *out)
{
    int code = qn_jinja_expect(p, "(");
    for (bool first = true; !code && !qn_jinja_at(p, ")"); first = false) {
        if (!first && (code = qn_jinja_expect(p, ","))) return code;
        if (qn_jinja_at(p, ")")) break;
        if (qn_jinja_at(p, "*") || qn_jinja_at(p, "**")) {
            return fail(p, "* and ** in the arguments of a call are not supported");
        }
        code = parse_argument(p, out);
    }
    return code ? code : qn_jinja_expect(p, ")");
}

static int parse_bound(qn_jinja_parser *p, qn_jinja_node **out)
{
    if (qn_jinja_at(p, ":") || qn_jinja_at(p, "]") || qn_jinja_at(p, ",")) return 0;
    return qn_jinja_parse_expression(p, out);
}

// [a, b] and []: the key is a tuple.
static int parse_tuple_key(qn_jinja_parser *p, qn_jinja_suffix *s)
{
    qn_jinja_node *tuple, *item;
    int code = qn_jinja_node_new(p, QN_NODE_TUPLE, p->current.line, &tuple);
    if (!code && s->bounds[0]) code = qn_jinja_nodes_add(p, &tuple->items, s->bounds[0]);
    s->bounds[0] = tuple;
    while (!code && qn_jinja_at(p, ",")) {
        code = qn_jinja_advance(p);
        if (!code) code = qn_jinja_parse_expression(p, &item);
        if (!code) code = qn_jinja_nodes_add(p, &tuple->items, item);
    }
    return code;
}

// [key] or [start:stop:step]
static int parse_subscript(qn_jinja_parser *p, qn_jinja_suffix *s)
{
    int code = qn_jinja_advance(p);
    if (!code) code = parse_bound(p, &s->bounds[0]);
    for (int i = 1; !code && i < 3 && qn_jinja_at(p, ":"); i++) {
        s->kind = QN_SUFFIX_SLICE;
        code = qn_jinja_advance(p);
        if (!code) code = parse_bound(p, &s->bounds[i]);
    }
    if (!code && s->kind == QN_SUFFIX_ITEM && (qn_jinja_at(p, ",") || !s->bounds[0])) {
        code = parse_tuple_key(p, s);
    }
    return code ? code : qn_jinja_expect(p, "]");
}

// .name or .0
static int parse_dot(qn_jinja_parser *p, qn_jinja_suffix *s)
{
    int code = qn_jinja_advance(p);
    if (code) return code;
    if (p->current.kind == QN_TOKEN_INTEGER) {
        s->kind = QN_SUFFIX_ITEM;
        return qn_jinja_parse_constant(p, &s->bounds[0]);
    }
    if (p->current.kind != QN_TOKEN_NAME) return fail(p, "expected name or number");
    code = qn_jinja_keep_string(p, p->current.text, p->current.n, &s->name);
    return code ? code : qn_jinja_advance(p);
}

static int parse_access(qn_jinja_parser *p, qn_jinja_suffixes *list, bool *more)
{
    qn_jinja_suffix *s;
    *more = true;
    bool dot = qn_jinja_at(p, "."), bracket = qn_jinja_at(p, "[");
    if (!dot && !bracket && !qn_jinja_at(p, "(")) return *more = false, 0;
    int code = add_suffix(p, list, dot ? QN_SUFFIX_ATTRIBUTE : QN_SUFFIX_ITEM, &s);
    if (code) return code;
    if (dot) return parse_dot(p, s);
    if (bracket) return parse_subscript(p, s);
    s->kind = QN_SUFFIX_CALL;
    return parse_arguments(p, &s->arguments);
}

static int parse_filter(qn_jinja_parser *p, qn_jinja_suffixes *list)
{
    qn_jinja_suffix *s;
    qn_jinja_token name;
    int code = add_suffix(p, list, QN_SUFFIX_FILTER, &s);
    if (!code) code = qn_jinja_expect_name(p, &name);
    if (code) return code;
    s->builtin = qn_jinja_find_filter(name.text, name.n);
    if (!s->builtin) {
        return qn_jinja_syntax(p->error, p->program->name, name.line, "No filter named '%.*s'.",
                               qn_jinja_at_most(name.n, 100), name.text);
    }
    return qn_jinja_at(p, "(") ? parse_arguments(p, &s->arguments) : 0;
}

int qn_jinja_parse_filters(qn_jinja_parser *p, bool inline_first, qn_jinja_suffixes *out)
{
    int code = inline_first ? parse_filter(p, out) : 0;
    while (!code && qn_jinja_at(p, "|")) {
        code = qn_jinja_advance(p);
        if (!code) code = parse_filter(p, out);
    }
    return code;
}

// A test's one argument without parentheses: a primary with its subscripts and calls.
static int parse_bare_argument(qn_jinja_parser *p, qn_jinja_arguments *out)
{
    static const qn_jinja_tuple_rules plain = {0};
    bool begins = p->current.kind == QN_TOKEN_NAME || p->current.kind == QN_TOKEN_STRING ||
                  p->current.kind == QN_TOKEN_INTEGER || p->current.kind == QN_TOKEN_REAL ||
                  qn_jinja_at(p, "[") || qn_jinja_at(p, "{");
    if (!begins || qn_jinja_at_name(p, "else") || qn_jinja_at_name(p, "or") ||
        qn_jinja_at_name(p, "and")) {
        return 0;
    }
    if (qn_jinja_at_name(p, "is")) return fail(p, "You cannot chain multiple tests with is");
    qn_jinja_node *base, *node;
    int line = p->current.line, code = qn_jinja_enter(p);
    if (!code) code = qn_jinja_parse_primary(p, &plain, &base);
    if (!code) code = qn_jinja_node_new(p, QN_NODE_SUFFIX, line, &node);
    if (code) return code;
    node->suffix.base = base;
    for (bool more = true; !code && more;)
        code = parse_access(p, &node->suffix.suffixes, &more);
    p->depth--;
    return code ? code : qn_jinja_nodes_add(p, &out->positional, node);
}

static int parse_test(qn_jinja_parser *p, qn_jinja_suffixes *list)
{
    qn_jinja_suffix *s;
    qn_jinja_token name;
    int code = add_suffix(p, list, QN_SUFFIX_TEST, &s);
    if (!code) code = qn_jinja_advance(p);
    if (code) return code;
    if (qn_jinja_at_name(p, "not")) {
        s->negated = true;
        if ((code = qn_jinja_advance(p))) return code;
    }
    if ((code = qn_jinja_expect_name(p, &name))) return code;
    s->builtin = qn_jinja_find_test(name.text, name.n);
    if (!s->builtin) {
        return qn_jinja_syntax(p->error, p->program->name, name.line, "No test named '%.*s'.",
                               qn_jinja_at_most(name.n, 100), name.text);
    }
    if (qn_jinja_at(p, "(")) return parse_arguments(p, &s->arguments);
    return parse_bare_argument(p, &s->arguments);
}

int qn_jinja_parse_suffixes(qn_jinja_parser *p, bool with_filters, qn_jinja_suffixes *list)
{
    int code = 0;
    for (bool more = true; !code && more;)
        code = parse_access(p, list, &more);
    while (!code && with_filters) {
        if (qn_jinja_at(p, "|")) {
            code = qn_jinja_advance(p);
            if (!code) code = parse_filter(p, list);
        } else if (qn_jinja_at_name(p, "is")) {
            code = parse_test(p, list);
        } else if (qn_jinja_at(p, "(")) {
            bool more;
            code = parse_access(p, list, &more);
        } else {
            break;
        }
    }
    return code;
}
