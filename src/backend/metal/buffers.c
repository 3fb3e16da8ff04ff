// See buffers.h. A view of wrapped memory runs from the wanted bytes' first page to the end of their mapping, or as far as one
// buffer may reach: so a file of weights is one view, or a few.
#include "backend/metal/buffers.h"

#include <stdlib.h>
#include <string.h>

#include "backend/metal/calls.h"
#include "backend/metal/region.h"

enum { ALIGN = 64 };

// The first view behind `address`.
static int place_of(const qn_metal_buffers *b, const char *address)
{
    int low = 0, high = b->n_views;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (b->views[middle].from <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// Takes the buffer over, also where it fails.
static int add(qn_metal_buffers *b, const void *from, size_t n_bytes, qn_metal_id buffer)
{
    if (b->n_views == b->capacity) {
        int capacity = b->capacity ? 2 * b->capacity : 32;
        qn_metal_view *more = realloc(b->views, (size_t)capacity * sizeof *more);
        if (!more) {
            qn_metal_release(buffer);
            return 0;
        }
        b->views = more;
        b->capacity = capacity;
    }
    int at = place_of(b, from);
    memmove(&b->views[at + 1], &b->views[at], (size_t)(b->n_views - at) * sizeof *b->views);
    b->views[at] = (qn_metal_view){from, n_bytes, buffer};
    b->n_views++;
    qn_metal_wired_add(&b->wired, buffer);
    return 1;
}

static void take_out(qn_metal_buffers *b, int at)
{
    qn_metal_wired_remove(&b->wired, b->views[at].buffer);
    qn_metal_release(b->views[at].buffer);
    b->n_views--;
    memmove(&b->views[at], &b->views[at + 1], (size_t)(b->n_views - at) * sizeof *b->views);
}

int qn_metal_buffers_alloc(qn_metal_buffers *b, size_t n_bytes, void **address, quern_error *e)
{
    *address = NULL;
    size_t rounded = n_bytes < ALIGN ? ALIGN : (n_bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (n_bytes > b->max_bytes || rounded > b->max_bytes)
        return qn_error_set(e, QUERN_E_MEMORY,
                            "metal: %zu bytes asked for at once; a buffer has at most %zu", n_bytes,
                            b->max_bytes);
    qn_metal_id buffer = qn_metal_device_buffer(b->device, rounded, QN_METAL_STORAGE_SHARED);
    char *contents = buffer ? qn_metal_buffer_contents(buffer) : NULL;
    if (buffer && (!contents || (uintptr_t)contents % ALIGN)) {
        qn_metal_release(buffer);
        buffer = NULL;
    }
    if (!buffer || !add(b, contents, rounded, buffer))
        return qn_error_set(e, QUERN_E_MEMORY, "metal: no memory for %zu bytes", n_bytes);
    memset(contents, 0, rounded);
    *address = contents;
    return 0;
}

void qn_metal_buffers_free(qn_metal_buffers *b, const void *address)
{
    if (!address) return;
    int at = place_of(b, address) - 1;
    if (at >= 0 && b->views[at].from == (const char *)address) take_out(b, at);
}

int qn_metal_buffers_wrap(qn_metal_buffers *b, const void *from, size_t n_bytes)
{
    const char *begin, *end;
    size_t page = qn_metal_region_page_bytes();
    if (qn_metal_buffers_find(b, from, n_bytes).buffer) return 1;
    if (!qn_metal_region_of(from, &begin, &end)) return 0;
    const char *first = (const char *)((uintptr_t)from & ~(uintptr_t)(page - 1));
    size_t most = b->max_bytes & ~(page - 1), length = (size_t)(end - first);
    if (first < begin || end < (const char *)from + n_bytes) return 0;
    if (length > most) length = most;
    if (length % page || (size_t)((const char *)from - first) + n_bytes > length) return 0;
    qn_metal_id buffer = qn_metal_device_wrap(b->device, (void *)(uintptr_t)first, length,
                                              QN_METAL_STORAGE_SHARED, NULL);
    return buffer && add(b, first, length, buffer);
}

qn_metal_place qn_metal_buffers_find(const qn_metal_buffers *b, const void *from, size_t n_bytes)
{
    const char *at = from;
    for (int i = place_of(b, at) - 1; i >= 0; i--) {
        const qn_metal_view *v = &b->views[i];
        size_t offset = (size_t)(at - v->from);
        if (offset <= v->n_bytes && n_bytes <= v->n_bytes - offset)
            return (qn_metal_place){v->buffer, offset};
    }
    return (qn_metal_place){0};
}

void qn_metal_buffers_free_all(qn_metal_buffers *b)
{
    while (b->n_views)
        take_out(b, b->n_views - 1);
    free(b->views);
    b->views = NULL;
    b->capacity = 0;
}
