// attention in plain C; see ops/attention.h. A chunk is one head of one row.
#include "backend/ops/attention.h"

#include <math.h>

#include "backend/cpu/ref/ref.h"
#include "backend/cpu/scalar.h"

int qn_ref_attention_supports(const void *args)
{
    const qn_attention_args *a = args;
    const qn_tensor *k = &a->k_cache, *v = &a->v_cache;
    for (int i = 0; i < QN_MAX_RANK; i++)
        if (k->dim[i] != v->dim[i] || k->dim[i] <= 0) return 0;
    return k->data && v->data && k->rank == 4 && v->rank == 4 && k->dtype == v->dtype &&
           qn_kv_cache_supports(k->dtype, k->dim[3]) && a->head_dim > 0 &&
           a->head_dim <= QN_CPU_MAX_HEAD_DIM && k->dim[3] == a->head_dim &&
           k->dim[2] == QN_BLOCK_TOKENS && a->n_kv_heads > 0 && k->dim[1] == a->n_kv_heads &&
           a->n_heads > 0 && a->n_heads % a->n_kv_heads == 0 && a->window >= 0 &&
           qn_cpu_is_f32(&a->q) && qn_cpu_is_f32(&a->y) &&
           a->q.dim[1] == (int64_t)a->n_heads * a->head_dim && a->y.dim[1] == a->q.dim[1];
}

typedef struct {
    float max, sum, y[QN_CPU_MAX_HEAD_DIM]; // of the blocks so far
} state;

static float dot(const float *q, const float *k, int n)
{
    float lanes[QN_CPU_LANES] = {0};
    for (int i = 0; i < n; i++)
        lanes[i % QN_CPU_LANES] = fmaf(q[i], k[i], lanes[i % QN_CPU_LANES]);
    return qn_scalar_tree(lanes);
}

// One block: k and v are the records of `n` positions.
static void attend(const qn_attention_args *a, const float *q, const char *k, const char *v, int n,
                   state *s)
{
    const qn_format *format = qn_format_of(a->k_cache.dtype);
    int64_t record_bytes = (int64_t)qn_format_bytes(format, (uint64_t)a->head_dim);
    float score[QN_BLOCK_TOKENS], record[QN_CPU_MAX_HEAD_DIM], max = s->max;
    for (int p = 0; p < n; p++) {
        format->to_f32(k + p * record_bytes, record, (size_t)a->head_dim);
        score[p] = dot(q, record, a->head_dim) * a->scale;
        max = qn_scalar_max(score[p], max);
    }
    float shrink = qn_scalar_exp(s->max - max);
    s->max = max;
    s->sum *= shrink;
    for (int i = 0; i < a->head_dim; i++)
        s->y[i] *= shrink;
    for (int p = 0; p < n; p++) {
        float weight = qn_scalar_exp(score[p] - max);
        format->to_f32(v + p * record_bytes, record, (size_t)a->head_dim);
        s->sum += weight;
        for (int i = 0; i < a->head_dim; i++)
            s->y[i] = fmaf(weight, record[i], s->y[i]);
    }
}

static void attend_head(const qn_attention_args *a, int row, int head)
{
    qn_row r = a->rows[row];
    const int32_t *table = a->slots.table + (int64_t)r.slot * a->slots.max_blocks;
    int64_t kv_head = head / (a->n_heads / a->n_kv_heads);
    int64_t record_bytes = (int64_t)qn_tensor_row_bytes(&a->k_cache);
    int first = a->window && r.position >= a->window ? r.position - a->window + 1 : 0;
    state s = {.max = -INFINITY};
    for (int p = first, n; p <= r.position; p += n) {
        int entry = p % QN_BLOCK_TOKENS;
        n = QN_BLOCK_TOKENS - entry < r.position - p + 1 ? QN_BLOCK_TOKENS - entry
                                                         : r.position - p + 1;
        int64_t block = table[p / QN_BLOCK_TOKENS];
        int64_t at = ((block * a->n_kv_heads + kv_head) * QN_BLOCK_TOKENS + entry) * record_bytes;
        attend(a, qn_cpu_row(&a->q, row) + head * a->head_dim, (char *)a->k_cache.data + at,
               (char *)a->v_cache.data + at, n, &s);
    }
    float *y = qn_cpu_row(&a->y, row) + head * a->head_dim;
    for (int i = 0; i < a->head_dim; i++)
        y[i] = s.y[i] / s.sum;
}

void qn_ref_attention(const void *args, const qn_cpu_task *task)
{
    const qn_attention_args *a = args;
    int64_t n_chunks = (int64_t)a->counts->n_rows * a->n_heads, chunk;
    while ((chunk = qn_cpu_take(task)) < n_chunks)
        attend_head(a, (int)(chunk / a->n_heads), (int)(chunk % a->n_heads));
}
