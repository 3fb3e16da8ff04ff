// Attention over the dialect's kernels; see kernels/attention.h.
#include "backend/gpu/lower_attention.h"

enum {
    PIECE = 256,     // positions
    MAX_SPLITS = 16, // fixed: the order of summation hangs on it
    HEADS_A_GROUP = 8,
    MAX_DIM = 256,
    SPLIT_ROWS = 32 // plans of more rows have groups enough without splitting
};

static int supports(const void *args)
{
    const qn_attention_args *o = args;
    const qn_tensor *k = &o->k_cache, *v = &o->v_cache;
    for (int i = 0; i < QN_MAX_RANK; i++)
        if (k->dim[i] != v->dim[i]) return 0;
    return k->rank == 4 && v->rank == 4 && k->dtype == v->dtype &&
           qn_kv_cache_supports(k->dtype, k->dim[3]) && o->head_dim > 0 && o->head_dim <= MAX_DIM &&
           k->dim[3] == o->head_dim && k->dim[2] == QN_BLOCK_TOKENS && o->n_kv_heads > 0 &&
           k->dim[1] == o->n_kv_heads && o->n_heads > 0 && o->n_heads % o->n_kv_heads == 0 &&
           o->window >= 0 && qn_gpu_is_f32(&o->q) && qn_gpu_is_f32(&o->y) &&
           o->q.dim[1] == (int64_t)o->n_heads * o->head_dim && o->y.dim[1] == o->q.dim[1];
}

static int splits_of(const qn_attention_args *o)
{
    int n_pieces = (int)qn_gpu_groups(o->slots.max_context, PIECE);
    return n_pieces < MAX_SPLITS ? n_pieces : MAX_SPLITS;
}

static size_t partial_bytes(const qn_plan *p, const qn_attention_args *o)
{
    return (size_t)p->max_rows * (size_t)o->n_heads * (size_t)splits_of(o) *
           (size_t)(o->head_dim + 2) * sizeof(float);
}

static int is_whole(const qn_plan *p, const qn_attention_args *o)
{
    return p->max_rows > SPLIT_ROWS || splits_of(o) == 1;
}

static size_t scratch(const qn_plan *p, const void *args)
{
    return is_whole(p, args) ? 0 : partial_bytes(p, args);
}

int qn_gpu_attention_width(int64_t head_dim)
{
    return head_dim <= 64 ? 0 : head_dim <= 128 ? 1 : 2;
}

qn_gpu_attention_args qn_gpu_attention_shape(const qn_gpu_lowering *l, const qn_attention_args *o)
{
    static const int elements_a_lane[] = {2, 4, 8};
    int group = o->n_heads / o->n_kv_heads,
        mine = elements_a_lane[qn_gpu_attention_width(o->head_dim)];
    int blocks = !qn_dtype_is_plain(o->k_cache.dtype); // whole ones, whose loads need no more
    int fits = l->options->scratch && l->options->scratch_bytes >= partial_bytes(l->plan, o);
    return (qn_gpu_attention_args){
        .n_heads = o->n_heads,
        .n_kv_heads = o->n_kv_heads,
        .head_dim = o->head_dim,
        .window = o->window,
        .scale = o->scale,
        .n_parts = (int)qn_gpu_groups(group, HEADS_A_GROUP),
        .n_splits = splits_of(o),
        .piece = l->options->piece ? l->options->piece : PIECE,
        .whole = is_whole(l->plan, o) || !fits || l->options->whole,
        .max_blocks = o->slots.max_blocks,
        .wide_k = blocks || (o->head_dim % 8 == 0 && (uintptr_t)o->k_cache.data % 16 == 0),
        .wide_v = blocks || (o->head_dim % mine == 0 && (uintptr_t)o->v_cache.data % 16 == 0),
        .q_norm_type = -1,
        .k_norm_type = -1,
        .cache_type = (int)o->k_cache.dtype,
    };
}

void qn_gpu_attention_grid(uint32_t n_groups[3], const qn_plan *p, const qn_gpu_attention_args *a)
{
    n_groups[0] = (uint32_t)(a->n_kv_heads * a->n_parts);
    n_groups[1] = (uint32_t)p->max_rows;
    n_groups[2] = a->whole ? 1 : (uint32_t)a->n_splits;
}

void qn_gpu_attention_out(qn_gpu_lowering *l, qn_gpu_task *t, const qn_attention_args *o,
                          const qn_gpu_attention_args *a, int write)
{
    if (a->whole)
        qn_gpu_task_tensor(t, l->plan, &o->y, write);
    else
        qn_gpu_task_bytes(t, l->plan, l->options->scratch, partial_bytes(l->plan, o), write);
}

void qn_gpu_attention_split(qn_gpu_lowering *l, const qn_attention_args *o,
                            const qn_gpu_attention_args *a)
{
    static const qn_gpu_kernel kernels[QN_DTYPE_COUNT][3] = {
        [QN_DTYPE_F32] = {QN_GPU_attention_f32_64, QN_GPU_attention_f32_128,
                          QN_GPU_attention_f32_256},
        [QN_DTYPE_F16] = {QN_GPU_attention_f16_64, QN_GPU_attention_f16_128,
                          QN_GPU_attention_f16_256},
        [QN_DTYPE_BF16] = {QN_GPU_attention_bf16_64, QN_GPU_attention_bf16_128,
                           QN_GPU_attention_bf16_256},
        [QN_DTYPE_Q8_0] = {QN_GPU_attention_q8_0_64, QN_GPU_attention_q8_0_128,
                           QN_GPU_attention_q8_0_256},
    };
    const qn_plan *p = l->plan;
    uint32_t n_groups[3];
    qn_gpu_attention_grid(n_groups, p, a);
    qn_gpu_kernel kernel = kernels[o->k_cache.dtype][qn_gpu_attention_width(o->head_dim)];
    qn_gpu_task *t = qn_gpu_task_add(l->list, kernel, n_groups, a, sizeof *a);
    qn_gpu_attention_out(l, t, o, a, 1);
    qn_gpu_task_tensor(t, p, &o->q, 0);
    qn_gpu_task_tensor(t, p, &o->k_cache, 0);
    qn_gpu_task_tensor(t, p, &o->v_cache, 0);
    qn_gpu_task_counts(t, p);
    qn_gpu_task_rows(t, p);
    qn_gpu_task_table(t, p, 0);
}

void qn_gpu_attention_merge(qn_gpu_lowering *l, const qn_attention_args *o,
                            const qn_gpu_attention_args *a)
{
    const qn_plan *p = l->plan;
    uint32_t n_groups[3] = {qn_gpu_groups(o->y.dim[1], QN_GPU_N_THREADS), (uint32_t)p->max_rows, 1};
    if (a->whole) return;
    qn_gpu_task *t = qn_gpu_task_add(l->list, QN_GPU_attention_merge, n_groups, a, sizeof *a);
    qn_gpu_task_tensor(t, p, &o->y, 1);
    qn_gpu_attention_out(l, t, o, a, 0);
    qn_gpu_task_counts(t, p);
    qn_gpu_task_rows(t, p);
}

static void lower(qn_gpu_lowering *l, const void *args)
{
    qn_gpu_attention_args a = qn_gpu_attention_shape(l, args);
    qn_gpu_attention_split(l, args, &a);
    qn_gpu_attention_merge(l, args, &a);
}

const qn_gpu_rule qn_gpu_attention_rule = {supports, scratch, lower};
