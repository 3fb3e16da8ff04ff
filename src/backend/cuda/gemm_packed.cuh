// Products of up to 128 rows (gemm.h) with weights in blocks (blocks_packed.cuh), in the order and with the bits of gemm.cuh's, whose tiles,
// sums and results they have. A stage holds 256 numbers of K, or 128 at a row's end: the rows of x, then of each of the eight strips its
// groups as they lie in memory, in a place that the largest of the product's formats fits. A warp makes its strip's fragments of them in
// registers. Of tiles of 16 rows it multiplies them itself, and a multiprocessor has two groups; of larger ones the matrix units have two steps while
// those of the next two are made. There the four warps of a warpgroup issue a product together, so their strips are of one format: that of
// their first (gemm.c sees to it).
#ifndef QN_BACKEND_CUDA_GEMM_PACKED_CUH
#define QN_BACKEND_CUDA_GEMM_PACKED_CUH
#include "backend/cuda/blocks_packed.cuh"
#include "backend/cuda/gemm.cuh"

#define QN_PACKED_SLABS 4 // of a stage, at most; of parts, and between two cuts, a multiple
#define QN_STEPS_A_SLAB (QN_GEMM_SLAB / QN_CUDA_STEP)

// Shared memory: the room, barriers, the plan, stages.
template <int NX> struct qn_gemm_packed_form {
    static const int x_bytes = NX * QN_GEMM_SLAB * 2; // of a slab
    static const int bars_at = qn_gemm_form<NX, 1>::room_bytes, plan_at = bars_at + 2 * 16 * 8;
    static const int stages_at = (plan_at + (int)sizeof(qn_gemm_plan) + 1023) / 1024 * 1024;
    static const int each = QN_CUDA_GEMM_PACKED_GROUPS(NX), shared_bytes = each == 2 ? QN_CUDA_GEMM_HALF_SHARED : QN_CUDA_GEMM_SHARED;
    static const int stages_bytes = shared_bytes - 1024 - stages_at; // the beginning is at a multiple of 1,024
    static const int fetch_registers = each == 2 ? 32 : 56, multiply_registers = each == 2 ? 104 : 224;
};

// The ring of a product: what its stages are like hangs on its formats.
typedef struct {
    qn_gemm_ring at;
    int n_stages;
    uint stage_bytes, strip_bytes;
} qn_gemm_packed_ring;

template <int NX> FN qn_gemm_packed_ring qn_gemm_packed_begin(const qn_cuda_gemm_args &a, char *shared)
{
    typedef qn_gemm_packed_form<NX> form;
    int step_bytes = 0;
    for (int m = 0; m < a.n_matrices; m++) {
        int n = QN_CUDA_STEP_BYTES(a.w_type[m]);
        if (n > step_bytes) step_bytes = n;
    }
    uint strip_bytes = (uint)step_bytes * QN_PACKED_SLABS * QN_STEPS_A_SLAB;
    uint stage_bytes = (QN_PACKED_SLABS * form::x_bytes + 8 * strip_bytes + 1023) / 1024 * 1024;
    int n = form::stages_bytes / (int)stage_bytes;
    qn_gemm_ring at = {qn_opaque(qn_shared_address(shared + form::stages_at)), qn_opaque(qn_shared_address(shared + form::bars_at)), 0, 0};
    return {at, n < 16 ? n : 16, stage_bytes, strip_bytes};
}
FN void qn_gemm_packed_step(qn_gemm_packed_ring *r)
{
    if (++r->at.stage < r->n_stages) return;
    r->at.stage = 0;
    r->at.parity ^= 1;
}
FN uint qn_gemm_packed_stage(const qn_gemm_packed_ring *r)
{
    return r->at.at + r->at.stage * r->stage_bytes;
}
// Slabs of the next stage.
FN int qn_gemm_packed_slabs(int left)
{
    return left < QN_PACKED_SLABS ? left : QN_PACKED_SLABS;
}

// ---- fetching ----

// As qn_gemm_source.
typedef struct {
    const char *w0, *w1, *x;
    uint slab0, slab1; // bytes of a slab of each strip
    uint own;
    ulong policy;
} qn_gemm_packed_source;

template <int NX> FN void qn_gemm_packed_fetch_w(const qn_gemm_packed_ring *r, qn_gemm_packed_source *s, int n_slabs)
{
    typedef qn_gemm_packed_form<NX> form;
    uint full = qn_gemm_full(&r->at), n = n_slabs, n0 = n * s->slab0, n1 = n * s->slab1;
    uint at = qn_gemm_packed_stage(r) + QN_PACKED_SLABS * form::x_bytes + s->own * 2 * r->strip_bytes;
    qn_bar_expect(full, n0 + n1 + n * (form::x_bytes / 4));
    qn_copy_in_as(at, s->w0, n0, full, s->policy);
    qn_copy_in_as(at + r->strip_bytes, s->w1, n1, full, s->policy);
    s->w0 += n0, s->w1 += n1;
}
template <int NX> FN void qn_gemm_packed_fetch_x(const qn_gemm_packed_ring *r, qn_gemm_packed_source *s, int n_slabs)
{
    typedef qn_gemm_packed_form<NX> form;
    uint n = (uint)n_slabs * (form::x_bytes / 4);
    qn_copy_in(qn_gemm_packed_stage(r) + s->own * n, s->x + s->own * n, n, qn_gemm_full(&r->at));
    s->x += n * 4;
}

// As qn_gemm_fetch_early: the first stages of `left` slabs; how many slabs are left then.
template <int NX> FN int qn_gemm_packed_fetch_early(qn_gemm_packed_ring *r, qn_gemm_packed_source *s, int left)
{
    qn_gemm_packed_ring ahead = *r;
    int most = r->n_stages * QN_PACKED_SLABS, first = left < most ? left : most;
    for (int i = 0; i < first; i += QN_PACKED_SLABS, qn_gemm_packed_step(&ahead))
        qn_gemm_packed_fetch_w<NX>(&ahead, s, qn_gemm_packed_slabs(first - i));
    qn_grid_wait();
    for (int i = 0; i < first; i += QN_PACKED_SLABS, qn_gemm_packed_step(r))
        qn_gemm_packed_fetch_x<NX>(r, s, qn_gemm_packed_slabs(first - i));
    return left - first;
}

FN const char *qn_gemm_packed_at(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, const qn_gemm_piece *piece, int i,
                                 uint *slab_bytes)
{
    int m, s;
    qn_gemm_strip(a, piece->w, 0, i, &m, &s);
    *slab_bytes = QN_STEPS_A_SLAB * QN_CUDA_STEP_BYTES(a.w_type[m]);
    return qn_gemm_pick(b->w, m) + ((ulong)s * (ulong)p->n_slabs + (ulong)piece->begin) * *slab_bytes;
}

template <int NX>
FN void qn_gemm_packed_fetch(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, qn_gemm_packed_ring r, int own)
{
    qn_gemm_packed_source f;
    qn_gemm_piece piece;
    f.own = own;
    f.policy = qn_copy_policy(p->n_across == 1);
    for (int i = 0; qn_gemm_piece_at(p, blockIdx.x, i, &piece); i++) {
        int left = piece.end - piece.begin;
        f.w0 = qn_gemm_packed_at(b, a, p, &piece, own * 2, &f.slab0);
        f.w1 = qn_gemm_packed_at(b, a, p, &piece, own * 2 + 1, &f.slab1);
        f.x = b->x + ((ulong)piece.x * (ulong)p->n_slabs + (ulong)piece.begin) * qn_gemm_packed_form<NX>::x_bytes;
        if (i == 0) left = qn_gemm_packed_fetch_early<NX>(&r, &f, left);
        for (; left > 0; left -= QN_PACKED_SLABS, qn_gemm_packed_step(&r)) {
            int n = qn_gemm_packed_slabs(left);
            qn_bar_wait(qn_gemm_empty(&r.at), r.at.parity ^ 1);
            qn_gemm_packed_fetch_w<NX>(&r, &f, n);
            qn_gemm_packed_fetch_x<NX>(&r, &f, n);
        }
    }
}

// ---- multiplying ----

// The descriptor of a step of x; low: the lower half of that of the first.
template <int NX> FN ulong qn_gemm_packed_x(uint low, int step)
{
    low += step / QN_STEPS_A_SLAB * (qn_gemm_packed_form<NX>::x_bytes / 16) + step % QN_STEPS_A_SLAB * 2;
    return (qn_mma_descriptor(0) & ~(ulong)0xffffffffu) | low;
}

// n_slabs > 0: with a loop that may be left out ptxas lets no fragment be made while products run (it warns of it); with products that run on
// into the next turn it gives each format's last fragments registers of their own, and spills.
template <int FORMAT, int NX> FN void qn_gemm_packed_chain(float c[NX / 2], qn_gemm_packed_ring *r, int n_slabs, int more)
{
    typedef qn_group_form<FORMAT> form;
    const int x_bytes = qn_gemm_packed_form<NX>::x_bytes, slabs = form::steps / QN_STEPS_A_SLAB; // of a group
    static_assert(QN_PACKED_SLABS % slabs == 0 && form::bytes == form::steps * QN_CUDA_STEP_BYTES(FORMAT) && form::bytes % 16 == 0, "args.h");
    uint strip = QN_PACKED_SLABS * x_bytes + (threadIdx.x >> 5) * r->strip_bytes, w = 0, x = 0;
    int i = 0;
#pragma unroll 1
    do {
        if (i % QN_PACKED_SLABS == 0) {
            uint at = qn_gemm_packed_stage(r);
            qn_bar_wait(qn_gemm_full(&r->at), r->at.parity);
            x = (uint)qn_mma_descriptor(at);
            w = at + strip;
        }
        uint4 even;
        qn_group_steps<FORMAT>(qn_in_shared{w}, [&](int step, uint4 fragment) QN_INLINED {
            if (step % 2 == 0) {
                even = fragment;
                return;
            }
            qn_mma_fence();
            qn_wgmma<1, NX>::run(c, even, qn_gemm_packed_x<NX>(x, step - 1), step > 1 || (i | more));
            qn_wgmma<1, NX>::run(c, fragment, qn_gemm_packed_x<NX>(x, step), 1);
            qn_mma_commit();
            if (step + 1 < form::steps)
                qn_mma_wait<1>();
            else
                qn_mma_wait<0>();
        });
        i += slabs, x += slabs * (x_bytes / 16), w += form::bytes;
        if (i % QN_PACKED_SLABS != 0 && i < n_slabs) continue;
        qn_gemm_release<NX, 1, 1>(qn_gemm_empty(&r->at));
        qn_gemm_packed_step(r);
    } while (i < n_slabs);
}

// As above of tiles of 16 rows of x, of which there are EIGHTS · 8, by products that each warp issues alone: decoding and multiplying then
// overlap, while wgmma with fragments in registers takes the issue slots that decoding would.
template <int FORMAT, int EIGHTS> FN void qn_gemm_packed_few(float c[8], qn_gemm_packed_ring *r, int n_slabs, int more)
{
    typedef qn_group_form<FORMAT> form;
    const int x_bytes = qn_gemm_packed_form<16>::x_bytes, slabs = form::steps / QN_STEPS_A_SLAB;
    int lane = threadIdx.x & 31, row = lane & 7;
    uint own = row * 128 + ((lane >> 3) ^ row) * 16; // of the first two steps' numbers of a row
    uint strip = QN_PACKED_SLABS * x_bytes + (threadIdx.x >> 5) * r->strip_bytes, w = 0, x = 0;
    int i = 0;
    if (!more)
#pragma unroll
        for (int j = 0; j < 8; j++)
            c[j] = 0.0f;
#pragma unroll 1
    do {
        if (i % QN_PACKED_SLABS == 0) {
            uint at = qn_gemm_packed_stage(r);
            qn_bar_wait(qn_gemm_full(&r->at), r->at.parity);
            x = at + own;
            w = at + strip;
        }
        uint4 b[EIGHTS]; // of two steps
        qn_group_steps<FORMAT>(qn_in_shared{w}, [&](int step, uint4 fragment) QN_INLINED {
            uint at = (step / 2 % 2 ? x ^ 64 : x) + step / QN_STEPS_A_SLAB * x_bytes;
#pragma unroll
            for (int j = 0; j < EIGHTS; j++) {
                if (step % 2 == 0) b[j] = qn_matrices4_at(at + j * 1024);
                qn_mma<1>(c + 4 * j, fragment, step % 2 ? make_uint2(b[j].z, b[j].w) : make_uint2(b[j].x, b[j].y));
            }
        });
        i += slabs, x += slabs * x_bytes, w += form::bytes;
        if (i % QN_PACKED_SLABS != 0 && i < n_slabs) continue;
        qn_gemm_release<16, 1, 1>(qn_gemm_empty(&r->at));
        qn_gemm_packed_step(r);
    } while (i < n_slabs);
}

template <int NX> FN void qn_gemm_packed_chain_of(int format, float c[NX / 2], qn_gemm_packed_ring *r, int n_slabs, int more, bool few)
{
    switch (format) {
#define CASE(value)                                                                                                    \
    case value:                                                                                                        \
        if constexpr (NX > 16)                                                                                         \
            qn_gemm_packed_chain<value, NX>(c, r, n_slabs, more);                                                      \
        else if (few)                                                                                                  \
            qn_gemm_packed_few<value, 1>(c, r, n_slabs, more);                                                         \
        else                                                                                                           \
            qn_gemm_packed_few<value, 2>(c, r, n_slabs, more);                                                         \
        break;
        QN_PACKED_FORMATS(CASE)
#undef CASE
    }
}

template <int NX> FN void qn_gemm_packed_run(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, char *shared)
{
    shared += (1024 - (qn_shared_address(shared) & 1023)) & 1023;
    qn_gemm_plan *p = (qn_gemm_plan *)(shared + qn_gemm_packed_form<NX>::plan_at);
    qn_gemm_packed_ring r = qn_gemm_packed_begin<NX>(a, shared);
    PROFILE_GROUP(TRACE_BEGUN);
    qn_gemm_begin<NX, 1, 1>(b, a, p, &r.at, r.n_stages, blockIdx.x);
    if (qn_gemm_is_idle(p, blockIdx.x)) return;
    if (__shfl_sync(~0u, (int)threadIdx.x >> 7, 0) == 2) {
        qn_fewer_registers<qn_gemm_packed_form<NX>::fetch_registers>();
        if ((threadIdx.x & 31) == 0) qn_gemm_packed_fetch<NX>(b, a, p, r, (int)(threadIdx.x >> 5) - 8);
        __syncwarp();
    } else {
        qn_more_registers<qn_gemm_packed_form<NX>::multiply_registers>();
        qn_grid_wait();
        PROFILE_GROUP(TRACE_WAITED);
        qn_gemm_multiply<1, NX, 1, 1>(b, a, p, shared, blockIdx.x, 0, [&](int tile, float *c, int n_slabs, int more) QN_INLINED {
            int m, s;
            qn_gemm_strip(a, tile, 0, (int)(threadIdx.x >> 7) * 4, &m, &s);
            qn_gemm_packed_chain_of<NX>(a.w_type[m], c, &r, n_slabs, more, p->n_rows <= 8);
        });
        PROFILE_GROUP(TRACE_OVER);
    }
}

#endif
