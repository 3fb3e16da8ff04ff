// See accesses.h.
#include "backend/cuda/accesses.h"

// 1 where both touch a byte.
static int overlap(const qn_access *a, const qn_access *b)
{
    const char *x = a->from, *y = b->from;
    return x < y + b->n_bytes && y < x + a->n_bytes;
}

static int covers(const qn_access *a, const qn_access *b)
{
    const char *x = a->from, *y = b->from;
    return a->write == 1 && x <= y && x + a->n_bytes >= y + b->n_bytes;
}

int qn_cuda_read_later(const qn_gpu_list *l, int i, const qn_access *bytes)
{
    for (; i < l->n_tasks; i++) {
        const qn_gpu_task *t = &l->tasks[i];
        int written = 0;
        for (int j = 0; j < t->n_buffers; j++) {
            if (overlap(&t->buffers[j], bytes) && t->buffers[j].write != 1) return 1;
            written |= covers(&t->buffers[j], bytes);
        }
        if (written) return 0;
    }
    return 0;
}
