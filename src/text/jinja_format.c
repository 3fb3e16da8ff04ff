// "%s %05d" % values, as Python formats. See jinja_value.h.
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja_eval.h"

enum { MAX_WIDTH = 10000, MAX_PRECISION = 500 };

typedef struct {
    qn_jinja_builder b;
    const qn_jinja_string *format;
    size_t at;
    const qn_jinja_value *values; // a tuple, a dict, or one value
    size_t n_used;
    bool minus, plus, space, zero, alternate;
    int64_t width, precision; // precision -1: not given
} formatter;

static int next_value(formatter *f, qn_jinja_value *out)
{
    const qn_jinja_value *v = f->values;
    bool tuple = v->kind == QN_JINJA_LIST && v->list->flavour == QN_JINJA_TUPLE;
    size_t n = tuple ? v->list->n : 1;
    if (f->n_used >= n) {
        return qn_jinja_fail(f->b.run, "TypeError", "not enough arguments for format string");
    }
    *out = tuple ? v->list->items[f->n_used] : *v;
    f->n_used++;
    return 0;
}

static char current(const formatter *f)
{
    return f->at < f->format->n ? f->format->data[f->at] : '\0';
}

// Digits, or * for the next value.
static int read_number(formatter *f, int64_t limit, int64_t *out)
{
    qn_jinja_run *r = f->b.run;
    if (current(f) == '*') {
        qn_jinja_value v;
        f->at++;
        if (next_value(f, &v)) return r->code;
        if (!qn_jinja_as_int(&v, out)) return qn_jinja_fail(r, "TypeError", "* wants int");
    } else {
        for (*out = 0; isdigit((unsigned char)current(f)) && *out <= limit; f->at++) {
            *out = *out * 10 + (current(f) - '0');
        }
    }
    return *out > limit || *out < -limit ? qn_jinja_limit(r, "the widths of formats") : 0;
}

static int read_spec(formatter *f)
{
    f->minus = f->plus = f->space = f->zero = f->alternate = false;
    f->width = 0;
    f->precision = -1;
    for (;; f->at++) {
        char c = current(f);
        if (c == '-')
            f->minus = true;
        else if (c == '+')
            f->plus = true;
        else if (c == ' ')
            f->space = true;
        else if (c == '0')
            f->zero = true;
        else if (c == '#')
            f->alternate = true;
        else
            break;
    }
    if (read_number(f, MAX_WIDTH, &f->width)) return f->b.run->code;
    if (f->width < 0) {
        f->minus = true;
        f->width = -f->width;
    }
    if (current(f) == '.') {
        f->at++;
        if (read_number(f, MAX_PRECISION, &f->precision)) return f->b.run->code;
        if (f->precision < 0) f->precision = 0;
    }
    if (current(f) && strchr("hlL", current(f))) f->at++;
    return 0;
}

static void fill(formatter *f, char c, int64_t n)
{
    for (; n > 0 && !f->b.run->code; n--)
        qn_jinja_add_text(&f->b, &c, 1, false);
}

static void add_text(formatter *f, const qn_jinja_string *s)
{
    int64_t n = (int64_t)qn_jinja_count(s);
    qn_jinja_string cut = *s;
    if (f->precision >= 0 && n > f->precision) {
        cut.n = qn_jinja_offset(s, (size_t)f->precision);
        n = f->precision;
    }
    if (!f->minus) fill(f, ' ', f->width - n);
    qn_jinja_add(&f->b, &cut);
    if (f->minus) fill(f, ' ', f->width - n);
}

// sign: '-' or 0; prefix: "0x" …
static void add_number(formatter *f, char sign, const char *prefix, const char *digits)
{
    if (!sign) sign = f->plus ? '+' : f->space ? ' ' : '\0';
    int64_t n = (int64_t)(strlen(digits) + strlen(prefix)) + (sign != 0);
    bool zeros = f->zero && !f->minus && isdigit((unsigned char)*digits);
    if (!f->minus && !zeros) fill(f, ' ', f->width - n);
    if (sign) qn_jinja_add_text(&f->b, &sign, 1, false);
    qn_jinja_add_text(&f->b, prefix, strlen(prefix), false);
    if (zeros) fill(f, '0', f->width - n);
    qn_jinja_add_text(&f->b, digits, strlen(digits), false);
    if (f->minus) fill(f, ' ', f->width - n);
}

static int format_int(formatter *f, char type, const qn_jinja_value *v)
{
    qn_jinja_run *r = f->b.run;
    qn_jinja_value whole = *v;
    char digits[MAX_PRECISION + 30];
    bool decimal = strchr("diu", type) != NULL;
    if (v->kind == QN_JINJA_FLOAT && decimal) {
        if (qn_jinja_real_to_int(r, v->real, &whole)) return r->code;
    }
    int64_t i;
    if (!qn_jinja_as_int(&whole, &i)) {
        return qn_jinja_fail(r, "TypeError", "%%%c format: %s is required, not %s", type,
                             decimal ? "a real number" : "an integer", qn_jinja_type(v));
    }
    uint64_t size = i < 0 ? -(uint64_t)i : (uint64_t)i;
    const char *shape = type == 'x'   ? "%.*llx"
                        : type == 'X' ? "%.*llX"
                        : type == 'o' ? "%.*llo"
                                      : "%.*llu";
    int precision = f->precision < 0 ? 1 : (int)f->precision;
    snprintf(digits, sizeof digits, shape, precision, (unsigned long long)size);
    const char *prefix = !f->alternate || decimal ? ""
                         : type == 'x'            ? "0x"
                         : type == 'X'            ? "0X"
                                                  : "0o";
    add_number(f, i < 0 ? '-' : 0, prefix, digits);
    return r->code;
}

static int format_real(formatter *f, char type, const qn_jinja_value *v)
{
    qn_jinja_run *r = f->b.run;
    double d;
    if (!qn_jinja_as_real(v, &d)) {
        return qn_jinja_fail(r, "TypeError", "must be real number, not %s", qn_jinja_type(v));
    }
    char *digits = qn_jinja_take(r, MAX_PRECISION + 400, 1);
    if (!digits) return r->code;
    char shape[8] = {'%', '.', '*', type, 0};
    if (f->alternate) memcpy(shape, (char[]){'%', '#', '.', '*', type, 0}, 6);
    int precision = f->precision < 0 ? 6 : (int)f->precision;
    snprintf(digits, MAX_PRECISION + 400, shape, precision, fabs(d));
    add_number(f, signbit(d) && !isnan(d) ? '-' : 0, "", digits);
    return r->code;
}

static int format_character(formatter *f, const qn_jinja_value *v)
{
    qn_jinja_run *r = f->b.run;
    char bytes[4];
    int64_t code;
    qn_jinja_string s;
    f->precision = -1;
    if (v->kind == QN_JINJA_STRING && qn_jinja_count(v->string) == 1) {
        s = *v->string;
    } else if (qn_jinja_as_int(v, &code) && code >= 0 && code <= 0x10ffff) {
        int n = qn_utf8_encode((uint32_t)code, bytes);
        if (!n) return qn_jinja_fail(r, "ValueError", "%%c is no character");
        s = (qn_jinja_string){bytes, NULL, (size_t)n, false, false};
    } else {
        return qn_jinja_fail(r, "TypeError", "%%c requires int or char");
    }
    add_text(f, &s);
    return r->code;
}

static int format_any(formatter *f, char type, const qn_jinja_value *v)
{
    qn_jinja_run *r = f->b.run;
    qn_jinja_builder text = {.run = r};
    qn_jinja_value s;
    if (type == 's') {
        qn_jinja_add_str(&text, v);
    } else {
        qn_jinja_add_repr(&text, v);
    }
    if (qn_jinja_build(&text, &s)) return r->code;
    add_text(f, s.string);
    return r->code;
}

// (name) after the percent sign: a member of the dict of values.
static int read_key(formatter *f, qn_jinja_value *out)
{
    qn_jinja_run *r = f->b.run;
    const qn_jinja_string close = qn_jinja_literal(")", true);
    size_t from = f->at + 1, to = qn_jinja_find(f->format, &close, from);
    if (to == SIZE_MAX) return qn_jinja_fail(r, "ValueError", "incomplete format key");
    if (f->values->kind != QN_JINJA_DICT) {
        return qn_jinja_fail(r, "TypeError", "format requires a mapping");
    }
    qn_jinja_string name = qn_jinja_view(f->format, from, to);
    qn_jinja_value key = {.kind = QN_JINJA_STRING, .string = &name};
    const qn_jinja_value *member;
    if (qn_jinja_dict_get(r, f->values->dict, &key, &member)) return r->code;
    if (!member) {
        return qn_jinja_fail(r, "KeyError", "'%.*s'", qn_jinja_at_most(name.n, 100), name.data);
    }
    *out = *member;
    f->at = to + 1;
    return 0;
}

static int format_one(formatter *f)
{
    qn_jinja_run *r = f->b.run;
    qn_jinja_value v = {QN_JINJA_ABSENT, {0}};
    if (qn_jinja_charge(r, 1)) return r->code;
    if (current(f) == '(' && read_key(f, &v)) return r->code;
    if (read_spec(f)) return r->code;
    char type = current(f);
    if (!type) return qn_jinja_fail(r, "ValueError", "incomplete format");
    f->at++;
    if (type == '%') {
        qn_jinja_add_text(&f->b, "%", 1, qn_jinja_trust_at(f->format, f->at - 1));
        return 0;
    }
    if (v.kind == QN_JINJA_ABSENT && next_value(f, &v)) return r->code;
    if (strchr("diuoxX", type)) return format_int(f, type, &v);
    if (strchr("eEfFgG", type)) return format_real(f, type, &v);
    if (type == 'c') return format_character(f, &v);
    if (strchr("sra", type)) return format_any(f, type, &v);
    return qn_jinja_fail(r, "ValueError", "unsupported format character at index %zu", f->at - 1);
}

int qn_jinja_percent(qn_jinja_run *r, const qn_jinja_string *format, const qn_jinja_value *values,
                     qn_jinja_value *out)
{
    formatter f = {.b = {.run = r}, .format = format, .values = values};
    const qn_jinja_string percent = qn_jinja_literal("%", true);
    while (!r->code && f.at < format->n) {
        size_t at = qn_jinja_find(format, &percent, f.at);
        qn_jinja_string before = qn_jinja_view(format, f.at, at == SIZE_MAX ? format->n : at);
        qn_jinja_add(&f.b, &before);
        f.at = at == SIZE_MAX ? format->n : at + 1;
        if (at != SIZE_MAX && format_one(&f)) return r->code;
    }
    bool tuple = values->kind == QN_JINJA_LIST && values->list->flavour == QN_JINJA_TUPLE;
    bool ignored = values->kind == QN_JINJA_DICT || values->kind == QN_JINJA_UNDEFINED ||
                   (values->kind == QN_JINJA_LIST && !tuple); // a list counts as a mapping too
    if (!ignored && f.n_used < (tuple ? values->list->n : 1)) {
        return qn_jinja_fail(r, "TypeError",
                             "not all arguments converted during string formatting");
    }
    return qn_jinja_build(&f.b, out);
}
