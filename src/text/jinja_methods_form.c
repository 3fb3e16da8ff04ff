// The methods of strings that ask what they are made of, and those that lay them out. See jinja_eval.h.
#include <string.h>

#include <utf8proc.h>

#include "text/jinja_eval.h"

#define SELF (c->self.string)

// ---- what a string is made of ----

static bool letter(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

static bool decimal(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_ND;
}

static bool numeric(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

static bool letter_or_number(uint32_t c)
{
    return letter(c) || numeric(c);
}

static bool ascii(uint32_t c)
{
    return c < 0x80;
}

static int all(qn_jinja_run *r, qn_jinja_call *c, bool (*is)(uint32_t), qn_jinja_value *out)
{
    bool holds = SELF->n > 0 || is == ascii;
    if (qn_jinja_charge(r, SELF->n / 32)) return r->code;
    for (size_t i = 0; holds && i < SELF->n;) {
        uint32_t code;
        i += qn_jinja_character(SELF, i, &code);
        holds = is(code);
    }
    *out = qn_jinja_bool(holds);
    return 0;
}

#define ALL_METHOD(name, is)                                                                       \
    static int name(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)                        \
    {                                                                                              \
        return all(r, c, is, out);                                                                 \
    }
ALL_METHOD(is_alpha, letter)
ALL_METHOD(is_decimal, decimal)
ALL_METHOD(is_numeric, numeric)
ALL_METHOD(is_alnum, letter_or_number)
ALL_METHOD(is_ascii, ascii)
ALL_METHOD(is_space, qn_jinja_is_space)

static int is_lower(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    *out = qn_jinja_bool(qn_jinja_has_case(SELF, false));
    return qn_jinja_charge(r, SELF->n / 32);
}

static int is_upper(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    *out = qn_jinja_bool(qn_jinja_has_case(SELF, true));
    return qn_jinja_charge(r, SELF->n / 32);
}

// ---- layout ----

int qn_jinja_pad(qn_jinja_run *r, const qn_jinja_string *s, int64_t width,
                 const qn_jinja_string *filler, const bool sides[2], qn_jinja_value *out)
{
    qn_jinja_builder b = {.run = r};
    int64_t n = (int64_t)qn_jinja_count(s), missing = width > n ? width - n : 0;
    int64_t left = !sides[0] ? 0 : !sides[1] ? missing : missing / 2 + (missing & width & 1);
    if (qn_jinja_count(filler) != 1) {
        return qn_jinja_fail(r, "TypeError",
                             "The fill character must be exactly one character long");
    }
    if (qn_jinja_charge(r, (uint64_t)missing / 16)) return r->code;
    for (int64_t i = 0; i < left && !r->code; i++)
        qn_jinja_add(&b, filler);
    qn_jinja_add(&b, s);
    for (int64_t i = left; i < missing && !r->code; i++)
        qn_jinja_add(&b, filler);
    return qn_jinja_build(&b, out);
}

static int pad(qn_jinja_run *r, qn_jinja_call *c, const bool sides[2], qn_jinja_value *out)
{
    int64_t width;
    qn_jinja_string filler;
    if (qn_jinja_int_argument(r, &c->slot[0], 0, &width)) return r->code;
    if (qn_jinja_string_argument(r, &c->slot[1], " ", &filler)) return r->code;
    return qn_jinja_pad(r, SELF, width, &filler, sides, out);
}

static int text_center(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return pad(r, c, (bool[]){true, true}, out);
}

static int text_ljust(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return pad(r, c, (bool[]){false, true}, out);
}

static int text_rjust(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return pad(r, c, (bool[]){true, false}, out);
}

static int text_zfill(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    int64_t width;
    const qn_jinja_string zero = qn_jinja_literal("0", true);
    bool sign = SELF->n && (SELF->data[0] == '-' || SELF->data[0] == '+');
    qn_jinja_string head = qn_jinja_view(SELF, 0, sign),
                    digits = qn_jinja_view(SELF, sign, SELF->n);
    qn_jinja_value padded;
    if (qn_jinja_int_argument(r, &c->slot[0], 0, &width)) return r->code;
    if (width > 0) width -= sign;
    if (qn_jinja_pad(r, &digits, width, &zero, (bool[]){true, false}, &padded)) return r->code;
    return qn_jinja_concat(r, &head, padded.string, out);
}

// ---- str.format: {}, {0}, {name}, {{ and }} ----

static int format_field(qn_jinja_run *r, const qn_jinja_call *c, const qn_jinja_string *field,
                        size_t *next, const qn_jinja_value **out)
{
    int64_t number = 0;
    if (!field->n) number = (int64_t)(*next)++;
    if (!field->n || qn_jinja_parse_int(field, 10, &number)) {
        if (number < 0 || (uint64_t)number >= c->args.n) {
            return qn_jinja_fail(r, "IndexError",
                                 "Replacement index %lld out of range for positional args tuple",
                                 (long long)number);
        }
        *out = &c->args.positional[number];
        return 0;
    }
    for (size_t i = 0; i < c->args.n_named; i++) {
        if (qn_jinja_same(c->args.names[i], field)) return *out = &c->args.named[i], 0;
    }
    int n = qn_jinja_at_most(field->n, 100);
    if (memchr(field->data, ':', field->n) || memchr(field->data, '!', field->n) ||
        memchr(field->data, '.', field->n) || memchr(field->data, '[', field->n)) {
        return qn_jinja_fail(r, "ValueError", "format field '%.*s' is not supported", n,
                             field->data);
    }
    return qn_jinja_fail(r, "KeyError", "'%.*s'", n, field->data);
}

static int text_format(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    const qn_jinja_string *s = SELF, close = qn_jinja_literal("}", true);
    qn_jinja_builder b = {.run = r};
    size_t plain = 0, next = 0;
    for (size_t i = 0; i < s->n && !r->code; i++) {
        char brace = s->data[i];
        if (brace != '{' && brace != '}') continue;
        bool twice = i + 1 < s->n && s->data[i + 1] == brace;
        qn_jinja_string before = qn_jinja_view(s, plain, i + twice);
        qn_jinja_add(&b, &before);
        if (twice) {
            plain = ++i + 1;
            continue;
        }
        size_t end = brace == '{' ? qn_jinja_find(s, &close, i) : SIZE_MAX;
        if (end == SIZE_MAX) {
            return qn_jinja_fail(r, "ValueError", "Single '%c' encountered in format string",
                                 brace);
        }
        qn_jinja_string field = qn_jinja_view(s, i + 1, end);
        const qn_jinja_value *v = NULL;
        if (qn_jinja_charge(r, 1) || format_field(r, c, &field, &next, &v)) return r->code;
        qn_jinja_add_str(&b, v);
        i = end;
        plain = end + 1;
    }
    qn_jinja_string rest = qn_jinja_view(s, plain, s->n);
    qn_jinja_add(&b, &rest);
    return qn_jinja_build(&b, out);
}

static const qn_jinja_builtin rows[] = {
    {"isalpha", is_alpha, "", 0},
    {"isdigit", is_decimal, "", 0},
    {"isdecimal", is_decimal, "", 0},
    {"isnumeric", is_numeric, "", 0},
    {"isalnum", is_alnum, "", 0},
    {"isascii", is_ascii, "", 0},
    {"isspace", is_space, "", 0},
    {"islower", is_lower, "", 0},
    {"isupper", is_upper, "", 0},
    {"center", text_center, "width fillchar", 1},
    {"ljust", text_ljust, "width fillchar", 1},
    {"rjust", text_rjust, "width fillchar", 1},
    {"zfill", text_zfill, "width", 1},
    {"format", text_format, "*", 0},
};
const qn_jinja_table qn_jinja_form_methods = {rows, sizeof rows / sizeof *rows};
