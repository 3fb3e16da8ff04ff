// See flash.h. All attention of a plan is rewritten or none is, and so with the plans of a model, for what decides is the shape of its heads
// and caches: a row has the same bits whichever plan it runs in.
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
    OF_16_BITS = 4, // of a kernel's six forms: in those flash_rows has a warp a split
    AT_ONCE = 2,    // of its groups on a multiprocessor
    FEW_ROWS = 32,  // each has a group then
    NEAR_TILES = 2, // of a warp: of more, a row's splits are better shared among groups
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

// Place in the six kernels of a form, for a cache's type and heads of 64 or 128; −1: none.
static int place(int type, int head_dim)
{
    if (type < QN_DTYPE_F16 || type > QN_DTYPE_Q8_0) return -1; // F16, BF16, Q8_0
    return head_dim == 64 || head_dim == 128 ? 2 * (type - QN_DTYPE_F16) + (head_dim == 128) : -1;
}

static int between(int kernel, int first, int last)
{
    return kernel >= first && kernel <= last;
}

static int attends(int kernel)
{
    return between(kernel, QN_GPU_attend_f32_64, QN_GPU_attend_bf16_256);
}
static int is_attention(int kernel)
{
    return between(kernel, QN_GPU_attention_f32_64, QN_GPU_attention_bf16_256) ||
           between(kernel, QN_GPU_attention_q8_0_64, QN_GPU_attention_q8_0_256) || attends(kernel);
}

static int is_aligned(const void *cache)
{
    return (uintptr_t)cache % 16 == 0;
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
    int kernel = (int)t->kernel;
    memcpy(&a, t->args, sizeof a);
    int at = place(a.cache_type, a.head_dim);
    if (attends(kernel)) {
        copy(out, t, own(QN_CUDA_flash_attend_f16_64 + at), t->n_groups);
        return;
    }
    // In a large step most rows lie in runs, and those that do not stand together: some hundred groups each look at every n-th row.
    uint32_t rows = a.whole && t->n_groups[1] > MOST_GROUPS ? MOST_GROUPS : t->n_groups[1];
    uint32_t splits = t->n_groups[2];
    if (at < OF_16_BITS && a.whole && rows > FEW_ROWS) {
        uint32_t most = (uint32_t)(AT_ONCE * d->n_processors) / t->n_groups[0];
        rows = most < FEW_ROWS ? FEW_ROWS : most < rows ? most : rows;
    }
    if (at < OF_16_BITS && !a.whole) splits = qn_gpu_groups(splits, QN_CUDA_FLASH_WARPS);
    copy(out, t, own(QN_CUDA_flash_rows_f16_64 + at), (uint32_t[]){t->n_groups[0], rows, splits});
    if (a.whole && plan->max_rows >= RUN_ROWS) add_runs(d, plan, t, at, out);
}

void qn_cuda_flash_rewrite(const qn_device *d, const qn_plan *plan, const qn_gpu_list *in,
                           qn_gpu_list *out)
{
    int all = qn_cuda_flash_all(plan);
    *out = (qn_gpu_list){0};
    for (int i = 0; i < in->n_tasks; i++) {
        const qn_gpu_task *t = &in->tasks[i];
        int kernel = (int)t->kernel;
        if (all && is_attention(kernel))
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
        if (!is_aligned(o->k_cache.data) || !is_aligned(o->v_cache.data)) return 0;
    }
    return 1;
}

static int is_wide(int kernel)
{
    return between(kernel, own(QN_CUDA_flash_wide_f16_64), own(QN_CUDA_flash_wide_q8_0_128));
}

static int is_by_warps(int kernel)
{
    return between(kernel, own(QN_CUDA_flash_rows_f16_64), own(QN_CUDA_flash_rows_bf16_128));
}

int qn_cuda_flash_shared(int kernel)
{
    int i = kernel - own(QN_CUDA_flash_rows_f16_64);
    if (is_wide(kernel)) return i % 2 ? QN_CUDA_WIDE_SHARED_128 : QN_CUDA_WIDE_SHARED_64;
    if (is_by_warps(kernel))
        return i % 2 ? QN_CUDA_FLASH_WARPS_SHARED_128 : QN_CUDA_FLASH_WARPS_SHARED_64;
    if (i < 0 || i > QN_CUDA_flash_attend_q8_0_128 - QN_CUDA_flash_rows_f16_64) return 0;
    return i % 2 ? SHARED_128 : SHARED_64;
}

int qn_cuda_flash_threads(int kernel)
{
    if (is_by_warps(kernel)) return QN_CUDA_FLASH_WARPS * 32;
    return is_wide(kernel) ? QN_CUDA_WIDE_THREADS : 0;
}

int qn_cuda_flash_early(int kernel)
{
    return is_wide(kernel) ||
           between(kernel, own(QN_CUDA_flash_rows_f16_64), own(QN_CUDA_flash_rows_q8_0_128));
}

// What a Q8_0 cache's numbers become is F16.
int qn_cuda_flash_tiled(int kernel, int type)
{
    int at = (kernel - own(QN_CUDA_flash_rows_f16_64)) % 6; // place
    return qn_cuda_flash_early(kernel) && type == (at / 2 == 1 ? QN_DTYPE_BF16 : QN_DTYPE_F16);
}

// ---- steps ----

static int is_for_runs(int kernel)
{
    return is_wide(kernel) ||
           between(kernel, own(QN_CUDA_flash_tiles_f16_64), own(QN_CUDA_flash_tiles_q8_0_128));
}

int qn_cuda_flash_window(const qn_device *d, const qn_gpu_list *list)
{
    int window = 0;
    for (int i = 0; i < list->n_tasks; i++) {
        qn_gpu_attention_args a;
        if (!is_for_runs((int)list->tasks[i].kernel)) continue;
        memcpy(&a, list->tasks[i].args, sizeof a);
        int group = a.n_heads / a.n_kv_heads;
        int own_window = d->capability == QN_CUDA_HOPPER ? wide_window_of(group) : window_of(group);
        if (window && window != own_window) return 0;
        window = own_window;
    }
    return window;
}

// As qn_flash_in_run has it.
qn_cuda_steps qn_cuda_flash_steps(const qn_row *rows, int n_rows, int window)
{
    int n_alone = 0, n_in_runs = 0;
    for (int from = 0, to; from < n_rows; from = to) {
        for (to = from + 1; to < n_rows && to % window; to++)
            if (rows[to].slot != rows[to - 1].slot ||
                rows[to].position != rows[to - 1].position + 1)
                break;
        if (to - from < RUN_ROWS)
            n_alone += to - from;
        else
            n_in_runs += to - from;
    }
    return !n_in_runs ? QN_CUDA_ALONE : n_alone ? QN_CUDA_MIXED : QN_CUDA_RUNS;
}

int qn_cuda_flash_near(const qn_gpu_list *list)
{
    int near = 0;
    for (int i = 0; i < list->n_tasks; i++) {
        qn_gpu_attention_args a;
        if (!is_by_warps((int)list->tasks[i].kernel)) continue;
        memcpy(&a, list->tasks[i].args, sizeof a);
        int n_warps = a.n_splits < QN_CUDA_FLASH_WARPS ? a.n_splits : QN_CUDA_FLASH_WARPS;
        int own_near = a.whole ? 0 : NEAR_TILES * n_warps * QN_CUDA_PIECE;
        if (own_near > near) near = own_near;
    }
    return near;
}

int qn_cuda_flash_is_far(const qn_row *rows, int n_rows, int near)
{
    for (int i = 0; i < n_rows; i++)
        if (rows[i].position >= near) return 1;
    return 0;
}

int qn_cuda_flash_spares(qn_cuda_steps steps, const qn_gpu_task *t)
{
    int kernel = (int)t->kernel;
    qn_gpu_attention_args a;
    memcpy(&a, t->args, sizeof a);
    if (between(kernel, own(QN_CUDA_flash_rows_f16_64), own(QN_CUDA_flash_rows_q8_0_128)))
        return steps == QN_CUDA_RUNS && a.whole;
    return steps == QN_CUDA_ALONE && is_for_runs(kernel);
}
