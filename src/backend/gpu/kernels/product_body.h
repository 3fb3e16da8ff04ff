// The products over one format of weights (FORMAT); included by product.h once a format, so without a guard.
#define LOAD8 QN_JOIN(qn_load8_, FORMAT)

MATMUL(QN_JOIN(QN_JOIN(matmul_, FORMAT), _1x1), LOAD8, aligned, 1, 1)
MATMUL(QN_JOIN(QN_JOIN(matmul_, FORMAT), _1x4), LOAD8, aligned, 1, 4)
MATMUL(QN_JOIN(QN_JOIN(matmul_, FORMAT), _4x2), LOAD8, aligned, 4, 2)

// One row: RMSNorm, then queries, keys and values with their biases. Two rows of the weights a simdgroup.
KERNEL(QN_JOIN(norm_project_, FORMAT), BUF(0, float, q), BUF(1, float, k), BUF(2, float, v),
       BUF(3, const float, x), BUF(4, const void, norm), BUF(5, const void, wq),
       BUF(6, const void, wk), BUF(7, const void, wv), BUF(8, const void, bq),
       BUF(9, const void, bk), BUF(10, const void, bv), ARGS(11, qn_gpu_norm_project_args, a))
{
    int n0 = (TG_X * QN_GPU_SIMDS + SG) * 2, n_n = a.n_q + 2 * a.n_kv;
    if (n0 >= n_n) return;
    float inverse = qn_inverse(SG_SUM(qn_squares(x, a.n_k, LANE)), a.n_k, a.eps);
    float sum[2];
    sum[0] = 0.0f;
    sum[1] = 0.0f;
    for (int i = 8 * LANE; i < a.n_k; i += 256) {
        float4 ha = qn_normed4(x, norm, a.norm_type, i, inverse);
        float4 hb = qn_normed4(x, norm, a.norm_type, i + 4, inverse);
        for (int j = 0; j < 2; j++) {
            float4 wa, wb;
            int n = n0 + j < n_n ? n0 + j : n_n - 1;
            int part = n < a.n_q ? 0 : n < a.n_q + a.n_kv ? 1 : 2;
            int row = part == 0 ? n : part == 1 ? n - a.n_q : n - a.n_q - a.n_kv;
            GLOBAL const void *w = part == 0 ? wq : part == 1 ? wk : wv;
            LOAD8(w, (ulong)row * (ulong)a.n_k + (ulong)i, a.aligned, &wa, &wb);
            sum[j] = qn_dot4(hb, wb, qn_dot4(ha, wa, sum[j]));
        }
    }
    for (int j = 0; j < 2; j++) {
        float s = SG_SUM(sum[j]);
        int n = n0 + j;
        if (LANE != 0 || n >= n_n) continue;
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
}

// One row: RMSNorm, gate and up, SwiGLU. Two rows of each matrix a simdgroup.
KERNEL(QN_JOIN(norm_gate_up_, FORMAT), BUF(0, float, y), BUF(1, const float, x),
       BUF(2, const void, norm), BUF(3, const void, gate), BUF(4, const void, up),
       ARGS(5, qn_gpu_norm_gate_up_args, a))
{
    int n0 = (TG_X * QN_GPU_SIMDS + SG) * 2;
    if (n0 >= a.n_n) return;
    float inverse = qn_inverse(SG_SUM(qn_squares(x, a.n_k, LANE)), a.n_k, a.eps);
    float sum[4];
    for (int j = 0; j < 4; j++)
        sum[j] = 0.0f;
    for (int i = 8 * LANE; i < a.n_k; i += 256) {
        float4 ha = qn_normed4(x, norm, a.norm_type, i, inverse);
        float4 hb = qn_normed4(x, norm, a.norm_type, i + 4, inverse);
        for (int j = 0; j < 2; j++) {
            float4 wa, wb;
            int n = n0 + j < a.n_n ? n0 + j : a.n_n - 1;
            ulong at = (ulong)n * (ulong)a.n_k + (ulong)i;
            LOAD8(gate, at, a.aligned, &wa, &wb);
            sum[2 * j] = qn_dot4(hb, wb, qn_dot4(ha, wa, sum[2 * j]));
            LOAD8(up, at, a.aligned, &wa, &wb);
            sum[2 * j + 1] = qn_dot4(hb, wb, qn_dot4(ha, wa, sum[2 * j + 1]));
        }
    }
    for (int j = 0; j < 2; j++) {
        float g = SG_SUM(sum[2 * j]), u = SG_SUM(sum[2 * j + 1]);
        if (LANE == 0 && n0 + j < a.n_n) y[n0 + j] = qn_silu(g) * u;
    }
}

#undef LOAD8
