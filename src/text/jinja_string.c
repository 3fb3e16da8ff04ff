// Strings that remember, byte by byte, who wrote them; building and concatenating them. See jinja_value.h.
#include <string.h>

#include "base/utf8.h"
#include "text/jinja_value.h"

enum { CHUNK_BYTES = 64 << 10, MAX_SLACK_BYTES = 4 << 20 };

qn_jinja_string qn_jinja_literal(const char *text, bool trusted)
{
    return (qn_jinja_string){text, NULL, strlen(text), trusted, false};
}

qn_jinja_string qn_jinja_view(const qn_jinja_string *s, size_t from, size_t to)
{
    return (qn_jinja_string){s->data + from, s->trust ? s->trust + from : NULL, to - from,
                             s->trusted, s->markup};
}

int qn_jinja_string_value(qn_jinja_run *r, const qn_jinja_string *s, qn_jinja_value *out)
{
    qn_jinja_string *copy = qn_jinja_take(r, 1, sizeof *copy);
    if (!copy) return r->code;
    *copy = *s;
    *out = (qn_jinja_value){.kind = QN_JINJA_STRING, .string = copy};
    return 0;
}

// Makes room for n bytes at text + text_used. A large text gets slack behind it, so that what is appended
// to it later (a + b + c) need not copy it again.
static bool text_room(qn_jinja_run *r, size_t n)
{
    if (r->text_size - r->text_used >= n) return true;
    size_t slack = n / 2 < MAX_SLACK_BYTES ? n / 2 : MAX_SLACK_BYTES;
    size_t size = n + slack < CHUNK_BYTES ? CHUNK_BYTES : n + slack;
    char *chunk = qn_jinja_take(r, size, 2);
    if (!chunk) return false;
    r->text = chunk;
    r->text_trust = (unsigned char *)chunk + size;
    r->text_size = size;
    r->text_used = 0;
    return true;
}

static void copy_trust(unsigned char *to, const qn_jinja_string *s)
{
    if (s->trust) {
        memcpy(to, s->trust, s->n);
    } else {
        memset(to, s->trusted, s->n);
    }
}

static void text_append(qn_jinja_run *r, const qn_jinja_string *s)
{
    if (!s->n) return;
    memcpy(r->text + r->text_used, s->data, s->n);
    copy_trust(r->text_trust + r->text_used, s);
    r->text_used += s->n;
}

int qn_jinja_concat(qn_jinja_run *r, const qn_jinja_string *a, const qn_jinja_string *b,
                    qn_jinja_value *out)
{
    if (!a->n || !b->n) return qn_jinja_string_value(r, a->n ? a : b, out);
    // Where a ends the chunk, b is put right behind it and a stays valid as a view.
    bool extends = r->text && a->trust && a->data + a->n == r->text + r->text_used &&
                   r->text_size - r->text_used >= b->n;
    if (qn_jinja_charge_bytes(r, b->n + (extends ? 0 : a->n))) return r->code;
    qn_jinja_string whole = {a->data, a->trust, a->n + b->n, false, a->markup && b->markup};
    if (!extends) {
        if (!text_room(r, whole.n)) return r->code;
        whole.data = r->text + r->text_used;
        whole.trust = r->text_trust + r->text_used;
        text_append(r, a);
    }
    text_append(r, b);
    return qn_jinja_string_value(r, &whole, out);
}

// ---- builder ----

static void root_add(qn_jinja_builder *b, const qn_jinja_string *s)
{
    qn_jinja_run *r = b->run;
    if (s->n > QN_JINJA_MAX_OUTPUT_BYTES - b->n) {
        qn_jinja_limit(r, "its limit of 8 MiB of output");
        return;
    }
    bool fits = qn_buffer_append(b->root, s->data, s->n);
    if (fits && b->root_trust && (fits = qn_buffer_reserve(b->root_trust, s->n))) {
        copy_trust((unsigned char *)b->root_trust->data + b->root_trust->length, s);
        b->root_trust->length += s->n;
        b->root_trust->data[b->root_trust->length] = 0;
    }
    if (!fits) {
        r->code = qn_error_set(r->error, QUERN_E_MEMORY, "no memory for the rendered template");
    }
    b->n += s->n;
}

// Room for n more bytes in the builder's own region, in place where nothing was put behind it.
static bool builder_room(qn_jinja_builder *b, size_t n)
{
    if (b->capacity - b->n >= n) return true;
    qn_jinja_run *r = b->run;
    size_t more = n + b->n > 128 ? n + b->n : 128;
    if (b->data && b->data + b->capacity == r->text + r->text_used &&
        r->text_size - r->text_used >= more) {
        r->text_used += more;
        b->capacity += more;
        return true;
    }
    if (qn_jinja_charge_bytes(r, b->n) || !text_room(r, b->n + more)) return false;
    char *data = r->text + r->text_used;
    unsigned char *trust = r->text_trust + r->text_used;
    if (b->n) {
        memcpy(data, b->data, b->n);
        memcpy(trust, b->trust, b->n);
    }
    r->text_used += b->n + more;
    b->data = data;
    b->trust = trust;
    b->capacity = b->n + more;
    return true;
}

void qn_jinja_add(qn_jinja_builder *b, const qn_jinja_string *s)
{
    if (!s->n || b->run->code || qn_jinja_charge_bytes(b->run, s->n)) return;
    if (b->root) {
        root_add(b, s);
    } else if (builder_room(b, s->n)) {
        memcpy(b->data + b->n, s->data, s->n);
        copy_trust(b->trust + b->n, s);
        b->n += s->n;
    }
}

void qn_jinja_add_text(qn_jinja_builder *b, const char *text, size_t n, bool trusted)
{
    qn_jinja_add(b, &(qn_jinja_string){text, NULL, n, trusted, false});
}

int qn_jinja_build(qn_jinja_builder *b, qn_jinja_value *out)
{
    qn_jinja_run *r = b->run;
    if (r->code) return r->code;
    if (b->data && b->data + b->capacity == r->text + r->text_used) {
        r->text_used -= b->capacity - b->n;
    }
    qn_jinja_string s = {b->n ? b->data : "", b->n ? b->trust : NULL, b->n, true, false};
    return qn_jinja_string_value(r, &s, out);
}

// ---- looking into strings ----

bool qn_jinja_same(const qn_jinja_string *a, const qn_jinja_string *b)
{
    return a->n == b->n && (!a->n || !memcmp(a->data, b->data, a->n));
}

bool qn_jinja_is(const qn_jinja_string *s, const char *text)
{
    return s->n == strlen(text) && !memcmp(s->data, text, s->n);
}

int qn_jinja_order(const qn_jinja_string *a, const qn_jinja_string *b)
{
    size_t n = a->n < b->n ? a->n : b->n;
    int order = n ? memcmp(a->data, b->data, n) : 0;
    if (!order) order = (a->n > b->n) - (a->n < b->n);
    return order < 0 ? -1 : order > 0;
}

size_t qn_jinja_character(const qn_jinja_string *s, size_t i, uint32_t *code)
{
    int n = qn_utf8_decode(s->data + i, s->n - i, code);
    if (n > 0) return (size_t)n;
    *code = 0xfffd; // cannot be: strings are checked where they enter
    return 1;
}

size_t qn_jinja_count(const qn_jinja_string *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += ((unsigned char)s->data[i] & 0xc0) != 0x80;
    return n;
}

size_t qn_jinja_offset(const qn_jinja_string *s, size_t n_characters)
{
    size_t i = 0;
    while (i < s->n && n_characters) {
        i++;
        while (i < s->n && ((unsigned char)s->data[i] & 0xc0) == 0x80)
            i++;
        n_characters--;
    }
    return i;
}

bool qn_jinja_is_space(uint32_t c)
{
    if (c < 0x80) return (c >= 9 && c <= 13) || (c >= 28 && c <= 32);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool in_set(const qn_jinja_string *set, uint32_t code)
{
    if (!set) return qn_jinja_is_space(code);
    uint32_t c;
    for (size_t i = 0; i < set->n;) {
        i += qn_jinja_character(set, i, &c);
        if (c == code) return true;
    }
    return false;
}

qn_jinja_string qn_jinja_trim(const qn_jinja_string *s, const qn_jinja_string *set, bool left,
                              bool right)
{
    size_t from = 0, to = s->n;
    uint32_t code;
    while (left && from < to) {
        size_t n = qn_jinja_character(s, from, &code);
        if (!in_set(set, code)) break;
        from += n;
    }
    while (right && to > from) {
        size_t at = to - 1;
        while (at > from && ((unsigned char)s->data[at] & 0xc0) == 0x80)
            at--;
        qn_jinja_character(s, at, &code);
        if (!in_set(set, code)) break;
        to = at;
    }
    return qn_jinja_view(s, from, to);
}

size_t qn_jinja_find(const qn_jinja_string *s, const qn_jinja_string *needle, size_t from)
{
    if (from > s->n) return SIZE_MAX;
    if (!needle->n) return from;
    if (needle->n > s->n - from) return SIZE_MAX;
    const char *found = memmem(s->data + from, s->n - from, needle->data, needle->n);
    return found ? (size_t)(found - s->data) : SIZE_MAX;
}
