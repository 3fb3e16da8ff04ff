// The parser's ground: tokens, nodes, names, and the program that comes out. See jinja_ast.h.
#include <string.h>

#include "base/utf8.h"
#include "text/jinja_ast.h"

enum { MAX_PROGRAM_BYTES = 64 << 20 };

// ---- memory ----

int qn_jinja_no_room(qn_jinja_parser *p)
{
    const char *name = p->program->name ? p->program->name : "template";
    if (p->program->arena.used_bytes > MAX_PROGRAM_BYTES / 2) {
        return qn_error_set(p->error, QUERN_E_LIMIT, "%s: the template is too complex", name);
    }
    return qn_error_set(p->error, QUERN_E_MEMORY, "%s: no memory for the template", name);
}

void *qn_jinja_keep(qn_jinja_parser *p, size_t n, size_t size)
{
    return qn_arena_take_array(&p->program->arena, n ? n : 1, size);
}

void *qn_jinja_grow(qn_jinja_parser *p, void *items, uint32_t *n, uint32_t *capacity, size_t size)
{
    char *old, *data;
    memcpy(&old, items, sizeof old); // `items` points to a pointer of any type
    data = old;
    if (*n == *capacity) {
        uint32_t more = *capacity ? *capacity * 2 : 2;
        data = qn_jinja_keep(p, more, size);
        if (!data) return NULL;
        if (*n) memcpy(data, old, *n * size);
        memcpy(items, &data, sizeof data);
        *capacity = more;
    }
    return data + (*n)++ * size;
}

int qn_jinja_node_new(qn_jinja_parser *p, qn_jinja_node_kind kind, int line, qn_jinja_node **out)
{
    *out = qn_jinja_keep(p, 1, sizeof **out);
    if (!*out) return qn_jinja_no_room(p);
    (*out)->kind = kind;
    (*out)->line = line;
    return 0;
}

int qn_jinja_nodes_add(qn_jinja_parser *p, qn_jinja_nodes *nodes, qn_jinja_node *node)
{
    qn_jinja_node **slot =
        qn_jinja_grow(p, &nodes->items, &nodes->n, &nodes->capacity, sizeof *slot);
    if (!slot) return qn_jinja_no_room(p);
    *slot = node;
    return 0;
}

int qn_jinja_keep_string(qn_jinja_parser *p, const char *text, size_t n,
                         const qn_jinja_string **out)
{
    qn_jinja_string *s = qn_jinja_keep(p, 1, sizeof *s);
    if (!s) return qn_jinja_no_room(p);
    *s = (qn_jinja_string){text, NULL, n, true, false};
    *out = s;
    return 0;
}

// ---- names ----

static uint32_t hash(const char *text, size_t n)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)text[i]) * 16777619u;
    return h ^ h >> 15;
}

// The slot of the name, empty where it is new.
static uint32_t *name_slot(const qn_jinja_program *program, const char *text, size_t n)
{
    uint32_t mask = program->name_index_size - 1, i = hash(text, n) & mask;
    for (; program->name_index[i]; i = (i + 1) & mask) {
        const qn_jinja_string *name = program->names[program->name_index[i] - 1];
        if (name->n == n && !memcmp(name->data, text, n)) break;
    }
    return &program->name_index[i];
}

static int grow_index(qn_jinja_parser *p)
{
    qn_jinja_program *program = p->program;
    uint32_t size = program->name_index_size ? program->name_index_size * 4 : 256;
    program->name_index = qn_jinja_keep(p, size, sizeof *program->name_index);
    if (!program->name_index) return qn_jinja_no_room(p);
    program->name_index_size = size;
    for (uint32_t i = 0; i < program->n_names; i++) {
        *name_slot(program, program->names[i]->data, program->names[i]->n) = i + 1;
    }
    return 0;
}

int qn_jinja_intern(qn_jinja_parser *p, const char *text, size_t n, uint32_t *id)
{
    qn_jinja_program *program = p->program;
    if (program->n_names * 2 >= program->name_index_size) {
        int code = grow_index(p);
        if (code) return code;
    }
    uint32_t *slot = name_slot(program, text, n);
    if (!*slot) {
        const qn_jinja_string **name = qn_jinja_grow(p, &program->names, &program->n_names,
                                                     &program->names_capacity, sizeof *name);
        if (!name) return qn_jinja_no_room(p);
        int code = qn_jinja_keep_string(p, text, n, name);
        if (code) return code;
        *slot = program->n_names;
    }
    *id = *slot - 1;
    if (*id < QN_NAME_SPECIALS) p->saw |= 1u << *id;
    return 0;
}

// ---- tokens ----

int qn_jinja_advance(qn_jinja_parser *p)
{
    if (!p->has_ahead) return qn_jinja_lex(&p->lexer, &p->current);
    p->current = p->ahead;
    p->has_ahead = false;
    return 0;
}

int qn_jinja_peek(qn_jinja_parser *p, const qn_jinja_token **out)
{
    *out = &p->ahead;
    if (p->has_ahead) return 0;
    int code = qn_jinja_lex(&p->lexer, &p->ahead);
    p->has_ahead = code == 0;
    return code;
}

static bool token_is(const qn_jinja_token *t, qn_jinja_token_kind kind, const char *text)
{
    size_t n = strlen(text);
    return t->kind == kind && t->n == n && !memcmp(t->text, text, n);
}

bool qn_jinja_at(const qn_jinja_parser *p, const char *op)
{
    return token_is(&p->current, QN_TOKEN_OPERATOR, op);
}

bool qn_jinja_at_name(const qn_jinja_parser *p, const char *name)
{
    return token_is(&p->current, QN_TOKEN_NAME, name);
}

int qn_jinja_unexpected(qn_jinja_parser *p, const char *expected)
{
    const qn_jinja_token *t = &p->current;
    const char *what = t->text;
    int n = qn_jinja_at_most(t->n, 60);
    if (t->kind == QN_TOKEN_END || t->kind == QN_TOKEN_VARIABLE_END ||
        t->kind == QN_TOKEN_BLOCK_END) {
        what = t->kind == QN_TOKEN_END            ? "end of template"
               : t->kind == QN_TOKEN_VARIABLE_END ? "end of print statement"
                                                  : "end of statement block";
        n = (int)strlen(what);
    }
    if (!expected) {
        return qn_jinja_syntax(p->error, p->program->name, t->line, "unexpected '%.*s'", n, what);
    }
    return qn_jinja_syntax(p->error, p->program->name, t->line, "expected %s, got '%.*s'", expected,
                           n, what);
}

int qn_jinja_expect(qn_jinja_parser *p, const char *op)
{
    if (qn_jinja_at(p, op)) return qn_jinja_advance(p);
    char quoted[8] = {'\'', op[0], '\'', 0};
    return qn_jinja_unexpected(p, quoted);
}

int qn_jinja_expect_name(qn_jinja_parser *p, qn_jinja_token *out)
{
    if (p->current.kind != QN_TOKEN_NAME) return qn_jinja_unexpected(p, "a name");
    *out = p->current;
    return qn_jinja_advance(p);
}

int qn_jinja_enter(qn_jinja_parser *p)
{
    if (++p->depth <= QN_JINJA_MAX_PARSE_DEPTH) return 0;
    return qn_error_set(p->error, QUERN_E_LIMIT, "%s:%d: the template nests deeper than %d",
                        p->program->name, p->current.line, QN_JINJA_MAX_PARSE_DEPTH);
}

// ---- the program ----

// Copies the source with every kind of newline as \n, without the last one.
static int read_source(qn_jinja_parser *p, const char *source, size_t n)
{
    char *text = qn_jinja_keep(p, n + 1, 1);
    if (!text) return qn_jinja_no_room(p);
    size_t length = 0;
    for (size_t i = 0; i < n; i++) {
        if (source[i] == '\r') {
            if (i + 1 < n && source[i + 1] == '\n') i++;
            text[length++] = '\n';
        } else {
            text[length++] = source[i];
        }
    }
    if (length && text[length - 1] == '\n') length--;
    p->lexer = (qn_jinja_lexer){.name = p->program->name,
                                .source = text,
                                .n = length,
                                .line = 1,
                                .line_starts = true,
                                .error = p->error};
    return 0;
}

static int prepare(qn_jinja_parser *p, const char *name, const char *source, size_t n)
{
    static const char *const specials[QN_NAME_SPECIALS] = {"loop", "caller", "varargs", "kwargs"};
    p->program->arena.limit_bytes = MAX_PROGRAM_BYTES;
    p->program->name = qn_arena_text(&p->program->arena, name, strlen(name));
    if (!p->program->name) return qn_jinja_no_room(p);
    if (n > QN_JINJA_MAX_SOURCE_BYTES) {
        return qn_error_set(p->error, QUERN_E_LIMIT,
                            "%s: the template has %zu bytes, at most %d are allowed", name, n,
                            QN_JINJA_MAX_SOURCE_BYTES);
    }
    size_t valid = qn_utf8_check(source, n);
    if (valid < n) {
        return qn_error_set(p->error, QUERN_E_FORMAT, "%s: invalid UTF-8 at byte %zu", name, valid);
    }
    int code = read_source(p, source, n);
    for (uint32_t i = 0, id; !code && i < QN_NAME_SPECIALS; i++) {
        code = qn_jinja_intern(p, specials[i], strlen(specials[i]), &id);
    }
    return code ? code : qn_jinja_advance(p);
}

int qn_jinja_parse(const char *name, const char *source, size_t n, qn_jinja_program *out,
                   quern_error *e)
{
    *out = (qn_jinja_program){0};
    qn_jinja_parser p = {.program = out, .error = e};
    int code = prepare(&p, name, source, n);
    if (!code) code = qn_jinja_parse_body(&p, NULL, &out->body);
    if (code) qn_jinja_program_free(out);
    return code;
}

void qn_jinja_program_free(qn_jinja_program *p)
{
    if (!p) return;
    qn_arena_free(&p->arena);
    *p = (qn_jinja_program){0};
}
