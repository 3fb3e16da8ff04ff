// Products over the dialect's kernels; see kernels/product.h.
#include "backend/gpu/lower.h"
#include "backend/ops/matmul.h"

enum { EIGHTS = 8, ROWS_AT_ONCE = 4, MANY_ROWS_OF_W = 8192 };

static int supports(const void *args)
{
    const qn_matmul_args *o = args;
    return qn_gpu_is_f32(&o->x) && qn_gpu_is_f32(&o->y) && qn_gpu_is_weights(&o->w, o->x.dim[1]) &&
           o->w.dim[0] == o->y.dim[1] && (!o->bias.data || qn_gpu_is_vector(&o->bias, o->y.dim[1]));
}

typedef enum { ANY, ONE_BY_ONE, ONE_BY_FOUR, FOUR_BY_TWO, ONE_BY_TWO } form;

// Eights of a row must start at multiples of 8 bytes; blocks lie as they must (supports).
static form form_of(const qn_matmul_args *o, uint32_t n_rows)
{
    if (!qn_dtype_is_plain(o->w.dtype)) return n_rows > 1 ? FOUR_BY_TWO : ONE_BY_TWO;
    if (o->x.dim[1] % EIGHTS != 0 || (uintptr_t)o->w.data % 8 != 0) return ANY;
    if (n_rows > 1) return FOUR_BY_TWO;
    return o->w.dim[0] >= MANY_ROWS_OF_W ? ONE_BY_FOUR : ONE_BY_ONE;
}

static qn_gpu_kernel kernel_of(form f, qn_dtype w)
{
    static const qn_gpu_kernel kernels[QN_DTYPE_COUNT][4] = {
        [QN_DTYPE_F32] = {QN_GPU_matmul_any, QN_GPU_matmul_f32_1x1, QN_GPU_matmul_f32_1x4,
                          QN_GPU_matmul_f32_4x2},
        [QN_DTYPE_F16] = {QN_GPU_matmul_any, QN_GPU_matmul_f16_1x1, QN_GPU_matmul_f16_1x4,
                          QN_GPU_matmul_f16_4x2},
        [QN_DTYPE_BF16] = {QN_GPU_matmul_any, QN_GPU_matmul_bf16_1x1, QN_GPU_matmul_bf16_1x4,
                           QN_GPU_matmul_bf16_4x2},
    };
#define ROW(value, name) [value] = {QN_GPU_matmul_##name##_1x2, QN_GPU_matmul_##name##_4x2},
#define AFFINE(value, bits)                                                                        \
    ROW(value, affine##bits) ROW(value + 1, affine##bits) ROW(value + 2, affine##bits)
    static const qn_gpu_kernel of_blocks[QN_DTYPE_COUNT][2] = {QN_GPU_BLOCK_FORMATS(ROW)
                                                                   QN_GPU_AFFINE_FORMATS(AFFINE)};
#undef AFFINE
#undef ROW
    return qn_dtype_is_plain(w) ? kernels[w][f] : of_blocks[w][f == FOUR_BY_TWO];
}

static void lower(qn_gpu_lowering *l, const void *args)
{
    static const int rows[] = {1, 1, 1, ROWS_AT_ONCE, 1}, rows_of_w[] = {1, 1, 4, 2, 2};
    const qn_matmul_args *o = args;
    const qn_plan *p = l->plan;
    int outputs = o->n_rows == &p->batch.step.counts->n_outputs;
    uint32_t n_rows = (uint32_t)p->max_rows;
    if (outputs && p->batch.limits.max_outputs < p->max_rows)
        n_rows = (uint32_t)p->batch.limits.max_outputs;
    form f = form_of(o, n_rows);
    qn_gpu_matmul_args a = {.n_k = (int)o->x.dim[1],
                            .n_n = (int)o->y.dim[1],
                            .bias_type = o->bias.data ? (int)o->bias.dtype : -1,
                            .accumulate = o->accumulate,
                            .over_outputs = outputs,
                            .w_type = (int)o->w.dtype,
                            .aligned = (uintptr_t)o->w.data % 16 == 0 &&
                                       (size_t)o->x.dim[1] * (o->w.dtype ? 2 : 4) % 16 == 0};
    uint32_t n_groups[3] = {qn_gpu_groups(a.n_n, QN_GPU_N_SIMDS * rows_of_w[f]),
                            qn_gpu_groups(n_rows, rows[f]), 1};
    qn_gpu_task *t = qn_gpu_task_add(l->list, kernel_of(f, o->w.dtype), n_groups, &a, sizeof a);
    qn_gpu_task_tensor(t, p, &o->y, o->accumulate ? 2 : 1);
    qn_gpu_task_tensor(t, p, &o->x, 0);
    qn_gpu_task_tensor(t, p, &o->w, 0);
    qn_gpu_task_tensor(t, p, &o->bias, 0);
    qn_gpu_task_counts(t, p);
}

const qn_gpu_rule qn_gpu_matmul_rule = {supports, NULL, lower};
