// The parser of expressions, with Jinja2's precedence: or, and, not, comparisons, + -, ~, * / // %, **, unary - +, then
// suffixes. Chains of one precedence become one node, so that only brackets and nesting cost depth. See jinja_ast.h.
#include <string.h>

#include "text/jinja_eval.h"

static int parse_or(qn_jinja_parser *p, qn_jinja_node **out);
static int parse_unary(qn_jinja_parser *p, bool with_filters, qn_jinja_node **out);

// ---- primaries ----

// Items up to a closing bracket; `pairs`: key: value.
static int parse_items(qn_jinja_parser *p, const char *close, bool pairs, qn_jinja_nodes *items)
{
    int code = qn_jinja_advance(p);
    while (!code && !qn_jinja_at(p, close)) {
        qn_jinja_node *item;
        if (items->n && (code = qn_jinja_expect(p, ","))) break;
        if (qn_jinja_at(p, close)) break;
        if ((code = qn_jinja_parse_expression(p, &item))) break;
        if ((code = qn_jinja_nodes_add(p, items, item))) break;
        if (!pairs) continue;
        if ((code = qn_jinja_expect(p, ":"))) break;
        if ((code = qn_jinja_parse_expression(p, &item))) break;
        code = qn_jinja_nodes_add(p, items, item);
    }
    return code ? code : qn_jinja_expect(p, close);
}

static int parse_collection(qn_jinja_parser *p, bool dict, qn_jinja_node **out)
{
    qn_jinja_node_kind kind = dict ? QN_NODE_DICT : QN_NODE_LIST;
    int code = qn_jinja_node_new(p, kind, p->current.line, out);
    return code ? code : parse_items(p, dict ? "}" : "]", dict, &(*out)->items);
}

static int parse_parentheses(qn_jinja_parser *p, qn_jinja_node **out)
{
    static const qn_jinja_tuple_rules rules = {.parentheses = true};
    int code = qn_jinja_advance(p);
    if (!code) code = qn_jinja_parse_tuple(p, &rules, out);
    return code ? code : qn_jinja_expect(p, ")");
}

static bool constant_name(const qn_jinja_token *t, qn_jinja_value *out)
{
    qn_jinja_string name = {t->text, NULL, t->n, true, false};
    *out = qn_jinja_none();
    if (qn_jinja_is(&name, "none") || qn_jinja_is(&name, "None")) return true;
    bool yes = qn_jinja_is(&name, "true") || qn_jinja_is(&name, "True");
    *out = qn_jinja_bool(yes);
    return yes || qn_jinja_is(&name, "false") || qn_jinja_is(&name, "False");
}

static int parse_member(qn_jinja_parser *p, uint32_t name, qn_jinja_node *node)
{
    qn_jinja_token member;
    int code = qn_jinja_advance(p);
    if (!code) code = qn_jinja_expect_name(p, &member);
    if (code) return code;
    node->kind = QN_NODE_MEMBER;
    node->member.name = name;
    return qn_jinja_keep_string(p, member.text, member.n, &node->member.member);
}

static int parse_name(qn_jinja_parser *p, const qn_jinja_tuple_rules *rules, qn_jinja_node **out)
{
    qn_jinja_token t = p->current;
    qn_jinja_value constant;
    int code = qn_jinja_node_new(p, QN_NODE_NAME, t.line, out);
    if (!code) code = qn_jinja_advance(p);
    if (code) return code;
    if (constant_name(&t, &constant)) {
        (*out)->kind = QN_NODE_CONSTANT;
        (*out)->constant = constant;
        return 0;
    }
    code = qn_jinja_intern(p, t.text, t.n, &(*out)->name);
    if (code || !rules->members || !qn_jinja_at(p, ".")) return code;
    return parse_member(p, (*out)->name, *out);
}

int qn_jinja_parse_primary(qn_jinja_parser *p, const qn_jinja_tuple_rules *rules,
                           qn_jinja_node **out)
{
    switch (p->current.kind) {
    case QN_TOKEN_NAME:
        return parse_name(p, rules, out);
    case QN_TOKEN_STRING:
    case QN_TOKEN_INTEGER:
    case QN_TOKEN_REAL:
        return qn_jinja_parse_constant(p, out);
    default:
        break;
    }
    if (qn_jinja_at(p, "(")) return parse_parentheses(p, out);
    if (qn_jinja_at(p, "[")) return parse_collection(p, false, out);
    if (qn_jinja_at(p, "{")) return parse_collection(p, true, out);
    return qn_jinja_unexpected(p, NULL);
}

static bool tuple_ends(const qn_jinja_parser *p, const qn_jinja_tuple_rules *rules)
{
    return p->current.kind == QN_TOKEN_VARIABLE_END || p->current.kind == QN_TOKEN_BLOCK_END ||
           qn_jinja_at(p, ")") || (rules->end && qn_jinja_at_name(p, rules->end));
}

static int parse_part(qn_jinja_parser *p, const qn_jinja_tuple_rules *rules, qn_jinja_node **out)
{
    if (!rules->targets && !rules->no_choice) return qn_jinja_parse_expression(p, out);
    int code = qn_jinja_enter(p);
    if (!code) code = rules->targets ? qn_jinja_parse_primary(p, rules, out) : parse_or(p, out);
    p->depth--;
    return code;
}

int qn_jinja_parse_tuple(qn_jinja_parser *p, const qn_jinja_tuple_rules *rules, qn_jinja_node **out)
{
    qn_jinja_nodes items = {0};
    bool is_tuple = false;
    int line = p->current.line, code = 0;
    while (!code) {
        if (items.n && (code = qn_jinja_expect(p, ","))) return code;
        if (tuple_ends(p, rules)) break;
        qn_jinja_node *item;
        if ((code = parse_part(p, rules, &item))) return code;
        if ((code = qn_jinja_nodes_add(p, &items, item))) return code;
        if (!qn_jinja_at(p, ",")) break;
        is_tuple = true;
    }
    if (!is_tuple && items.n) return *out = items.items[0], 0;
    if (!is_tuple && !rules->parentheses) return qn_jinja_unexpected(p, "an expression");
    code = qn_jinja_node_new(p, QN_NODE_TUPLE, line, out);
    if (!code) (*out)->items = items;
    return code;
}

// ---- operators ----

static int parse_signed(qn_jinja_parser *p, qn_jinja_node **out)
{
    bool minus = qn_jinja_at(p, "-");
    int code = qn_jinja_node_new(p, minus ? QN_NODE_NEGATE : QN_NODE_PLUS, p->current.line, out);
    if (!code) code = qn_jinja_advance(p);
    if (!code) code = qn_jinja_enter(p);
    if (!code) code = parse_unary(p, false, &(*out)->operand);
    p->depth--;
    return code;
}

static int parse_unary(qn_jinja_parser *p, bool with_filters, qn_jinja_node **out)
{
    static const qn_jinja_tuple_rules plain = {0};
    qn_jinja_suffixes suffixes = {0};
    int line = p->current.line;
    int code = qn_jinja_at(p, "-") || qn_jinja_at(p, "+") ? parse_signed(p, out)
                                                          : qn_jinja_parse_primary(p, &plain, out);
    if (!code) code = qn_jinja_parse_suffixes(p, with_filters, &suffixes);
    if (code || !suffixes.n) return code;
    qn_jinja_node *node;
    code = qn_jinja_node_new(p, QN_NODE_SUFFIX, line, &node);
    if (code) return code;
    node->suffix.base = *out;
    node->suffix.suffixes = suffixes;
    *out = node;
    return 0;
}

static int chain_add(qn_jinja_parser *p, qn_jinja_node *chain, qn_jinja_operator op,
                     qn_jinja_node *right)
{
    qn_jinja_link *slot = qn_jinja_grow(p, &chain->chain.links, &chain->chain.n,
                                        &chain->chain.capacity, sizeof *slot);
    if (!slot) return qn_jinja_no_room(p);
    *slot = (qn_jinja_link){op, right};
    return 0;
}

// The level's operator at the current token: +- (1), */ // % (2), ** (3).
static bool math_operator(const qn_jinja_parser *p, int level, qn_jinja_operator *op)
{
    static const struct {
        const char *text;
        int level;
        qn_jinja_operator op;
    } known[] = {
        {"+", 1, QN_JINJA_ADD},  {"-", 1, QN_JINJA_SUB}, {"*", 2, QN_JINJA_MUL},
        {"/", 2, QN_JINJA_DIV},  {"%", 2, QN_JINJA_MOD}, {"//", 2, QN_JINJA_FLOOR},
        {"**", 3, QN_JINJA_POW},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].level == level && qn_jinja_at(p, known[i].text)) {
            return *op = known[i].op, true;
        }
    }
    return false;
}

static int parse_concat(qn_jinja_parser *p, qn_jinja_node **out);

static int parse_math(qn_jinja_parser *p, int level, qn_jinja_node **out)
{
    qn_jinja_node *chain = NULL, *right;
    qn_jinja_operator op;
    int line = p->current.line;
    int code = level == 1   ? parse_concat(p, out)
               : level == 2 ? parse_math(p, 3, out)
                            : parse_unary(p, true, out);
    while (!code && math_operator(p, level, &op)) {
        if (!chain) {
            if ((code = qn_jinja_node_new(p, QN_NODE_MATH, line, &chain))) return code;
            chain->chain.first = *out;
            *out = chain;
        }
        if ((code = qn_jinja_advance(p))) return code;
        code = level == 1   ? parse_concat(p, &right)
               : level == 2 ? parse_math(p, 3, &right)
                            : parse_unary(p, true, &right);
        if (!code) code = chain_add(p, chain, op, right);
    }
    return code;
}

// The next operand of a list of equal operators, the node of the list made on the way.
static int list_add(qn_jinja_parser *p, qn_jinja_node_kind kind, qn_jinja_node **list,
                    qn_jinja_node *right)
{
    int code = 0;
    if ((*list)->kind != kind) { // (a or b) or c is one list too
        qn_jinja_node *node;
        if ((code = qn_jinja_node_new(p, kind, (*list)->line, &node))) return code;
        if ((code = qn_jinja_nodes_add(p, &node->items, *list))) return code;
        *list = node;
    }
    return qn_jinja_nodes_add(p, &(*list)->items, right);
}

static int parse_concat(qn_jinja_parser *p, qn_jinja_node **out)
{
    qn_jinja_node *right;
    int code = parse_math(p, 2, out);
    while (!code && qn_jinja_at(p, "~")) {
        code = qn_jinja_advance(p);
        if (!code) code = parse_math(p, 2, &right);
        if (!code) code = list_add(p, QN_NODE_CONCAT, out, right);
    }
    return code;
}

static int compare_operator(qn_jinja_parser *p, qn_jinja_operator *op, bool *found)
{
    static const char *const signs[] = {
        [QN_JINJA_EQ] = "==", [QN_JINJA_NE] = "!=", [QN_JINJA_LT] = "<",
        [QN_JINJA_LE] = "<=", [QN_JINJA_GT] = ">",  [QN_JINJA_GE] = ">=",
    };
    const qn_jinja_token *next;
    *found = true;
    for (int i = 0; i <= QN_JINJA_GE; i++) {
        if (qn_jinja_at(p, signs[i])) return *op = (qn_jinja_operator)i, qn_jinja_advance(p);
    }
    if (qn_jinja_at_name(p, "in")) return *op = QN_JINJA_IN, qn_jinja_advance(p);
    *found = false;
    if (!qn_jinja_at_name(p, "not")) return 0;
    int code = qn_jinja_peek(p, &next);
    if (code || next->kind != QN_TOKEN_NAME || next->n != 2 || memcmp(next->text, "in", 2)) {
        return code;
    }
    *found = true;
    *op = QN_JINJA_NOT_IN;
    code = qn_jinja_advance(p);
    return code ? code : qn_jinja_advance(p);
}

static int parse_compare(qn_jinja_parser *p, qn_jinja_node **out)
{
    qn_jinja_node *chain = NULL, *right;
    int line = p->current.line, code = parse_math(p, 1, out);
    while (!code) {
        qn_jinja_operator op;
        bool found;
        if ((code = compare_operator(p, &op, &found)) || !found) return code;
        if (!chain) {
            if ((code = qn_jinja_node_new(p, QN_NODE_COMPARE, line, &chain))) return code;
            chain->chain.first = *out;
            *out = chain;
        }
        code = parse_math(p, 1, &right);
        if (!code) code = chain_add(p, chain, op, right);
    }
    return code;
}

static int parse_not(qn_jinja_parser *p, qn_jinja_node **out)
{
    if (!qn_jinja_at_name(p, "not")) return parse_compare(p, out);
    int code = qn_jinja_node_new(p, QN_NODE_NOT, p->current.line, out);
    if (!code) code = qn_jinja_advance(p);
    if (!code) code = qn_jinja_enter(p);
    if (!code) code = parse_not(p, &(*out)->operand);
    p->depth--;
    return code;
}

static int parse_and(qn_jinja_parser *p, qn_jinja_node **out)
{
    qn_jinja_node *right;
    int code = parse_not(p, out);
    while (!code && qn_jinja_at_name(p, "and")) {
        code = qn_jinja_advance(p);
        if (!code) code = parse_not(p, &right);
        if (!code) code = list_add(p, QN_NODE_AND, out, right);
    }
    return code;
}

static int parse_or(qn_jinja_parser *p, qn_jinja_node **out)
{
    qn_jinja_node *right;
    int code = parse_and(p, out);
    while (!code && qn_jinja_at_name(p, "or")) {
        code = qn_jinja_advance(p);
        if (!code) code = parse_and(p, &right);
        if (!code) code = list_add(p, QN_NODE_OR, out, right);
    }
    return code;
}

static int parse_choice(qn_jinja_parser *p, qn_jinja_node **out)
{
    int code = parse_or(p, out);
    while (!code && qn_jinja_at_name(p, "if")) {
        qn_jinja_node *node;
        if ((code = qn_jinja_node_new(p, QN_NODE_CHOICE, p->current.line, &node))) return code;
        node->choice.yes = *out;
        *out = node;
        if ((code = qn_jinja_advance(p))) return code;
        if ((code = parse_or(p, &node->choice.test))) return code;
        if (!qn_jinja_at_name(p, "else")) continue;
        if ((code = qn_jinja_advance(p))) return code;
        code = qn_jinja_parse_expression(p, &node->choice.no);
    }
    return code;
}

int qn_jinja_parse_expression(qn_jinja_parser *p, qn_jinja_node **out)
{
    int code = qn_jinja_enter(p);
    if (!code) code = parse_choice(p, out);
    p->depth--;
    return code;
}
