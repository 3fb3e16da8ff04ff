// The parsed form of a template, and how it is made: lexer (tokens), parser (nodes). Nodes live in the program's arena and
// never change after parsing, so any number of threads may render one program. Private to src/text/jinja_*.c and
// chat_template.c.
#ifndef QN_TEXT_JINJA_AST_H
#define QN_TEXT_JINJA_AST_H
#include "text/jinja_value.h"

typedef struct qn_jinja_node qn_jinja_node;

typedef struct {
    qn_jinja_node **items;
    uint32_t n, capacity;
} qn_jinja_nodes;

typedef enum {
    // expressions
    QN_NODE_CONSTANT,
    QN_NODE_NAME,
    QN_NODE_LIST,
    QN_NODE_TUPLE,
    QN_NODE_DICT, // items: key, value, key, value …
    QN_NODE_NOT,
    QN_NODE_NEGATE,
    QN_NODE_PLUS,
    QN_NODE_MATH,    // left to right, operators of one precedence
    QN_NODE_COMPARE, // a < b < c
    QN_NODE_CONCAT,
    QN_NODE_AND,
    QN_NODE_OR,
    QN_NODE_CHOICE, // yes if test else no
    QN_NODE_SUFFIX, // base.name[key](args)|filter is test …
    QN_NODE_MEMBER, // target only: namespace.name
    // statements
    QN_NODE_TEXT,
    QN_NODE_OUTPUT,
    QN_NODE_IF,
    QN_NODE_FOR,
    QN_NODE_SET,
    QN_NODE_SET_BLOCK,
    QN_NODE_MACRO,
    QN_NODE_CALL_BLOCK,
    QN_NODE_FILTER_BLOCK,
    QN_NODE_WITH, // also {% generation %}, with no variables
    QN_NODE_BREAK,
    QN_NODE_CONTINUE
} qn_jinja_node_kind;

typedef struct {
    qn_jinja_operator op;
    qn_jinja_node *right;
} qn_jinja_link;

typedef struct {
    qn_jinja_nodes positional, named;
    const qn_jinja_string **names; // of `named`
} qn_jinja_arguments;

typedef enum {
    QN_SUFFIX_ATTRIBUTE,
    QN_SUFFIX_ITEM,
    QN_SUFFIX_SLICE,
    QN_SUFFIX_CALL,
    QN_SUFFIX_FILTER,
    QN_SUFFIX_TEST
} qn_jinja_suffix_kind;

typedef struct {
    qn_jinja_suffix_kind kind;
    bool negated; // is not
    int line;
    const qn_jinja_string *name;            // ATTRIBUTE
    const struct qn_jinja_builtin *builtin; // FILTER, TEST
    qn_jinja_node *bounds[3];               // SLICE, NULL where not given; ITEM: the key
    qn_jinja_arguments arguments;
} qn_jinja_suffix;

typedef struct {
    qn_jinja_suffix *items;
    uint32_t n, capacity;
} qn_jinja_suffixes;

// A macro, or what a call block hands over as caller().
typedef struct {
    uint32_t name;
    qn_jinja_nodes parameters; // NAME nodes
    qn_jinja_nodes defaults;   // of the last parameters
    qn_jinja_nodes body;
    unsigned uses; // bits 1u << QN_NAME_CALLER …
} qn_jinja_signature;

struct qn_jinja_node {
    qn_jinja_node_kind kind;
    int line;
    union {
        qn_jinja_value constant; // CONSTANT, TEXT
        uint32_t name;           // NAME: index into the program's names
        qn_jinja_nodes items;    // LIST, TUPLE, DICT, CONCAT, AND, OR
        qn_jinja_node *operand;  // NOT, NEGATE, PLUS, OUTPUT
        struct {
            qn_jinja_node *first;
            qn_jinja_link *links;
            uint32_t n, capacity;
        } chain; // MATH, COMPARE
        struct {
            qn_jinja_node *test, *yes, *no; // no: NULL without else
        } choice;
        struct {
            qn_jinja_node *base;
            qn_jinja_suffixes suffixes;
        } suffix;
        struct {
            uint32_t name;
            const qn_jinja_string *member;
        } member;
        struct {
            qn_jinja_nodes tests; // if, elif …
            qn_jinja_nodes *bodies, otherwise;
        } branch;
        struct {
            qn_jinja_node *target, *over, *filter; // filter: NULL without
            qn_jinja_nodes body, otherwise;
        } loop;
        struct {
            qn_jinja_node *target, *value;
        } set;
        struct {
            qn_jinja_node *target; // NULL in FILTER_BLOCK
            qn_jinja_suffixes filters;
            qn_jinja_nodes body;
        } capture; // SET_BLOCK, FILTER_BLOCK
        qn_jinja_signature *macro;
        struct {
            qn_jinja_signature *caller;
            qn_jinja_node *call;
        } call;
        struct {
            qn_jinja_nodes targets, values, body;
        } with;
    };
};

// The ids of names that mean something; every program has them.
enum { QN_NAME_LOOP, QN_NAME_CALLER, QN_NAME_VARARGS, QN_NAME_KWARGS, QN_NAME_SPECIALS };

typedef struct qn_jinja_program {
    qn_arena arena;
    const char *name;              // for messages
    const qn_jinja_string **names; // of variables, by id
    uint32_t n_names, names_capacity;
    uint32_t *name_index; // hash table, id + 1
    uint32_t name_index_size;
    qn_jinja_nodes body;
} qn_jinja_program;

// On failure *out is emptied. QUERN_E_FORMAT with name and line, QUERN_E_LIMIT.
int qn_jinja_parse(const char *name, const char *source, size_t n, qn_jinja_program *out,
                   quern_error *e);
void qn_jinja_program_free(qn_jinja_program *p);

// ---- lexer (jinja_lex.c) ----

typedef enum {
    QN_TOKEN_END, // of the source
    QN_TOKEN_DATA,
    QN_TOKEN_VARIABLE_BEGIN,
    QN_TOKEN_VARIABLE_END,
    QN_TOKEN_BLOCK_BEGIN,
    QN_TOKEN_BLOCK_END,
    QN_TOKEN_NAME,
    QN_TOKEN_STRING, // with its quotes
    QN_TOKEN_INTEGER,
    QN_TOKEN_REAL,
    QN_TOKEN_OPERATOR // text says which
} qn_jinja_token_kind;

typedef struct {
    qn_jinja_token_kind kind;
    int line;
    const char *text; // into the source
    size_t n;
} qn_jinja_token;

typedef struct {
    const char *name, *source;
    size_t n, at;
    int line;
    enum { QN_LEX_TEXT, QN_LEX_BLOCK, QN_LEX_VARIABLE } state;
    bool line_starts;    // what came before ended a line
    bool in_raw;         // the tag just read was {% raw %}
    qn_jinja_token held; // the tag after a piece of text
    bool holds;
    char open[QN_JINJA_MAX_PARSE_DEPTH + 8]; // closing brackets awaited
    int n_open;
    quern_error *error;
} qn_jinja_lexer;

int qn_jinja_lex(qn_jinja_lexer *l, qn_jinja_token *out);
int qn_jinja_syntax(quern_error *e, const char *name, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

// ---- parser (jinja_parse.c: nodes and names; jinja_statement.c, jinja_expression.c, jinja_suffix.c, jinja_literal.c) ----

typedef struct {
    qn_jinja_lexer lexer;
    qn_jinja_token current, ahead;
    bool has_ahead;
    qn_jinja_program *program;
    quern_error *error;
    int depth, n_loops;
    unsigned saw; // bits of the special names used since the innermost macro began
} qn_jinja_parser;

typedef struct {
    bool no_choice; // `if` ends the expression: the head of a for loop
    bool targets;   // only names, tuples of them and (with members) namespace.name
    bool members;
    bool parentheses; // an empty tuple is allowed
    const char *end;  // a name that ends it too
} qn_jinja_tuple_rules;

// Statements up to one of `ends` (NULL: the end of the source), which is then the current token.
int qn_jinja_parse_body(qn_jinja_parser *p, const char *const *ends, qn_jinja_nodes *out);
int qn_jinja_parse_tuple(qn_jinja_parser *p, const qn_jinja_tuple_rules *rules,
                         qn_jinja_node **out);
int qn_jinja_parse_expression(qn_jinja_parser *p, qn_jinja_node **out);
int qn_jinja_parse_primary(qn_jinja_parser *p, const qn_jinja_tuple_rules *rules,
                           qn_jinja_node **out);
// .name [key] (arguments), and with filters |filter and is test.
int qn_jinja_parse_suffixes(qn_jinja_parser *p, bool with_filters, qn_jinja_suffixes *list);
int qn_jinja_parse_filters(qn_jinja_parser *p, bool inline_first, qn_jinja_suffixes *out);
int qn_jinja_parse_constant(qn_jinja_parser *p, qn_jinja_node **out);

int qn_jinja_advance(qn_jinja_parser *p);
int qn_jinja_peek(qn_jinja_parser *p, const qn_jinja_token **out);
bool qn_jinja_at(const qn_jinja_parser *p, const char *op);        // an operator
bool qn_jinja_at_name(const qn_jinja_parser *p, const char *name); // a word
int qn_jinja_expect(qn_jinja_parser *p, const char *op);
int qn_jinja_expect_name(qn_jinja_parser *p, qn_jinja_token *out);
int qn_jinja_unexpected(qn_jinja_parser *p, const char *expected);
int qn_jinja_enter(qn_jinja_parser *p); // one level deeper; p->depth-- leaves

void *qn_jinja_keep(qn_jinja_parser *p, size_t n, size_t size); // NULL: use qn_jinja_no_room
int qn_jinja_no_room(qn_jinja_parser *p);
int qn_jinja_node_new(qn_jinja_parser *p, qn_jinja_node_kind kind, int line, qn_jinja_node **out);
int qn_jinja_nodes_add(qn_jinja_parser *p, qn_jinja_nodes *nodes, qn_jinja_node *node);
// Makes room for one more element; the element's address, zeroed, or NULL.
void *qn_jinja_grow(qn_jinja_parser *p, void *items, uint32_t *n, uint32_t *capacity, size_t size);
int qn_jinja_keep_string(qn_jinja_parser *p, const char *text, size_t n,
                         const qn_jinja_string **out);
int qn_jinja_intern(qn_jinja_parser *p, const char *text, size_t n, uint32_t *id);

#endif
