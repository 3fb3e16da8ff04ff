// Chunked bump allocator; see arena.h.
#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

enum { CHUNK_BYTES = 64 * 1024, ALIGN = 16 };

struct qn_arena_chunk {
    qn_arena_chunk *next;
    size_t size, used;
    _Alignas(ALIGN) unsigned char data[];
};

static qn_arena_chunk *chunk_new(size_t size)
{
    qn_arena_chunk *c = calloc(1, sizeof *c + size);
    if (c) c->size = size;
    return c;
}

void *qn_arena_take(qn_arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX / 2) return NULL;
    bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (a->limit_bytes && bytes > a->limit_bytes - a->used_bytes) return NULL;
    if (!a->head || a->head->size - a->head->used < bytes) {
        qn_arena_chunk *c = chunk_new(bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES);
        if (!c) return NULL;
        c->next = a->head;
        a->head = c;
    }
    void *p = a->head->data + a->head->used;
    a->head->used += bytes;
    a->used_bytes += bytes;
    return p;
}

void *qn_arena_take_array(qn_arena *a, size_t n, size_t bytes)
{
    uint64_t total;
    if (!qn_checked_mul(n, bytes, &total) || total > SIZE_MAX / 2) return NULL;
    return qn_arena_take(a, (size_t)total);
}

char *qn_arena_text(qn_arena *a, const char *s, size_t n)
{
    char *p = n < SIZE_MAX / 2 ? qn_arena_take(a, n + 1) : NULL;
    if (p && n) memcpy(p, s, n);
    return p;
}

void qn_arena_free(qn_arena *a)
{
    for (qn_arena_chunk *c = a->head, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    a->head = NULL;
    a->used_bytes = 0;
}
