// Arena: memory that is given back all at once. Chunks grow; nothing moves. One thread at a time.
#ifndef QN_BASE_ARENA_H
#define QN_BASE_ARENA_H
#include <stddef.h>

typedef struct qn_arena_chunk qn_arena_chunk;
typedef struct {
    qn_arena_chunk *head;
    size_t used_bytes, limit_bytes; // limit 0: none
} qn_arena;

#define QN_ARENA_INIT                                                                              \
    {                                                                                              \
        0                                                                                          \
    }

// `bytes` zeroed bytes aligned to 16, or NULL when memory or the limit is exhausted.
void *qn_arena_take(qn_arena *a, size_t bytes);
// n × bytes with the product checked.
void *qn_arena_take_array(qn_arena *a, size_t n, size_t bytes);
// A copy of the n bytes at s with a NUL behind them.
char *qn_arena_text(qn_arena *a, const char *s, size_t n);
// Gives everything back; the arena can be used again.
void qn_arena_free(qn_arena *a);

#endif
