// str() and repr() of values as Python writes them. What a conversion adds (digits, quotes, brackets) counts as
// untrusted: special tokens never consist of it. See jinja_value.h.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "text/jinja_eval.h"

static void add(qn_jinja_builder *b, const char *text)
{
    qn_jinja_add_text(b, text, strlen(text), false);
}

// The shortest digits that read back as d; *exponent: of the first digit. d is finite and not negative.
static int shortest_digits(double d, char digits[24], int *exponent)
{
    char text[40];
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, d);
        if (strtod(text, NULL) == d) break;
    }
    int n = 0;
    const char *p = text;
    for (; *p && *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9') digits[n++] = *p;
    }
    *exponent = *p ? atoi(p + 1) : 0;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    digits[n] = 0;
    return n;
}

size_t qn_jinja_format_real(double d, char out[32])
{
    if (isnan(d)) return (size_t)snprintf(out, 32, "nan");
    const char *sign = signbit(d) ? "-" : "";
    if (isinf(d)) return (size_t)snprintf(out, 32, "%sinf", sign);
    char digits[24];
    int exponent, n = shortest_digits(fabs(d), digits, &exponent);
    if (exponent < -4 || exponent >= 16) {
        return (size_t)snprintf(out, 32, "%s%c%s%se%c%02d", sign, digits[0], n > 1 ? "." : "",
                                digits + 1, exponent < 0 ? '-' : '+', abs(exponent));
    }
    if (exponent < 0) {
        return (size_t)snprintf(out, 32, "%s0.%.*s%s", sign, -exponent - 1, "0000", digits);
    }
    if (exponent + 1 >= n) {
        return (size_t)snprintf(out, 32, "%s%s%.*s.0", sign, digits, exponent + 1 - n,
                                "0000000000000000");
    }
    return (size_t)snprintf(out, 32, "%s%.*s.%s", sign, exponent + 1, digits,
                            digits + exponent + 1);
}

static bool printable(uint32_t code)
{
    if (code < 0x7f) return code >= 0x20;
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    default:
        return true;
    }
}

// The escape of a character inside quotes, or 0 where it stands for itself.
static int escape(uint32_t code, char quote, char out[12])
{
    switch (code) {
    case '\n':
        return snprintf(out, 12, "\\n");
    case '\r':
        return snprintf(out, 12, "\\r");
    case '\t':
        return snprintf(out, 12, "\\t");
    case '\\':
        return snprintf(out, 12, "\\\\");
    }
    if (code == (unsigned char)quote) return snprintf(out, 12, "\\%c", quote);
    if (printable(code)) return 0;
    return snprintf(out, 12,
                    code < 0x100     ? "\\x%02x"
                    : code < 0x10000 ? "\\u%04x"
                                     : "\\U%08x",
                    code);
}

static void add_quoted(qn_jinja_builder *b, const qn_jinja_string *s)
{
    bool single = s->n && memchr(s->data, '\'', s->n), twice = s->n && memchr(s->data, '"', s->n);
    char quote[2] = {single && !twice ? '"' : '\'', 0}, text[12];
    size_t plain = 0;
    add(b, quote);
    for (size_t i = 0; i < s->n;) {
        uint32_t code;
        size_t n = qn_jinja_character(s, i, &code);
        if (escape(code, quote[0], text)) {
            qn_jinja_string before = qn_jinja_view(s, plain, i);
            qn_jinja_add(b, &before);
            add(b, text);
            plain = i + n;
        }
        i += n;
    }
    qn_jinja_string rest = qn_jinja_view(s, plain, s->n);
    qn_jinja_add(b, &rest);
    add(b, quote);
}

static void add_repr(qn_jinja_builder *b, const qn_jinja_value *v, int depth);

static void add_items(qn_jinja_builder *b, const qn_jinja_list *list, int depth)
{
    for (size_t i = 0; i < list->n && !b->run->code; i++) {
        if (i) add(b, ", ");
        add_repr(b, &list->items[i], depth);
    }
}

static void add_list(qn_jinja_builder *b, const qn_jinja_list *list, int depth)
{
    static const struct {
        const char *open, *close;
    } brackets[] = {
        [QN_JINJA_PLAIN_LIST] = {"[", "]"},        [QN_JINJA_TUPLE] = {"(", ")"},
        [QN_JINJA_KEYS] = {"dict_keys([", "])"},   [QN_JINJA_VALUES] = {"dict_values([", "])"},
        [QN_JINJA_ITEMS] = {"dict_items([", "])"},
    };
    char text[100];
    const int64_t *bounds = list->bounds;
    switch (list->flavour) {
    case QN_JINJA_ITERATOR:
        add(b, "<generator object>");
        return;
    case QN_JINJA_RANGE:
        snprintf(text, sizeof text,
                 bounds[2] == 1 ? "range(%" PRId64 ", %" PRId64 ")"
                                : "range(%" PRId64 ", %" PRId64 ", %" PRId64 ")",
                 bounds[0], bounds[1], bounds[2]);
        add(b, text);
        return;
    default:
        add(b, brackets[list->flavour].open);
        add_items(b, list, depth);
        if (list->flavour == QN_JINJA_TUPLE && list->n == 1) add(b, ",");
        add(b, brackets[list->flavour].close);
    }
}

static void add_dict(qn_jinja_builder *b, const qn_jinja_dict *d, int depth)
{
    add(b, "{");
    for (size_t i = 0; i < d->n && !b->run->code; i++) {
        if (i) add(b, ", ");
        add_repr(b, &d->entries[i].key, depth);
        add(b, ": ");
        add_repr(b, &d->entries[i].value, depth);
    }
    add(b, "}");
}

static void add_callable(qn_jinja_builder *b, const qn_jinja_value *v)
{
    qn_jinja_string name;
    switch (v->kind) {
    case QN_JINJA_MACRO:
        if (v->macro->is_caller) {
            add(b, "<Macro anonymous>");
            return;
        }
        name = *b->run->program->names[v->macro->signature->name];
        add(b, "<Macro ");
        add_quoted(b, &name);
        break;
    case QN_JINJA_METHOD:
        add(b, "<built-in method ");
        add(b, v->method->builtin->name);
        add(b, " of ");
        add(b, qn_jinja_type(&v->method->self));
        add(b, " object");
        break;
    default:
        add(b, "<function ");
        add(b, v->function->name);
    }
    add(b, ">");
}

static void add_number(qn_jinja_builder *b, const qn_jinja_value *v)
{
    char text[64];
    if (v->kind == QN_JINJA_FLOAT) {
        qn_jinja_format_real(v->real, text);
    } else if (v->kind == QN_JINJA_INT) {
        snprintf(text, sizeof text, "%" PRId64, v->integer);
    } else {
        snprintf(text, sizeof text, "<LoopContext %zu/%zu>", v->loop->index + 1, v->loop->n);
    }
    add(b, text);
}

static void add_repr(qn_jinja_builder *b, const qn_jinja_value *v, int depth)
{
    if (b->run->code || qn_jinja_charge(b->run, 1)) return;
    if (depth > QN_JINJA_MAX_DATA_DEPTH) {
        qn_jinja_limit(b->run, "its limit of 128 levels of nested data");
        return;
    }
    switch (v->kind) {
    case QN_JINJA_ABSENT:
    case QN_JINJA_NONE:
        add(b, "None");
        return;
    case QN_JINJA_UNDEFINED:
        add(b, "Undefined");
        return;
    case QN_JINJA_BOOL:
        add(b, v->boolean ? "True" : "False");
        return;
    case QN_JINJA_INT:
    case QN_JINJA_FLOAT:
    case QN_JINJA_LOOP:
        add_number(b, v);
        return;
    case QN_JINJA_STRING:
        if (v->string->markup) add(b, "Markup(");
        add_quoted(b, v->string);
        if (v->string->markup) add(b, ")");
        return;
    case QN_JINJA_LIST:
        add_list(b, v->list, depth + 1);
        return;
    case QN_JINJA_DICT:
        add_dict(b, v->dict, depth + 1);
        return;
    case QN_JINJA_NAMESPACE:
        add(b, "<Namespace ");
        add_dict(b, v->dict, depth + 1);
        add(b, ">");
        return;
    default:
        add_callable(b, v);
    }
}

void qn_jinja_add_repr(qn_jinja_builder *b, const qn_jinja_value *v)
{
    add_repr(b, v, 0);
}

void qn_jinja_add_str(qn_jinja_builder *b, const qn_jinja_value *v)
{
    if (v->kind == QN_JINJA_STRING) {
        qn_jinja_add(b, v->string);
    } else if (v->kind != QN_JINJA_UNDEFINED) {
        add_repr(b, v, 0);
    }
}

int qn_jinja_to_string(qn_jinja_run *r, const qn_jinja_value *v, qn_jinja_string *out)
{
    if (v->kind == QN_JINJA_STRING) return *out = *v->string, 0;
    qn_jinja_builder b = {.run = r};
    qn_jinja_value text;
    qn_jinja_add_str(&b, v);
    if (qn_jinja_build(&b, &text)) return r->code;
    *out = *text.string;
    return 0;
}
