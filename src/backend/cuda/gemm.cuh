// Products of many rows on Hopper: products.h's order of a sum and product.cuh's results, bit for bit.
// A group is two warpgroups that multiply and four warps that fetch. A stage of shared memory holds a slab of K: the strips' fragments
// as they lie in memory, and the rows of x as gemm_rows.cuh writes them. A warp's A fragments of one strip come from shared memory into
// registers, x goes to the units by descriptor. Two groups of a cluster do neighbouring strips with the same rows of x: each fetches
// half of these for both. A part's chain of products has registers of its own; the sum of the parts before it has others, and, of
// tiles of 256 rows, half of it shared memory. Who does which tile: gemm_schedule.cuh.
#ifndef QN_BACKEND_CUDA_GEMM_CUH
#define QN_BACKEND_CUDA_GEMM_CUH
#include "backend/cuda/gemm_ptx.cuh"
#include "backend/cuda/gemm_schedule.cuh"
#include "backend/cuda/product.cuh"

#define QN_GEMM_THREADS 384
#define QN_GEMM_SLAB 64 // numbers of K
#define QN_GEMM_LINE 132 // floats of a row of x of the results in shared memory: 128 and what keeps them in different banks

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

// Sizes of a form. Shared memory: stages; then `room`, half of the sums or, at a tile's end, some rows of results; barriers; the plan.
template <int NX, int CLUSTER> struct qn_gemm_form {
    static const int strip_bytes = QN_GEMM_SLAB * 32, w_bytes = 8 * strip_bytes, x_bytes = NX * QN_GEMM_SLAB * 2;
    static const int n_kept = NX == 256 ? 64 : NX / 2; // sums of a thread in registers
    static const int room_rows = NX == 256 ? 128 : NX >= 32 ? 32 : 16, room_bytes = room_rows * QN_GEMM_LINE * 4;
    static const int stage_bytes = w_bytes + x_bytes, stages = (225 * 1024 - room_bytes) / stage_bytes;
    static const int n_stages = stages > 12 ? 12 : stages;
    static const int room_at = n_stages * stage_bytes, bars_at = room_at + room_bytes;
    static const int plan_at = bars_at + 2 * 16 * 8;
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

#include "backend/cuda/gemm_results.cuh"

// ---- fetching ----

// Warp `own` of the four that fetch brings two strips and a fourth of x (or of the group's share of it): starting a copy takes a warp
// some hundred cycles.
template <int NX, int CLUSTER>
FN void qn_gemm_fetch_slab(qn_gemm_ring *r, const char *w0, const char *w1, const char *x, int own, int rank)
{
    typedef qn_gemm_form<NX, CLUSTER> form;
    const uint n_bytes = form::x_bytes / CLUSTER / 4;
    uint at = r->at + r->stage * form::stage_bytes, full = qn_gemm_full(r), place = (rank * 4 + own) * n_bytes;
    qn_bar_wait(qn_gemm_empty(r), r->parity ^ 1);
    qn_bar_expect(full, form::stage_bytes / 4);
    qn_copy_in(at + own * 2 * form::strip_bytes, w0, form::strip_bytes, full);
    qn_copy_in(at + (own * 2 + 1) * form::strip_bytes, w1, form::strip_bytes, full);
    if (CLUSTER == 1)
        qn_copy_in(at + form::w_bytes + place, x + place, n_bytes, full);
    else
        qn_copy_in_all(at + form::w_bytes + place, x + place, n_bytes, full, (1 << CLUSTER) - 1);
    qn_gemm_step<NX, CLUSTER>(r);
}

// By one lane of a warp.
template <int NX, int CLUSTER>
FN void qn_gemm_fetch(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, qn_gemm_ring r, int own,
                      int cluster, int rank)
{
    typedef qn_gemm_form<NX, CLUSTER> form;
    qn_gemm_piece piece;
    for (int i = 0; qn_gemm_piece_at(p, cluster, i, &piece); i++) {
        int slab = piece.begin * QN_CUDA_PART / QN_GEMM_SLAB, end = piece.end * QN_CUDA_PART / QN_GEMM_SLAB;
        int n_slabs = a.padded_k / QN_GEMM_SLAB, m, s;
        if (end > n_slabs) end = n_slabs;
        qn_gemm_strip(a, p, piece.tile, rank, own * 2, &m, &s);
        const char *w0 = qn_gemm_pick(b->w, m) + ((ulong)s * (ulong)n_slabs + (ulong)slab) * form::strip_bytes;
        qn_gemm_strip(a, p, piece.tile, rank, own * 2 + 1, &m, &s);
        const char *w1 = qn_gemm_pick(b->w, m) + ((ulong)s * (ulong)n_slabs + (ulong)slab) * form::strip_bytes;
        const char *x = b->x + ((ulong)(piece.tile % p->n_across) * (ulong)n_slabs + (ulong)slab) * form::x_bytes;
        for (; slab < end; slab++, w0 += form::strip_bytes, w1 += form::strip_bytes, x += form::x_bytes)
            qn_gemm_fetch_slab<NX, CLUSTER>(&r, w0, w1, x, own, rank);
    }
}

// ---- multiplying ----

template <int NX, int CLUSTER> FN void qn_gemm_release(uint empty)
{
    if (qn_lane_arrives()) {
        if (CLUSTER == 1)
            qn_bar_arrive(empty);
        else
            for (int c = 0; c < CLUSTER; c++)
                qn_bar_arrive_at(empty, c);
    }
    __syncwarp();
}

// Two steps of K, at `w` and `x` of shared memory: one group of products.
template <int TYPE, int NX> FN void qn_gemm_pair(float c[NX / 2], uint w, ulong x, int more)
{
    uint4 w0 = qn_load_fragment(w), w1 = qn_load_fragment(w + 512);
    qn_mma_fence();
    qn_wgmma<TYPE, NX>::run(c, w0, x, more);
    qn_wgmma<TYPE, NX>::run(c, w1, x + 2, 1);
    qn_mma_commit();
}

// n slabs into a chain that begins at 0. While a group of products runs, the next one's fragments come.
template <int TYPE, int NX, int CLUSTER> FN void qn_gemm_chain(float c[NX / 2], qn_gemm_ring *r, int n)
{
    typedef qn_gemm_form<NX, CLUSTER> form;
    uint own = (threadIdx.x >> 5) * form::strip_bytes + (threadIdx.x & 31) * 16, empty = 0;
    for (int i = 0; i < n; i++) {
        uint at = r->at + r->stage * form::stage_bytes;
        ulong x = qn_mma_descriptor(at + form::w_bytes);
        qn_bar_wait(qn_gemm_full(r), r->parity);
        qn_gemm_pair<TYPE, NX>(c, at + own, x, i > 0);
        qn_mma_wait<1>();
        if (i > 0) qn_gemm_release<NX, CLUSTER>(empty);
        qn_gemm_pair<TYPE, NX>(c, at + own + 1024, x + 4, 1);
        qn_mma_wait<1>();
        empty = qn_gemm_empty(r);
        qn_gemm_step<NX, CLUSTER>(r);
    }
    qn_mma_wait<0>();
    qn_gemm_release<NX, CLUSTER>(empty);
}

FN void qn_gemm_add(float *c, float4 before)
{
    c[0] = before.x + c[0], c[1] = before.y + c[1], c[2] = before.z + c[2], c[3] = before.w + c[3];
}
FN float4 qn_gemm_four(const float *c)
{
    return make_float4(c[0], c[1], c[2], c[3]);
}

// A part's chain gets the sum of the parts before it, kept in registers and in `spill`.
template <int NX, int CLUSTER> FN void qn_gemm_add_kept(float c[NX / 2], const float kept[NX / 2], const float4 *spill)
{
    const int n_kept = qn_gemm_form<NX, CLUSTER>::n_kept;
#pragma unroll
    for (int i = 0; i < NX / 2; i += 4)
        qn_gemm_add(c + i, i < n_kept ? qn_gemm_four(kept + i) : spill[(i - n_kept) / 4 * 128]);
}
template <int NX, int CLUSTER> FN void qn_gemm_keep(const float c[NX / 2], float kept[NX / 2], float4 *spill)
{
    const int n_kept = qn_gemm_form<NX, CLUSTER>::n_kept;
#pragma unroll
    for (int i = 0; i < NX / 2; i += 4)
        if (i < n_kept)
            qn_gemm_put(kept + i, qn_gemm_four(c + i));
        else
            spill[(i - n_kept) / 4 * 128] = qn_gemm_four(c + i);
}

// ---- sums between clusters ----

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
        __stcg(at + i * 128, qn_gemm_four(c + 4 * i));
    __threadfence();
    qn_warpgroup_meet();
    if ((threadIdx.x & 127) == 0) qn_flag_set(qn_gemm_flag(b, cluster_size, to, rank), 1);
}

// What the neighbour handed over is added; then the flag is ready for the next launch.
template <int NX> FN void qn_gemm_take(const qn_gemm_buffers *b, int cluster_size, float c[NX / 2], int cluster, int rank)
{
    uint *flag = qn_gemm_flag(b, cluster_size, cluster, rank);
    const float4 *at = qn_gemm_handed<NX>(b, cluster_size, cluster, rank);
    qn_flag_wait(flag);
#pragma unroll
    for (int i = 0; i < NX / 8; i++)
        qn_gemm_add(c + 4 * i, __ldcg(at + i * 128));
    qn_warpgroup_meet();
    if ((threadIdx.x & 127) == 0) *flag = 0;
}

template <int TYPE, int NX, int CLUSTER>
FN void qn_gemm_multiply(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, qn_gemm_ring r, float *room,
                         int cluster, int rank)
{
    typedef qn_gemm_form<NX, CLUSTER> form;
    float c[NX / 2], kept[NX / 2];
    float4 *spill = (float4 *)room + (threadIdx.x >> 7) * 2048 + (threadIdx.x & 127);
    qn_gemm_piece piece;
    for (int i = 0; qn_gemm_piece_at(p, cluster, i, &piece); i++) {
        for (int part = piece.begin; part < piece.end; part++) {
            int n = (a.padded_k - part * QN_CUDA_PART) / QN_GEMM_SLAB, most = QN_CUDA_PART / QN_GEMM_SLAB;
            qn_gemm_chain<TYPE, NX, CLUSTER>(c, &r, n < most ? n : most);
            if (part > piece.begin)
                qn_gemm_add_kept<NX, CLUSTER>(c, kept, spill);
            else if (piece.taken)
                qn_gemm_take<NX>(b, CLUSTER, c, cluster, rank);
            if (part + 1 < piece.end) qn_gemm_keep<NX, CLUSTER>(c, kept, spill);
        }
        if (piece.handed)
            qn_gemm_hand_over<NX>(b, CLUSTER, c, cluster + 1, rank);
        else
            qn_gemm_results<TYPE, NX, CLUSTER>(b, a, p, &piece, c, room, rank);
    }
}

template <int TYPE, int NX, int CLUSTER>
FN void qn_gemm_run(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, char *shared)
{
    typedef qn_gemm_form<NX, CLUSTER> form;
    shared += (1024 - (qn_shared_address(shared) & 1023)) & 1023;
    qn_gemm_plan *p = (qn_gemm_plan *)(shared + form::plan_at);
    int cluster = blockIdx.x / CLUSTER, rank = blockIdx.x % CLUSTER;
    qn_gemm_ring r = {qn_opaque(qn_shared_address(shared)), qn_opaque(qn_shared_address(shared + form::bars_at)), 0, 0};
    if (threadIdx.x == 0) {
        qn_gemm_make_plan(p, a, a.over_outputs ? b->counts->n_outputs : b->counts->n_rows, NX, CLUSTER, gridDim.x / CLUSTER);
        for (int i = 0; i < form::n_stages; i++) {
            qn_bar_init(r.bars + i * 8, 4);
            qn_bar_init(r.bars + 128 + i * 8, 8 * CLUSTER * QN_ARRIVALS_OF_WARP);
        }
        qn_bar_made();
    }
    __syncthreads();
    if (CLUSTER > 1) qn_cluster_meet();
    if (__shfl_sync(~0u, (int)threadIdx.x >> 7, 0) == 2) {
        qn_fewer_registers<24>();
        if ((threadIdx.x & 31) == 0) qn_gemm_fetch<NX, CLUSTER>(b, a, p, r, (int)(threadIdx.x >> 5) - 8, cluster, rank);
        __syncwarp();
        if (CLUSTER > 1) qn_cluster_meet(); // nobody leaves while another may still write or arrive here
    } else {
        qn_more_registers<240>();
        qn_gemm_multiply<TYPE, NX, CLUSTER>(b, a, p, r, (float *)(shared + form::room_at), cluster, rank);
        if (CLUSTER > 1) qn_cluster_meet();
    }
}

#endif
