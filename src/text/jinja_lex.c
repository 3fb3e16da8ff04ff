// The lexer: template source → tokens, with Jinja2's rules for white space (trim_blocks and lstrip_blocks on, the signs
// - and + of tags). Works on demand, one token a call. See jinja_ast.h.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja_ast.h"

int qn_jinja_syntax(quern_error *e, const char *name, int line, const char *format, ...)
{
    char text[300];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    qn_error_set(e, QUERN_E_FORMAT, "%s:%d: %s", name, line, text);
    qn_jinja_mend_message(e);
    return QUERN_E_FORMAT;
}

static int fail(const qn_jinja_lexer *l, const char *message)
{
    return qn_jinja_syntax(l->error, l->name, l->line, "%s", message);
}

static char at(const qn_jinja_lexer *l, size_t i)
{
    return i < l->n ? l->source[i] : '\0';
}

static bool starts(const qn_jinja_lexer *l, size_t i, const char *text)
{
    size_t n = strlen(text);
    return i <= l->n && n <= l->n - i && !memcmp(l->source + i, text, n);
}

// Moves to `to`, counting lines.
static void move(qn_jinja_lexer *l, size_t to)
{
    for (size_t i = l->at; i < to; i++)
        l->line += l->source[i] == '\n';
    l->at = to;
}

static size_t skip_space(const qn_jinja_lexer *l, size_t i)
{
    qn_jinja_string rest = {l->source + i, NULL, l->n - i, true, false};
    return l->n - qn_jinja_trim(&rest, NULL, true, false).n;
}

// The end of a tag at i (after its - or +): where what follows begins.
static size_t after_tag(const qn_jinja_lexer *l, size_t i, char sign, bool trims_newline)
{
    if (sign == '-') return skip_space(l, i);
    return sign != '+' && trims_newline && at(l, i) == '\n' ? i + 1 : i;
}

static char sign_at(const qn_jinja_lexer *l, size_t i)
{
    char c = at(l, i);
    return c == '-' || c == '+' ? c : 0;
}

// ---- text between tags ----

// Text that ends before a tag with `sign`, cut as the sign and lstrip_blocks want it.
static size_t text_end(const qn_jinja_lexer *l, size_t from, size_t to, char sign, bool variable)
{
    qn_jinja_string text = {l->source + from, NULL, to - from, true, false};
    if (sign == '-') return from + qn_jinja_trim(&text, NULL, false, true).n;
    if (sign == '+' || variable) return to;
    size_t line = to;
    while (line > from && l->source[line - 1] != '\n')
        line--;
    if (line == from && !l->line_starts) return to;
    qn_jinja_string last = {l->source + line, NULL, to - line, true, false};
    return qn_jinja_trim(&last, NULL, true, false).n ? to : line;
}

static bool token_text(const qn_jinja_lexer *l, size_t from, size_t to, qn_jinja_token *out)
{
    *out = (qn_jinja_token){QN_TOKEN_DATA, l->line, l->source + from, to - from};
    return to > from;
}

// `{% word %}` with `word` raw or endraw at i; the end of the tag, or 0.
static size_t raw_tag(const qn_jinja_lexer *l, size_t i, const char *word, bool trims)
{
    i += 2;
    if (sign_at(l, i)) i++;
    i = skip_space(l, i);
    if (!starts(l, i, word)) return 0;
    i = skip_space(l, i + strlen(word));
    char sign = sign_at(l, i);
    if (sign && (sign == '-' || trims)) i++; // raw itself knows no +
    return starts(l, i, "%}") ? after_tag(l, i + 2, sign, trims) : 0;
}

// The text of a raw block, up to its end tag.
static int lex_raw(qn_jinja_lexer *l, qn_jinja_token *out, bool *got)
{
    size_t from = l->at, end = 0, i = from;
    for (; i < l->n; i++) {
        const char *tag = memchr(l->source + i, '{', l->n - i);
        if (!tag) break;
        i = (size_t)(tag - l->source);
        if (starts(l, i, "{%") && (end = raw_tag(l, i, "endraw", true))) break;
    }
    if (!end) return fail(l, "Missing end of raw directive");
    *got = token_text(l, from, text_end(l, from, i, sign_at(l, i + 2), false), out);
    move(l, end);
    l->line_starts = l->source[end - 1] == '\n';
    l->in_raw = false;
    return 0;
}

static int skip_comment(qn_jinja_lexer *l)
{
    size_t from = l->at;
    const char *close = memmem(l->source + from, l->n - from, "#}", 2);
    if (!close) return fail(l, "Missing end of comment tag");
    size_t i = (size_t)(close - l->source);
    char sign = i > from ? sign_at(l, i - 1) : 0;
    move(l, after_tag(l, i + 2, sign, true));
    l->line_starts = l->source[l->at - 1] == '\n';
    return 0;
}

// Text up to the next tag, and into the tag. *got: there is text, or a tag that the parser sees.
static int lex_text(qn_jinja_lexer *l, qn_jinja_token *out, bool *got)
{
    size_t from = l->at, i = from;
    for (; i < l->n; i++) {
        const char *brace = memchr(l->source + i, '{', l->n - i);
        i = brace ? (size_t)(brace - l->source) : l->n;
        char next = at(l, i + 1);
        if (next == '%' || next == '{' || next == '#') break;
    }
    if (i >= l->n) {
        *got = token_text(l, from, l->n, out);
        move(l, l->n);
        return 0;
    }
    char tag = at(l, i + 1), sign = sign_at(l, i + 2);
    *got = token_text(l, from, text_end(l, from, i, sign, tag == '{'), out);
    move(l, i);
    size_t raw = tag == '%' ? raw_tag(l, i, "raw", false) : 0;
    if (raw) {
        l->in_raw = true;
        move(l, raw);
        l->line_starts = l->source[raw - 1] == '\n';
        return 0;
    }
    move(l, i + 2 + (sign != 0));
    l->line_starts = false;
    if (tag == '#') return skip_comment(l);
    l->state = tag == '%' ? QN_LEX_BLOCK : QN_LEX_VARIABLE;
    l->held = (qn_jinja_token){tag == '%' ? QN_TOKEN_BLOCK_BEGIN : QN_TOKEN_VARIABLE_BEGIN, l->line,
                               l->source + i, 2};
    l->holds = true;
    return 0;
}

// ---- inside tags ----

// The end of the tag, if it stands at the current place.
static bool lex_tag_end(qn_jinja_lexer *l, qn_jinja_token *out)
{
    bool block = l->state == QN_LEX_BLOCK;
    char sign = sign_at(l, l->at);
    if (sign == '+' && !block) return false;
    size_t i = l->at + (sign != 0);
    if (!starts(l, i, block ? "%}" : "}}")) return false;
    *out = (qn_jinja_token){block ? QN_TOKEN_BLOCK_END : QN_TOKEN_VARIABLE_END, l->line,
                            l->source + i, 2};
    move(l, after_tag(l, i + 2, sign, block));
    l->line_starts = l->source[l->at - 1] == '\n';
    l->state = QN_LEX_TEXT;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c) ||
           (unsigned char)c >= 0x80;
}

static bool is_base_digit(char c, int base)
{
    if (base == 16) return is_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'f');
    return c >= '0' && c < '0' + base;
}

// Past digits with single underscores between them.
static size_t digits(const qn_jinja_lexer *l, size_t i, int base)
{
    while (is_base_digit(at(l, i), base) ||
           (at(l, i) == '_' && is_base_digit(at(l, i + 1), base))) {
        i++;
    }
    return i;
}

static size_t lex_number(const qn_jinja_lexer *l, qn_jinja_token_kind *kind)
{
    size_t from = l->at, i = from;
    char letter = at(l, i + 1) | 32;
    int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    *kind = QN_TOKEN_INTEGER;
    if (at(l, i) == '0' && base) {
        size_t end = digits(l, i + 2, base);
        if (end > i + 2) return end;
    }
    i = digits(l, i, 10);
    size_t whole = i;
    if (from > 0 && l->source[from - 1] == '.') return i; // x.0.1
    if (at(l, i) == '.' && is_digit(at(l, i + 1))) i = digits(l, i + 1, 10);
    size_t e = i;
    if ((at(l, e) | 32) == 'e') {
        e++;
        if (sign_at(l, e)) e++;
        if (is_digit(at(l, e))) i = digits(l, e, 10);
    }
    if (i > whole) *kind = QN_TOKEN_REAL;
    if (i == whole && at(l, from) == '0') return digits(l, from, 1); // 007 is 00 and 7
    return i;
}

// The end of a quoted string, or 0.
static size_t lex_string(const qn_jinja_lexer *l)
{
    char quote = at(l, l->at);
    for (size_t i = l->at + 1; i < l->n; i++) {
        if (l->source[i] == '\\') {
            i++;
        } else if (l->source[i] == quote) {
            return i + 1;
        }
    }
    return 0;
}

static int balance(qn_jinja_lexer *l, char c)
{
    char closes = c == '(' ? ')' : c == '[' ? ']' : c == '{' ? '}' : 0;
    if (closes) {
        if (l->n_open == (int)sizeof l->open) {
            return qn_error_set(l->error, QUERN_E_LIMIT, "%s:%d: more than %d nested brackets",
                                l->name, l->line, QN_JINJA_MAX_PARSE_DEPTH);
        }
        l->open[l->n_open++] = closes;
    } else if (c == ')' || c == ']' || c == '}') {
        if (!l->n_open) return qn_jinja_syntax(l->error, l->name, l->line, "unexpected '%c'", c);
        char expected = l->open[--l->n_open];
        if (expected != c) {
            return qn_jinja_syntax(l->error, l->name, l->line, "unexpected '%c', expected '%c'", c,
                                   expected);
        }
    }
    return 0;
}

static int lex_operator(qn_jinja_lexer *l, size_t *end)
{
    static const char *const pairs[] = {"//", "**", "==", "!=", ">=", "<="};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (starts(l, l->at, pairs[i])) return *end = l->at + 2, 0;
    }
    char c = at(l, l->at);
    if (!c || !strchr("+-/*%~[](){}><=.:|,;", c)) {
        int n = (unsigned char)c >= 0x20 && (unsigned char)c < 0x7f;
        return qn_jinja_syntax(l->error, l->name, l->line, "unexpected char '%.*s' at %zu", n, &c,
                               l->at);
    }
    *end = l->at + 1;
    return balance(l, c);
}

static int lex_tag(qn_jinja_lexer *l, qn_jinja_token *out)
{
    if (!l->n_open && lex_tag_end(l, out)) return 0;
    move(l, skip_space(l, l->at));
    if (!l->n_open && lex_tag_end(l, out)) return 0;
    *out = (qn_jinja_token){QN_TOKEN_END, l->line, l->source + l->at, 0};
    if (l->at >= l->n) return 0;
    size_t end = 0;
    char c = at(l, l->at);
    if (is_digit(c)) {
        end = lex_number(l, &out->kind);
    } else if (is_word(c)) {
        out->kind = QN_TOKEN_NAME;
        for (end = l->at; is_word(at(l, end));)
            end++;
    } else if (c == '"' || c == '\'') {
        out->kind = QN_TOKEN_STRING;
        end = lex_string(l);
        if (!end) {
            return qn_jinja_syntax(l->error, l->name, l->line, "unexpected char '%c' at %zu", c,
                                   l->at);
        }
    } else {
        out->kind = QN_TOKEN_OPERATOR;
        int code = lex_operator(l, &end);
        if (code) return code;
    }
    out->n = end - l->at;
    move(l, end);
    return 0;
}

int qn_jinja_lex(qn_jinja_lexer *l, qn_jinja_token *out)
{
    if (l->holds) {
        l->holds = false;
        *out = l->held;
        return 0;
    }
    if (l->state != QN_LEX_TEXT) return lex_tag(l, out);
    for (bool got = false; !got;) {
        if (l->holds) return qn_jinja_lex(l, out);
        if (l->state == QN_LEX_TEXT && l->at >= l->n && !l->in_raw) {
            *out = (qn_jinja_token){QN_TOKEN_END, l->line, l->source + l->n, 0};
            return 0;
        }
        int code = l->in_raw ? lex_raw(l, out, &got) : lex_text(l, out, &got);
        if (code) return code;
    }
    return 0;
}
