// The end of a tile of gemm.cuh: its sums pass through shared memory, some rows of x at a time, so that stores are whole lines and the
// code is short (code that runs once a tile comes from far).
#ifndef QN_BACKEND_CUDA_GEMM_RESULTS_CUH
#define QN_BACKEND_CUDA_GEMM_RESULTS_CUH

// The place of number k of row r in tiles of n rows; see gemm_rows.cuh.
FN ulong qn_gemm_tiled(int n, int padded_k, int r, int k)
{
    int in_tile = r % n, piece = k % QN_GEMM_SLAB / 8 ^ in_tile % 8;
    ulong line = ((ulong)(r / n) * (ulong)(padded_k / QN_GEMM_SLAB) + (ulong)(k / QN_GEMM_SLAB)) * (ulong)n + (ulong)in_tile;
    return line * QN_GEMM_SLAB + (ulong)(piece * 8 + k % 8);
}

FN void qn_gemm_put(float *c, float4 v)
{
    c[0] = v.x, c[1] = v.y, c[2] = v.z, c[3] = v.w;
}
FN uint qn_gemm_pack(int type, float low, float high)
{
    return type == 1 ? qn_pack_f16(low, high) : qn_pack_bf16(low, high);
}

// Rows of x row0 … of a tile, n of them in the room: [row][128 rows of w].
// Four neighbours of w a thread, so a warp has a row of x.
FN void qn_gemm_plain(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, const qn_gemm_piece *piece,
                      const float *room, int rank, int row0, int n)
{
    int lane = threadIdx.x & 31, m, s;
    if (!qn_gemm_strip(a, p, piece->tile, rank, lane / 4, &m, &s)) return;
    int at = s * 16 + lane % 4 * 4, n_n = a.n_n[m], width = n_n - at < 4 ? n_n - at : 4;
    float4 bias = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    bool add = a.bias[m] >= 0;
    const void *biases = qn_gemm_pick(b->bias, m);
    float *y = qn_gemm_pick(b->y, m) + at;
    if (add && width > 0) bias.x = qn_load(biases, a.bias[m], (ulong)at);
    if (add && width > 1) bias.y = qn_load(biases, a.bias[m], (ulong)at + 1);
    if (add && width > 2) bias.z = qn_load(biases, a.bias[m], (ulong)at + 2);
    if (add && width > 3) bias.w = qn_load(biases, a.bias[m], (ulong)at + 3);
#pragma unroll 4
    for (int i = threadIdx.x >> 5; i < n; i += 8) {
        int row = row0 + i;
        float4 v = *(const float4 *)(room + i * QN_GEMM_LINE + lane * 4);
        float *to = y + (ulong)row * (ulong)n_n;
        if (row >= p->n_rows || width <= 0) continue;
        if (add) v = make_float4(v.x + bias.x, v.y + bias.y, v.z + bias.z, v.w + bias.w);
        if (n_n % 4 == 0) {
            float4 before;
            if (a.accumulate) before = __ldcg((const float4 *)to);
            if (a.accumulate) v = make_float4(v.x + before.x, v.y + before.y, v.z + before.z, v.w + before.w);
            *(float4 *)to = v;
            continue;
        }
        to[0] = a.accumulate ? v.x + __ldcg(to) : v.x;
        if (width > 1) to[1] = a.accumulate ? v.y + __ldcg(to + 1) : v.y;
        if (width > 2) to[2] = a.accumulate ? v.z + __ldcg(to + 2) : v.z;
        if (width > 3) to[3] = a.accumulate ? v.w + __ldcg(to + 3) : v.w;
    }
}

// The sums of a part, on their own.
FN void qn_gemm_partials(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, const qn_gemm_piece *piece,
                         const float *room, int rank, int row0, int n)
{
    int lane = threadIdx.x & 31, m, s, n_gate = qn_gemm_all_strips(a), n_columns = (a.gated ? 2 : 1) * n_gate * 16;
    if (!qn_gemm_strip(a, p, piece->tile, rank, lane / 4, &m, &s)) return;
    for (int i = 0; i < m; i++)
        s += (a.n_n[i] + 15) / 16;
    float *y = b->partials + (ulong)piece->begin * (ulong)p->n_rows * (ulong)n_columns + (ulong)(s * 16 + lane % 4 * 4);
#pragma unroll 4
    for (int i = threadIdx.x >> 5; i < n; i += 8)
        if (row0 + i < p->n_rows)
            __stcg((float4 *)(y + (ulong)(row0 + i) * (ulong)n_columns), *(const float4 *)(room + i * QN_GEMM_LINE + lane * 4));
}

// silu of eight numbers in step: qn_silu one by one waits for each division. The quotient is the one that IEEE's rounding gives while
// nothing comes near the ends of the range; else it is computed as qn_silu does.
FN void qn_gemm_silu8(float v[8])
{
    float x[8], d[8], r[8];
    bool ordinary = true;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        x[i] = v[i];
        d[i] = 1.0f + EXP(-x[i]);
        ordinary = ordinary && d[i] < 0x1p60f && fabsf(x[i]) > 0x1p-60f && fabsf(x[i]) < 0x1p60f;
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r[i]) : "f"(d[i]));
        r[i] = fmaf(r[i], fmaf(-d[i], r[i], 1.0f), r[i]);
        float q = x[i] * r[i];
        v[i] = fmaf(r[i], fmaf(-d[i], q, x[i]), q);
    }
    if (ordinary) return;
#pragma unroll
    for (int i = 0; i < 8; i++)
        v[i] = qn_silu(x[i]);
}

// silu(gate) · up: rows 0 … 63 of w in the room are gate's, 64 … 127 up's. Eight neighbours a thread.
FN void qn_gemm_gated(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, const qn_gemm_piece *piece,
                      const float *room, int rank, int row0, int n)
{
    int k = (piece->tile / p->n_across * a.cluster + rank) * 64 + (threadIdx.x & 7) * 8, n_n = a.n_n[0];
    if (k >= n_n) return;
#pragma unroll 1
    for (int i = threadIdx.x >> 3; i < n; i += 32) {
        const float *gate = room + i * QN_GEMM_LINE + (threadIdx.x & 7) * 8, *up = gate + 64;
        int row = row0 + i;
        if (row >= p->n_rows) return;
        float v[8], u[8];
        qn_gemm_put(v, *(const float4 *)gate);
        qn_gemm_put(v + 4, *(const float4 *)(gate + 4));
        qn_gemm_put(u, *(const float4 *)up);
        qn_gemm_put(u + 4, *(const float4 *)(up + 4));
        qn_gemm_silu8(v);
#pragma unroll
        for (int j = 0; j < 8; j++)
            v[j] *= u[j];
        if (a.tiled) {
            uint4 packed = make_uint4(qn_gemm_pack(a.type, v[0], v[1]), qn_gemm_pack(a.type, v[2], v[3]), qn_gemm_pack(a.type, v[4], v[5]),
                                 qn_gemm_pack(a.type, v[6], v[7]));
            *(uint4 *)((ushort *)b->y[0] + qn_gemm_tiled(a.tile_rows, n_n, row, k)) = packed;
            continue;
        }
#pragma unroll
        for (int j = 0; j < 8; j++)
            if (k + j < n_n) b->y[0][(ulong)row * (ulong)n_n + (ulong)(k + j)] = v[j];
    }
}

template <int TYPE, int NX, int CLUSTER>
FN void qn_gemm_results(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, const qn_gemm_piece *piece,
                        const float c[NX / 2], float *room, int rank)
{
    const int n = qn_gemm_form<NX, CLUSTER>::room_rows;
    int lane = threadIdx.x & 31, row0 = piece->tile % p->n_across * NX;
    float *to = room + (lane & 3) * 2 * QN_GEMM_LINE + (threadIdx.x >> 5) * 16 + (lane >> 2);
#pragma unroll
    for (int round = 0; round < NX / n; round++) {
        qn_warpgroups_meet(); // the room is nobody's
#pragma unroll
        for (int i = 0; i < n / 2; i++)
            to[(i / 4 * 8 + i % 2) * QN_GEMM_LINE + (i & 2) * 4] = c[round * (n / 2) + i];
        qn_warpgroups_meet();
        if (p->split)
            qn_gemm_partials(b, a, p, piece, room, rank, row0 + round * n, n);
        else if (a.gated)
            qn_gemm_gated(b, a, p, piece, room, rank, row0 + round * n, n);
        else
            qn_gemm_plain(b, a, p, piece, room, rank, row0 + round * n, n);
    }
    qn_warpgroups_meet();
}

#endif
