// The methods of strings that search, cut and join; the others are in jinja_methods_form.c. Positions are characters, as in Python. See jinja_eval.h.
#include <string.h>

#include "text/jinja_eval.h"

#define SELF (c->self.string)

static int string_result(qn_jinja_run *r, const qn_jinja_string *s, size_t from, size_t to,
                         qn_jinja_value *out)
{
    qn_jinja_string part = qn_jinja_view(s, from, to);
    return qn_jinja_string_value(r, &part, out);
}

// ---- case ----

#define CASE_METHOD(name, how)                                                                     \
    static int name(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)                        \
    {                                                                                              \
        return qn_jinja_change_case(r, SELF, how, out);                                            \
    }
CASE_METHOD(text_upper, QN_JINJA_UPPER)
CASE_METHOD(text_lower, QN_JINJA_LOWER)
CASE_METHOD(text_title, QN_JINJA_TITLE)
CASE_METHOD(text_capitalize, QN_JINJA_CAPITALIZE)
CASE_METHOD(text_swapcase, QN_JINJA_SWAP)

// ---- strip ----

static int text_strip(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return qn_jinja_strip(r, SELF, &c->slot[0], (bool[]){true, true}, out);
}

static int text_lstrip(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return qn_jinja_strip(r, SELF, &c->slot[0], (bool[]){true, false}, out);
}

static int text_rstrip(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return qn_jinja_strip(r, SELF, &c->slot[0], (bool[]){false, true}, out);
}

static int text_removeprefix(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_string fix;
    if (qn_jinja_string_argument(r, &c->slot[0], NULL, &fix)) return r->code;
    bool has = fix.n <= SELF->n && !memcmp(SELF->data, fix.data, fix.n);
    return string_result(r, SELF, has ? fix.n : 0, SELF->n, out);
}

static int text_removesuffix(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_string fix;
    if (qn_jinja_string_argument(r, &c->slot[0], NULL, &fix)) return r->code;
    bool has = fix.n <= SELF->n && !memcmp(SELF->data + SELF->n - fix.n, fix.data, fix.n);
    return string_result(r, SELF, 0, has ? SELF->n - fix.n : SELF->n, out);
}

// ---- split and join ----

typedef struct {
    qn_jinja_run *run;
    const qn_jinja_string *s;
    qn_jinja_list *list;
    size_t capacity;
} parts;

static int push_part(parts *p, size_t from, size_t to)
{
    qn_jinja_value v;
    if (string_result(p->run, p->s, from, to, &v)) return p->run->code;
    return qn_jinja_push(p->run, p->list, &p->capacity, v);
}

static int split_spaces(parts *p, int64_t limit)
{
    const qn_jinja_string *s = p->s;
    size_t at = 0;
    for (;;) {
        qn_jinja_string rest = qn_jinja_view(s, at, s->n);
        rest = qn_jinja_trim(&rest, NULL, true, false);
        if (!rest.n) return 0;
        size_t from = s->n - rest.n, to = from;
        if (limit-- == 0) return push_part(p, from, from + rest.n);
        while (to < s->n) {
            uint32_t code;
            size_t n = qn_jinja_character(s, to, &code);
            if (qn_jinja_is_space(code)) break;
            to += n;
        }
        if (push_part(p, from, to)) return p->run->code;
        at = to;
    }
}

static int split_at(parts *p, const qn_jinja_string *separator, int64_t limit)
{
    size_t from = 0;
    for (; limit != 0; limit--) {
        size_t at = qn_jinja_find(p->s, separator, from);
        if (at == SIZE_MAX) break;
        if (push_part(p, from, at)) return p->run->code;
        from = at + separator->n;
    }
    return push_part(p, from, p->s->n);
}

// Charged for looking for a needle from the right, which compares at every place.
static int charge_search(qn_jinja_run *r, const qn_jinja_string *s, const qn_jinja_string *needle)
{
    return qn_jinja_charge_bytes(r, (uint64_t)s->n * (needle->n / 8 + 4));
}

// The last occurrence that ends at or before `to`, or SIZE_MAX.
static size_t find_last(const qn_jinja_string *s, const qn_jinja_string *needle, size_t to)
{
    if (needle->n > to) return SIZE_MAX;
    for (size_t i = to - needle->n + 1; i-- > 0;) {
        if (!memcmp(s->data + i, needle->data, needle->n)) return i;
    }
    return SIZE_MAX;
}

static void reverse(qn_jinja_list *list)
{
    for (size_t i = 0; i < list->n / 2; i++) {
        qn_jinja_value v = list->items[i];
        list->items[i] = list->items[list->n - 1 - i];
        list->items[list->n - 1 - i] = v;
    }
}

static int split_from_right(parts *p, const qn_jinja_string *separator, int64_t limit)
{
    size_t to = p->s->n;
    for (; limit != 0; limit--) {
        size_t at = find_last(p->s, separator, to);
        if (at == SIZE_MAX) break;
        if (push_part(p, at + separator->n, to)) return p->run->code;
        to = at;
    }
    if (push_part(p, 0, to)) return p->run->code;
    reverse(p->list);
    return 0;
}

static int split_spaces_from_right(parts *p, int64_t limit)
{
    const qn_jinja_string *s = p->s;
    size_t to = s->n;
    for (;;) {
        qn_jinja_string rest = qn_jinja_view(s, 0, to);
        to = qn_jinja_trim(&rest, NULL, false, true).n;
        if (!to) break;
        size_t from = to;
        while (limit != 0 && from > 0) {
            uint32_t code;
            size_t at = from - 1;
            while (at > 0 && ((unsigned char)s->data[at] & 0xc0) == 0x80)
                at--;
            qn_jinja_character(s, at, &code);
            if (qn_jinja_is_space(code)) break;
            from = at;
        }
        if (limit == 0) from = 0;
        if (push_part(p, from, to)) return p->run->code;
        if (limit-- == 0) break;
        to = from;
    }
    reverse(p->list);
    return 0;
}

static int split(qn_jinja_run *r, qn_jinja_call *c, bool right, qn_jinja_value *out)
{
    int64_t limit;
    if (qn_jinja_int_argument(r, &c->slot[1], -1, &limit)) return r->code;
    if (qn_jinja_charge_bytes(r, SELF->n * 4)) return r->code;
    if (qn_jinja_new_list(r, 0, QN_JINJA_PLAIN_LIST, out)) return r->code;
    parts p = {r, SELF, out->list, 0};
    if (!qn_jinja_given(&c->slot[0])) {
        return right ? split_spaces_from_right(&p, limit) : split_spaces(&p, limit);
    }
    qn_jinja_string separator;
    if (qn_jinja_string_argument(r, &c->slot[0], NULL, &separator)) return r->code;
    if (!separator.n) return qn_jinja_fail(r, "ValueError", "empty separator");
    if (right && charge_search(r, SELF, &separator)) return r->code;
    return right ? split_from_right(&p, &separator, limit) : split_at(&p, &separator, limit);
}

static int text_split(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return split(r, c, false, out);
}

static int text_rsplit(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return split(r, c, true, out);
}

static int text_splitlines(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return qn_jinja_split_lines(r, SELF, qn_jinja_truth(&c->slot[0]), out);
}

// (before, separator, after), around the first or the last occurrence.
static int partition(qn_jinja_run *r, qn_jinja_call *c, bool right, qn_jinja_value *out)
{
    qn_jinja_string separator;
    if (qn_jinja_string_argument(r, &c->slot[0], NULL, &separator)) return r->code;
    if (!separator.n) return qn_jinja_fail(r, "ValueError", "empty separator");
    if (charge_search(r, SELF, &separator)) return r->code;
    size_t n = SELF->n,
           at = right ? find_last(SELF, &separator, n) : qn_jinja_find(SELF, &separator, 0);
    size_t cut[4] = {0, at, at + separator.n, n};
    if (at == SIZE_MAX)
        memcpy(cut, right ? (size_t[]){0, 0, 0, n} : (size_t[]){0, n, n, n}, sizeof cut);
    if (qn_jinja_new_list(r, 3, QN_JINJA_TUPLE, out)) return r->code;
    qn_jinja_value *items = out->list->items;
    for (int i = 0; i < 3; i++) {
        if (string_result(r, SELF, cut[i], cut[i + 1], &items[i])) return r->code;
    }
    return 0;
}

static int text_partition(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return partition(r, c, false, out);
}

static int text_rpartition(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return partition(r, c, true, out);
}

static int text_join(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_builder b = {.run = r};
    qn_jinja_value *items;
    size_t n;
    if (qn_jinja_iterate(r, &c->slot[0], &items, &n)) return r->code;
    for (size_t i = 0; i < n; i++) {
        if (items[i].kind != QN_JINJA_STRING) {
            return qn_jinja_fail(r, "TypeError",
                                 "sequence item %zu: expected str instance, %s found", i,
                                 qn_jinja_type(&items[i]));
        }
        if (qn_jinja_charge(r, 1)) return r->code;
        if (i) qn_jinja_add(&b, SELF);
        qn_jinja_add(&b, items[i].string);
    }
    return qn_jinja_build(&b, out);
}

// ---- searching ----

// The part that the arguments start and end (slots 1 and 2) select, and where it begins, in characters.
static int selected(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_string *part, int64_t *first)
{
    qn_jinja_value bounds[3] = {c->slot[1], c->slot[2], qn_jinja_none()}, v;
    *part = *SELF;
    *first = 0;
    for (int i = 0; i < 2; i++) {
        if (bounds[i].kind == QN_JINJA_ABSENT) bounds[i] = qn_jinja_none();
    }
    if (bounds[0].kind == QN_JINJA_NONE && bounds[1].kind == QN_JINJA_NONE) return 0;
    if (qn_jinja_slice(r, &c->self, bounds, &v)) return r->code;
    *part = *v.string;
    qn_jinja_string before = qn_jinja_view(SELF, 0, (size_t)(part->data - SELF->data));
    *first = (int64_t)qn_jinja_count(&before);
    return 0;
}

static int find(qn_jinja_run *r, qn_jinja_call *c, bool last, qn_jinja_value *out)
{
    qn_jinja_string needle, part;
    int64_t first;
    if (qn_jinja_string_argument(r, &c->slot[0], NULL, &needle)) return r->code;
    if (selected(r, c, &part, &first) || charge_search(r, &part, &needle)) return r->code;
    size_t at = last ? find_last(&part, &needle, part.n) : qn_jinja_find(&part, &needle, 0);
    if (at == SIZE_MAX) return *out = qn_jinja_int(-1), 0;
    qn_jinja_string before = qn_jinja_view(&part, 0, at);
    *out = qn_jinja_int(first + (int64_t)qn_jinja_count(&before));
    return 0;
}

static int text_find(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return find(r, c, false, out);
}

static int text_rfind(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return find(r, c, true, out);
}

static int text_index(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    if (find(r, c, false, out)) return r->code;
    return out->integer < 0 ? qn_jinja_fail(r, "ValueError", "substring not found") : 0;
}

static int text_count(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_string needle, part;
    int64_t first, n = 0;
    if (qn_jinja_string_argument(r, &c->slot[0], NULL, &needle)) return r->code;
    if (selected(r, c, &part, &first) || qn_jinja_charge_bytes(r, part.n * 4)) return r->code;
    if (!needle.n) {
        *out = qn_jinja_int((int64_t)qn_jinja_count(&part) + 1);
        return 0;
    }
    for (size_t at = 0; (at = qn_jinja_find(&part, &needle, at)) != SIZE_MAX; n++)
        at += needle.n;
    *out = qn_jinja_int(n);
    return 0;
}

static int has_end(qn_jinja_run *r, qn_jinja_call *c, bool suffix, qn_jinja_value *out)
{
    const qn_jinja_value *fixes = &c->slot[0];
    size_t n = 1;
    qn_jinja_string part, fix;
    int64_t first;
    if (fixes->kind == QN_JINJA_LIST && fixes->list->flavour == QN_JINJA_TUPLE) {
        n = fixes->list->n;
        fixes = fixes->list->items;
    }
    if (selected(r, c, &part, &first)) return r->code;
    bool has = false;
    for (size_t i = 0; !has && i < n; i++) {
        if (qn_jinja_string_argument(r, &fixes[i], NULL, &fix) || qn_jinja_charge_bytes(r, fix.n)) {
            return r->code;
        }
        has =
            fix.n <= part.n && !memcmp(part.data + (suffix ? part.n - fix.n : 0), fix.data, fix.n);
    }
    *out = qn_jinja_bool(has);
    return 0;
}

static int text_startswith(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return has_end(r, c, false, out);
}

static int text_endswith(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return has_end(r, c, true, out);
}

static int text_replace(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_replacement how;
    if (qn_jinja_string_argument(r, &c->slot[0], NULL, &how.old)) return r->code;
    if (qn_jinja_string_argument(r, &c->slot[1], NULL, &how.new)) return r->code;
    if (qn_jinja_int_argument(r, &c->slot[2], -1, &how.count)) return r->code;
    return qn_jinja_replace(r, SELF, &how, out);
}

static const qn_jinja_builtin rows[] = {
    {"upper", text_upper, "", 0},
    {"lower", text_lower, "", 0},
    {"title", text_title, "", 0},
    {"capitalize", text_capitalize, "", 0},
    {"swapcase", text_swapcase, "", 0},
    {"strip", text_strip, "chars", 0},
    {"lstrip", text_lstrip, "chars", 0},
    {"rstrip", text_rstrip, "chars", 0},
    {"removeprefix", text_removeprefix, "prefix", 1},
    {"removesuffix", text_removesuffix, "suffix", 1},
    {"split", text_split, "sep maxsplit", 0},
    {"rsplit", text_rsplit, "sep maxsplit", 0},
    {"splitlines", text_splitlines, "keepends", 0},
    {"partition", text_partition, "sep", 1},
    {"rpartition", text_rpartition, "sep", 1},
    {"join", text_join, "iterable", 1},
    {"find", text_find, "sub start end", 1},
    {"rfind", text_rfind, "sub start end", 1},
    {"index", text_index, "sub start end", 1},
    {"count", text_count, "sub start end", 1},
    {"startswith", text_startswith, "prefix start end", 1},
    {"endswith", text_endswith, "suffix start end", 1},
    {"replace", text_replace, "old new count", 2},
};
const qn_jinja_table qn_jinja_text_methods = {rows, sizeof rows / sizeof *rows};
