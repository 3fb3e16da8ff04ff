// See added.h. What counts as a space or as a part of a word beside a token is Unicode's, as in Rust's regex crate.
#include "text/added.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"

static int32_t child_of(const qn_added_set *s, int32_t node, unsigned char byte)
{
    if (!node) return s->first[byte];
    int32_t c = s->nodes[node].child;
    while (c && s->nodes[c].byte != byte)
        c = s->nodes[c].sibling;
    return c;
}

// A new child of `parent`, or 0.
static int32_t node_new(qn_added_set *s, int32_t parent, unsigned char byte)
{
    if (s->n_nodes == s->capacity) {
        size_t capacity = s->capacity ? s->capacity * 2 : 256;
        qn_added_node *p = capacity < INT32_MAX ? realloc(s->nodes, capacity * sizeof *p) : NULL;
        if (!p) return 0;
        s->nodes = p;
        s->capacity = capacity;
    }
    if (!s->n_nodes) s->nodes[s->n_nodes++] = (qn_added_node){.token = -1};
    int32_t node = (int32_t)s->n_nodes++;
    s->nodes[node] = (qn_added_node){.token = -1, .byte = byte};
    if (parent) {
        s->nodes[node].sibling = s->nodes[parent].child;
        s->nodes[parent].child = node;
    } else {
        s->first[byte] = node;
    }
    return node;
}

int qn_added_put(qn_added_set *s, const char *text, size_t n, int32_t token)
{
    int32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t next = child_of(s, node, (unsigned char)text[i]);
        if (!next) next = node_new(s, node, (unsigned char)text[i]);
        if (!next) return QUERN_E_MEMORY;
        node = next;
    }
    if (!node || s->nodes[node].token >= 0) return QUERN_E_FORMAT;
    s->nodes[node].token = token;
    return 0;
}

void qn_added_free(qn_added_set *s)
{
    free(s->nodes);
    *s = (qn_added_set){0};
}

// The longest token that begins at `at` and may be matched there, or -1.
static int32_t longest_at(const qn_added_walk *w, size_t at, size_t *end)
{
    int32_t node = 0, found = -1;
    bool trusted = w->trusted != NULL;
    for (size_t i = at; i < w->n; i++) {
        node = child_of(w->set, node, (unsigned char)w->text[i]);
        if (!node) break;
        trusted = trusted && w->trusted[i];
        int32_t token = w->set->nodes[node].token;
        if (token < 0 || (w->tokens[token].special && !trusted)) continue;
        found = token;
        *end = i + 1;
    }
    return found;
}

static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

// Regex \w: Alphabetic, M, Nd, Pc and the two joiners.
static bool is_word(uint32_t c)
{
    if ((c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
        (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189) || c == 0x200c ||
        c == 0x200d)
        return true;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return false;
    }
}

// The character that ends before `at` (> 0), and where it begins.
static uint32_t char_before(const char *text, size_t at, size_t *start)
{
    size_t i = at - 1;
    while (i && at - i < 4 && ((unsigned char)text[i] & 0xc0) == 0x80)
        i--;
    uint32_t c = 0;
    qn_utf8_decode(text + i, at - i, &c);
    *start = i;
    return c;
}

static bool inside_word(const qn_added_walk *w, size_t start, size_t end)
{
    uint32_t c = 0;
    size_t i;
    if (start && is_word(char_before(w->text, start, &i))) return true;
    return end < w->n && qn_utf8_decode(w->text + end, w->n - end, &c) && is_word(c);
}

static void strip_left(const qn_added_walk *w, size_t *start)
{
    for (size_t i; *start > w->after && is_space(char_before(w->text, *start, &i));)
        *start = i;
}

static void strip_right(const qn_added_walk *w, size_t *end)
{
    uint32_t c;
    for (int n;
         *end < w->n && (n = qn_utf8_decode(w->text + *end, w->n - *end, &c)) && is_space(c);)
        *end += (size_t)n;
}

qn_added_match qn_added_next(qn_added_walk *w)
{
    size_t before = w->after;
    for (size_t at = w->set->nodes ? w->position : w->n, end = 0; at < w->n;) {
        int32_t token = w->set->first[(unsigned char)w->text[at]] ? longest_at(w, at, &end) : -1;
        if (token < 0) {
            at++;
            continue;
        }
        const qn_added_token *t = &w->tokens[token];
        if (t->single_word && inside_word(w, at, end)) {
            at = end;
            continue;
        }
        qn_added_match m = {before, at > before ? at : before, end, token};
        if (t->lstrip) strip_left(w, &m.start);
        if (t->rstrip) strip_right(w, &m.end);
        if (m.end < m.start) m.end = m.start;
        w->position = end;
        w->after = m.end;
        return m;
    }
    w->position = w->after = w->n;
    return (qn_added_match){before, w->n, w->n, -1};
}
