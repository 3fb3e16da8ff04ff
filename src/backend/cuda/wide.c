// See wide.h.
#include "backend/cuda/wide.h"

#include <string.h>

#include "backend/gpu/lower.h"

enum { FEW_ROWS = 8, STRIPS_A_GROUP = 8, SPLIT_ROWS = 64 };

// How a product is done.
typedef struct {
    qn_cuda_product_args a;
    uint32_t n_rows, n_groups[3];
    int64_t n_columns; // over all strips
    size_t partial_bytes;
} shape;

static int64_t strips(int n)
{
    return (n + QN_CUDA_STEP - 1) / QN_CUDA_STEP;
}

// 0 where it stays as it is.
static int shape_of(const qn_device *d, const qn_plan *plan, const qn_gpu_task *t, shape *s)
{
    if ((int)t->kernel != QN_GPU_N_KERNELS + QN_CUDA_product) return 0;
    memcpy(&s->a, t->args, sizeof s->a);
    if (QN_CUDA_IN_BLOCKS(s->a.w_type[0])) return 0; // `product` has tiles of eight rows
    int n_rows = plan->max_rows, n_parts = (s->a.padded_k + QN_CUDA_PART - 1) / QN_CUDA_PART;
    if (s->a.over_outputs && plan->batch.limits.max_outputs < n_rows)
        n_rows = plan->batch.limits.max_outputs;
    if (n_rows <= FEW_ROWS) return 0;
    int64_t n_strips = 0;
    for (int i = 0; i < s->a.n_matrices; i++)
        n_strips += strips(s->a.n_n[i]);
    s->n_rows = (uint32_t)n_rows;
    s->n_columns = n_strips * QN_CUDA_STEP;
    s->a.tile_rows = n_rows <= 32 ? 32 : n_rows <= 64 ? 64 : 128;
    s->n_groups[0] = qn_gpu_groups(n_strips, STRIPS_A_GROUP);
    if (s->a.gated) s->n_groups[0] = qn_gpu_groups(strips(s->a.n_n[0]), STRIPS_A_GROUP / 2);
    s->n_groups[1] = qn_gpu_groups(n_rows, s->a.tile_rows);
    int few_groups = s->n_groups[0] * s->n_groups[1] < (uint32_t)d->n_processors;
    s->a.n_split = few_groups && n_rows <= SPLIT_ROWS ? n_parts : 1;
    s->n_groups[2] = (uint32_t)s->a.n_split;
    s->partial_bytes = 0;
    if (s->a.n_split > 1)
        s->partial_bytes = (size_t)n_parts * s->n_rows * (size_t)s->n_columns * sizeof(float);
    return 1;
}

size_t qn_cuda_wide_bytes(const qn_device *d, const qn_plan *plan, const qn_gpu_list *in)
{
    size_t most = 0;
    shape s;
    for (int i = 0; i < in->n_tasks; i++)
        if (shape_of(d, plan, &in->tasks[i], &s) && s.partial_bytes > most) most = s.partial_bytes;
    return most;
}

static void copy_buffers(qn_gpu_task *to, const qn_gpu_task *from, int first, int n)
{
    memcpy(to->buffers + to->n_buffers, from->buffers + first, (size_t)n * sizeof *to->buffers);
    to->n_buffers += n;
}

static qn_gpu_kernel own(qn_cuda_kernel kernel)
{
    return (qn_gpu_kernel)(QN_GPU_N_KERNELS + kernel);
}

// product: y[3], x, norm, w[3], bias[3], counts.
static void widen(const qn_plan *plan, const qn_gpu_task *t, const shape *s, void *partials,
                  qn_gpu_list *out)
{
    qn_gpu_task *tiles =
        qn_gpu_task_add(out, own(QN_CUDA_product_tiles), s->n_groups, &s->a, sizeof s->a);
    copy_buffers(tiles, t, 0, 12);
    qn_gpu_task_bytes(tiles, plan, partials, s->partial_bytes, 1);
    if (s->a.n_split == 1) return;
    int64_t columns = s->a.gated ? s->n_columns / 2 : s->n_columns;
    uint32_t n_groups[3] = {qn_gpu_groups(columns, QN_GPU_N_THREADS), s->n_rows, 1};
    qn_gpu_task *fold =
        qn_gpu_task_add(out, own(QN_CUDA_product_fold), n_groups, &s->a, sizeof s->a);
    copy_buffers(fold, t, 0, 3);
    copy_buffers(fold, t, 8, 4);
    qn_gpu_task_bytes(fold, plan, partials, s->partial_bytes, 0);
}

void qn_cuda_wide_rewrite(const qn_device *d, const qn_plan *plan, const qn_gpu_list *in,
                          void *partials, qn_gpu_list *out)
{
    *out = (qn_gpu_list){0};
    for (int i = 0; i < in->n_tasks; i++) {
        const qn_gpu_task *t = &in->tasks[i];
        shape s;
        if (shape_of(d, plan, t, &s))
            widen(plan, t, &s, partials, out);
        else {
            qn_gpu_task *to = qn_gpu_task_add(out, t->kernel, t->n_groups, t->args, t->args_bytes);
            copy_buffers(to, t, 0, t->n_buffers);
        }
    }
}
