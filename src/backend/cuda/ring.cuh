// The stream of weights of the resident kernel: what each warp will multiply with, over all products of the step and in their
// order, comes through a ring of shared memory of its own. The order is known beforehand, so the copies run on across the ends of
// products and over every wait between them.
// Warps of their own start the copies, no more of them at a time than keep the memory busy: a load or a fence of the other
// warps waits behind all that are on their way (bench/cuda_stream.cu: 17,000 cycles behind 128 KiB a multiprocessor, 3,000 behind 32).
// The units of a product (a part of K of a strip of 16 rows, product.cuh) are ordered by part, then by strip; every warp of the grid
// has a run of them of nearly the same number of steps.
#ifndef QN_BACKEND_CUDA_RING_CUH
#define QN_BACKEND_CUDA_RING_CUH
#include "backend/cuda/barrier_ptx.cuh"
#include "backend/cuda/product.cuh"

#define QN_SLOTS_ON_WAY 2 // of a ring, at most
#define QN_SLOT_STEPS 8
#define QN_SLOTS 4     // of a warp's ring
#define QN_FILLERS 4   // warps that fill
#define QN_FILLER_NAP_NS 100
#define QN_RINGS_EACH (QN_GPU_SIMDS / QN_FILLERS)
#define QN_SLOT_BYTES 4608 // at most; of 16-bit weights 4096
#define QN_SPINS_MOST 0x4000000 // seconds to a minute, by what is waited for; then the device counts as dead

// ---- which units ----

// First unit of warp `warp`: every warp's share of the steps begins at a whole unit.
FN int qn_first_unit(const qn_cuda_stream *s, int warp, int n_warps)
{
    int step = warp * s->share + warp * s->share_rest / n_warps, full = s->n_full * s->n_strips * QN_STEPS_A_PART;
    if (step <= full) return (step + QN_STEPS_A_PART - 1) / QN_STEPS_A_PART;
    return s->n_full * s->n_strips + (step - full + s->rest_steps - 1) / s->rest_steps;
}

FN int qn_unit_part(const qn_cuda_stream *s, int unit)
{
    int part = unit / s->n_strips;
    return part < s->n_full ? part : s->n_full;
}

FN int qn_part_steps(const qn_cuda_stream *s, int part)
{
    return part < s->n_full ? QN_STEPS_A_PART : s->rest_steps;
}

// ---- the walk, of one lane ----

// A place in one warp's stream. `now` and `next`: a product's description and the next one's, so that what the walk needs at the
// beginning of a product has been on its way for a whole product.
typedef struct {
    const qn_cuda_stream *streams;
    qn_cuda_stream now, next;
    int index;       // of `next`
    int warp;        // whose stream it is, of the grid
    int2 rows;       // of the step, and outputs
    int units, left; // units with this one; steps left of this one; units < 0: the stream is over
    int strip, part, step_bytes;
    ulong from;
} qn_walker;

FN qn_cuda_stream qn_load_stream(const qn_cuda_stream *from)
{
    qn_cuda_stream s;
#pragma unroll
    for (int i = 0; i < (int)(sizeof s / 8); i++)
        ((ulong *)&s)[i] = __ldg((const ulong *)from + i);
    return s;
}

// To the beginning of a unit.
FN void qn_walker_place(qn_walker *w)
{
    int m = 0, strip = w->strip;
    ulong at = w->now.w[0];
    w->step_bytes = w->now.step_bytes[0];
    if (strip >= w->now.strips[0] && w->now.strips[1]) strip -= w->now.strips[0], at = w->now.w[1], w->step_bytes = w->now.step_bytes[1], m = 1;
    if (m == 1 && strip >= w->now.strips[1] && w->now.strips[2]) strip -= w->now.strips[1], at = w->now.w[2], w->step_bytes = w->now.step_bytes[2];
    w->left = qn_part_steps(&w->now, w->part);
    int step = strip * (w->now.n_full * QN_STEPS_A_PART + w->now.rest_steps) + w->part * QN_STEPS_A_PART;
    w->from = at + (ulong)step * (ulong)w->step_bytes;
}

// To the first unit that the warp has of the products from `next` on.
FN void qn_walker_enter(qn_walker *w)
{
    int n_warps = (int)gridDim.x * QN_GPU_SIMDS;
    for (;;) {
        w->now = w->next;
        w->units = -1;
        if (w->now.end) return;
        w->next = qn_load_stream(w->streams + ++w->index);
        if ((w->now.over_outputs ? w->rows.y : w->rows.x) == 0) continue;
        int unit = qn_first_unit(&w->now, w->warp, n_warps);
        w->units = qn_first_unit(&w->now, w->warp + 1, n_warps) - unit;
        if (w->units == 0) continue;
        w->part = qn_unit_part(&w->now, unit);
        w->strip = unit - w->part * w->now.n_strips;
        qn_walker_place(w);
        return;
    }
}

FN void qn_walker_begin(qn_walker *w, const qn_cuda_stream *streams, int warp, int2 rows)
{
    w->streams = streams;
    w->warp = warp;
    w->rows = rows;
    w->index = 0;
    w->next = qn_load_stream(streams);
    qn_walker_enter(w);
}

// The next slot's weights: where they are, and how many bytes.
FN ulong qn_walker_next(qn_walker *w, uint *n_bytes)
{
    ulong from = w->from;
    int steps = QN_CUDA_SLOT_STEPS(w->step_bytes);
    *n_bytes = (uint)((w->left < steps ? w->left : steps) * w->step_bytes);
    w->from += *n_bytes;
    w->left -= steps;
    if (w->left > 0) return from;
    if (--w->units == 0) {
        qn_walker_enter(w);
        return from;
    }
    if (++w->strip == w->now.n_strips) w->strip = 0, w->part++;
    qn_walker_place(w);
    return from;
}

// ---- the ring ----

// A place in a warp's ring.
typedef struct {
    uint slots, full, empty; // shared memory: slots, and an mbarrier a slot each: its weights have come; all lanes have read it
    int slot, phase;
} qn_ring;

FN void qn_ring_advance(qn_ring *r)
{
    if (++r->slot < QN_SLOTS) return;
    r->slot = 0;
    r->phase ^= 1;
}

FN qn_ring qn_ring_of(char *slots, ulong *barriers, int warp)
{
    uint full = qn_shared_address(barriers) + warp * QN_SLOTS * 8;
    qn_ring r = {qn_shared_address(slots) + warp * QN_SLOTS * QN_SLOT_BYTES, full, full + QN_SLOTS * QN_GPU_SIMDS * 8, 0, 0};
    return r;
}
extern __shared__ __align__(128) char qn_resident_memory[]; // the group's, all of it

// This warp's ring at a place, a number that goes from function to function; 0: its beginning.
FN qn_ring qn_ring_at(int place)
{
    char *slots = qn_resident_memory + QN_CUDA_RESIDENT_WORK;
    qn_ring r = qn_ring_of(slots, (ulong *)(slots + QN_CUDA_RING_BYTES), threadIdx.x >> 5);
    r.slot = place >> 1, r.phase = place & 1;
    return r;
}
FN int qn_ring_place(const qn_ring *r)
{
    return r->slot << 1 | r->phase;
}

// One warp for all; a barrier of the group follows.
FN void qn_ring_init(ulong *barriers)
{
    for (int i = threadIdx.x & 31; i < 2 * QN_SLOTS * QN_GPU_SIMDS; i += 32)
        qn_bar_init(qn_shared_address(barriers + i), i < QN_SLOTS * QN_GPU_SIMDS ? 1 : QN_ARRIVALS_OF_WARP); // who starts a copy; a warp
    qn_bar_made_for_copies();
}

FN void qn_slot_wait(uint bar, uint phase)
{
#pragma unroll 1
    for (uint spins = 0; spins < QN_SPINS_MOST; spins++)
        if (qn_bar_try(bar, phase)) return;
    __trap();
}

// Where the next slot's weights lie, come by then; and that the warp has read them.
FN uint qn_ring_slot(const qn_ring *r)
{
    PROFILE_STARVING();
    qn_slot_wait(r->full + r->slot * 8, r->phase);
    PROFILE_STARVED();
    return r->slots + r->slot * QN_SLOT_BYTES;
}
FN void qn_ring_done(qn_ring *r)
{
    __syncwarp();
    if (qn_lane_arrives()) qn_bar_arrive(r->empty + r->slot * 8);
    qn_ring_advance(r);
}

// A filling warp, `filler` of QN_FILLERS: a lane a ring. How soon a copy follows one that has come decides how fast a ring fills, so the loop
// does little else.
static __device__ __noinline__ void qn_ring_fill(const qn_cuda_stream *streams, char *slots, ulong *barriers, int2 rows,
                                                 int filler)
{
    int lane = threadIdx.x & 31, warp = filler * QN_RINGS_EACH + lane % QN_RINGS_EACH;
    int on_way = 0, n = 0; // started: n
    uint idle = 0;
    qn_ring r = qn_ring_of(slots, barriers, warp), come = r; // come: the first that has not come yet
    qn_walker w;
    qn_walker_begin(&w, streams, (int)blockIdx.x * QN_GPU_SIMDS + warp, rows);
    if (lane >= QN_RINGS_EACH) w.units = -1;
#pragma unroll 1
    while (__any_sync(~0u, w.units >= 0)) {
        if (on_way && qn_bar_over(come.full + come.slot * 8, come.phase)) qn_ring_advance(&come), on_way--;
        bool starts = w.units >= 0 && on_way < QN_SLOTS_ON_WAY && (n < QN_SLOTS || qn_bar_over(r.empty + r.slot * 8, r.phase ^ 1));
        if (starts) {
            uint n_bytes;
            const void *from = (const void *)qn_walker_next(&w, &n_bytes);
            qn_bar_expect(r.full + r.slot * 8, n_bytes);
            qn_copy_in(r.slots + r.slot * QN_SLOT_BYTES, from, n_bytes, r.full + r.slot * 8);
            qn_ring_advance(&r);
            on_way++;
            n++;
        }
        if (__any_sync(~0u, starts || on_way)) {
            idle = 0;
            continue;
        }
        if (++idle > QN_SPINS_MOST) __trap();
        __nanosleep(QN_FILLER_NAP_NS); // the turns of a filling warp are some that another warp does not have
    }
}

#endif
