// See buffers.h. What is lent lies in views of as much as one buffer may have, one behind the other from its beginning: so a file of
// weights is one view, or a few, in whatever order its tensors are asked for. A tensor across the end of one has a view of its
// own; only such bytes are in two views, and count twice in what is wired.
#include "backend/metal/buffers.h"

#include <stdlib.h>
#include <string.h>

#include "backend/metal/calls.h"

enum { ALIGN = 64, PAGE = 16384 }; // pages of all Macs with Apple Silicon

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

// n views from the one at `at` on. The set lets go of them before they end.
static void take_out(qn_metal_buffers *b, int at, int n)
{
    if (!n) return;
    for (int i = at; i < at + n; i++)
        qn_metal_wired_remove(&b->wired, b->views[i].buffer);
    qn_metal_wired_commit(&b->wired);
    for (int i = at; i < at + n; i++)
        qn_metal_release(b->views[i].buffer);
    b->n_views -= n;
    memmove(&b->views[at], &b->views[at + n], (size_t)(b->n_views - at) * sizeof *b->views);
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
    if (at >= 0 && b->views[at].from == (const char *)address) take_out(b, at, 1);
}

static size_t whole_pages(size_t n_bytes)
{
    return (n_bytes + PAGE - 1) & ~(size_t)(PAGE - 1);
}

void qn_metal_buffers_lend(qn_metal_buffers *b, const void *begin, size_t n_bytes)
{
    if ((uintptr_t)begin % PAGE) return;
    qn_metal_lent *more = realloc(b->lent, (size_t)(b->n_lent + 1) * sizeof *more);
    if (!more) return;
    b->lent = more;
    b->lent[b->n_lent++] = (qn_metal_lent){begin, whole_pages(n_bytes)};
}

// What holds these bytes, or NULL.
static const qn_metal_lent *lent_of(const qn_metal_buffers *b, const char *from, size_t n_bytes)
{
    for (int i = 0; i < b->n_lent; i++) {
        const qn_metal_lent *l = &b->lent[i];
        if (from >= l->from && from <= l->from + l->n_bytes &&
            n_bytes <= (size_t)(l->from + l->n_bytes - from))
            return l;
    }
    return NULL;
}

int qn_metal_buffers_wrap(qn_metal_buffers *b, const void *from, size_t n_bytes)
{
    if (qn_metal_buffers_find(b, from, n_bytes).buffer) return 1;
    const qn_metal_lent *l = lent_of(b, from, n_bytes);
    size_t most = b->max_bytes & ~(size_t)(PAGE - 1);
    if (!l || !most) return 0;
    size_t at = (size_t)((const char *)from - l->from), first = at / most * most;
    size_t length = l->n_bytes - first < most ? l->n_bytes - first : most;
    if (at + n_bytes > first + length) {
        first = at & ~(size_t)(PAGE - 1);
        length = whole_pages(at + n_bytes) - first;
    }
    if (length > most) return 0;
    qn_metal_id buffer = qn_metal_device_wrap(b->device, (void *)(uintptr_t)(l->from + first),
                                              length, QN_METAL_STORAGE_SHARED, NULL);
    return buffer && add(b, l->from + first, length, buffer);
}

void qn_metal_buffers_take_back(qn_metal_buffers *b, const void *begin)
{
    int i = 0;
    while (i < b->n_lent && b->lent[i].from != (const char *)begin)
        i++;
    if (i == b->n_lent) return;
    const qn_metal_lent l = b->lent[i];
    b->lent[i] = b->lent[--b->n_lent];
    int first = place_of(b, l.from - 1);
    take_out(b, first, place_of(b, l.from + l.n_bytes - 1) - first);
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
    take_out(b, 0, b->n_views);
    free(b->views);
    free(b->lent);
    b->views = NULL;
    b->lent = NULL;
    b->capacity = b->n_lent = 0;
}
