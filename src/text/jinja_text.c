// What filters and methods do with text: case, replacing, lines, stripping. Every character keeps its trust.
// See jinja_eval.h.
#include <string.h>

#include <utf8proc.h>

#include "base/utf8.h"
#include "text/jinja_eval.h"

int qn_jinja_push(qn_jinja_run *r, qn_jinja_list *list, size_t *capacity, qn_jinja_value v)
{
    if (list->n == *capacity) {
        size_t more = *capacity ? *capacity * 2 : 4;
        qn_jinja_value *items = qn_jinja_take(r, more, sizeof *items);
        if (!items) return r->code;
        if (list->n) memcpy(items, list->items, list->n * sizeof *items);
        list->items = items;
        *capacity = more;
    }
    list->items[list->n++] = v;
    return qn_jinja_charge(r, list->n % 4 == 0);
}

// ---- case ----

static bool is_ascii(const qn_jinja_string *s)
{
    unsigned char all = 0;
    for (size_t i = 0; i < s->n; i++)
        all |= (unsigned char)s->data[i];
    return all < 0x80;
}

static bool is_cased(uint32_t c)
{
    if (c < 0x80) return (c | 32) >= 'a' && (c | 32) <= 'z';
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
           category == UTF8PROC_CATEGORY_LT;
}

static bool is_upper(uint32_t c)
{
    if (c < 0x80) return c >= 'A' && c <= 'Z';
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_LU;
}

// The state between characters: whether the next begins a word (or the text).
static uint32_t map(uint32_t c, qn_jinja_case how, bool *begins)
{
    bool first = *begins;
    if (how == QN_JINJA_TITLE) {
        *begins = !is_cased(c);
    } else if (how == QN_JINJA_TITLE_FILTER) {
        *begins = qn_jinja_is_space(c) || (c < 0x80 && c && strchr("-({[<", (int)c));
    } else {
        *begins = false;
    }
    utf8proc_int32_t code = (utf8proc_int32_t)c;
    switch (how) {
    case QN_JINJA_UPPER:
        return (uint32_t)utf8proc_toupper(code);
    case QN_JINJA_LOWER:
        return (uint32_t)utf8proc_tolower(code);
    case QN_JINJA_SWAP:
        return (uint32_t)(is_upper(c) ? utf8proc_tolower(code) : utf8proc_toupper(code));
    case QN_JINJA_TITLE_FILTER:
        return (uint32_t)(first ? utf8proc_toupper(code) : utf8proc_tolower(code));
    default:
        return (uint32_t)(first ? utf8proc_totitle(code) : utf8proc_tolower(code));
    }
}

static int change_ascii(qn_jinja_run *r, const qn_jinja_string *s, qn_jinja_case how,
                        qn_jinja_value *out)
{
    char *data = qn_jinja_take(r, s->n, 1);
    bool begins = true;
    if (!data) return r->code;
    for (size_t i = 0; i < s->n; i++) {
        data[i] = (char)map((unsigned char)s->data[i], how, &begins);
    }
    qn_jinja_string changed = {data, s->trust, s->n, s->trusted, s->markup};
    return qn_jinja_string_value(r, &changed, out);
}

// The one letter of ours that becomes two.
static size_t sharp_s(qn_jinja_case how, bool first, char out[4])
{
    bool both = how == QN_JINJA_UPPER || how == QN_JINJA_SWAP;
    if (how == QN_JINJA_LOWER || (!both && !first)) return 0;
    memcpy(out, both || how == QN_JINJA_TITLE_FILTER ? "SS" : "Ss", 2);
    return 2;
}

int qn_jinja_change_case(qn_jinja_run *r, const qn_jinja_string *s, qn_jinja_case how,
                         qn_jinja_value *out)
{
    if (qn_jinja_charge(r, s->n / 32)) return r->code;
    if (is_ascii(s)) return change_ascii(r, s, how, out);
    qn_jinja_builder b = {.run = r};
    bool begins = true;
    for (size_t i = 0; i < s->n && !r->code;) {
        uint32_t c;
        size_t n = qn_jinja_character(s, i, &c);
        bool first = begins;
        uint32_t changed = map(c, how, &begins);
        char text[4];
        size_t length = c == 0xdf ? sharp_s(how, first, text) : 0;
        if (!length) length = (size_t)qn_utf8_encode(changed, text);
        qn_jinja_add_text(&b, text, length, qn_jinja_trust_at(s, i));
        i += n;
    }
    return qn_jinja_build(&b, out);
}

bool qn_jinja_has_case(const qn_jinja_string *s, bool upper)
{
    bool any = false;
    for (size_t i = 0; i < s->n;) {
        uint32_t c;
        i += qn_jinja_character(s, i, &c);
        if (!is_cased(c)) continue;
        if (is_upper(c) != upper) return false;
        any = true;
    }
    return any;
}

// ---- replacing ----

// With nothing to look for, `new` goes between all characters.
static void replace_nothing(qn_jinja_builder *b, const qn_jinja_string *s,
                            const qn_jinja_replacement *how)
{
    int64_t left = how->count;
    size_t i = 0;
    while (left != 0 && !b->run->code) {
        uint32_t c;
        qn_jinja_add(b, &how->new);
        left--;
        if (i == s->n) return;
        size_t n = qn_jinja_character(s, i, &c);
        qn_jinja_string character = qn_jinja_view(s, i, i + n);
        qn_jinja_add(b, &character);
        i += n;
    }
    qn_jinja_string rest = qn_jinja_view(s, i, s->n);
    qn_jinja_add(b, &rest);
}

int qn_jinja_replace(qn_jinja_run *r, const qn_jinja_string *s, const qn_jinja_replacement *how,
                     qn_jinja_value *out)
{
    qn_jinja_builder b = {.run = r};
    if (qn_jinja_charge_bytes(r, s->n)) return r->code;
    if (!how->old.n) {
        if (qn_jinja_charge(r, how->count == 0 ? 0 : s->n / 16)) return r->code;
        replace_nothing(&b, s, how);
        return qn_jinja_build(&b, out);
    }
    size_t from = 0, at;
    for (int64_t left = how->count; left != 0 && !r->code; left--) {
        at = qn_jinja_find(s, &how->old, from);
        if (at == SIZE_MAX) break;
        qn_jinja_string before = qn_jinja_view(s, from, at);
        qn_jinja_add(&b, &before);
        qn_jinja_add(&b, &how->new);
        from = at + how->old.n;
        if (left % 16 == 0) qn_jinja_charge(r, 1);
    }
    if (!from) return r->code ? r->code : qn_jinja_string_value(r, s, out);
    qn_jinja_string rest = qn_jinja_view(s, from, s->n);
    qn_jinja_add(&b, &rest);
    return qn_jinja_build(&b, out);
}

// ---- markup ----

static const char *entity(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&#34;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

int qn_jinja_escape(qn_jinja_run *r, const qn_jinja_string *s, qn_jinja_value *out)
{
    qn_jinja_builder b = {.run = r};
    size_t plain = 0;
    if (s->markup) return qn_jinja_string_value(r, s, out);
    if (qn_jinja_charge(r, s->n / 32)) return r->code;
    for (size_t i = 0; i < s->n; i++) {
        const char *name = entity(s->data[i]);
        if (!name) continue;
        qn_jinja_string before = qn_jinja_view(s, plain, i);
        qn_jinja_add(&b, &before);
        qn_jinja_add_text(&b, name, strlen(name), qn_jinja_trust_at(s, i));
        plain = i + 1;
    }
    qn_jinja_string rest = qn_jinja_view(s, plain, s->n);
    qn_jinja_add(&b, &rest);
    if (qn_jinja_build(&b, out)) return r->code;
    qn_jinja_string whole = *out->string;
    whole.markup = true;
    return qn_jinja_string_value(r, &whole, out);
}

// ---- lines and ends ----

static bool ends_line(uint32_t c)
{
    return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

int qn_jinja_split_lines(qn_jinja_run *r, const qn_jinja_string *s, bool keep_ends,
                         qn_jinja_value *out)
{
    size_t capacity = 0, from = 0;
    if (qn_jinja_new_list(r, 0, QN_JINJA_PLAIN_LIST, out)) return r->code;
    if (qn_jinja_charge_bytes(r, s->n * 4)) return r->code;
    for (size_t i = 0; i < s->n;) {
        uint32_t c;
        size_t end = i;
        i += qn_jinja_character(s, i, &c);
        if (!ends_line(c) && i < s->n) continue;
        if (!ends_line(c)) end = i;
        if (c == '\r' && i < s->n && s->data[i] == '\n') i++;
        qn_jinja_string line = qn_jinja_view(s, from, keep_ends ? i : end);
        qn_jinja_value v;
        if (qn_jinja_string_value(r, &line, &v)) return r->code;
        if (qn_jinja_push(r, out->list, &capacity, v)) return r->code;
        from = i;
    }
    return 0;
}

int qn_jinja_strip(qn_jinja_run *r, const qn_jinja_string *s, const qn_jinja_value *set,
                   const bool sides[2], qn_jinja_value *out)
{
    const qn_jinja_string *characters = NULL;
    if (set && qn_jinja_given(set)) {
        if (set->kind != QN_JINJA_STRING) {
            return qn_jinja_fail(r, "TypeError", "strip arg must be None or str");
        }
        characters = set->string;
        // Each character taken off was looked for in the set.
        if (characters->n > 64 && qn_jinja_charge(r, s->n / 64 * (characters->n / 64 + 1))) {
            return r->code;
        }
    }
    qn_jinja_string rest = qn_jinja_trim(s, characters, sides[0], sides[1]);
    if (qn_jinja_charge_bytes(r, s->n - rest.n)) return r->code;
    return qn_jinja_string_value(r, &rest, out);
}

// ---- arguments ----

int qn_jinja_int_argument(qn_jinja_run *r, const qn_jinja_value *v, int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    if (!qn_jinja_given(v) || qn_jinja_as_int(v, out)) return 0;
    if (v->kind == QN_JINJA_UNDEFINED) return qn_jinja_fail_undefined(r, v);
    return qn_jinja_fail(r, "TypeError", "'%s' object cannot be interpreted as an integer",
                         qn_jinja_type(v));
}

int qn_jinja_string_argument(qn_jinja_run *r, const qn_jinja_value *v, const char *otherwise,
                             qn_jinja_string *out)
{
    if (!qn_jinja_given(v) && otherwise) return *out = qn_jinja_literal(otherwise, true), 0;
    if (v->kind == QN_JINJA_STRING) return *out = *v->string, 0;
    return qn_jinja_fail(r, "TypeError", "expected str, not %s", qn_jinja_type(v));
}
