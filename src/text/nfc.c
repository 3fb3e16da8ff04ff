// See nfc.h. A text is mostly characters that normalization cannot touch ("plain"); they are copied. Where others come, a
// segment (from one character that composes with nothing before it to the next) is decomposed, ordered and composed.
#include "text/nfc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"

// Characters with a combining class, or that take part in compositions, younger than Unicode 9: left alone. The list was
// made by comparing Hugging Face tokenizers 0.23 with Unicode 14 and 16, character by character.
// clang-format off
static const uint32_t INERT[][2] = {
    {0x7fd, 0x7fd}, {0x897, 0x89f}, {0x8ca, 0x8d3}, {0x9fe, 0x9fe}, {0xc3c, 0xc3c}, {0xcf3, 0xcf3},
    {0xd3b, 0xd3c}, {0xeba, 0xeba}, {0xece, 0xece}, {0x1715, 0x1715}, {0x1abf, 0x1ace},
    {0x1df6, 0x1dfa}, {0xa82c, 0xa82c}, {0x105c0, 0x105f3}, {0x10d24, 0x10d27}, {0x10d69, 0x10d6d},
    {0x10eab, 0x10eac}, {0x10efc, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85},
    {0x11070, 0x11070}, {0x11241, 0x11241}, {0x1133b, 0x1133b}, {0x11380, 0x113ff},
    {0x1145e, 0x1145e}, {0x11839, 0x1183a}, {0x11930, 0x11943}, {0x119e0, 0x119e0},
    {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d45},
    {0x11d97, 0x11d97}, {0x11f00, 0x11f03}, {0x11f34, 0x11f42}, {0x11f5a, 0x11f5a},
    {0x13440, 0x13455}, {0x16100, 0x1613f}, {0x16d40, 0x16d7f}, {0x16ff0, 0x16ff1},
    {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef},
    {0x1e4ec, 0x1e4ef}, {0x1e5ee, 0x1e5ef},
};
// clang-format on

static bool is_inert(uint32_t c)
{
    size_t low = 0, high = sizeof INERT / sizeof *INERT;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c > INERT[middle][1])
            low = middle + 1;
        else
            high = middle;
    }
    return low < sizeof INERT / sizeof *INERT && c >= INERT[low][0];
}

// Starters that can be the second of a composition (NFC_Quick_Check = Maybe, combining class 0).
static bool is_second(uint32_t c)
{
    switch (c) {
    case 0x9be:
    case 0x9d7:
    case 0xb3e:
    case 0xb56:
    case 0xb57:
    case 0xbbe:
    case 0xbd7:
    case 0xcc2:
    case 0xcd5:
    case 0xcd6:
    case 0xd3e:
    case 0xd57:
    case 0xdcf:
    case 0xddf:
    case 0x102e:
    case 0x1b35:
    case 0x11127:
    case 0x1133e:
    case 0x11357:
    case 0x114b0:
    case 0x114ba:
    case 0x114bd:
    case 0x115af:
        return true;
    default:
        return (c >= 0x1161 && c <= 0x1175) || (c >= 0x11a8 && c <= 0x11c2);
    }
}

static unsigned char class_of(uint32_t c)
{
    return (unsigned char)utf8proc_get_property((utf8proc_int32_t)c)->combining_class;
}

// True where c stays as it is and composes with nothing before it.
static bool is_plain(uint32_t c)
{
    if (c < 0x300 || (c >= 0x3400 && c < 0xa000) || (c >= 0xac00 && c < 0xd7a4)) return true;
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)c);
    if (!p->combining_class && p->decomp_seqindex == UINT16_MAX && !is_second(c)) return true;
    if (is_inert(c)) return true;
    if (p->combining_class || is_second(c)) return false;
    utf8proc_int32_t to[8];
    return utf8proc_decompose_char((utf8proc_int32_t)c, to, 8, UTF8PROC_DECOMPOSE, NULL) == 1 &&
           to[0] == (utf8proc_int32_t)c;
}

size_t qn_nfc_span(const char *text, size_t n)
{
    size_t i = 0, last = 0;
    while (i < n) {
        uint32_t c = (unsigned char)text[i];
        int length = c < 0x80 ? 1 : qn_utf8_decode(text + i, n - i, &c);
        if (!length || !is_plain(c)) return last;
        last = i;
        i += (size_t)length;
    }
    return n;
}

// ---- a segment ----

typedef struct {
    utf8proc_int32_t *code, *sorted;
    size_t n, capacity;
    qn_buffer *out, *trusted_out;
    bool trusted; // all of what the segment came from
} segment;

static bool segment_add(segment *s, uint32_t c)
{
    if (s->capacity - s->n < 8) {
        size_t capacity = s->capacity ? s->capacity * 2 : 64;
        if (capacity > SIZE_MAX / 8) return false;
        utf8proc_int32_t *p = realloc(s->code, capacity * sizeof *p);
        if (!p) return false;
        s->code = p;
        p = realloc(s->sorted, capacity * sizeof *p);
        if (!p) return false;
        s->sorted = p;
        s->capacity = capacity;
    }
    utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)c, s->code + s->n, 8, UTF8PROC_DECOMPOSE, NULL);
    if (n < 1 || n > 8) s->code[s->n] = (utf8proc_int32_t)c, n = 1;
    s->n += (size_t)n;
    return true;
}

// Orders n marks by combining class, stably, by counting.
static void order_run(utf8proc_int32_t *code, utf8proc_int32_t *sorted, size_t n)
{
    size_t start[257] = {0};
    for (size_t i = 0; i < n; i++)
        start[class_of((uint32_t)code[i]) + 1]++;
    for (int i = 0; i < 256; i++)
        start[i + 1] += start[i];
    for (size_t i = 0; i < n; i++)
        sorted[start[class_of((uint32_t)code[i])]++] = code[i];
    memcpy(code, sorted, n * sizeof *code);
}

static void order_marks(segment *s)
{
    for (size_t i = 0, end; i < s->n; i = end + 1) {
        bool ordered = true;
        unsigned char last = 0, class;
        for (end = i; end < s->n && (class = class_of((uint32_t)s->code[end])); end++) {
            ordered = ordered && class >= last;
            last = class;
        }
        if (!ordered) order_run(s->code + i, s->sorted, end - i);
    }
}

static bool put_trust(qn_buffer *to, bool trusted, size_t n)
{
    if (!to) return true;
    if (!qn_buffer_reserve(to, n)) return false;
    memset(to->data + to->length, trusted, n);
    to->length += n;
    return true;
}

static bool segment_flush(segment *s)
{
    if (!s->n) return true;
    order_marks(s);
    utf8proc_ssize_t n = utf8proc_normalize_utf32(s->code, (utf8proc_ssize_t)s->n,
                                                  UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    size_t before = s->out->length;
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        char bytes[4];
        int length = qn_utf8_encode((uint32_t)s->code[i], bytes);
        if (!qn_buffer_append(s->out, bytes, (size_t)length)) return false;
    }
    s->n = 0;
    bool ok = put_trust(s->trusted_out, s->trusted, s->out->length - before);
    s->trusted = true;
    return ok;
}

// Whether c begins a segment of its own: its decomposition begins with a starter that composes with nothing before it.
static bool begins_segment(uint32_t c)
{
    utf8proc_int32_t to[8];
    utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)c, to, 8, UTF8PROC_DECOMPOSE, NULL);
    return n >= 1 && n <= 8 && !class_of((uint32_t)to[0]) && !is_second((uint32_t)to[0]);
}

// ---- the text ----

typedef struct {
    const char *text;
    size_t n;
    const unsigned char *trusted;
    segment segment;
} source;

static bool copy_plain(source *s, size_t from, size_t to)
{
    if (!qn_buffer_append(s->segment.out, s->text + from, to - from)) return false;
    if (!s->segment.trusted_out) return true;
    return s->trusted ? qn_buffer_append(s->segment.trusted_out, s->trusted + from, to - from)
                      : put_trust(s->segment.trusted_out, false, to - from);
}

static bool add(source *s, uint32_t c, size_t at, int length)
{
    for (int i = 0; i < length; i++)
        s->segment.trusted = s->segment.trusted && s->trusted && s->trusted[at + (size_t)i];
    return segment_add(&s->segment, c);
}

// Normalises from `at`, where a character that is not plain stands, to the next plain one; returns where that is, 0: no memory.
static size_t touched(source *s, size_t at)
{
    while (at < s->n) {
        uint32_t c = 0;
        int length = qn_utf8_decode(s->text + at, s->n - at, &c);
        if (is_plain(c)) break;
        if (begins_segment(c) && !segment_flush(&s->segment)) return 0;
        if (!length || !add(s, c, at, length)) return 0;
        at += (size_t)length;
    }
    return segment_flush(&s->segment) ? at : 0;
}

static bool normalize(source *s)
{
    size_t i = 0, kept = 0,
           last = 0; // [kept, i) is plain and not yet written; last: its last character
    uint32_t last_code = 0;
    while (i < s->n) {
        uint32_t c = (unsigned char)s->text[i];
        int length = c < 0x80 ? 1 : qn_utf8_decode(s->text + i, s->n - i, &c);
        if (!length) return false;
        if (is_plain(c)) {
            last = i;
            last_code = c;
            i += (size_t)length;
            continue;
        }
        // The character before may compose with what comes; an inert one does not.
        size_t opens = i > kept && !is_inert(last_code) ? last : i;
        if (!copy_plain(s, kept, opens)) return false;
        if (opens < i && !add(s, last_code, last, (int)(i - last))) return false;
        i = kept = touched(s, i);
        if (!i) return false;
    }
    return copy_plain(s, kept, s->n);
}

bool qn_nfc_append(const char *text, size_t n, qn_buffer *out, const unsigned char *trusted,
                   qn_buffer *trusted_out)
{
    source s = {text, n, trusted, {.out = out, .trusted_out = trusted_out, .trusted = true}};
    bool ok = normalize(&s);
    free(s.segment.code);
    free(s.segment.sorted);
    return ok;
}
