// Rooms that a device's programs share: one stream runs them one after another, and nothing in such a room outlives a task list.
#include <stdlib.h>

#include "backend/cuda/device.h"

static qn_cuda_shared *smallest(const qn_device *d, size_t n_bytes)
{
    qn_cuda_shared *best = NULL;
    for (qn_cuda_shared *s = d->shared; s; s = s->next)
        if (s->n_bytes >= n_bytes && (!best || s->n_bytes < best->n_bytes)) best = s;
    return best;
}

qn_cuda_shared *qn_cuda_shared_take(qn_device *d, size_t n_bytes, quern_error *e)
{
    qn_cuda_shared *s = smallest(d, n_bytes);
    if (!s) {
        s = calloc(1, sizeof *s);
        if (!s) {
            qn_error_set(e, QUERN_E_MEMORY, "cuda: no memory for a list of rooms");
            return NULL;
        }
        if (qn_cuda_device_alloc(d, n_bytes, &s->at, e)) {
            free(s);
            return NULL;
        }
        s->n_bytes = n_bytes;
        s->next = d->shared;
        d->shared = s;
    }
    s->n_users++;
    return s;
}

void qn_cuda_shared_drop(qn_device *d, qn_cuda_shared *s)
{
    if (!s || --s->n_users) return;
    qn_cuda_shared **at = &d->shared;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    qn_cuda_device_free(d, s->at);
    free(s);
}
