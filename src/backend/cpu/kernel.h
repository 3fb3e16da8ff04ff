// Kernel: what the CPU backend runs for a record. Workers of the pool, any number of them but at least one, call it with the
// same arguments; they share the work by taking chunks, so a chunk's result must not depend on who takes it. Which ones exist: dispatch.c.
#ifndef QN_BACKEND_CPU_KERNEL_H
#define QN_BACKEND_CPU_KERNEL_H
#include <stdatomic.h>

#include "backend/plan.h"

enum {
    QN_CPU_LANES = 16,                 // of every sum (ops/matmul.h)
    QN_CPU_SCRATCH_BYTES = 512 * 1024, // of each worker
    QN_CPU_MAX_HEAD_DIM = 1024,        // heads of attention and rope
};

typedef struct {
    int worker, n_workers;
    atomic_uint *n_taken; // chunks of this record that somebody has taken
    void *scratch;        // QN_CPU_SCRATCH_BYTES of this worker's own, 64-byte aligned
} qn_cpu_task;

typedef void (*qn_cpu_kernel)(const void *args, const qn_cpu_task *task);

// The next chunk that nobody has taken yet; a kernel stops when it is past its last.
static inline unsigned qn_cpu_take(const qn_cpu_task *t)
{
    return atomic_fetch_add_explicit(t->n_taken, 1, memory_order_relaxed);
}

// Takes a run of rows for operations that work row by row: 1 and [*first, *end), or 0 where none is left.
static inline int qn_cpu_take_rows(const qn_cpu_task *t, int n_rows, int *first, int *end)
{
    int per_chunk = n_rows / (4 * t->n_workers) + 1;
    int64_t start = (int64_t)qn_cpu_take(t) * per_chunk;
    if (start >= n_rows) return 0;
    *first = (int)start;
    *end = n_rows - *first < per_chunk ? n_rows : *first + per_chunk;
    return 1;
}

static inline float *qn_cpu_row(const qn_tensor *t, int64_t row)
{
    return (float *)t->data + row * t->dim[1];
}

// Checks that the `supports` functions share.
static inline int qn_cpu_is_f32(const qn_tensor *t)
{
    return t->data && t->dtype == QN_DTYPE_F32 && t->rank == 2 && t->dim[0] > 0 && t->dim[1] > 0;
}

static inline int qn_cpu_is_vector(const qn_tensor *t, int64_t n)
{
    return t->data && qn_dtype_is_plain(t->dtype) && t->rank == 1 && t->dim[0] == n;
}

static inline int qn_cpu_is_matrix(const qn_tensor *t, int64_t columns)
{
    return t->data && (unsigned)t->dtype < QN_DTYPE_COUNT && t->rank == 2 && t->dim[0] > 0 &&
           t->dim[1] == columns && columns % qn_format_of(t->dtype)->block_elements == 0;
}

#endif
