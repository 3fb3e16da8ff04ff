// The parser of statements: {% if %}, {% for %}, {% set %}, {% macro %} … and the text between them. See jinja_ast.h.
#include <string.h>

#include "text/jinja_ast.h"

static int fail(qn_jinja_parser *p, int line, const char *message)
{
    return qn_jinja_syntax(p->error, p->program->name, line, "%s", message);
}

static int expect_block_end(qn_jinja_parser *p)
{
    if (p->current.kind != QN_TOKEN_BLOCK_END) {
        return qn_jinja_unexpected(p, "'end of statement block'");
    }
    return qn_jinja_advance(p);
}

static bool at_any(const qn_jinja_parser *p, const char *const *names)
{
    for (; names && *names; names++) {
        if (qn_jinja_at_name(p, *names)) return true;
    }
    return false;
}

// The body of a tag whose head was just read; the end tag's name is then the current token.
static int parse_block(qn_jinja_parser *p, const char *const *ends, qn_jinja_nodes *out)
{
    int code = qn_jinja_enter(p);
    if (!code && qn_jinja_at(p, ":")) code = qn_jinja_advance(p);
    if (!code) code = expect_block_end(p);
    if (!code) code = qn_jinja_parse_body(p, ends, out);
    p->depth--;
    return code;
}

// As parse_block with one end tag, whose name is skipped.
static int parse_only_block(qn_jinja_parser *p, const char *end, qn_jinja_nodes *out)
{
    const char *const ends[] = {end, NULL};
    int code = parse_block(p, ends, out);
    return code ? code : qn_jinja_advance(p);
}

static bool assignable(const qn_jinja_node *node)
{
    if (node->kind == QN_NODE_NAME || node->kind == QN_NODE_MEMBER) return true;
    if (node->kind != QN_NODE_TUPLE) return false;
    for (uint32_t i = 0; i < node->items.n; i++) {
        if (!assignable(node->items.items[i])) return false;
    }
    return true;
}

static int parse_target(qn_jinja_parser *p, const char *end, bool members, qn_jinja_node **out)
{
    qn_jinja_tuple_rules rules = {.targets = true, .members = members, .end = end};
    int line = p->current.line, code = qn_jinja_parse_tuple(p, &rules, out);
    if (code || assignable(*out)) return code;
    return fail(p, line, "can't assign to this expression");
}

static int parse_set(qn_jinja_parser *p, qn_jinja_node **out)
{
    static const qn_jinja_tuple_rules plain = {0};
    qn_jinja_node *node, *target;
    int code = qn_jinja_node_new(p, QN_NODE_SET, p->current.line, &node);
    *out = node;
    if (!code) code = qn_jinja_advance(p);
    if (!code) code = parse_target(p, NULL, true, &target);
    if (code) return code;
    if (qn_jinja_at(p, "=")) {
        node->set.target = target;
        code = qn_jinja_advance(p);
        return code ? code : qn_jinja_parse_tuple(p, &plain, &node->set.value);
    }
    node->kind = QN_NODE_SET_BLOCK;
    node->capture.target = target;
    code = qn_jinja_parse_filters(p, false, &node->capture.filters);
    return code ? code : parse_only_block(p, "endset", &node->capture.body);
}

static int parse_filter_block(qn_jinja_parser *p, qn_jinja_node **out)
{
    int code = qn_jinja_node_new(p, QN_NODE_FILTER_BLOCK, p->current.line, out);
    if (!code) code = qn_jinja_advance(p);
    if (!code) code = qn_jinja_parse_filters(p, true, &(*out)->capture.filters);
    return code ? code : parse_only_block(p, "endfilter", &(*out)->capture.body);
}

static int parse_if(qn_jinja_parser *p, qn_jinja_node **out)
{
    static const qn_jinja_tuple_rules rules = {.no_choice = true};
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    uint32_t n_bodies = 0, capacity = 0;
    qn_jinja_node *node, *test;
    int code = qn_jinja_node_new(p, QN_NODE_IF, p->current.line, &node);
    *out = node;
    while (!code) {
        qn_jinja_nodes body = {0}, *slot;
        if ((code = qn_jinja_advance(p))) break; // if, elif
        if ((code = qn_jinja_parse_tuple(p, &rules, &test))) break;
        if ((code = qn_jinja_nodes_add(p, &node->branch.tests, test))) break;
        if ((code = parse_block(p, ends, &body))) break;
        slot = qn_jinja_grow(p, &node->branch.bodies, &n_bodies, &capacity, sizeof *slot);
        if (!slot) return qn_jinja_no_room(p);
        *slot = body;
        if (qn_jinja_at_name(p, "elif")) continue;
        bool otherwise = qn_jinja_at_name(p, "else");
        if ((code = qn_jinja_advance(p))) break;
        return otherwise ? parse_only_block(p, "endif", &node->branch.otherwise) : 0;
    }
    return code;
}

static int parse_for_head(qn_jinja_parser *p, qn_jinja_node *node)
{
    static const qn_jinja_tuple_rules rules = {.no_choice = true, .end = "recursive"};
    int code = qn_jinja_advance(p);
    if (!code) code = parse_target(p, "in", false, &node->loop.target);
    if (code) return code;
    if (!qn_jinja_at_name(p, "in")) return qn_jinja_unexpected(p, "'in'");
    code = qn_jinja_advance(p);
    if (!code) code = qn_jinja_parse_tuple(p, &rules, &node->loop.over);
    if (!code && qn_jinja_at_name(p, "if")) {
        code = qn_jinja_advance(p);
        if (!code) code = qn_jinja_parse_expression(p, &node->loop.filter);
    }
    if (!code && qn_jinja_at_name(p, "recursive")) {
        return fail(p, p->current.line, "recursive loops are not supported");
    }
    return code;
}

static int parse_for(qn_jinja_parser *p, qn_jinja_node **out)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    int code = qn_jinja_node_new(p, QN_NODE_FOR, p->current.line, out);
    if (!code) code = parse_for_head(p, *out);
    p->n_loops++;
    if (!code) code = parse_block(p, ends, &(*out)->loop.body);
    p->n_loops--;
    if (code) return code;
    bool otherwise = qn_jinja_at_name(p, "else");
    code = qn_jinja_advance(p);
    return code || !otherwise ? code : parse_only_block(p, "endfor", &(*out)->loop.otherwise);
}

static int parse_jump(qn_jinja_parser *p, qn_jinja_node **out)
{
    bool breaks = qn_jinja_at_name(p, "break");
    if (!p->n_loops) {
        return fail(p, p->current.line,
                    breaks ? "'break' outside loop" : "'continue' outside loop");
    }
    qn_jinja_node_kind kind = breaks ? QN_NODE_BREAK : QN_NODE_CONTINUE;
    int code = qn_jinja_node_new(p, kind, p->current.line, out);
    return code ? code : qn_jinja_advance(p);
}

// ---- macros ----

static int parse_parameters(qn_jinja_parser *p, qn_jinja_signature *s)
{
    int code = qn_jinja_expect(p, "(");
    while (!code && !qn_jinja_at(p, ")")) {
        qn_jinja_token name;
        qn_jinja_node *node;
        if (s->parameters.n && (code = qn_jinja_expect(p, ","))) return code;
        if ((code = qn_jinja_expect_name(p, &name))) return code;
        if ((code = qn_jinja_node_new(p, QN_NODE_NAME, name.line, &node))) return code;
        if ((code = qn_jinja_intern(p, name.text, name.n, &node->name))) return code;
        if ((code = qn_jinja_nodes_add(p, &s->parameters, node))) return code;
        if (qn_jinja_at(p, "=")) {
            if ((code = qn_jinja_advance(p))) return code;
            if ((code = qn_jinja_parse_expression(p, &node))) return code;
            code = qn_jinja_nodes_add(p, &s->defaults, node);
        } else if (s->defaults.n) {
            return fail(p, name.line, "non-default argument follows default argument");
        }
    }
    return code ? code : qn_jinja_expect(p, ")");
}

// The body of a macro or call block, noting which special names it uses.
static int parse_macro_body(qn_jinja_parser *p, const char *end, qn_jinja_signature *s)
{
    int n_loops = p->n_loops;
    unsigned saw = p->saw;
    p->n_loops = 0;
    p->saw = 0;
    int code = parse_only_block(p, end, &s->body);
    s->uses = p->saw;
    for (uint32_t i = 0; i < s->parameters.n; i++) {
        uint32_t name = s->parameters.items[i]->name;
        if (name < QN_NAME_SPECIALS) s->uses &= ~(1u << name);
    }
    p->n_loops = n_loops;
    p->saw |= saw;
    return code;
}

static int parse_macro(qn_jinja_parser *p, qn_jinja_node **out)
{
    qn_jinja_token name;
    int code = qn_jinja_node_new(p, QN_NODE_MACRO, p->current.line, out);
    if (code) return code;
    qn_jinja_signature *s = (*out)->macro = qn_jinja_keep(p, 1, sizeof *s);
    if (!s) return qn_jinja_no_room(p);
    code = qn_jinja_advance(p);
    if (!code) code = qn_jinja_expect_name(p, &name);
    if (!code) code = qn_jinja_intern(p, name.text, name.n, &s->name);
    if (!code) code = parse_parameters(p, s);
    return code ? code : parse_macro_body(p, "endmacro", s);
}

static bool is_call(const qn_jinja_node *node)
{
    if (node->kind != QN_NODE_SUFFIX) return false;
    const qn_jinja_suffixes *list = &node->suffix.suffixes;
    return list->n && list->items[list->n - 1].kind == QN_SUFFIX_CALL;
}

static int parse_call(qn_jinja_parser *p, qn_jinja_node **out)
{
    qn_jinja_node *node;
    int code = qn_jinja_node_new(p, QN_NODE_CALL_BLOCK, p->current.line, &node);
    *out = node;
    if (code) return code;
    qn_jinja_signature *s = node->call.caller = qn_jinja_keep(p, 1, sizeof *s);
    if (!s) return qn_jinja_no_room(p);
    s->name = QN_NAME_CALLER;
    code = qn_jinja_advance(p);
    if (!code && qn_jinja_at(p, "(")) code = parse_parameters(p, s);
    if (!code) code = qn_jinja_parse_expression(p, &node->call.call);
    if (code) return code;
    if (!is_call(node->call.call)) return fail(p, node->line, "expected call");
    return parse_macro_body(p, "endcall", s);
}

// ---- the rest ----

static int parse_with(qn_jinja_parser *p, qn_jinja_node **out)
{
    qn_jinja_node *node, *target, *value;
    int code = qn_jinja_node_new(p, QN_NODE_WITH, p->current.line, &node);
    *out = node;
    if (!code) code = qn_jinja_advance(p);
    while (!code && p->current.kind != QN_TOKEN_BLOCK_END) {
        if (node->with.targets.n && (code = qn_jinja_expect(p, ","))) break;
        qn_jinja_token name;
        if ((code = qn_jinja_expect_name(p, &name))) break;
        if ((code = qn_jinja_node_new(p, QN_NODE_NAME, name.line, &target))) break;
        if ((code = qn_jinja_intern(p, name.text, name.n, &target->name))) break;
        if ((code = qn_jinja_nodes_add(p, &node->with.targets, target))) break;
        if ((code = qn_jinja_expect(p, "="))) break;
        if ((code = qn_jinja_parse_expression(p, &value))) break;
        code = qn_jinja_nodes_add(p, &node->with.values, value);
    }
    return code ? code : parse_only_block(p, "endwith", &node->with.body);
}

// {% generation %}: Hugging Face marks the assistant's words with it; it shows as it stands.
static int parse_generation(qn_jinja_parser *p, qn_jinja_node **out)
{
    int code = qn_jinja_node_new(p, QN_NODE_WITH, p->current.line, out);
    if (!code) code = qn_jinja_advance(p);
    return code ? code : parse_only_block(p, "endgeneration", &(*out)->with.body);
}

static int parse_statement(qn_jinja_parser *p, qn_jinja_node **out)
{
    static const struct {
        const char *tag;
        int (*parse)(qn_jinja_parser *p, qn_jinja_node **out);
    } known[] = {
        {"if", parse_if},      {"for", parse_for},
        {"set", parse_set},    {"macro", parse_macro},
        {"call", parse_call},  {"filter", parse_filter_block},
        {"with", parse_with},  {"generation", parse_generation},
        {"break", parse_jump}, {"continue", parse_jump},
    };
    if (p->current.kind != QN_TOKEN_NAME) return fail(p, p->current.line, "tag name expected");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!qn_jinja_at_name(p, known[i].tag)) continue;
        int code = known[i].parse(p, out);
        return code ? code : expect_block_end(p);
    }
    return qn_jinja_syntax(p->error, p->program->name, p->current.line,
                           "Encountered unknown tag '%.*s'.", qn_jinja_at_most(p->current.n, 60),
                           p->current.text);
}

static int parse_output(qn_jinja_parser *p, qn_jinja_node **out)
{
    static const qn_jinja_tuple_rules plain = {0};
    int code = qn_jinja_node_new(p, QN_NODE_OUTPUT, p->current.line, out);
    if (!code) code = qn_jinja_advance(p);
    if (!code) code = qn_jinja_parse_tuple(p, &plain, &(*out)->operand);
    if (code) return code;
    if (p->current.kind != QN_TOKEN_VARIABLE_END) {
        return qn_jinja_unexpected(p, "'end of print statement'");
    }
    return qn_jinja_advance(p);
}

static int parse_text(qn_jinja_parser *p, qn_jinja_node **out)
{
    const qn_jinja_token *t = &p->current;
    const qn_jinja_string *text;
    int code = qn_jinja_node_new(p, QN_NODE_TEXT, t->line, out);
    if (!code) code = qn_jinja_keep_string(p, t->text, t->n, &text);
    if (code) return code;
    (*out)->constant = (qn_jinja_value){.kind = QN_JINJA_STRING, .string = text};
    return qn_jinja_advance(p);
}

int qn_jinja_parse_body(qn_jinja_parser *p, const char *const *ends, qn_jinja_nodes *out)
{
    int code = 0;
    while (!code && p->current.kind != QN_TOKEN_END) {
        qn_jinja_node *node;
        if (p->current.kind == QN_TOKEN_DATA) {
            code = parse_text(p, &node);
        } else if (p->current.kind == QN_TOKEN_VARIABLE_BEGIN) {
            code = parse_output(p, &node);
        } else {
            if ((code = qn_jinja_advance(p))) return code;
            if (at_any(p, ends)) return 0;
            code = parse_statement(p, &node);
        }
        if (!code) code = qn_jinja_nodes_add(p, out, node);
    }
    if (code || !ends) return code;
    return qn_jinja_syntax(p->error, p->program->name, p->current.line,
                           "Unexpected end of template: '%s' is missing", ends[0]);
}
