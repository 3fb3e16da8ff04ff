// attention: instruction sets and threads against plain C bit for bit, plain C against the formula in double precision, and
// a row alone against the same row in a batch.
#include <math.h>
#include <string.h>

#include "backend/ops/attention.h"
#include "world.h"

enum { N_PLAIN = 24, N_CASES = N_PLAIN + 12 }; // the others: caches of q8_0

static qn_attention_args make(world *w, int i)
{
    static const int dims[] = {16, 64, 128, 8, 20, 80}, whole[] = {32, 64, 128, 96, 256, 224};
    int dim = i < N_PLAIN ? dims[i % 6] : whole[i % 6], n_kv = world_pick(w, 1, 3),
        group = world_pick(w, 1, 9);
    int rows = i % 4 == 0 ? 1 : world_pick(w, 1, 30),
        n_blocks = MAX_SLOTS * w->batch.slots.max_blocks;
    qn_dtype dtype = i < N_PLAIN ? (qn_dtype)(i % 3) : QN_DTYPE_Q8_0;
    qn_attention_args a = {.y = world_tensor(w, QN_DTYPE_F32, rows, n_kv * group * dim, 1),
                           .q = world_tensor(w, QN_DTYPE_F32, rows, n_kv * group * dim, 2),
                           .k_cache = world_cache(w, dtype, n_blocks, n_kv, dim),
                           .v_cache = world_cache(w, dtype, n_blocks, n_kv, dim),
                           .n_heads = n_kv * group,
                           .n_kv_heads = n_kv,
                           .head_dim = dim,
                           .window = i & 1 ? world_pick(w, 1, 60) : 0,
                           .scale = 1.0f / sqrtf((float)dim),
                           .counts = w->batch.step.counts,
                           .rows = w->batch.step.rows,
                           .slots = w->batch.slots};
    world_rows(w, rows, n_blocks, 10);
    return a;
}

// Where the cache holds position p of a row's sequence for a query head.
static int64_t place(const qn_attention_args *a, qn_row r, int head, int p)
{
    int64_t block = a->slots.table[r.slot * a->slots.max_blocks + p / QN_BLOCK_TOKENS];
    int64_t kv_head = head / (a->n_heads / a->n_kv_heads);
    return ((block * a->n_kv_heads + kv_head) * QN_BLOCK_TOKENS + p % QN_BLOCK_TOKENS) *
           a->head_dim;
}

static void check_head(const qn_attention_args *a, int row, int head)
{
    qn_row r = a->rows[row];
    int first = a->window && r.position >= a->window ? r.position - a->window + 1 : 0;
    int64_t at = ((int64_t)row * a->n_heads + head) * a->head_dim;
    double score[MAX_CONTEXT], max = -INFINITY, sum = 0;
    for (int p = first; p <= r.position; p++) {
        int64_t k = place(a, r, head, p);
        score[p] = 0;
        for (int i = 0; i < a->head_dim; i++)
            score[p] += a->scale * world_at(&a->q, at + i) * world_at(&a->k_cache, k + i);
        max = fmax(max, score[p]);
    }
    for (int p = first; p <= r.position; p++)
        sum += exp(score[p] - max);
    for (int i = 0; i < a->head_dim; i++) {
        double y = 0, size = 0;
        for (int p = first; p <= r.position; p++) {
            double term =
                exp(score[p] - max) / sum * world_at(&a->v_cache, place(a, r, head, p) + i);
            y += term;
            size += fabs(term);
        }
        if (!(fabs(world_at(&a->y, at + i) - y) <= world_slack() * 2e-6 * size))
            fail_msg("expected %.9g, found %.9g", y, world_at(&a->y, at + i));
    }
}

static void check_rows_alone(world *w, const qn_attention_args *a)
{
    int n_rows = a->counts->n_rows;
    size_t row_bytes = (size_t)a->y.dim[1] * sizeof(float);
    qn_attention_args one = *a;
    one.q.dim[0] = one.y.dim[0] = 1;
    one.y.data = world_memory(w, row_bytes);
    one.q.data = world_memory(w, row_bytes);
    qn_row rows[MAX_ROWS];
    memcpy(rows, a->rows, (size_t)n_rows * sizeof *rows);
    w->batch.step.counts->n_rows = 1;
    for (int r = 0; r < n_rows; r++) {
        w->batch.step.rows[0] = rows[r];
        memcpy(one.q.data, (char *)a->q.data + (size_t)r * row_bytes, row_bytes);
        world_run_best(w, QN_OP_ATTENTION, &one);
        assert_memory_equal(one.y.data, (char *)a->y.data + (size_t)r * row_bytes, row_bytes);
    }
}

static void test_attention(void **state)
{
    for (int i = 0; i < N_CASES; i++) {
        world *w = *state;
        world_begin(w, (uint64_t)i + 1000);
        qn_attention_args a = make(w, i);
        world_check_near(w, QN_OP_ATTENTION, &a, &a.y, 5e-6);
        for (int row = 0; row < a.counts->n_rows; row++)
            for (int head = 0; head < a.n_heads; head += 3)
                check_head(&a, row, head);
        check_rows_alone(w, &a);
    }
}

// What lies in the cache at positions that a row may not see is never used, not even times zero.
static void test_unseen_positions(void **state)
{
    world *w = *state;
    world_begin(w, 1100);
    qn_attention_args a = make(w, 1);
    a.window = 21;
    w->batch.step.counts->n_rows = 1;
    w->batch.step.rows[0] = (qn_row){0, 70, -1};
    const qn_format *format = qn_format_of(a.k_cache.dtype);
    float nan = NAN, one = 1;
    for (int64_t i = 0; i < qn_tensor_n_elements(&a.k_cache); i++) {
        format->from_f32(&nan, (char *)a.k_cache.data + i * format->block_bytes, 1);
        format->from_f32(&nan, (char *)a.v_cache.data + i * format->block_bytes, 1);
    }
    for (int p = 50; p <= 70; p++)
        for (int64_t i = 0; i < (int64_t)a.n_kv_heads * a.head_dim; i++) {
            int head = (int)(i / a.head_dim) * (a.n_heads / a.n_kv_heads);
            int64_t at = place(&a, w->batch.step.rows[0], head, p) + i % a.head_dim;
            format->from_f32(&one, (char *)a.k_cache.data + at * format->block_bytes, 1);
            format->from_f32(&one, (char *)a.v_cache.data + at * format->block_bytes, 1);
        }
    world_check_near(w, QN_OP_ATTENTION, &a, &a.y, 5e-6);
    for (int64_t i = 0; i < a.y.dim[1]; i++)
        assert_true(fabs(world_at(&a.y, i) - 1) < 1e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_unseen_positions),
    };
    return cmocka_run_group_tests(tests, world_open, world_close);
}
