// See flash.h. All plans of a model are rewritten or none is, for what decides is the shape of its heads and caches: a row has the same
// bits whichever plan it runs in.
#include "backend/cuda/flash.h"

#include <string.h>

#include "backend/cuda/args.h"
#include "backend/gpu/args.h"
#include "backend/gpu/lower.h"
#include "backend/ops/attention.h"

enum {
    MOST_GROUPS = 512, // of flash_rows, along the rows
    TILE_ROWS = 128,
    RUN_ROWS = 4,
    SHARED_64 = 40960,
    SHARED_128 = 73728,
};

static int own(int kernel)
{
    return QN_GPU_N_KERNELS + kernel;
}

// Rows of the batch that a group of flash_tiles looks at (qn_flash_window).
static int window_of(int group)
{
    int n = 1;
    while (2 * n * group <= TILE_ROWS)
        n *= 2;
    return n;
}

// The same of flash_wide (qn_wide_window).
static int wide_window_of(int group)
{
    return group < QN_CUDA_WIDE_ROWS ? QN_CUDA_WIDE_ROWS / group : 1;
}

// Place in the four kernels of a form: F16 or BF16, heads of 64 or 128; −1: none.
static int place(int type, int head_dim)
{
    if ((type != 1 && type != 2) || (head_dim != 64 && head_dim != 128)) return -1;
    return 2 * (type - 1) + (head_dim == 128);
}

static int between(int kernel, int first, int last)
{
    return kernel >= first && kernel <= last;
}

// The cache's type, by the kernel's; the dialect has three kernels a type.
static int type_of(int kernel)
{
    if (between(kernel, QN_GPU_attention_f32_64, QN_GPU_attention_bf16_256))
        return (kernel - QN_GPU_attention_f32_64) / 3;
    return (kernel - QN_GPU_attend_f32_64) / 3;
}

static qn_gpu_task *copy(qn_gpu_list *out, const qn_gpu_task *t, int kernel,
                         const uint32_t n_groups[3])
{
    qn_gpu_task *to = qn_gpu_task_add(out, (qn_gpu_kernel)kernel, n_groups, t->args, t->args_bytes);
    to->n_buffers = t->n_buffers;
    memcpy(to->buffers, t->buffers, sizeof t->buffers);
    return to;
}

// The task of the rows that lie in runs. A group of flash_wide takes one window after another.
static void add_runs(const qn_device *d, const qn_plan *plan, const qn_gpu_task *t, int at,
                     qn_gpu_list *out)
{
    qn_gpu_attention_args a;
    memcpy(&a, t->args, sizeof a);
    int group = a.n_heads / a.n_kv_heads, wide = d->capability == QN_CUDA_HOPPER;
    uint32_t n = qn_gpu_groups(plan->max_rows, wide ? wide_window_of(group) : window_of(group));
    uint32_t n_kv = (uint32_t)a.n_kv_heads, most = (uint32_t)d->n_processors;
    if (wide)
        copy(out, t, own(QN_CUDA_flash_wide_f16_64 + at),
             (uint32_t[]){n * n_kv < most ? n * n_kv : most, 1, 1});
    else
        copy(out, t, own(QN_CUDA_flash_tiles_f16_64 + at), (uint32_t[]){n_kv, n, 1});
}

static void rewrite(const qn_device *d, const qn_plan *plan, const qn_gpu_task *t, qn_gpu_list *out)
{
    qn_gpu_attention_args a;
    int kernel = (int)t->kernel,
        attends = between(kernel, QN_GPU_attend_f32_64, QN_GPU_attend_bf16_256);
    memcpy(&a, t->args, sizeof a);
    int at = place(type_of(kernel), a.head_dim);
    if (at < 0 || !a.wide_k || !a.wide_v) {
        copy(out, t, kernel, t->n_groups);
        return;
    }
    if (attends) {
        copy(out, t, own(QN_CUDA_flash_attend_f16_64 + at), t->n_groups);
        return;
    }
    // In a large step most rows lie in runs, and those that do not stand together: some hundred groups each look at every n-th row.
    uint32_t rows = a.whole && t->n_groups[1] > MOST_GROUPS ? MOST_GROUPS : t->n_groups[1];
    copy(out, t, own(QN_CUDA_flash_rows_f16_64 + at),
         (uint32_t[]){t->n_groups[0], rows, t->n_groups[2]});
    if (a.whole && plan->max_rows >= RUN_ROWS) add_runs(d, plan, t, at, out);
}

void qn_cuda_flash_rewrite(const qn_device *d, const qn_plan *plan, const qn_gpu_list *in,
                           qn_gpu_list *out)
{
    *out = (qn_gpu_list){0};
    for (int i = 0; i < in->n_tasks; i++) {
        const qn_gpu_task *t = &in->tasks[i];
        int kernel = (int)t->kernel;
        if (between(kernel, QN_GPU_attention_f32_64, QN_GPU_attention_bf16_256) ||
            between(kernel, QN_GPU_attend_f32_64, QN_GPU_attend_bf16_256))
            rewrite(d, plan, t, out);
        else
            copy(out, t, kernel, t->n_groups);
    }
}

int qn_cuda_flash_all(const qn_plan *plan)
{
    for (int i = 0; i < plan->n_records; i++) {
        const qn_attention_args *o = plan->records[i].args;
        if (plan->records[i].op != QN_OP_ATTENTION) continue;
        if (place((int)o->k_cache.dtype, o->head_dim) < 0) return 0;
        if ((uintptr_t)o->k_cache.data % 16 || (uintptr_t)o->v_cache.data % 16) return 0;
    }
    return 1;
}

static int is_wide(int kernel)
{
    return between(kernel, own(QN_CUDA_flash_wide_f16_64), own(QN_CUDA_flash_wide_bf16_128));
}

int qn_cuda_flash_shared(int kernel)
{
    int i = kernel - own(QN_CUDA_flash_rows_f16_64);
    if (is_wide(kernel)) return i % 2 ? QN_CUDA_WIDE_SHARED_128 : QN_CUDA_WIDE_SHARED_64;
    if (i < 0 || i > QN_CUDA_flash_attend_bf16_128 - QN_CUDA_flash_rows_f16_64) return 0;
    return i % 2 ? SHARED_128 : SHARED_64;
}

int qn_cuda_flash_threads(int kernel)
{
    return is_wide(kernel) ? QN_CUDA_WIDE_THREADS : 0;
}
