// Growing byte buffer; see buffer.h.
#include "base/buffer.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool qn_buffer_reserve(qn_buffer *b, size_t n)
{
    if (b->failed || n > SIZE_MAX / 4 || b->length > SIZE_MAX / 4) goto fail;
    size_t need = b->length + n + 1;
    if (need <= b->capacity) return true;
    size_t capacity = b->capacity ? b->capacity : 64;
    while (capacity < need)
        capacity *= 2;
    char *p = realloc(b->data, capacity);
    if (!p) goto fail;
    b->data = p;
    b->capacity = capacity;
    b->data[b->length] = 0;
    return true;
fail:
    b->failed = true;
    return false;
}

bool qn_buffer_append(qn_buffer *b, const void *bytes, size_t n)
{
    if (!qn_buffer_reserve(b, n)) return false;
    if (n) memcpy(b->data + b->length, bytes, n);
    b->length += n;
    b->data[b->length] = 0;
    return true;
}

bool qn_buffer_text(qn_buffer *b, const char *s)
{
    return qn_buffer_append(b, s, strlen(s));
}

bool qn_buffer_printf(qn_buffer *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    bool ok = n >= 0 && qn_buffer_reserve(b, (size_t)n);
    if (ok) {
        vsnprintf(b->data + b->length, (size_t)n + 1, format, again);
        b->length += (size_t)n;
    }
    va_end(again);
    va_end(args);
    return ok;
}

void qn_buffer_clear(qn_buffer *b)
{
    b->length = 0;
    b->failed = false;
    if (b->data) b->data[0] = 0;
}

void qn_buffer_free(qn_buffer *b)
{
    free(b->data);
    *b = (qn_buffer)QN_BUFFER_INIT;
}

char *qn_buffer_take(qn_buffer *b)
{
    if (!b->data && !qn_buffer_reserve(b, 0)) return NULL;
    char *p = b->failed ? NULL : b->data;
    if (!p) free(b->data);
    *b = (qn_buffer)QN_BUFFER_INIT;
    return p;
}
