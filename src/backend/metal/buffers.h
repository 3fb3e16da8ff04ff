// Host addresses as Metal buffers. Memory is shared by host and GPU, so a device address is a host address; a table of views says
// which MTLBuffer a range lies in, and where. One thread at a time.
#ifndef QN_BACKEND_METAL_BUFFERS_H
#define QN_BACKEND_METAL_BUFFERS_H
#include "backend/metal/wired.h"
#include "base/error.h"

typedef struct {
    const char *from;
    size_t n_bytes;
    qn_metal_id buffer; // retained
} qn_metal_view;

// Memory of the host that may be wrapped, in whole pages.
typedef struct {
    const char *from;
    size_t n_bytes;
} qn_metal_lent;

typedef struct {
    qn_metal_id device;
    qn_metal_wired wired; // all of them
    size_t max_bytes;     // of one buffer
    qn_metal_view *views; // by `from`
    int n_views, capacity;
    qn_metal_lent *lent;
    int n_lent;
} qn_metal_buffers;

// A place in a buffer.
typedef struct {
    qn_metal_id buffer;
    size_t offset;
} qn_metal_place;

// Zeroed memory of a new shared buffer. QUERN_E_MEMORY.
int qn_metal_buffers_alloc(qn_metal_buffers *b, size_t n_bytes, void **address, quern_error *e);
// Ends the view that begins at address (an alloc's); nothing may run on it. Takes NULL.
void qn_metal_buffers_free(qn_metal_buffers *b, const void *address);
// A mapping that wrap may use from here on. Not noted where it does not begin with a page, or where there is no memory for a note.
void qn_metal_buffers_lend(qn_metal_buffers *b, const void *begin, size_t n_bytes);
// Ends all views of what was lent at `begin`, or does nothing; nothing may run on them.
void qn_metal_buffers_take_back(qn_metal_buffers *b, const void *begin);
// Makes memory that was lent visible without a copy. 0 where that is refused, or was not lent.
int qn_metal_buffers_wrap(qn_metal_buffers *b, const void *from, size_t n_bytes);
// Where the range lies; buffer NULL where no view holds it whole.
qn_metal_place qn_metal_buffers_find(const qn_metal_buffers *b, const void *from, size_t n_bytes);
void qn_metal_buffers_free_all(qn_metal_buffers *b);

#endif
