// The end of a tile of gemm.cuh, each warpgroup by itself. Results pass through its half of the room, some rows of x at a time, so that
// stores are whole lines; a part's sums do not (qn_gemm_partial). What runs once a tile has to be fetched first, from far, and a kernel that
// is longer than the instruction cache fetches all of itself each time: only what names the sums' registers is written out, the rest are
// loops. Of a gated product the first warpgroup has gate's 64 rows of w and the second up's: the first leaves silu(gate) in the room and
// goes on with its next tile, the second multiplies and, where the result is the next product's x, stores it as it lies in memory, for it
// is a whole slab.
#ifndef QN_BACKEND_CUDA_GEMM_RESULTS_CUH
#define QN_BACKEND_CUDA_GEMM_RESULTS_CUH

// What of a tile a warpgroup stores: strips from `strip` on (qn_gemm_strip), rows of x from row0 on.
typedef struct {
    int w, part, rank, strip, row0; // w: the tile of w; part: of K, if they are split
} qn_gemm_output;

// Rows row0 … of x, n of them in the room: [row][64 rows of w]. Four neighbours of w a thread, so half a warp has a row of x.
FN void qn_gemm_plain(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, const qn_gemm_output *o,
                      const float *room, int row0, int n)
{
    int lane = threadIdx.x & 15, m, s;
    if (!qn_gemm_strip(a, o->w, o->rank, o->strip + lane / 4, &m, &s)) return;
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
    for (int i = (threadIdx.x & 127) >> 4; i < n; i += 8) {
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

// The sums of a part, on their own: straight from registers, eight lanes 32 bytes of a row of x, which is what memory takes at once.
template <int NX, int CLUSTER>
FN void qn_gemm_partials(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, const qn_gemm_output *o, const float c[NX / 2])
{
    int lane = threadIdx.x & 31, across = o->w * CLUSTER + o->rank, n_blocks = qn_gemm_blocks(a), second = o->strip > 0;
    int block = a.gated ? across + second * (n_blocks / 2) : across * 2 + second, row = o->row0 + (lane & 3) * 2;
    if (block >= n_blocks) return;
    float *to = b->partials + qn_gemm_partial(o->part, n_blocks, p->n_rows, block, row) + (threadIdx.x >> 5 & 3) * 16 + (lane >> 2);
#pragma unroll
    for (int i = 0; i < NX / 2; i++) { // 0, 1 of a row and the next, 2, 3 the same of eight columns further
        const int x = i / 4 * 8 + i % 2;
        if (row + x < p->n_rows) __stcg(to + x * QN_GEMM_BLOCK + (i & 2) * 4, c[i]);
    }
}

// By one warpgroup, through its half of the room.
template <int NX, int CLUSTER, int PARTS>
FN void qn_gemm_store(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, const qn_gemm_output *o,
                      const float c[NX / 2], float *room)
{
    const int n = qn_gemm_form<NX, CLUSTER, PARTS>::room_rows;
    int lane = threadIdx.x & 31;
    float *to = room + (lane & 3) * 2 * QN_GEMM_LINE + (threadIdx.x >> 5 & 3) * 16 + (lane >> 2);
#pragma unroll 1
    for (int round = 0; round < NX / n; round++) {
        qn_warpgroup_meet(); // the room is nobody's
#pragma unroll
        for (int j = 0; j < NX / n; j++)
            if (j == round)
#pragma unroll
                for (int i = 0; i < n / 2; i++)
                    to[(i / 4 * 8 + i % 2) * QN_GEMM_LINE + (i & 2) * 4] = c[j * (n / 2) + i];
        qn_warpgroup_meet();
        qn_gemm_plain(b, a, p, o, room, o->row0 + round * n, n);
    }
    qn_warpgroup_meet();
}

// The first warpgroup: silu(gate), some numbers of a thread at a time.
template <int NX, int CLUSTER, int PARTS> FN void qn_gemm_tell_gate(const float c[NX / 2], float4 *room)
{
    const int n = qn_gemm_form<NX, CLUSTER, PARTS>::n_told;
#pragma unroll 1
    for (int i = 0; i < NX / 2; i += 8) {
        float v[8];
#pragma unroll
        for (int j = 0; j < NX / 2; j += 8)
            if (i == j)
#pragma unroll
                for (int k = 0; k < 8; k++)
                    v[k] = c[j + k];
#pragma unroll
        for (int k = 0; k < 8; k++)
            v[k] = qn_silu(v[k]);
        if (i % n == 0) qn_gate_room_free();
        room[i % n / 4 * 128] = qn_gemm_four(v);
        room[(i % n / 4 + 1) * 128] = qn_gemm_four(v + 4);
        if (i % n == n - 8) qn_gate_told();
    }
}
// The second: up times the gate of the same place, as two 16-bit numbers each.
template <int TYPE, int NX, int CLUSTER, int PARTS> FN void qn_gemm_multiply_gate(const float c[NX / 2], const float4 *room, uint packed[NX / 4])
{
    const int n = qn_gemm_form<NX, CLUSTER, PARTS>::n_told;
#pragma unroll
    for (int from = 0; from < NX / 2; from += n) {
        qn_gate_room_leave();
        qn_gate_wait();
#pragma unroll
        for (int i = 0; i < n; i += 4) {
            float4 g = room[i / 4 * 128];
            const float *u = c + from + i;
            packed[(from + i) / 2] = qn_gemm_pack(TYPE, g.x * u[0], g.y * u[1]);
            packed[(from + i) / 2 + 1] = qn_gemm_pack(TYPE, g.z * u[2], g.w * u[3]);
        }
    }
    if (qn_gemm_form<NX, CLUSTER, PARTS>::spills) qn_gate_read();
}

// The second warpgroup's 64 rows of w by NX rows of x as a slab of the next product's x: through shared memory, transposed.
template <int NX> FN void qn_gemm_store_slab(const uint packed[NX / 4], char *stage, char *to, bool there)
{
    int lane = threadIdx.x & 31, piece = (threadIdx.x >> 5 & 3) * 2 + (lane >> 3 & 1);
    uint at = qn_shared_address(stage) + ((lane >> 4) * 8 + (lane & 7)) * 128 + (piece ^ (lane & 7)) * 16;
    qn_warpgroup_meet(); // all have read their gates
#pragma unroll
    for (int j = 0; j < NX / 8; j += 2)
        qn_store_transposed4(at + j * 1024, packed[2 * j], packed[2 * j + 1], packed[2 * j + 2], packed[2 * j + 3]);
    qn_bar_made_for_copies();
    qn_warpgroup_meet();
    if ((threadIdx.x & 127) == 0 && there) qn_copy_out(to, qn_shared_address(stage), NX * 128);
}

// Before a warpgroup writes to its half of the room what it keeps there: what it left in the room has been read.
template <int NX, int CLUSTER, int PARTS> FN void qn_gemm_settle(int *busy)
{
    if (!qn_gemm_form<NX, CLUSTER, PARTS>::spills || !*busy) return;
    *busy = 0;
    if (threadIdx.x < 128) {
        qn_gate_wait_read();
    } else {
        if ((threadIdx.x & 127) == 0) qn_copies_out_read();
        qn_warpgroup_meet();
    }
}

template <int TYPE, int NX, int CLUSTER, int PARTS>
FN void qn_gemm_gated(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, const qn_gemm_output *o,
                      const float c[NX / 2], char *room, int *busy)
{
    const int spills = qn_gemm_form<NX, CLUSTER, PARTS>::spills;
    float4 *gates = (float4 *)room + (threadIdx.x & 127);
    qn_gemm_settle<NX, CLUSTER, PARTS>(busy);
    *busy = 1;
    if (threadIdx.x < 128) {
        qn_gemm_tell_gate<NX, CLUSTER, PARTS>(c, gates);
        return;
    }
    int slab = o->w * a.cluster + o->rank, n_slabs = a.n_n[0] / QN_GEMM_SLAB;
    char *to = (char *)b->y[0] + ((ulong)(o->row0 / NX) * (ulong)n_slabs + (ulong)slab) * (NX * 128);
    uint packed[NX / 4];
    if (!spills && (threadIdx.x & 127) == 0) qn_copies_out_read();
    qn_gemm_multiply_gate<TYPE, NX, CLUSTER, PARTS>(c, gates, packed);
    qn_gemm_store_slab<NX>(packed, spills ? room + qn_gemm_form<NX, CLUSTER, PARTS>::room_bytes / 2 : room, to, slab < n_slabs);
}

template <int TYPE, int NX, int CLUSTER, int PARTS>
FN void qn_gemm_results(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, const qn_gemm_piece *piece,
                        const float c[NX / 2], char *room, int rank, int *busy)
{
    int second = threadIdx.x >> 7;
    qn_gemm_output o = {piece->w, p->split ? piece->begin / p->a_part : 0, rank, second * 4, piece->x * NX};
    if (p->split)
        qn_gemm_partials<NX, CLUSTER>(b, a, p, &o, c);
    else if (a.gated)
        qn_gemm_gated<TYPE, NX, CLUSTER, PARTS>(b, a, p, &o, c, room, busy);
    else
        qn_gemm_store<NX, CLUSTER, PARTS>(b, a, p, &o, c, (float *)(room + second * (qn_gemm_form<NX, CLUSTER, PARTS>::room_bytes / 2)));
}

#endif
