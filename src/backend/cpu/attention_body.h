// attention on 16 lanes; see ops/attention.h. Part of kernels_body.h.
// A chunk is some query heads of one row that share a key head: a key or value is loaded once for all of them. Where rows and key
// heads are too few for the workers, a chunk has fewer query heads. A cache in blocks is made float32 16 positions at a time.
#ifndef QN_BACKEND_CPU_ATTENTION_BODY_H
#define QN_BACKEND_CPU_ATTENTION_BODY_H
#include "backend/cpu/tile.h"
#include "backend/cpu/unpack_body.h"
#include "backend/ops/attention.h"
#ifdef SIMD_ISA

enum {
    MAX_HEADS = 64,    // query heads a chunk: with heads of 1024 numbers they fill half the scratch
    HEADS_AT_ONCE = 4, // whose values are summed side by side
};

typedef struct {
    const qn_attention_args *a;
    const float *q;    // of the chunk's first head; the others follow
    int n_heads, n;    // n: positions of the block that count
    const char *k, *v; // the block's first position that counts
    // In scratch, of each head:
    float (*score)[QN_BLOCK_TOKENS]; // then the weights
    float *max, *sum, *shrink;
    float *y;        // [n_heads][head_dim]
    float *unpacked; // [16][head_dim]: keys, then values, of a cache in blocks
    float *sums;     // of a tile
} attention_state;

// The block's records as numbers that stand alone, and their type.
static const char *plain_numbers(const attention_state *s, const char *records, qn_dtype *dtype)
{
    if (qn_dtype_is_plain(*dtype)) return records;
    unpack(*dtype, records, s->unpacked, s->n * s->a->head_dim);
    *dtype = QN_DTYPE_F32;
    return (const char *)s->unpacked;
}

static void score_block(attention_state *s)
{
    const qn_attention_args *a = s->a;
    qn_dtype dtype = a->k_cache.dtype;
    const char *k = plain_numbers(s, s->k, &dtype);
    int tail = a->head_dim % QN_CPU_LANES;
    float scores[TILE_ROWS * TILE_WEIGHTS];
    tile t = {.x_stride = a->head_dim,
              .w_stride = a->head_dim * element_bytes(dtype),
              .n_k = a->head_dim - tail,
              .first = 1,
              .sums = s->sums};
    for (int head = 0, n_heads; head < s->n_heads; head += n_heads) {
        n_heads = s->n_heads - head < TILE_ROWS ? s->n_heads - head : TILE_ROWS;
        t.x = s->q + head * a->head_dim;
        for (int p = 0, n; p < s->n; p += n) {
            n = s->n - p < TILE_WEIGHTS ? 1 : TILE_WEIGHTS;
            t.w = k + p * t.w_stride;
            choose_tile(dtype, n_heads, n, 0)(&t);
            if (tail) add_tail(&t, n_heads, n, dtype, t.n_k, tail);
            sum_tile(s->sums, scores, n_heads * n);
            for (int i = 0; i < n_heads * n; i++)
                s->score[head + i / n][p + i % n] = scores[i] * a->scale;
        }
    }
}

// Scores to weights, and how much the sums so far shrink.
static void weigh_block(attention_state *s)
{
    for (int h = 0; h < s->n_heads; h++) {
        float *score = s->score[h], max = s->max[h];
        for (int p = 0; p < s->n; p++)
            max = qn_scalar_max(score[p], max);
        for (int p = s->n; p < QN_BLOCK_TOKENS; p++)
            score[p] = max; // any number: not looked at
        lanes_store(score, lanes_exp(lanes_sub(lanes_load(score), lanes_set(max))));
        s->shrink[h] = qn_scalar_exp(s->max[h] - max);
        s->max[h] = max;
        s->sum[h] *= s->shrink[h];
        for (int p = 0; p < s->n; p++)
            s->sum[h] += score[p];
    }
}

// The values from `v` on, for n_heads heads from `head` on.
ALWAYS_INLINE void add_values(const attention_state *s, const qn_dtype dtype, const char *values,
                              const int n_heads, int head)
{
    const int64_t element = element_bytes(dtype);
    int64_t dim = s->a->head_dim, i = 0;
    for (; i + QN_CPU_LANES <= dim; i += QN_CPU_LANES) {
        lanes y[HEADS_AT_ONCE];
        UNROLL
        for (int h = 0; h < n_heads; h++)
            y[h] =
                lanes_mul(lanes_load(s->y + (head + h) * dim + i), lanes_set(s->shrink[head + h]));
        for (int p = 0; p < s->n; p++) {
            lanes v = lanes_load_as(dtype, values + (p * dim + i) * element);
            UNROLL
            for (int h = 0; h < n_heads; h++)
                y[h] = lanes_fma(lanes_set(s->score[head + h][p]), v, y[h]);
        }
        UNROLL
        for (int h = 0; h < n_heads; h++)
            lanes_store(s->y + (head + h) * dim + i, y[h]);
    }
    for (; i < dim; i++)
        for (int h = head; h < head + n_heads; h++) {
            float y = s->y[h * dim + i] * s->shrink[h];
            for (int p = 0; p < s->n; p++)
                y = fmaf(s->score[h][p], scalar_load_as(dtype, values + (p * dim + i) * element),
                         y);
            s->y[h * dim + i] = y;
        }
}

ALWAYS_INLINE void add_all_values(const attention_state *s, const qn_dtype dtype,
                                  const char *values)
{
    int head = 0;
    for (; head + HEADS_AT_ONCE <= s->n_heads; head += HEADS_AT_ONCE)
        add_values(s, dtype, values, HEADS_AT_ONCE, head);
    for (; head < s->n_heads; head++)
        add_values(s, dtype, values, 1, head);
}

static void add_block(attention_state *s)
{
    score_block(s);
    weigh_block(s);
    qn_dtype dtype = s->a->v_cache.dtype;
    const char *v = plain_numbers(s, s->v, &dtype);
    if (dtype == QN_DTYPE_BF16)
        add_all_values(s, QN_DTYPE_BF16, v);
    else if (dtype == QN_DTYPE_F16)
        add_all_values(s, QN_DTYPE_F16, v);
    else
        add_all_values(s, QN_DTYPE_F32, v);
}

static attention_state begin_heads(const qn_attention_args *a, float *scratch, int n_heads)
{
    attention_state s = {.a = a, .n_heads = n_heads};
    s.sums = scratch;
    s.score = (float(*)[QN_BLOCK_TOKENS])(scratch + TILE_ROWS * TILE_WEIGHTS * QN_CPU_LANES);
    s.max = s.score[MAX_HEADS];
    s.sum = s.max + MAX_HEADS;
    s.shrink = s.sum + MAX_HEADS;
    s.y = s.shrink + MAX_HEADS;
    for (int h = 0; h < n_heads; h++)
        s.max[h] = -INFINITY, s.sum[h] = 0;
    s.unpacked = s.y + (int64_t)MAX_HEADS * a->head_dim;
    memset(s.y, 0, (size_t)n_heads * (size_t)a->head_dim * sizeof *s.y);
    return s;
}

// Heads [head, head + n_heads) of a row; all have the same key head.
static void attend_heads(const qn_attention_args *a, float *scratch, int row, int head, int n_heads)
{
    qn_row r = a->rows[row];
    const int32_t *table = a->slots.table + (int64_t)r.slot * a->slots.max_blocks;
    int64_t kv_head = head / (a->n_heads / a->n_kv_heads), dim = a->head_dim;
    int64_t record_bytes = (int64_t)qn_tensor_row_bytes(&a->k_cache);
    int first = a->window && r.position >= a->window ? r.position - a->window + 1 : 0;
    attention_state s = begin_heads(a, scratch, n_heads);
    s.q = qn_cpu_row(&a->q, row) + head * dim;
    for (int p = first; p <= r.position; p += s.n) {
        int entry = p % QN_BLOCK_TOKENS, rest = r.position - p + 1;
        s.n = QN_BLOCK_TOKENS - entry < rest ? QN_BLOCK_TOKENS - entry : rest;
        int64_t block = table[p / QN_BLOCK_TOKENS];
        int64_t at = ((block * a->n_kv_heads + kv_head) * QN_BLOCK_TOKENS + entry) * record_bytes;
        s.k = (const char *)a->k_cache.data + at;
        s.v = (const char *)a->v_cache.data + at;
        add_block(&s);
    }
    float *y = qn_cpu_row(&a->y, row) + head * dim;
    for (int h = 0; h < n_heads; h++)
        for (int64_t i = 0; i < dim; i++)
            y[h * dim + i] = s.y[h * dim + i] / s.sum[h];
}

static void attention(const void *args, const qn_cpu_task *task)
{
    const qn_attention_args *a = args;
    int group = a->n_heads / a->n_kv_heads, per_chunk = group < MAX_HEADS ? group : MAX_HEADS;
    int64_t chunk, wanted = 2 * task->n_workers;
    if (a->counts->n_rows == 0) return;
    while (per_chunk > 1 &&
           (int64_t)a->counts->n_rows * a->n_kv_heads * (group / per_chunk) < wanted)
        per_chunk = (per_chunk + 1) / 2;
    int per_group = (group + per_chunk - 1) / per_chunk, per_row = a->n_kv_heads * per_group;
    while ((chunk = qn_cpu_take(task)) < (int64_t)a->counts->n_rows * per_row) {
        int in_row = (int)(chunk % per_row), in_group = in_row % per_group * per_chunk;
        attend_heads(a, task->scratch, (int)(chunk / per_row),
                     in_row / per_group * group + in_group,
                     group - in_group < per_chunk ? group - in_group : per_chunk);
    }
}

#endif
#endif
