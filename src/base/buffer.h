// Buffer: bytes that grow, always with a NUL behind them. One thread at a time.
#ifndef QN_BASE_BUFFER_H
#define QN_BASE_BUFFER_H
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char *data; // NULL while empty and never grown
    size_t length, capacity;
    bool failed; // memory ran out at some append: what is held is incomplete
} qn_buffer;

#define QN_BUFFER_INIT                                                                             \
    {                                                                                              \
        0                                                                                          \
    }

// Appends; on lack of memory sets `failed`, keeps the old contents and returns false.
bool qn_buffer_append(qn_buffer *b, const void *bytes, size_t n);
bool qn_buffer_text(qn_buffer *b, const char *s);
bool qn_buffer_printf(qn_buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Room for n more bytes at data + length, without changing length.
bool qn_buffer_reserve(qn_buffer *b, size_t n);
void qn_buffer_clear(qn_buffer *b);
void qn_buffer_free(qn_buffer *b);
// The contents as a malloc'd NUL-terminated string that the caller frees; empties b. NULL on failure.
char *qn_buffer_take(qn_buffer *b);

#endif
