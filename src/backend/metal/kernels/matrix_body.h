// The products in simdgroup matrices over one format of weights (FORMAT); included by matrix.h once a format, so without a guard.
#define NAMED(what) QN_JOIN(what, FORMAT)
#define WIDEN QN_JOIN(NAMED(qn_), x8)

FN void NAMED(qn_mm_w_)(thread simdgroup_float8x8 &sum, uint4 w, float4 x0, float4 x1)
{
    float4 a, b;
    WIDEN(w, &a, &b);
    qn_mm_step(sum, a, b, x0, x1);
}

// Up to 8 rows of x. A simdgroup has a slice of K for all 16 rows of w.
KERNEL(NAMED(matrix_few_), BUF(0, float, y), BUF(1, const float, x), BUF(2, const void, w),
       BUF(3, const void, bias), BUF(4, const qn_step_counts, counts),
       ARGS(5, qn_gpu_matmul_args, a))
{
    SHARED(float, parts, QN_GPU_SIMDS *QN_MM_WIDE *QN_MM_FEW);
    int n_rows = a.over_outputs ? counts->n_outputs : counts->n_rows;
    int row0 = TG_Y * QN_MM_FEW, n0 = TG_X * QN_MM_WIDE;
    if (row0 >= n_rows || n0 >= a.n_n) return;
    int2 place = qn_place(LANE);
    int row = row0 + place.x, from = SG * qn_slice(a.n_k), end = from + qn_slice(a.n_k);
    int n_low = qn_clamped(n0 + place.y, a.n_n), n_high = qn_clamped(n0 + 8 + place.y, a.n_n);
    GLOBAL const float *x0 = x + (ulong)row * (ulong)a.n_k, *x1 = x0 + a.n_k;
    simdgroup_float8x8 low, high;
    qn_mm_clear(low);
    qn_mm_clear(high);
    for (int k = from; k < end && k < a.n_k; k += 2 * QN_MM_STEP) {
        uint4 u[4];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int at = k + QN_MM_STEP * h + 4 * place.x;
            u[2 * h] = qn_mm_fetch(w, n_low, at, a.n_k, a.aligned);
            u[2 * h + 1] = qn_mm_fetch(w, n_high, at, a.n_k, a.aligned);
        }
#pragma unroll
        for (int h = 0; h < 2; h++) {
            if (k + QN_MM_STEP * h >= a.n_k) continue;
            int at = k + QN_MM_STEP * h + 4 * place.y;
            float4 xa = qn_zero4(), xb = qn_zero4();
            if (row < n_rows && at < a.n_k) xa = qn_row4(x0, at);
            if (row + 1 < n_rows && at < a.n_k) xb = qn_row4(x1, at);
            NAMED(qn_mm_w_)(low, u[2 * h], xa, xb);
            NAMED(qn_mm_w_)(high, u[2 * h + 1], xa, xb);
        }
    }
    LOCAL float *part = parts + SG * QN_MM_WIDE * QN_MM_FEW + place.y * QN_MM_FEW + place.x;
    part[0] = low.thread_elements()[0];
    part[1] = low.thread_elements()[1];
    part[8 * QN_MM_FEW] = high.thread_elements()[0];
    part[8 * QN_MM_FEW + 1] = high.thread_elements()[1];
    BARRIER();
    int n = n0 + TID % QN_MM_WIDE, r = TID / QN_MM_WIDE;
    if (r >= QN_MM_FEW || row0 + r >= n_rows || n >= a.n_n) return;
    float sum = qn_mm_join(parts, TID % QN_MM_WIDE * QN_MM_FEW + r, QN_MM_WIDE * QN_MM_FEW, a.n_k);
    ulong to = (ulong)(row0 + r) * (ulong)a.n_n + (ulong)n;
    if (a.bias_type >= 0) sum += qn_load(bias, a.bias_type, (ulong)n);
    y[to] = a.accumulate ? sum + y[to] : sum;
}

// 64 rows of x by 64 rows of w; a simdgroup has 16 by 32 of them. 32 numbers of K at once lie in threadgroup memory, while the
// next ones are on their way.
KERNEL(NAMED(matrix_tiles_), BUF(0, float, y), BUF(1, const float, x), BUF(2, const void, w),
       BUF(3, const void, bias), BUF(4, const qn_step_counts, counts),
       ARGS(5, qn_gpu_matmul_args, a))
{
    SHARED(float4, xs, QN_MM_TILE * QN_MM_X_LINE / 4);
    SHARED(uint4, ws, QN_MM_TILE * QN_MM_W_LINE);
    int n_rows = a.over_outputs ? counts->n_outputs : counts->n_rows;
    int row0 = TG_Y * QN_MM_TILE, n0 = TG_X * QN_MM_TILE;
    if (row0 >= n_rows || n0 >= a.n_n) return;
    int2 place = qn_place(LANE);
    int my_n = (SG & 1) * 32 + place.y, my_row = (SG >> 1) * 16, slice = qn_slice(a.n_k);
    int live = row0 + my_row < n_rows ? row0 + my_row + 8 < n_rows ? 2 : 1 : 0; // eights of rows
    int line = TID >> 2, part = TID & 3; // what this thread fetches: eights of a row of w and of x
    int line_n = qn_clamped(n0 + line, a.n_n);
    GLOBAL const float *line_x = x + (ulong)qn_clamped(row0 + line, n_rows) * (ulong)a.n_k;
    simdgroup_float8x8 sum[8], all[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
        qn_mm_clear(sum[i]);
        qn_mm_clear(all[i]);
    }
    uint4 next_w = U4(0, 0, 0, 0);
    float4 next_a = qn_zero4(), next_b = qn_zero4();
    for (int k = -QN_MM_STEP; k < a.n_k; k += QN_MM_STEP) {
        int ahead = k + QN_MM_STEP + 8 * part;
        BARRIER();
        ws[line * QN_MM_W_LINE + part] = next_w;
        xs[line * (QN_MM_X_LINE / 4) + 2 * part] = next_a;
        xs[line * (QN_MM_X_LINE / 4) + 2 * part + 1] = next_b;
        BARRIER();
        next_w = qn_mm_fetch(w, line_n, ahead, a.n_k, a.aligned);
        next_a = ahead < a.n_k ? qn_row4(line_x, ahead) : qn_zero4();
        next_b = ahead < a.n_k ? qn_row4(line_x, ahead + 4) : qn_zero4();
        if (k < 0) continue;
        LOCAL const float4 *mine = xs + (my_row + place.x) * (QN_MM_X_LINE / 4) + place.y;
        float4 xa = mine[0], xb = mine[QN_MM_X_LINE / 4];
        float4 xc = mine[2 * QN_MM_X_LINE], xd = mine[2 * QN_MM_X_LINE + QN_MM_X_LINE / 4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint4 u = ws[(my_n + 8 * i) * QN_MM_W_LINE + place.x / 2];
            if (live > 0) NAMED(qn_mm_w_)(sum[2 * i], u, xa, xb);
            if (live > 1) NAMED(qn_mm_w_)(sum[2 * i + 1], u, xc, xd);
        }
        if ((k + QN_MM_STEP) % slice != 0 && k + QN_MM_STEP < a.n_k) continue;
#pragma unroll
        for (int i = 0; i < 8; i++) { // the first slice is taken, further ones are added
            if (k >= slice) qn_mm_add(sum[i], all[i]);
            all[i].thread_elements()[0] = sum[i].thread_elements()[0];
            all[i].thread_elements()[1] = sum[i].thread_elements()[1];
            qn_mm_clear(sum[i]);
        }
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        int n = n0 + my_n + 8 * (i / 2), row = row0 + my_row + 8 * (i & 1) + place.x;
#pragma unroll
        for (int e = 0; e < 2; e++) {
            if (n >= a.n_n || row + e >= n_rows) continue;
            ulong to = (ulong)(row + e) * (ulong)a.n_n + (ulong)n;
            float v = all[i].thread_elements()[e];
            if (a.bias_type >= 0) v += qn_load(bias, a.bias_type, (ulong)n);
            y[to] = a.accumulate ? v + y[to] : v;
        }
    }
}

// One row: RMSNorm, then queries, keys and values with their biases.
KERNEL(NAMED(matrix_norm_project_), BUF(0, float, q), BUF(1, float, k), BUF(2, float, v),
       BUF(3, const float, x), BUF(4, const void, norm), BUF(5, const void, wq),
       BUF(6, const void, wk), BUF(7, const void, wv), BUF(8, const void, bq),
       BUF(9, const void, bk), BUF(10, const void, bv), ARGS(11, qn_gpu_norm_project_args, a))
{
    SHARED(float, parts, QN_GPU_SIMDS *QN_MM_WIDE);
    int n0 = TG_X * QN_MM_WIDE, n_n = a.n_q + 2 * a.n_kv;
    if (n0 >= n_n) return;
    float inverse = qn_inverse(SG_SUM(qn_squares(x, a.n_k, LANE)), a.n_k, a.eps);
    int2 place = qn_place(LANE);
    int from = SG * qn_slice(a.n_k), end = from + qn_slice(a.n_k), row[2];
    GLOBAL const void *w[2];
#pragma unroll
    for (int t = 0; t < 2; t++) {
        int n = qn_clamped(n0 + 8 * t + place.y, n_n);
        w[t] = n < a.n_q ? wq : n < a.n_q + a.n_kv ? wk : wv;
        row[t] = n < a.n_q ? n : n < a.n_q + a.n_kv ? n - a.n_q : n - a.n_q - a.n_kv;
    }
    simdgroup_float8x8 low, high;
    qn_mm_clear(low);
    qn_mm_clear(high);
    for (int i = from; i < end && i < a.n_k; i += 2 * QN_MM_STEP) {
        uint4 u[4];
#pragma unroll
        for (int h = 0; h < 4; h++)
            u[h] = qn_mm_fetch(w[h & 1], row[h & 1], i + QN_MM_STEP * (h / 2) + 4 * place.x, a.n_k,
                               a.aligned);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            if (i + QN_MM_STEP * h >= a.n_k) continue;
            int at = i + QN_MM_STEP * h + 4 * place.y;
            float4 xa = qn_zero4();
            if (place.x == 0 && at < a.n_k) xa = qn_normed4(x, norm, a.norm_type, at, inverse);
            NAMED(qn_mm_w_)(low, u[2 * h], xa, qn_zero4());
            NAMED(qn_mm_w_)(high, u[2 * h + 1], xa, qn_zero4());
        }
    }
    qn_mm_put(parts + SG * QN_MM_WIDE, low, place);
    qn_mm_put(parts + SG * QN_MM_WIDE + 8, high, place);
    BARRIER();
    int n = n0 + TID;
    if (TID >= QN_MM_WIDE || n >= n_n) return;
    float s = qn_mm_join(parts, TID, QN_MM_WIDE, a.n_k);
    if (n < a.n_q) {
        if (a.bias_q >= 0) s += qn_load(bq, a.bias_q, (ulong)n);
        q[n] = s;
    } else if (n < a.n_q + a.n_kv) {
        n -= a.n_q;
        if (a.bias_k >= 0) s += qn_load(bk, a.bias_k, (ulong)n);
        k[n] = s;
    } else {
        n -= a.n_q + a.n_kv;
        if (a.bias_v >= 0) s += qn_load(bv, a.bias_v, (ulong)n);
        v[n] = s;
    }
}

// One row: RMSNorm, gate and up, SwiGLU. 16 rows of each matrix.
KERNEL(NAMED(matrix_norm_gate_up_), BUF(0, float, y), BUF(1, const float, x),
       BUF(2, const void, norm), BUF(3, const void, gate), BUF(4, const void, up),
       ARGS(5, qn_gpu_norm_gate_up_args, a))
{
    SHARED(float, parts, QN_GPU_SIMDS * 2 * QN_MM_WIDE);
    int n0 = TG_X * QN_MM_WIDE;
    if (n0 >= a.n_n) return;
    float inverse = qn_inverse(SG_SUM(qn_squares(x, a.n_k, LANE)), a.n_k, a.eps);
    int2 place = qn_place(LANE);
    int from = SG * qn_slice(a.n_k), end = from + qn_slice(a.n_k);
    int n_low = qn_clamped(n0 + place.y, a.n_n), n_high = qn_clamped(n0 + 8 + place.y, a.n_n);
    simdgroup_float8x8 sum[4]; // gate, gate, up, up
#pragma unroll
    for (int t = 0; t < 4; t++)
        qn_mm_clear(sum[t]);
    for (int i = from; i < end && i < a.n_k; i += QN_MM_STEP) {
        uint4 u[4];
#pragma unroll
        for (int t = 0; t < 4; t++)
            u[t] = qn_mm_fetch(t < 2 ? gate : up, t & 1 ? n_high : n_low, i + 4 * place.x, a.n_k,
                               a.aligned);
        int at = i + 4 * place.y;
        float4 xa = qn_zero4();
        if (place.x == 0 && at < a.n_k) xa = qn_normed4(x, norm, a.norm_type, at, inverse);
#pragma unroll
        for (int t = 0; t < 4; t++)
            NAMED(qn_mm_w_)(sum[t], u[t], xa, qn_zero4());
    }
#pragma unroll
    for (int t = 0; t < 4; t++)
        qn_mm_put(parts + SG * 2 * QN_MM_WIDE + 8 * t, sum[t], place);
    BARRIER();
    if (TID >= QN_MM_WIDE || n0 + TID >= a.n_n) return;
    float g = qn_mm_join(parts, TID, 2 * QN_MM_WIDE, a.n_k);
    float v = qn_mm_join(parts, TID + QN_MM_WIDE, 2 * QN_MM_WIDE, a.n_k);
    y[n0 + TID] = qn_silu(g) * v;
}

// One row of at most WIDTH numbers: its partials joined, then y (+)= row · wᵀ.
#define MATRIX_MERGE_PROJECT(NAME, WIDTH)                                                          \
    KERNEL(NAME, BUF(0, float, y), BUF(1, const float, partials), BUF(2, const void, w),           \
           BUF(3, const void, bias), BUF(4, const qn_step_counts, counts),                         \
           BUF(5, const qn_row, rows), ARGS(6, qn_gpu_merge_project_args, a))                      \
    {                                                                                              \
        SHARED(float4, x, WIDTH / 4);                                                              \
        SHARED(float, parts, QN_GPU_SIMDS *QN_MM_WIDE);                                            \
        if (counts->n_rows < 1) return;                                                            \
        int position = rows[0].position, n0 = TG_X * QN_MM_WIDE;                                   \
        int first = qn_first_seen(position, a.window) / a.piece;                                   \
        if (n0 >= a.n_n) return;                                                                   \
        for (int i = TID; i < a.n_k; i += QN_GPU_THREADS)                                          \
            ((LOCAL float *)x)[i] = qn_merged(partials, i / a.head_dim, i % a.head_dim,            \
                                              a.head_dim, a.n_splits, first, position / a.piece);  \
        BARRIER();                                                                                 \
        int2 place = qn_place(LANE);                                                               \
        int from = SG * qn_slice(a.n_k), end = from + qn_slice(a.n_k), n[2];                       \
        n[0] = qn_clamped(n0 + place.y, a.n_n);                                                    \
        n[1] = qn_clamped(n0 + 8 + place.y, a.n_n);                                                \
        simdgroup_float8x8 low, high;                                                              \
        qn_mm_clear(low);                                                                          \
        qn_mm_clear(high);                                                                         \
        for (int k = from; k < end && k < a.n_k; k += 2 * QN_MM_STEP) {                            \
            uint4 u[4];                                                                            \
            _Pragma("unroll") for (int h = 0; h < 4; h++) u[h] = qn_mm_fetch(                      \
                w, n[h & 1], k + QN_MM_STEP * (h / 2) + 4 * place.x, a.n_k, a.aligned);            \
            _Pragma("unroll") for (int h = 0; h < 2; h++)                                          \
            {                                                                                      \
                if (k + QN_MM_STEP * h >= a.n_k) continue;                                         \
                int at = k + QN_MM_STEP * h + 4 * place.y;                                         \
                float4 xa = place.x == 0 && at < a.n_k ? x[at / 4] : qn_zero4();                   \
                NAMED(qn_mm_w_)(low, u[2 * h], xa, qn_zero4());                                    \
                NAMED(qn_mm_w_)(high, u[2 * h + 1], xa, qn_zero4());                               \
            }                                                                                      \
        }                                                                                          \
        qn_mm_put(parts + SG * QN_MM_WIDE, low, place);                                            \
        qn_mm_put(parts + SG * QN_MM_WIDE + 8, high, place);                                       \
        BARRIER();                                                                                 \
        if (TID >= QN_MM_WIDE || n0 + TID >= a.n_n) return;                                        \
        float s = qn_mm_join(parts, TID, QN_MM_WIDE, a.n_k);                                       \
        if (a.bias_type >= 0) s += qn_load(bias, a.bias_type, (ulong)(n0 + TID));                  \
        y[n0 + TID] = a.accumulate ? s + y[n0 + TID] : s;                                          \
    }

MATRIX_MERGE_PROJECT(QN_JOIN(NAMED(matrix_merge_project_), _2048), 2048)
MATRIX_MERGE_PROJECT(QN_JOIN(NAMED(matrix_merge_project_), _4096), 4096)
MATRIX_MERGE_PROJECT(QN_JOIN(NAMED(matrix_merge_project_), _6144), 6144)

#undef MATRIX_MERGE_PROJECT
#undef WIDEN
#undef NAMED
