// See stop.h: the automaton of Aho and Corasick. A state is the longest end of the stream that begins a stop string, so what
// lies before it can be shown.
#include "text/stop.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int32_t child, sibling; // 0: none
    int32_t fail;           // the longest proper end of this state that is a state
    uint32_t depth;
    uint32_t match; // length of the longest stop string that ends here, 0: none
    unsigned char byte;
} node;

struct qn_stop {
    node *nodes; // node 0 is the empty state
    int32_t n_nodes;
    int32_t state;
    size_t n_read; // bytes of the stream
};

static int32_t child_of(const qn_stop *s, int32_t at, unsigned char byte)
{
    int32_t c = s->nodes[at].child;
    while (c && s->nodes[c].byte != byte)
        c = s->nodes[c].sibling;
    return c;
}

// The state after `byte`.
static int32_t step(const qn_stop *s, int32_t state, unsigned char byte)
{
    for (;;) {
        int32_t next = child_of(s, state, byte);
        if (next || !state) return next;
        state = s->nodes[state].fail;
    }
}

static void put(qn_stop *s, const char *string)
{
    int32_t at = 0;
    for (const char *p = string; *p; p++) {
        int32_t next = child_of(s, at, (unsigned char)*p);
        if (!next) {
            next = s->n_nodes++;
            s->nodes[next] = (node){.sibling = s->nodes[at].child,
                                    .depth = s->nodes[at].depth + 1,
                                    .byte = (unsigned char)*p};
            s->nodes[at].child = next;
        }
        at = next;
    }
    s->nodes[at].match = s->nodes[at].depth;
}

// Fills fail and match, nearest to the root first. queue has room for all nodes.
static void link_nodes(qn_stop *s, int32_t *queue)
{
    size_t head = 0, tail = 0;
    queue[tail++] = 0;
    while (head < tail) {
        int32_t at = queue[head++];
        for (int32_t c = s->nodes[at].child; c; c = s->nodes[c].sibling) {
            node *n = &s->nodes[c];
            n->fail = at ? step(s, s->nodes[at].fail, n->byte) : 0;
            if (!n->match) n->match = s->nodes[n->fail].match;
            queue[tail++] = c;
        }
    }
}

qn_stop *qn_stop_new(const char *const *strings, size_t n)
{
    size_t n_bytes = 1;
    for (size_t i = 0; i < n; i++) {
        size_t length = strlen(strings[i]);
        if (length > INT32_MAX / 64 || (n_bytes += length) > INT32_MAX / 64) return NULL;
    }
    qn_stop *s = calloc(1, sizeof *s);
    int32_t *queue = malloc(n_bytes * sizeof *queue);
    if (s) s->nodes = calloc(n_bytes, sizeof *s->nodes);
    if (!queue || !s || !s->nodes) {
        free(queue);
        qn_stop_free(s);
        return NULL;
    }
    s->n_nodes = 1;
    for (size_t i = 0; i < n; i++)
        put(s, strings[i]);
    s->nodes[0].match = 0; // an empty string, which the contract excludes, stops nothing
    link_nodes(s, queue);
    free(queue);
    return s;
}

void qn_stop_free(qn_stop *s)
{
    if (!s) return;
    free(s->nodes);
    free(s);
}

bool qn_stop_push(qn_stop *s, const char *piece, size_t n, size_t *text_end)
{
    size_t first = SIZE_MAX; // where the match that begins first begins
    for (size_t i = 0; i < n; i++) {
        s->state = step(s, s->state, (unsigned char)piece[i]);
        s->n_read++;
        uint32_t match = s->nodes[s->state].match;
        if (match && s->n_read - match < first) first = s->n_read - match;
    }
    *text_end = first != SIZE_MAX ? first : s->n_read - s->nodes[s->state].depth;
    return first != SIZE_MAX;
}
