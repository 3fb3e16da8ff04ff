// attention over one type of cache (FORMAT, its number FORMAT_TYPE); included by attention.h, so without a guard.
// Its three widths of a head; of plain types also attend, and merge_project for three sizes of a row. Heads of a type in blocks are
// whole blocks: they are always read in whole vectors.

// Eights of a key; `left` elements are there.
FN void QN_JOIN(qn_key8_, FORMAT)(GLOBAL const void *p, ulong at, int wide, int left,
                                  PRIV float4 *a, PRIV float4 *b)
{
    if (wide) {
        QN_JOIN(qn_load8_, FORMAT)(p, at, 1, a, b);
        return;
    }
    float f[8];
    for (int i = 0; i < 8; i++)
        f[i] = i < left ? qn_load(p, FORMAT_TYPE, at + (ulong)i) : 0.0f;
    *a = F4(f[0], f[1], f[2], f[3]);
    *b = F4(f[4], f[5], f[6], f[7]);
}
FN void QN_JOIN(qn_load8s_, FORMAT)(GLOBAL const void *p, ulong i, PRIV float *to)
{
    QN_JOIN(qn_load4_, FORMAT)(p, i, to);
    QN_JOIN(qn_load4_, FORMAT)(p, i + 4, to + 4);
}

#define DIMS 64
#define MINE 2
#define LOAD_MINE QN_JOIN(qn_load2_, FORMAT)
#include "backend/gpu/kernels/attention_body.h"
#undef DIMS
#undef MINE
#undef LOAD_MINE
#define DIMS 128
#define MINE 4
#define LOAD_MINE QN_JOIN(qn_load4_, FORMAT)
#include "backend/gpu/kernels/attention_body.h"
#undef DIMS
#undef MINE
#undef LOAD_MINE
#define DIMS 256
#define MINE 8
#define LOAD_MINE QN_JOIN(qn_load8s_, FORMAT)
#include "backend/gpu/kernels/attention_body.h"
#undef DIMS
#undef MINE
#undef LOAD_MINE

#if FORMAT_TYPE < 3
// One row of at most WIDTH numbers: its partials joined, then y (+)= row · wᵀ, in the order of product.h. Two rows of the
// weights a simdgroup.
#define MERGE_PROJECT(NAME, WIDTH)                                                                 \
    KERNEL(NAME, BUF(0, float, y), BUF(1, const float, partials), BUF(2, const void, w),           \
           BUF(3, const void, bias), BUF(4, const qn_step_counts, counts),                         \
           BUF(5, const qn_row, rows), ARGS(6, qn_gpu_merge_project_args, a))                      \
    {                                                                                              \
        SHARED(float4, x, WIDTH / 4);                                                              \
        if (counts->n_rows < 1) return;                                                            \
        int position = rows[0].position, n0 = (TG_X * QN_GPU_SIMDS + SG) * 2;                      \
        int first = qn_first_seen(position, a.window) / a.piece;                                   \
        for (int i = TID; i < a.n_k; i += QN_GPU_THREADS)                                          \
            ((LOCAL float *)x)[i] = qn_merged(partials, i / a.head_dim, i % a.head_dim,            \
                                              a.head_dim, a.n_splits, first, position / a.piece);  \
        BARRIER();                                                                                 \
        if (n0 >= a.n_n) return;                                                                   \
        float sum[2];                                                                              \
        sum[0] = 0.0f;                                                                             \
        sum[1] = 0.0f;                                                                             \
        for (int k = 8 * LANE; k < a.n_k; k += 256)                                                \
            for (int j = 0; j < 2; j++) {                                                          \
                float4 wa, wb;                                                                     \
                int n = n0 + j < a.n_n ? n0 + j : a.n_n - 1;                                       \
                QN_JOIN(qn_load8_, FORMAT)                                                         \
                (w, (ulong)n * (ulong)a.n_k + (ulong)k, a.aligned, &wa, &wb);                      \
                sum[j] = qn_dot4(x[k / 4 + 1], wb, qn_dot4(x[k / 4], wa, sum[j]));                 \
            }                                                                                      \
        for (int j = 0; j < 2; j++) {                                                              \
            float s = SG_SUM(sum[j]);                                                              \
            if (LANE != 0 || n0 + j >= a.n_n) continue;                                            \
            if (a.bias_type >= 0) s += qn_load(bias, a.bias_type, (ulong)(n0 + j));                \
            y[n0 + j] = a.accumulate ? s + y[n0 + j] : s;                                          \
        }                                                                                          \
    }

MERGE_PROJECT(QN_JOIN(QN_JOIN(merge_project_, FORMAT), _2048), 2048)
MERGE_PROJECT(QN_JOIN(QN_JOIN(merge_project_, FORMAT), _4096), 4096)
MERGE_PROJECT(QN_JOIN(QN_JOIN(merge_project_, FORMAT), _6144), 6144)

#undef MERGE_PROJECT
#endif
