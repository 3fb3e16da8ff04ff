// Literals of the template language: numbers, and strings with Python's escapes. See jinja_ast.h.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja_ast.h"

static int fail(qn_jinja_parser *p, const char *message)
{
    return qn_jinja_syntax(p->error, p->program->name, p->current.line, "%s", message);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

typedef struct {
    const char *at, *end;
    char *out; // what is decoded is never longer than its source
} decoder;

// The n hexadecimal digits of \x, \u or \U.
static bool decode_hex(decoder *d, int n)
{
    uint32_t code = 0;
    if (d->end - d->at < n) return false;
    for (int i = 0; i < n; i++) {
        int digit = hex_digit(*d->at++);
        if (digit < 0) return false;
        code = code << 4 | (uint32_t)digit;
    }
    int length = qn_utf8_encode(code, d->out);
    d->out += length;
    return length > 0;
}

static void decode_octal(decoder *d)
{
    uint32_t code = 0;
    for (int i = 0; i < 3 && d->at < d->end && *d->at >= '0' && *d->at <= '7'; i++) {
        code = code << 3 | (uint32_t)(*d->at++ - '0');
    }
    d->out += qn_utf8_encode(code, d->out);
}

// What follows a backslash. False where Python has a syntax error.
static bool decode_escape(decoder *d)
{
    static const char letters[] = "n\nt\tr\r\\\\''\"\"a\ab\bf\fv\v";
    char c = *d->at;
    if (c >= '0' && c <= '7') {
        decode_octal(d);
        return true;
    }
    d->at++;
    if (c == '\n') return true; // the line goes on
    if (c == 'x') return decode_hex(d, 2);
    if (c == 'u') return decode_hex(d, 4);
    if (c == 'U') return decode_hex(d, 8);
    if (c == 'N') return false; // \N{name}: not supported
    for (const char *p = letters; *p; p += 2) {
        if (c == p[0]) {
            *d->out++ = p[1];
            return true;
        }
    }
    *d->out++ = '\\'; // an unknown escape stands for itself
    *d->out++ = c;
    return true;
}

// Appends the value of the current string token at out.
static int decode_string(qn_jinja_parser *p, char **out)
{
    const qn_jinja_token *t = &p->current;
    decoder d = {t->text + 1, t->text + t->n - 1, *out};
    while (d.at < d.end) {
        if (*d.at != '\\') {
            *d.out++ = *d.at++;
            continue;
        }
        d.at++;
        if (!decode_escape(&d)) return fail(p, "bad escape in a string literal");
    }
    *out = d.out;
    return 0;
}

// Neighbouring literals are one string.
static int parse_string(qn_jinja_parser *p, qn_jinja_node **out)
{
    qn_jinja_node *node;
    int code = qn_jinja_node_new(p, QN_NODE_CONSTANT, p->current.line, &node);
    if (code) return code;
    const char *whole = "";
    size_t n = 0;
    while (p->current.kind == QN_TOKEN_STRING) {
        char *text = qn_jinja_keep(p, n + p->current.n, 1);
        if (!text) return qn_jinja_no_room(p);
        char *end = text + n;
        memcpy(text, whole, n);
        code = decode_string(p, &end);
        if (code) return code;
        n = (size_t)(end - text);
        whole = text;
        code = qn_jinja_advance(p);
        if (code) return code;
    }
    const qn_jinja_string *kept;
    code = qn_jinja_keep_string(p, whole, n, &kept);
    node->constant = (qn_jinja_value){.kind = QN_JINJA_STRING, .string = kept};
    *out = node;
    return code;
}

// The token without underscores; false where it is too long to be a number of ours.
static bool number_text(const qn_jinja_token *t, char out[400])
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (t->text[i] == '_') continue;
        if (n + 1 == 400) return false;
        out[n++] = t->text[i];
    }
    out[n] = 0;
    return true;
}

static int parse_number(qn_jinja_parser *p, qn_jinja_node **out)
{
    char text[400];
    int code = qn_jinja_node_new(p, QN_NODE_CONSTANT, p->current.line, out);
    if (code) return code;
    if (!number_text(&p->current, text)) return fail(p, "a number has too many digits");
    if (p->current.kind == QN_TOKEN_REAL) {
        (*out)->constant = qn_jinja_float(strtod(text, NULL));
        return qn_jinja_advance(p);
    }
    char letter = text[0] == '0' ? text[1] | 32 : 0;
    int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
    errno = 0;
    long long value = strtoll(base == 10 ? text : text + 2, NULL, base);
    if (errno) return fail(p, "an integer does not fit 64 bits");
    (*out)->constant = qn_jinja_int(value);
    return qn_jinja_advance(p);
}

int qn_jinja_parse_constant(qn_jinja_parser *p, qn_jinja_node **out)
{
    return p->current.kind == QN_TOKEN_STRING ? parse_string(p, out) : parse_number(p, out);
}
