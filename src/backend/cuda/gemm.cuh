// Products of one row to many on Hopper, in the order of products.h with the parts of gemm.c's part_of: the same bits in every form.
// A group is two warpgroups that multiply and four warps that fetch. A stage of shared memory holds a slab of K, or two: the strips' fragments
// as they lie in memory, and the rows of x as gemm_tiled.cuh has them. A warp's A fragments of one strip come from shared memory into
// registers, x goes to the units by descriptor. Two groups of a cluster do neighbouring strips with the same rows of x: each fetches
// half of these for both. A part's chain of products has registers of its own; the sum of the parts before it has others,
// and, of tiles of 256 rows, half of it shared memory. Tiles of 256 rows with all of K in one part have a form without such sums
// (PARTS = 0), with a stage more. Who does which tile: gemm_schedule.cuh.
// The warpgroups meet only where gate's passes what it has to up's (gemm_results.cuh), so that one multiplies while the other adds or stores.
#ifndef QN_BACKEND_CUDA_GEMM_CUH
#define QN_BACKEND_CUDA_GEMM_CUH
#include "backend/cuda/gemm_ptx.cuh"
#include "backend/cuda/gemm_schedule.cuh"
#include "backend/cuda/gemm_tiled.cuh"

#define QN_INLINED __attribute__((always_inline)) // of a lambda: out of line its sums would lie in memory
#define QN_GEMM_THREADS 384
#define QN_GEMM_LINE 68 // floats of a row of x of the results in shared memory: 64 and what keeps them in different banks

typedef struct {
    float *y[QN_CUDA_MAX_PARTS];
    const char *x;
    const char *w[QN_CUDA_MAX_PARTS];
    const void *bias[QN_CUDA_MAX_PARTS];
    const qn_step_counts *counts;
    float *partials; // of parts: qn_gemm_partial
    char *handed;    // flags, a word a warpgroup; then sums (gemm_handed.cuh)
} qn_gemm_buffers;

// One of three; an index would put the list into memory.
template <typename T> FN T qn_gemm_pick(const T list[QN_CUDA_MAX_PARTS], int i)
{
    return i == 0 ? list[0] : i == 1 ? list[1] : list[2];
}

// Sizes of a form. Shared memory: stages; then `room`, half of each warpgroup's: of tiles of 256 rows half of the sums lie there, at a
// tile's end results pass through; barriers; the plan.
template <int NX, int CLUSTER, int PARTS = 1> struct qn_gemm_form {
    static const int n_slabs = NX <= 64 ? 2 : 1; // of a stage: copies of 4 KB keep the memory busier than those of 2 KB
    static const int strip_bytes = n_slabs * QN_GEMM_SLAB * 32, w_bytes = 8 * strip_bytes, x_bytes = NX * QN_GEMM_SLAB * 2;
    static const int spills = NX == 256 && PARTS;
    static const int n_kept = !PARTS ? 4 : spills ? 64 : NX / 2; // sums of a thread in registers (4: an array of them, unused)
    static const int room_rows = spills ? 64 : NX >= 32 ? 32 : 16;
    static const int room_bytes = spills ? 65536 : NX == 256 ? 32768 : room_rows * 2 * QN_GEMM_LINE * 4;
    static const int n_told = NX == 256 ? room_bytes / 512 : NX >= 64 ? 32 : NX / 2; // of a thread's gates at once in the room
    static const int stage_bytes = w_bytes + n_slabs * x_bytes, stages = (225 * 1024 - room_bytes) / stage_bytes;
    static const int n_stages = stages > 12 ? 12 : stages;
    static const int fetch_registers = NX == 256 ? 24 : 40, multiply_registers = NX == 256 ? 240 : 232;
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

template <int NX, int CLUSTER, int PARTS> FN void qn_gemm_step(qn_gemm_ring *r)
{
    if (++r->stage < qn_gemm_form<NX, CLUSTER, PARTS>::n_stages) return;
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
#pragma unroll 1
    while (m < a.n_matrices - 1 && *strip >= (a.n_n[m] + 15) / 16)
        *strip -= (a.n_n[m++] + 15) / 16;
    return m;
}

// Strip i (0 … 7) of a tile's part that belongs to group `rank` of the cluster; tile: of w. Of a gated product: 0 … 3 gate, 4 … 7 up.
// False where it is beyond the last; then it is the last.
FN bool qn_gemm_strip(const qn_cuda_gemm_args &a, int tile, int rank, int i, int *matrix, int *strip)
{
    int n = qn_gemm_all_strips(a), across = tile * a.cluster + rank;
    int s = a.gated ? across * 4 + i % 4 : across * 8 + i;
    bool there = s < n;
    *strip = there ? s : n - 1;
    *matrix = a.gated ? i / 4 : qn_gemm_matrix(a, strip);
    return there;
}

FN float4 qn_gemm_four(const float *c)
{
    return make_float4(c[0], c[1], c[2], c[3]);
}
FN void qn_gemm_put(float *c, float4 v)
{
    c[0] = v.x, c[1] = v.y, c[2] = v.z, c[3] = v.w;
}

#include "backend/cuda/gemm_results.cuh"

// ---- fetching ----

// Where a stage's w and x come from, for warp `own` of the four that fetch, one lane of it: it brings two strips and a fourth of x (or of
// the group's share of it), since starting a copy takes a warp some hundred cycles.
typedef struct {
    const char *w0, *w1, *x;
    ulong policy; // of w in L2
    uint w_at, x_at; // in a stage
} qn_gemm_source;

template <int NX, int CLUSTER, int PARTS> FN void qn_gemm_fetch_w(const qn_gemm_ring *r, qn_gemm_source *s)
{
    typedef qn_gemm_form<NX, CLUSTER, PARTS> form;
    uint at = r->at + r->stage * form::stage_bytes + s->w_at, full = qn_gemm_full(r);
    qn_bar_expect(full, form::stage_bytes / 4);
    qn_copy_in_as(at, s->w0, form::strip_bytes, full, s->policy);
    qn_copy_in_as(at + form::strip_bytes, s->w1, form::strip_bytes, full, s->policy);
    s->w0 += form::strip_bytes, s->w1 += form::strip_bytes;
}
template <int NX, int CLUSTER, int PARTS> FN void qn_gemm_fetch_x(const qn_gemm_ring *r, qn_gemm_source *s)
{
    typedef qn_gemm_form<NX, CLUSTER, PARTS> form;
    const uint n_bytes = form::n_slabs * form::x_bytes / CLUSTER / 4;
    uint at = r->at + r->stage * form::stage_bytes + s->x_at, full = qn_gemm_full(r);
    if (CLUSTER == 1)
        qn_copy_in(at, s->x, n_bytes, full);
    else
        qn_copy_in_all(at, s->x, n_bytes, full, (1 << CLUSTER) - 1);
    s->x += form::n_slabs * form::x_bytes;
}

// Weights that are there before the launch come while the kernel before this one still makes x: n stages of the empty ring.
template <int NX, int CLUSTER, int PARTS> FN void qn_gemm_fetch_early(qn_gemm_ring *r, qn_gemm_source *s, int n)
{
    qn_gemm_ring ahead = *r;
#pragma unroll 1
    for (int i = 0; i < n; i++) {
        qn_gemm_fetch_w<NX, CLUSTER, PARTS>(&ahead, s);
        qn_gemm_step<NX, CLUSTER, PARTS>(&ahead);
    }
    qn_grid_wait();
#pragma unroll 1
    for (int i = 0; i < n; i++) {
        qn_gemm_fetch_x<NX, CLUSTER, PARTS>(r, s);
        qn_gemm_step<NX, CLUSTER, PARTS>(r);
    }
}

template <int NX, int CLUSTER, int PARTS>
FN void qn_gemm_fetch(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, qn_gemm_ring r, int own,
                      int cluster, int rank)
{
    typedef qn_gemm_form<NX, CLUSTER, PARTS> form;
    const uint n_bytes = form::n_slabs * form::x_bytes / CLUSTER / 4;
    uint place = (rank * 4 + own) * n_bytes;
    qn_gemm_source f = {NULL, NULL, NULL, qn_copy_policy(p->n_across == 1), (uint)own * 2 * form::strip_bytes, form::w_bytes + place};
    qn_gemm_piece piece;
#pragma unroll 1
    for (int i = 0; qn_gemm_piece_at(p, cluster, i, &piece); i++) {
        int n = (piece.end - piece.begin) / form::n_slabs, n_slabs = p->n_slabs, m, s;
        qn_gemm_strip(a, piece.w, rank, own * 2, &m, &s);
        f.w0 = qn_gemm_pick(b->w, m) + ((ulong)s * (ulong)n_slabs + (ulong)piece.begin) * (QN_GEMM_SLAB * 32);
        qn_gemm_strip(a, piece.w, rank, own * 2 + 1, &m, &s);
        f.w1 = qn_gemm_pick(b->w, m) + ((ulong)s * (ulong)n_slabs + (ulong)piece.begin) * (QN_GEMM_SLAB * 32);
        f.x = b->x + ((ulong)piece.x * (ulong)n_slabs + (ulong)piece.begin) * form::x_bytes + place;
        if (i == 0) {
            int n_early = !a.early ? 0 : n < form::n_stages ? n : form::n_stages;
            qn_gemm_fetch_early<NX, CLUSTER, PARTS>(&r, &f, n_early);
            n -= n_early;
        }
#pragma unroll 1
        for (; n > 0; n--) {
            qn_bar_wait(qn_gemm_empty(&r), r.parity ^ 1);
            qn_gemm_fetch_w<NX, CLUSTER, PARTS>(&r, &f);
            qn_gemm_fetch_x<NX, CLUSTER, PARTS>(&r, &f);
            qn_gemm_step<NX, CLUSTER, PARTS>(&r);
        }
    }
}

// ---- multiplying ----

template <int NX, int CLUSTER, int PARTS> FN void qn_gemm_release(uint empty)
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

// n slabs into a chain that begins at 0, or goes on with c (more). While a group of products runs, the next one's fragments come.
template <int TYPE, int NX, int CLUSTER, int PARTS> FN void qn_gemm_chain(float c[NX / 2], qn_gemm_ring *r, int n, int more)
{
    typedef qn_gemm_form<NX, CLUSTER, PARTS> form;
    uint own = (threadIdx.x >> 5) * form::strip_bytes + (threadIdx.x & 31) * 16, empty = 0;
    int i = 0;
    // n > 0: around a loop that may be left out ptxas puts the products one after another where a chain may go on (it warns of it).
#pragma unroll 1
    do {
        int j = i % form::n_slabs;
        uint at = r->at + r->stage * form::stage_bytes;
        ulong x = qn_mma_descriptor(at + form::w_bytes + j * form::x_bytes);
        if (j == 0) qn_bar_wait(qn_gemm_full(r), r->parity);
        at += own + j * 2048;
        qn_gemm_pair<TYPE, NX>(c, at, x, more | i);
        qn_mma_wait<1>();
        if (i > 0 && j == 0) qn_gemm_release<NX, CLUSTER, PARTS>(empty);
        qn_gemm_pair<TYPE, NX>(c, at + 1024, x + 4, 1);
        qn_mma_wait<1>();
        if (j + 1 < form::n_slabs) continue;
        empty = qn_gemm_empty(r);
        qn_gemm_step<NX, CLUSTER, PARTS>(r);
    } while (++i < n);
    qn_mma_wait<0>();
    qn_gemm_release<NX, CLUSTER, PARTS>(empty);
}

// The sum of a tile's parts so far: in registers and, past them, in `spill`.
template <int NX, int CLUSTER, int PARTS> struct qn_gemm_sum {
    float kept[qn_gemm_form<NX, CLUSTER, PARTS>::n_kept];
    float4 *spill;
    int busy; // of tiles of 256 rows: what the last results left in the room may not have been read
};
template <int NX, int CLUSTER, int PARTS> FN float4 qn_gemm_sum_get(const qn_gemm_sum<NX, CLUSTER, PARTS> *s, int i)
{
    const int n = qn_gemm_form<NX, CLUSTER, PARTS>::n_kept;
    return i < n ? qn_gemm_four(s->kept + i % n) : s->spill[(i - n) / 4 * 128];
}
template <int NX, int CLUSTER, int PARTS> FN void qn_gemm_sum_set(qn_gemm_sum<NX, CLUSTER, PARTS> *s, int i, float4 v)
{
    const int n = qn_gemm_form<NX, CLUSTER, PARTS>::n_kept;
    if (i < n)
        qn_gemm_put(s->kept + i % n, v);
    else
        s->spill[(i - n) / 4 * 128] = v;
}
FN float4 qn_gemm_plus(float4 before, const float *c)
{
    return make_float4(before.x + c[0], before.y + c[1], before.z + c[2], before.w + c[3]);
}

#include "backend/cuda/gemm_handed.cuh"

// A part is done that is not the last; `opens`: the first.
template <int NX, int CLUSTER, int PARTS> FN void qn_gemm_keep(const float c[NX / 2], qn_gemm_sum<NX, CLUSTER, PARTS> *sum, bool opens)
{
    qn_gemm_settle<NX, CLUSTER, PARTS>(&sum->busy);
    if (opens)
#pragma unroll
        for (int i = 0; i < NX / 2; i += 4)
            qn_gemm_sum_set(sum, i, qn_gemm_four(c + i));
    else
#pragma unroll
        for (int i = 0; i < NX / 2; i += 4)
            qn_gemm_sum_set(sum, i, qn_gemm_plus(qn_gemm_sum_get(sum, i), c + i));
}

// Slabs begin … end of a tile, part by part. The sums are in c, or where the tile is handed over in `sum`, and in c a chain that has begun.
// chain(c, n, more): the next n slabs.
template <int NX, int CLUSTER, int PARTS, typename CHAIN>
FN void qn_gemm_tile(const qn_gemm_plan *p, const qn_gemm_piece *piece, float c[NX / 2], qn_gemm_sum<NX, CLUSTER, PARTS> *sum, CHAIN chain)
{
    if (!PARTS) chain(c, piece->end - piece->begin, piece->begin);
    for (int slab = piece->begin, stop; PARTS && slab < piece->end; slab = stop) {
        int part = slab / p->a_part;
        bool opens = part == 0 || p->split;
        stop = (part + 1) * p->a_part;
        if (stop > piece->end) stop = piece->end;
        chain(c, stop - slab, slab % p->a_part);
        if (stop == piece->end && (!piece->handed || stop % p->a_part)) {
            if (opens || piece->handed) break;
#pragma unroll
            for (int i = 0; i < NX / 2; i += 4)
                qn_gemm_put(c + i, qn_gemm_plus(qn_gemm_sum_get(sum, i), c + i));
            break;
        }
        qn_gemm_keep<NX, CLUSTER, PARTS>(c, sum, opens);
    }
}

// chain(tile of w, c, n, more): as above.
template <int TYPE, int NX, int CLUSTER, int PARTS, typename CHAIN>
FN void qn_gemm_multiply(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, char *room, int cluster, int rank,
                         CHAIN chain)
{
    typedef qn_gemm_form<NX, CLUSTER, PARTS> form;
    float c[NX / 2];
    qn_gemm_sum<NX, CLUSTER, PARTS> sum;
    qn_gemm_piece piece;
    sum.busy = 0;
    sum.spill = (float4 *)(room + (threadIdx.x >> 7) * (form::room_bytes / 2)) + (threadIdx.x & 127);
#pragma unroll 1
    for (int i = 0; qn_gemm_piece_at(p, cluster, i, &piece); i++) {
        if (piece.taken) qn_gemm_take<NX, CLUSTER, PARTS>(b, p, &piece, c, &sum, cluster, rank);
        if (i == 0) PROFILE_GROUP(TRACE_FIRST);
        qn_gemm_tile<NX, CLUSTER, PARTS>(p, &piece, c, &sum, [&](float *part, int n, int more) QN_INLINED { chain(piece.w, part, n, more); });
        PROFILE_GROUP(TRACE_MULTIPLIED);
        if (piece.handed)
            qn_gemm_hand_over<NX, CLUSTER, PARTS>(b, p, &piece, c, &sum, cluster + 1, rank);
        else
            qn_gemm_results<TYPE, NX, CLUSTER, PARTS>(b, a, p, &piece, c, room, rank, &sum.busy);
    }
    if (threadIdx.x == 128) qn_copies_out_over();
}

// By all threads: the plan and the ring's barriers are made.
template <int NX, int CLUSTER, int PARTS>
FN void qn_gemm_begin(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, qn_gemm_plan *p, const qn_gemm_ring *r, int n_stages, int cluster)
{
    if (threadIdx.x == 0) {
        qn_gemm_make_plan(p, a, a.over_outputs ? b->counts->n_outputs : b->counts->n_rows, NX, CLUSTER, gridDim.x / CLUSTER);
        for (int i = 0; i < n_stages; i++) {
            qn_bar_init(r->bars + i * 8, 4);
            qn_bar_init(r->bars + 128 + i * 8, 8 * CLUSTER * QN_ARRIVALS_OF_WARP);
        }
        qn_bar_made();
    }
    __syncthreads();
    qn_gemm_even_shares(p, cluster);
    __syncthreads();
    qn_grid_go_on();
    if (CLUSTER > 1) qn_cluster_meet();
}

template <int TYPE, int NX, int CLUSTER, int PARTS>
FN void qn_gemm_run(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, char *shared)
{
    typedef qn_gemm_form<NX, CLUSTER, PARTS> form;
    shared += (1024 - (qn_shared_address(shared) & 1023)) & 1023;
    qn_gemm_plan *p = (qn_gemm_plan *)(shared + form::plan_at);
    int cluster = blockIdx.x / CLUSTER, rank = blockIdx.x % CLUSTER;
    qn_gemm_ring r = {qn_opaque(qn_shared_address(shared)), qn_opaque(qn_shared_address(shared + form::bars_at)), 0, 0};
    PROFILE_GROUP(TRACE_BEGUN);
    qn_gemm_begin<NX, CLUSTER, PARTS>(b, a, p, &r, form::n_stages, cluster);
    if (qn_gemm_is_idle(p, cluster)) return; // the multiprocessor is the next kernel's
    if (__shfl_sync(~0u, (int)threadIdx.x >> 7, 0) == 2) {
        qn_fewer_registers<form::fetch_registers>();
        if ((threadIdx.x & 31) == 0) qn_gemm_fetch<NX, CLUSTER, PARTS>(b, a, p, r, (int)(threadIdx.x >> 5) - 8, cluster, rank);
        __syncwarp();
        if (CLUSTER > 1) qn_cluster_meet(); // nobody leaves while another may still write or arrive here
    } else {
        qn_more_registers<form::multiply_registers>();
        qn_grid_wait();
        PROFILE_GROUP(TRACE_WAITED);
        qn_gemm_multiply<TYPE, NX, CLUSTER, PARTS>(b, a, p, shared + form::room_at, cluster, rank,
                                            [&](int, float *c, int n, int more) QN_INLINED { qn_gemm_chain<TYPE, NX, CLUSTER, PARTS>(c, &r, n, more); });
        if (CLUSTER > 1) qn_cluster_meet();
        PROFILE_GROUP(TRACE_OVER);
    }
}

#endif
