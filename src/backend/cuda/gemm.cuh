// Products of many rows on Hopper: products.h's order of a sum and product.cuh's results, bit for bit.
// A group is two warpgroups that multiply and a warp that fetches. A stage of shared memory holds 64 of K: the strips' fragments as
// they lie in memory, and the rows of x as gemm_rows.cuh writes them. A warp's A fragments of one strip come from shared memory into
// registers, x goes to the units by descriptor. Two groups of a cluster do neighbouring strips with the same rows of x: each fetches
// half of these for both. A part's chain of products has registers of its own; the sum of the parts before it has others, and, of
// tiles of 256 rows, half of it shared memory. Who does which tile: gemm_schedule.cuh.
#ifndef QN_BACKEND_CUDA_GEMM_CUH
#define QN_BACKEND_CUDA_GEMM_CUH
#include "backend/cuda/gemm_ptx.cuh"
#include "backend/cuda/gemm_schedule.cuh"
#include "backend/cuda/product.cuh"

#define QN_GEMM_THREADS 384
#define QN_GEMM_SLAB_BYTES (8 * 2048) // of w

typedef struct {
    float *y[QN_CUDA_MAX_PARTS];
    const char *x;
    const char *w[QN_CUDA_MAX_PARTS];
    const void *bias[QN_CUDA_MAX_PARTS];
    const qn_step_counts *counts;
    float *partials; // [part][row][column over all strips]
    char *handed;    // flags, a word a warpgroup; then sums
} qn_gemm_buffers;

// One of three; an index would put the list into memory.
template <typename T> FN T qn_gemm_pick(const T list[QN_CUDA_MAX_PARTS], int i)
{
    return i == 0 ? list[0] : i == 1 ? list[1] : list[2];
}

// Sizes of a form. Shared memory: stages, then half of the sums (or room to exchange gate and up), then barriers and the plan.
template <int NX, int CLUSTER> struct qn_gemm_form {
    static const int n_sums = NX / 2;                   // a thread's
    static const int n_kept = NX == 256 ? 64 : n_sums;  // of them in registers
    static const int stage_bytes = QN_GEMM_SLAB_BYTES + NX * 128;
    static const int spill_bytes = NX == 256 ? 65536 : NX * 256; // of both warpgroups
    static const int n_stages = (224 * 1024 - spill_bytes) / stage_bytes > 12 ? 12 : (224 * 1024 - spill_bytes) / stage_bytes;
    static const int spill_at = n_stages * stage_bytes;
    static const int bars_at = spill_at + spill_bytes;
    static const int plan_at = bars_at + 2 * 8 * 16;
    static const int n_bytes = plan_at + (int)sizeof(qn_gemm_plan) + 1024; // the stages begin at a multiple of 1,024
};

// Where a thread is in the ring of stages.
typedef struct {
    uint at, bars; // shared memory: the stages, the barriers (full, then empty)
    int stage;
    uint parity;
} qn_gemm_ring;

template <int NX, int CLUSTER> FN void qn_gemm_step(qn_gemm_ring *r)
{
    if (++r->stage < qn_gemm_form<NX, CLUSTER>::n_stages) return;
    r->stage = 0;
    r->parity ^= 1;
}
FN uint qn_gemm_full(const qn_gemm_ring *r)
{
    return r->bars + r->stage * 8;
}
FN uint qn_gemm_empty(const qn_gemm_ring *r)
{
    return r->bars + 128 + r->stage * 8;
}

// Strip s of all matrices side by side: which matrix, and which of its strips.
FN int qn_gemm_matrix(const qn_cuda_gemm_args &a, int *strip)
{
    int m = 0;
    while (m < a.n_matrices - 1 && *strip >= (a.n_n[m] + 15) / 16)
        *strip -= (a.n_n[m++] + 15) / 16;
    return m;
}

// Strip i (0 … 7) of a tile's part that belongs to group `rank` of the cluster. Of a gated product: 0 … 3 gate, 4 … 7 up. False
// where it is beyond the last; then it is the last.
FN bool qn_gemm_strip(const qn_cuda_gemm_args &a, const qn_gemm_plan *p, int tile, int rank, int i, int *matrix, int *strip)
{
    int n = qn_gemm_all_strips(a), across = tile / p->n_across * a.cluster + rank;
    int s = a.gated ? across * 4 + i % 4 : across * 8 + i;
    bool there = s < n;
    *strip = there ? s : n - 1;
    *matrix = a.gated ? i / 4 : qn_gemm_matrix(a, strip);
    return there;
}

// ---- fetching ----

template <int NX, int CLUSTER>
FN void qn_gemm_fetch_slab(qn_gemm_ring *r, const char *w, const char *x, int rank)
{
    int lane = threadIdx.x & 31;
    uint at = r->at + r->stage * qn_gemm_form<NX, CLUSTER>::stage_bytes, full = qn_gemm_full(r);
    qn_bar_wait(qn_gemm_empty(r), r->parity ^ 1);
    if (lane == 0) qn_bar_expect(full, qn_gemm_form<NX, CLUSTER>::stage_bytes);
    __syncwarp();
    if (lane < 8) qn_copy_in(at + lane * 2048, w, 2048, full);
    if (lane == 8) {
        const int n_bytes = NX * 128 / CLUSTER;
        uint to = at + QN_GEMM_SLAB_BYTES + rank * n_bytes;
        if (CLUSTER == 1)
            qn_copy_in(to, x, n_bytes, full);
        else
            qn_copy_in_all(to, x + rank * n_bytes, n_bytes, full, (1 << CLUSTER) - 1);
    }
    qn_gemm_step<NX, CLUSTER>(r);
}

template <int NX, int CLUSTER>
FN void qn_gemm_fetch(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, qn_gemm_ring r, int cluster,
                      int rank)
{
    int lane = threadIdx.x & 31;
    qn_gemm_piece piece;
    for (int i = 0; qn_gemm_piece_at(p, cluster, i, &piece); i++) {
        int m, s;
        qn_gemm_strip(a, p, piece.tile, rank, lane & 7, &m, &s);
        int slab = piece.begin * QN_SLABS_A_PART, end = piece.end * QN_SLABS_A_PART;
        if (end > p->n_slabs) end = p->n_slabs;
        const char *w = qn_gemm_pick(b->w, m) + ((ulong)s * (ulong)p->n_slabs + (ulong)slab) * 2048;
        const char *x = b->x + ((ulong)(piece.tile % p->n_across) * (ulong)p->n_slabs + (ulong)slab) * (NX * 128);
        for (; slab < end; slab++, w += 2048, x += NX * 128)
            qn_gemm_fetch_slab<NX, CLUSTER>(&r, w, x, rank);
    }
}

// ---- multiplying ----

template <int NX, int CLUSTER> FN void qn_gemm_release(uint empty)
{
    if ((threadIdx.x & 31) == 0) {
        if (CLUSTER == 1)
            qn_bar_arrive(empty);
        else
            for (int c = 0; c < CLUSTER; c++)
                qn_bar_arrive_at(empty, c);
    }
    __syncwarp();
}

// n slabs into a chain that begins at 0. Two steps of K are one group of products; while it runs, the next two's fragments come.
template <int TYPE, int NX, int CLUSTER> FN void qn_gemm_chain(float c[NX / 2], qn_gemm_ring *r, int n)
{
    uint own = (threadIdx.x >> 5) * 2048 + (threadIdx.x & 31) * 16, empty = 0;
    for (int slab = 0; slab < n; slab++) {
        uint at = r->at + r->stage * qn_gemm_form<NX, CLUSTER>::stage_bytes;
        ulong x = qn_mma_descriptor(at + QN_GEMM_SLAB_BYTES);
        qn_bar_wait(qn_gemm_full(r), r->parity);
        uint4 w0 = qn_load_shared4(at + own), w1 = qn_load_shared4(at + own + 512);
        qn_mma_fence();
        qn_wgmma<TYPE, NX>::run(c, w0, x, slab > 0);
        qn_wgmma<TYPE, NX>::run(c, w1, x + 2, 1);
        qn_mma_commit();
        qn_mma_wait<1>();
        if (slab > 0) qn_gemm_release<NX, CLUSTER>(empty);
        uint4 w2 = qn_load_shared4(at + own + 1024), w3 = qn_load_shared4(at + own + 1536);
        qn_mma_fence();
        qn_wgmma<TYPE, NX>::run(c, w2, x + 4, 1);
        qn_wgmma<TYPE, NX>::run(c, w3, x + 6, 1);
        qn_mma_commit();
        qn_mma_wait<1>();
        empty = qn_gemm_empty(r);
        qn_gemm_step<NX, CLUSTER>(r);
    }
    qn_mma_wait<0>();
    qn_gemm_release<NX, CLUSTER>(empty);
}

FN float4 qn_gemm_add(float4 before, const float *c)
{
    return make_float4(before.x + c[0], before.y + c[1], before.z + c[2], before.w + c[3]);
}
FN void qn_gemm_put(float *c, float4 v)
{
    c[0] = v.x, c[1] = v.y, c[2] = v.z, c[3] = v.w;
}

// A part's chain meets the sum of those before it: in `kept` and `spill`, or `taken`, or nothing. The last one's sum stays in c.
template <int NX, int CLUSTER>
FN void qn_gemm_end_part(float c[NX / 2], float kept[NX / 2], float4 *spill, const float4 *taken, bool first, bool last)
{
    const int n_kept = qn_gemm_form<NX, CLUSTER>::n_kept;
#pragma unroll
    for (int i = 0; i < NX / 2; i += 4) {
        float4 v = make_float4(c[i], c[i + 1], c[i + 2], c[i + 3]);
        if (!first || taken) {
            float4 before;
            if (taken)
                before = __ldcg(taken + i / 4 * 128);
            else if (i < n_kept)
                before = make_float4(kept[i], kept[i + 1], kept[i + 2], kept[i + 3]);
            else
                before = spill[(i - n_kept) / 4 * 128];
            v = qn_gemm_add(before, c + i);
        }
        if (last)
            qn_gemm_put(c + i, v);
        else if (i < n_kept)
            qn_gemm_put(kept + i, v);
        else
            spill[(i - n_kept) / 4 * 128] = v;
    }
}

// ---- results ----

// The place of number k of row r in tiles of n rows; see gemm_rows.cuh.
FN ulong qn_gemm_tiled(int n, int padded_k, int r, int k)
{
    ulong line = ((ulong)(r / n) * (ulong)(padded_k / 64) + (ulong)(k / 64)) * (ulong)n + (ulong)(r % n);
    return line * 64 + (ulong)((k / 8 % 8 ^ r % 8) * 8 + k % 8);
}

// The sums of a part, on their own.
template <int NX>
FN void qn_gemm_partials(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, const float c[NX / 2],
                         const qn_gemm_piece *piece, int column, int row0)
{
    int n_gate = qn_gemm_all_strips(a), n_columns = (a.gated ? 2 : 1) * n_gate * 16;
    ulong line = (ulong)piece->begin * (ulong)p->n_rows;
    float *y = b->partials + line * (ulong)n_columns + (ulong)column;
#pragma unroll
    for (int i = 0; i < NX / 2; i++) {
        int row = row0 + i / 4 * 8 + i % 2;
        if (row < p->n_rows) y[(ulong)row * (ulong)n_columns + (i & 2) * 4] = c[i];
    }
}

// Rows of x from row0 on, every eighth and its next; numbers n and n + 8 of matrix m.
template <int NX>
FN void qn_gemm_plain(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, float c[NX / 2], int m, int n,
                      int row0)
{
    int n_n = a.n_n[m];
    bool there[2] = {n < n_n, n + 8 < n_n};
    float bias[2] = {0.0f, 0.0f};
    float *y = qn_gemm_pick(b->y, m) + (ulong)row0 * (ulong)n_n + (ulong)n;
    for (int h = 0; h < 2; h++)
        if (a.bias[m] >= 0 && there[h]) bias[h] = qn_load(qn_gemm_pick(b->bias, m), a.bias[m], (ulong)(n + 8 * h));
#pragma unroll
    for (int i0 = 0; i0 < NX / 2; i0 += 8) {
        float before[8];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            int row = (i0 + i) / 4 * 8 + i % 2;
            if (a.accumulate && there[i / 2 & 1] && row0 + row < p->n_rows)
                before[i] = __ldcg(y + (ulong)row * (ulong)n_n + (i & 2) * 4);
        }
#pragma unroll
        for (int i = 0; i < 8; i++) {
            int row = (i0 + i) / 4 * 8 + i % 2;
            float sum = c[i0 + i];
            if (a.bias[m] >= 0) sum += bias[i / 2 & 1];
            if (a.accumulate) sum += before[i];
            if (there[i / 2 & 1] && row0 + row < p->n_rows) y[(ulong)row * (ulong)n_n + (i & 2) * 4] = sum;
        }
    }
}

template <int TYPE> FN uint qn_gemm_pack(float low, float high)
{
    return TYPE == 1 ? qn_pack_f16(low, high) : qn_pack_bf16(low, high);
}

// silu(gate) · up of 16 numbers from n on of 8 rows, by a warp: v as in the sums.
template <int TYPE>
FN void qn_gemm_gated8(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, const float4 gate, const float4 up,
                       int n, int row)
{
    int lane = threadIdx.x & 31, q = lane & 3, n_n = a.n_n[0];
    float v[4] = {qn_silu(gate.x) * up.x, qn_silu(gate.y) * up.y, qn_silu(gate.z) * up.z, qn_silu(gate.w) * up.w};
    if (!a.tiled) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int at = n + (lane >> 2) + (i & 2) * 4, r = row + 2 * q + (i & 1);
            if (r < p->n_rows && at < n_n) b->y[0][(ulong)r * (ulong)n_n + (ulong)at] = v[i];
        }
        return;
    }
    // A lane has two neighbours of a row from either eight; then four of one.
    uint low = qn_transpose(qn_gemm_pack<TYPE>(v[0], v[1])), high = qn_transpose(qn_gemm_pack<TYPE>(v[2], v[3]));
    uint other = __shfl_xor_sync(~0u, q & 1 ? low : high, 1);
    uint2 four = q & 1 ? make_uint2(other, high) : make_uint2(low, other);
    int r = row + (lane >> 2), k = n + (q & 1) * 8 + (q >> 1) * 4;
    if (r < p->n_rows) *(uint2 *)((ushort *)b->y[0] + qn_gemm_tiled(a.tile_rows, n_n, r, k)) = four;
}

// Gate's sums are the first warpgroup's, up's the second's: each gives half of its rows to the other.
template <int TYPE, int NX>
FN void qn_gemm_gated(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, float c[NX / 2], float4 *room,
                      bool there, int strip, int row0)
{
    int group = threadIdx.x >> 7;
    float4 *own = room + group * (NX / 16) * 128 + (threadIdx.x & 127), *other = room + (1 - group) * (NX / 16) * 128 + (threadIdx.x & 127);
#pragma unroll
    for (int i = 0; i < NX / 16; i++) {
        const float *low = c + 4 * i, *high = c + NX / 4 + 4 * i;
        own[i * 128] = group ? make_float4(low[0], low[1], low[2], low[3]) : make_float4(high[0], high[1], high[2], high[3]);
    }
    qn_warpgroups_meet();
#pragma unroll
    for (int i = 0; i < NX / 16; i++) {
        const float *low = c + 4 * i, *high = c + NX / 4 + 4 * i;
        float4 v = other[i * 128];
        float4 mine = group ? make_float4(high[0], high[1], high[2], high[3]) : make_float4(low[0], low[1], low[2], low[3]);
        int row = row0 + (group ? NX / 2 : 0) + 8 * i;
        if (there && row < p->n_rows) qn_gemm_gated8<TYPE>(b, a, p, group ? v : mine, group ? mine : v, strip * 16, row);
    }
    qn_warpgroups_meet();
}

// A warpgroup's flag and sums that cluster c takes.
FN uint *qn_gemm_flag(const qn_gemm_buffers *b, int cluster_size, int c, int rank)
{
    return (uint *)b->handed + ((c * cluster_size + rank) * 2 + (int)(threadIdx.x >> 7));
}
template <int NX> FN float4 *qn_gemm_handed(const qn_gemm_buffers *b, int cluster_size, int c, int rank)
{
    int at = (c * cluster_size + rank) * 2 + (int)(threadIdx.x >> 7);
    return (float4 *)(b->handed + QN_CUDA_GEMM_FLAG_BYTES) + (ulong)at * (NX / 8 * 128) + (threadIdx.x & 127);
}

template <int NX>
FN void qn_gemm_hand_over(const qn_gemm_buffers *b, int cluster_size, const float c[NX / 2], int to, int rank)
{
    float4 *at = qn_gemm_handed<NX>(b, cluster_size, to, rank);
#pragma unroll
    for (int i = 0; i < NX / 8; i++)
        __stcg(at + i * 128, make_float4(c[4 * i], c[4 * i + 1], c[4 * i + 2], c[4 * i + 3]));
    __threadfence();
    qn_warpgroup_meet();
    if ((threadIdx.x & 127) == 0) qn_flag_set(qn_gemm_flag(b, cluster_size, to, rank), 1);
}

template <int TYPE, int NX, int CLUSTER>
FN void qn_gemm_piece_sums(const qn_gemm_buffers *b, const qn_gemm_plan *p, qn_gemm_ring *r, const qn_gemm_piece *piece,
                           float c[NX / 2], float kept[NX / 2], float4 *spill, int cluster, int rank)
{
    for (int part = piece->begin; part < piece->end; part++) {
        int n = p->n_slabs - part * QN_SLABS_A_PART;
        bool first = part == piece->begin, last = part + 1 == piece->end;
        qn_gemm_chain<TYPE, NX, CLUSTER>(c, r, n < QN_SLABS_A_PART ? n : QN_SLABS_A_PART);
        const float4 *taken = NULL;
        if (first && piece->taken) {
            qn_flag_wait(qn_gemm_flag(b, CLUSTER, cluster, rank));
            taken = qn_gemm_handed<NX>(b, CLUSTER, cluster, rank);
        }
        qn_gemm_end_part<NX, CLUSTER>(c, kept, spill, taken, first, last);
        if (taken) { // the flag is ready for the next launch
            qn_warpgroup_meet();
            if ((threadIdx.x & 127) == 0) *qn_gemm_flag(b, CLUSTER, cluster, rank) = 0;
        }
    }
}

template <int TYPE, int NX, int CLUSTER>
FN void qn_gemm_multiply(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, qn_gemm_ring r, char *spills,
                         int cluster, int rank)
{
    float c[NX / 2], kept[NX / 2];
    float4 *spill = (float4 *)(spills + (threadIdx.x >> 7) * (qn_gemm_form<NX, CLUSTER>::spill_bytes / 2)) + (threadIdx.x & 127);
    qn_gemm_piece piece;
    for (int i = 0; qn_gemm_piece_at(p, cluster, i, &piece); i++) {
        qn_gemm_piece_sums<TYPE, NX, CLUSTER>(b, p, &r, &piece, c, kept, spill, cluster, rank);
        int lane = threadIdx.x & 31, m, s, row0 = piece.tile % p->n_across * NX + (lane & 3) * 2;
        bool there = qn_gemm_strip(a, p, piece.tile, rank, threadIdx.x >> 5, &m, &s);
        if (piece.handed)
            qn_gemm_hand_over<NX>(b, CLUSTER, c, cluster + 1, rank);
        else if (p->split) {
            int before = a.gated && m ? qn_gemm_all_strips(a) : 0;
            for (int j = 0; j < m && !a.gated; j++)
                before += (a.n_n[j] + 15) / 16;
            if (there) qn_gemm_partials<NX>(b, a, p, c, &piece, (before + s) * 16 + (lane >> 2), row0);
        } else if (a.gated)
            qn_gemm_gated<TYPE, NX>(b, a, p, c, (float4 *)spills, there, s, piece.tile % p->n_across * NX);
        else if (there)
            qn_gemm_plain<NX>(b, a, p, c, m, s * 16 + (lane >> 2), row0);
    }
}

template <int TYPE, int NX, int CLUSTER>
FN void qn_gemm_run(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, char *shared)
{
    typedef qn_gemm_form<NX, CLUSTER> form;
    shared += (1024 - (qn_shared_address(shared) & 1023)) & 1023;
    qn_gemm_plan *p = (qn_gemm_plan *)(shared + form::plan_at);
    int cluster = blockIdx.x / CLUSTER, rank = blockIdx.x % CLUSTER;
    qn_gemm_ring r = {qn_shared_address(shared), qn_shared_address(shared + form::bars_at), 0, 0};
    if (threadIdx.x == 0) {
        qn_gemm_make_plan(p, a, a.over_outputs ? b->counts->n_outputs : b->counts->n_rows, NX, CLUSTER, gridDim.x / CLUSTER);
        for (int i = 0; i < form::n_stages; i++) {
            qn_bar_init(r.bars + i * 8, 1);
            qn_bar_init(r.bars + 128 + i * 8, 8 * CLUSTER);
        }
        qn_bar_made();
    }
    __syncthreads();
    if (CLUSTER > 1) qn_cluster_meet();
    if (__shfl_sync(~0u, (int)threadIdx.x >> 7, 0) == 2) {
        qn_fewer_registers<24>();
        if (threadIdx.x < 288) qn_gemm_fetch<NX, CLUSTER>(b, a, p, r, cluster, rank);
        __syncwarp();
        if (CLUSTER > 1) qn_cluster_meet(); // nobody leaves while another may still write or arrive here
    } else {
        qn_more_registers<240>();
        qn_gemm_multiply<TYPE, NX, CLUSTER>(b, a, p, r, shared + form::spill_at, cluster, rank);
        if (CLUSTER > 1) qn_cluster_meet();
    }
}

#endif
