// Plans of few rows: sequences of records that become one task, with the bits of the plain tasks. Looked at by the first record:
//   rms_norm, matmul ×3                                   norm_project    queries, keys and values
//   (rms_norm) rope ×2, kv_append, attention              attend
//   attention's merge, matmul                             merge_project
//   rms_norm, matmul ×2, swiglu                           norm_gate_up
// A form is taken where shapes and types allow it and what it leaves unwritten is not read before it is written again.
#include "backend/gpu/lower_attention.h"
#include "backend/ops/kv_append.h"
#include "backend/ops/matmul.h"
#include "backend/ops/qk_norm_rope.h"
#include "backend/ops/swiglu.h"

enum { ROWS_OF_W = 2 * QN_GPU_N_SIMDS }; // of a group of these kernels

// ---- memory ----

static int meet(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    uintptr_t p = (uintptr_t)a, q = (uintptr_t)b;
    return p < q + b_bytes && q < p + a_bytes;
}

static int overlap(const qn_tensor *a, const qn_tensor *b)
{
    return meet(a->data, qn_tensor_bytes(a), b->data, qn_tensor_bytes(b));
}

static int covers(const qn_access *a, const qn_tensor *t)
{
    uintptr_t from = (uintptr_t)a->from, at = (uintptr_t)t->data;
    return from <= at && at + qn_tensor_bytes(t) <= from + a->n_bytes;
}

// Nothing from record i on reads what the tensor holds now.
static int unread(const qn_plan *p, int i, const qn_tensor *t)
{
    for (; i < p->n_records; i++) {
        qn_access accesses[QN_MAX_ACCESSES];
        const qn_record *r = &p->records[i];
        int n = qn_op_get(r->op)->accesses(r->args, accesses), written = 0;
        for (int j = 0; j < n; j++) {
            if (!meet(accesses[j].from, accesses[j].n_bytes, t->data, qn_tensor_bytes(t))) continue;
            if (accesses[j].write != 1) return 0;
            if (covers(&accesses[j], t)) written = 1;
        }
        if (written) return 1;
    }
    return 1;
}

// ---- records ----

// The arguments of record i where it is such an operation that the plain kernels can run, else NULL.
static const void *record_at(const qn_plan *p, int i, qn_op op)
{
    if (i >= p->n_records || p->records[i].op != op) return NULL;
    return qn_gpu_supports(&p->records[i]) ? p->records[i].args : NULL;
}

static int over_rows(const qn_plan *p, const int32_t *n_rows)
{
    return n_rows == &p->batch.step.counts->n_rows;
}

// A product of h in the form by eights.
static const qn_matmul_args *product_of(const qn_gpu_lowering *l, int i, const qn_tensor *h)
{
    const qn_plan *p = l->plan;
    const qn_matmul_args *m = record_at(p, i, QN_OP_MATMUL);
    if (!m || m->x.data != h->data || !over_rows(p, m->n_rows)) return NULL;
    if (!qn_dtype_is_plain(m->w.dtype)) return l->options->fuse_blocks ? m : NULL;
    return m->x.dim[1] % 8 == 0 && (uintptr_t)m->w.data % 8 == 0 ? m : NULL;
}

// Which of a fused form's kernels: by the weights' type, and of blocks that of F16, which the host replaces.
static qn_dtype kernel_type(const qn_matmul_args *m)
{
    return qn_dtype_is_plain(m->w.dtype) ? m->w.dtype : QN_DTYPE_F16;
}

static int is_aligned(const qn_matmul_args *m)
{
    return (uintptr_t)m->w.data % 16 == 0 &&
           (size_t)m->w.dim[1] * (m->w.dtype == QN_DTYPE_F32 ? 4 : 2) % 16 == 0;
}

static int is_same_kind(const qn_matmul_args *a, const qn_matmul_args *b)
{
    int plain = qn_dtype_is_plain(a->w.dtype) || qn_dtype_is_plain(b->w.dtype);
    return (a->w.dtype == b->w.dtype || !plain) && a->w.dim[1] == b->w.dim[1];
}

static int bias_type(const qn_matmul_args *m)
{
    return m->bias.data ? (int)m->bias.dtype : -1;
}

static const qn_rms_norm_args *norm_at(const qn_plan *p, int i)
{
    const qn_rms_norm_args *n = record_at(p, i, QN_OP_RMS_NORM);
    return n && n->n_groups == 1 && over_rows(p, n->n_rows) ? n : NULL;
}

// ---- norm_project ----

static void lower_project(qn_gpu_lowering *l, const qn_rms_norm_args *n,
                          const qn_matmul_args *const m[3])
{
    static const qn_gpu_kernel kernels[QN_DTYPE_COUNT] = {
        [QN_DTYPE_F32] = QN_GPU_norm_project_f32,
        [QN_DTYPE_F16] = QN_GPU_norm_project_f16,
        [QN_DTYPE_BF16] = QN_GPU_norm_project_bf16,
    };
    const qn_plan *p = l->plan;
    qn_gpu_norm_project_args a = {.n_k = (int)n->x.dim[1],
                                  .n_q = (int)m[0]->w.dim[0],
                                  .n_kv = (int)m[1]->w.dim[0],
                                  .bias_q = bias_type(m[0]),
                                  .bias_k = bias_type(m[1]),
                                  .bias_v = bias_type(m[2]),
                                  .norm_type = (int)n->weight.dtype,
                                  .eps = n->eps,
                                  .aligned = 1};
    for (int i = 0; i < 3; i++)
        a.aligned &= is_aligned(m[i]);
    uint32_t n_groups[3] = {qn_gpu_groups(a.n_q + 2 * a.n_kv, ROWS_OF_W), 1, 1};
    qn_gpu_task *t = qn_gpu_task_add(l->list, kernels[kernel_type(m[0])], n_groups, &a, sizeof a);
    for (int i = 0; i < 3; i++)
        qn_gpu_task_tensor(t, p, &m[i]->y, 1);
    qn_gpu_task_tensor(t, p, &n->x, 0);
    qn_gpu_task_tensor(t, p, &n->weight, 0);
    for (int i = 0; i < 3; i++)
        qn_gpu_task_tensor(t, p, &m[i]->w, 0);
    for (int i = 0; i < 3; i++)
        qn_gpu_task_tensor(t, p, &m[i]->bias, 0);
}

static int fuse_project(qn_gpu_lowering *l, int i)
{
    const qn_plan *p = l->plan;
    const qn_rms_norm_args *n = norm_at(p, i);
    const qn_matmul_args *m[3];
    if (!n) return 0;
    for (int j = 0; j < 3; j++) {
        m[j] = product_of(l, i + 1 + j, &n->y);
        if (!m[j] || m[j]->accumulate || !is_same_kind(m[j], m[0]) || overlap(&m[j]->y, &n->x))
            return 0;
    }
    if (m[1]->w.dim[0] != m[2]->w.dim[0] || !unread(p, i + 4, &n->y)) return 0;
    lower_project(l, n, m);
    return 4;
}

// ---- norm_gate_up ----

static void lower_gate_up(qn_gpu_lowering *l, const qn_rms_norm_args *n,
                          const qn_matmul_args *const m[2], const qn_tensor *y)
{
    static const qn_gpu_kernel kernels[QN_DTYPE_COUNT] = {
        [QN_DTYPE_F32] = QN_GPU_norm_gate_up_f32,
        [QN_DTYPE_F16] = QN_GPU_norm_gate_up_f16,
        [QN_DTYPE_BF16] = QN_GPU_norm_gate_up_bf16,
    };
    const qn_plan *p = l->plan;
    qn_gpu_norm_gate_up_args a = {(int)n->x.dim[1], (int)m[0]->w.dim[0], (int)n->weight.dtype,
                                  n->eps, is_aligned(m[0]) && is_aligned(m[1])};
    uint32_t n_groups[3] = {qn_gpu_groups(a.n_n, ROWS_OF_W), 1, 1};
    qn_gpu_task *t = qn_gpu_task_add(l->list, kernels[kernel_type(m[0])], n_groups, &a, sizeof a);
    qn_gpu_task_tensor(t, p, y, 1);
    qn_gpu_task_tensor(t, p, &n->x, 0);
    qn_gpu_task_tensor(t, p, &n->weight, 0);
    qn_gpu_task_tensor(t, p, &m[0]->w, 0);
    qn_gpu_task_tensor(t, p, &m[1]->w, 0);
}

// What swiglu read is what it writes, or is of no more use.
static int is_spent(const qn_plan *p, int i, const qn_tensor *in, const qn_tensor *y)
{
    return in->data == y->data || (!overlap(in, y) && unread(p, i, in));
}

static int fuse_gate_up(qn_gpu_lowering *l, int i)
{
    const qn_plan *p = l->plan;
    const qn_rms_norm_args *n = norm_at(p, i);
    const qn_swiglu_args *s = record_at(p, i + 3, QN_OP_SWIGLU);
    const qn_matmul_args *m[2];
    if (!n || !s || !over_rows(p, s->n_rows)) return 0;
    for (int j = 0; j < 2; j++) {
        m[j] = product_of(l, i + 1 + j, &n->y);
        if (!m[j] || m[j]->accumulate || m[j]->bias.data || !is_same_kind(m[j], m[0])) return 0;
    }
    if (s->gate.data != m[0]->y.data || s->up.data != m[1]->y.data ||
        m[0]->w.dim[0] != m[1]->w.dim[0] || s->y.dim[1] != m[0]->w.dim[0])
        return 0;
    if (overlap(&s->y, &n->x) || !unread(p, i + 4, &n->y) || !is_spent(p, i + 4, &s->gate, &s->y) ||
        !is_spent(p, i + 4, &s->up, &s->y))
        return 0;
    lower_gate_up(l, n, m, &s->y);
    return 4;
}

// ---- attend, merge_project ----

// Norm and rotation of queries or keys.
typedef struct {
    const qn_rope_args *rope;
    qn_tensor norm; // data NULL: none
    float eps;
    int n_records; // 0: there is no such thing
} heads;

static heads heads_at(const qn_plan *p, int i)
{
    heads h = {0};
    if (i < p->n_records && p->records[i].op == QN_OP_QK_NORM_ROPE) {
        const qn_qk_norm_rope_args *a = p->records[i].args;
        h = (heads){&a->rope, a->weight, a->eps, 1};
    } else if (record_at(p, i, QN_OP_RMS_NORM)) {
        const qn_rms_norm_args *n = p->records[i].args;
        h = (heads){record_at(p, i + 1, QN_OP_ROPE), n->weight, n->eps, 2};
        if (!h.rope || n->x.data != h.rope->x.data || n->y.data != n->x.data ||
            n->n_groups != h.rope->n_heads || !over_rows(p, n->n_rows))
            h.n_records = 0;
    } else {
        h.rope = record_at(p, i, QN_OP_ROPE);
        h.n_records = h.rope != NULL;
    }
    if (h.n_records && h.norm.data && !qn_gpu_is_vector(&h.norm, h.rope->head_dim)) h.n_records = 0;
    return h;
}

// Of a cache in Q8_0 a simdgroup's numbers of a rotated head, 32 neighbours of each half, have to be a block.
static int can_append(const qn_gpu_lowering *l, const qn_attention_args *o)
{
    if (qn_dtype_is_plain(o->k_cache.dtype)) return 1;
    return l->options->fuse_blocks && (o->head_dim == 64 || o->head_dim == 128);
}

static int can_attend(const qn_plan *p, const heads *q, const heads *k, const qn_kv_append_args *kv,
                      const qn_attention_args *o)
{
    if (q->rope->x.data != o->q.data || k->rope->x.data != kv->k.data) return 0;
    if (kv->k_cache.data != o->k_cache.data || kv->v_cache.data != o->v_cache.data) return 0;
    if (q->rope->n_heads != o->n_heads || k->rope->n_heads != o->n_kv_heads) return 0;
    if (q->rope->head_dim != o->head_dim || k->rope->head_dim != o->head_dim) return 0;
    if (q->rope->inv_freq.data != k->rope->inv_freq.data || q->rope->scale != k->rope->scale)
        return 0;
    if (q->norm.data && k->norm.data && q->eps != k->eps) return 0;
    return o->head_dim % 2 == 0 && qn_gpu_is_vector(&q->rope->inv_freq, o->head_dim / 2) &&
           q->rope->inv_freq.dtype == QN_DTYPE_F32 && qn_gpu_is_f32(&o->q) &&
           qn_gpu_is_f32(&kv->k) && !overlap(&o->y, &o->q) && !overlap(&o->y, &kv->k) &&
           !overlap(&o->y, &kv->v) && p->batch.slots.max_blocks == o->slots.max_blocks;
}

static void lower_attend(qn_gpu_lowering *l, const heads *q, const heads *k,
                         const qn_kv_append_args *kv, const qn_attention_args *o,
                         qn_gpu_attention_args a)
{
    static const qn_gpu_kernel kernels[QN_DTYPE_COUNT][3] = {
        [QN_DTYPE_F32] = {QN_GPU_attend_f32_64, QN_GPU_attend_f32_128, QN_GPU_attend_f32_256},
        [QN_DTYPE_F16] = {QN_GPU_attend_f16_64, QN_GPU_attend_f16_128, QN_GPU_attend_f16_256},
        [QN_DTYPE_BF16] = {QN_GPU_attend_bf16_64, QN_GPU_attend_bf16_128, QN_GPU_attend_bf16_256},
        // The host replaces it.
        [QN_DTYPE_Q8_0] = {QN_GPU_attend_f16_64, QN_GPU_attend_f16_128, QN_GPU_attend_f16_256},
    };
    const qn_plan *p = l->plan;
    uint32_t n_groups[3];
    a.q_norm_type = q->norm.data ? (int)q->norm.dtype : -1;
    a.k_norm_type = k->norm.data ? (int)k->norm.dtype : -1;
    a.eps = q->norm.data ? q->eps : k->eps;
    a.rope_scale = q->rope->scale;
    qn_gpu_attention_grid(n_groups, p, &a);
    qn_gpu_kernel kernel = kernels[o->k_cache.dtype][qn_gpu_attention_width(o->head_dim)];
    qn_gpu_task *t = qn_gpu_task_add(l->list, kernel, n_groups, &a, sizeof a);
    qn_gpu_attention_out(l, t, o, &a, 1);
    qn_gpu_task_tensor(t, p, &o->q, 0);
    qn_gpu_task_tensor(t, p, &kv->k, 0);
    qn_gpu_task_tensor(t, p, &kv->v, 0);
    qn_gpu_task_tensor(t, p, &q->rope->inv_freq, 0);
    qn_gpu_task_tensor(t, p, &q->norm, 0);
    qn_gpu_task_tensor(t, p, &k->norm, 0);
    qn_gpu_task_tensor(t, p, &o->k_cache, 2);
    qn_gpu_task_tensor(t, p, &o->v_cache, 2);
    qn_gpu_task_counts(t, p);
    qn_gpu_task_rows(t, p);
    qn_gpu_task_table(t, p, 0);
}

static void lower_merge_project(qn_gpu_lowering *l, const qn_attention_args *o,
                                const qn_gpu_attention_args *shape, const qn_matmul_args *m)
{
    static const qn_gpu_kernel kernels[QN_DTYPE_COUNT][3] = {
        [QN_DTYPE_F32] = {QN_GPU_merge_project_f32_2048, QN_GPU_merge_project_f32_4096,
                          QN_GPU_merge_project_f32_6144},
        [QN_DTYPE_F16] = {QN_GPU_merge_project_f16_2048, QN_GPU_merge_project_f16_4096,
                          QN_GPU_merge_project_f16_6144},
        [QN_DTYPE_BF16] = {QN_GPU_merge_project_bf16_2048, QN_GPU_merge_project_bf16_4096,
                           QN_GPU_merge_project_bf16_6144},
    };
    const qn_plan *p = l->plan;
    qn_gpu_merge_project_args a = {.n_k = (int)m->w.dim[1],
                                   .n_n = (int)m->w.dim[0],
                                   .head_dim = shape->head_dim,
                                   .window = shape->window,
                                   .n_splits = shape->n_splits,
                                   .piece = shape->piece,
                                   .bias_type = bias_type(m),
                                   .accumulate = m->accumulate,
                                   .aligned = is_aligned(m)};
    int size = a.n_k <= 2048 ? 0 : a.n_k <= 4096 ? 1 : 2;
    uint32_t n_groups[3] = {qn_gpu_groups(a.n_n, ROWS_OF_W), 1, 1};
    qn_gpu_task *t =
        qn_gpu_task_add(l->list, kernels[kernel_type(m)][size], n_groups, &a, sizeof a);
    qn_gpu_task_tensor(t, p, &m->y, m->accumulate ? 2 : 1);
    qn_gpu_attention_out(l, t, o, shape, 0);
    qn_gpu_task_tensor(t, p, &m->w, 0);
    qn_gpu_task_tensor(t, p, &m->bias, 0);
    qn_gpu_task_counts(t, p);
    qn_gpu_task_rows(t, p);
}

// The merge of an attention's partials, with the product at record i where that reads them: how many records it took.
static int finish_attention(qn_gpu_lowering *l, const qn_attention_args *o,
                            const qn_gpu_attention_args *shape, int i)
{
    enum { MAX_MERGED = 6144 };
    const qn_matmul_args *m = product_of(l, i, &o->y);
    if (shape->whole) return 0;
    if (m && m->x.dim[1] == o->y.dim[1] && m->x.dim[1] <= MAX_MERGED &&
        unread(l->plan, i + 1, &o->y)) {
        lower_merge_project(l, o, shape, m);
        return 1;
    }
    qn_gpu_attention_merge(l, o, shape);
    return 0;
}

static int fuse_attend(qn_gpu_lowering *l, int i)
{
    const qn_plan *p = l->plan;
    heads q = heads_at(p, i);
    if (!q.n_records) return 0;
    heads k = heads_at(p, i + q.n_records);
    if (!k.n_records) return 0;
    int at = i + q.n_records + k.n_records;
    const qn_kv_append_args *kv = record_at(p, at, QN_OP_KV_APPEND);
    const qn_attention_args *o = record_at(p, at + 1, QN_OP_ATTENTION);
    if (!kv || !o || !can_append(l, o) || !can_attend(p, &q, &k, kv, o)) return 0;
    at += 2;
    qn_gpu_attention_args shape = qn_gpu_attention_shape(l, o);
    if (shape.n_parts != 1) return 0; // a group of the grid is a key head
    if (!unread(p, at, &o->q) || !unread(p, at, &kv->k) || !unread(p, at, &kv->v)) return 0;
    lower_attend(l, &q, &k, kv, o, shape);
    return at - i + finish_attention(l, o, &shape, at);
}

static int fuse_attention(qn_gpu_lowering *l, int i)
{
    const qn_attention_args *o = record_at(l->plan, i, QN_OP_ATTENTION);
    if (!o) return 0;
    qn_gpu_attention_args shape = qn_gpu_attention_shape(l, o);
    qn_gpu_attention_split(l, o, &shape);
    return 1 + finish_attention(l, o, &shape, i + 1);
}

int qn_gpu_fuse(qn_gpu_lowering *l, int i)
{
    static int (*const forms[])(qn_gpu_lowering *, int) = {fuse_project, fuse_gate_up, fuse_attend,
                                                           fuse_attention};
    if (l->plan->max_rows > l->options->fuse_rows) return 0;
    for (size_t j = 0; j < sizeof forms / sizeof *forms; j++) {
        int n = forms[j](l, i);
        if (n) return n;
    }
    return 0;
}
