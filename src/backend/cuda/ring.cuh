// The stream of weights of the resident kernel: what each warp will multiply with, over all products of the step and in their
// order, comes through a ring of shared memory of its own. The order is known beforehand, so the copies run on across the ends of
// products and over every wait between them.
// Warps of their own start the copies, no more of them at a time than keep the memory busy: a load or a fence of the other
// warps waits behind all that are on their way (bench/cuda_stream.cu: 17,000 cycles behind 128 KiB a multiprocessor, 3,000 behind 32).
// Who has which units of a product: runs.h. Where two warps of a group have one, its sums go from one to the next.
#ifndef QN_BACKEND_CUDA_RING_CUH
#define QN_BACKEND_CUDA_RING_CUH
#include "backend/cuda/barrier_ptx.cuh"
#include "backend/cuda/product.cuh"

#define QN_SLOTS_ON_WAY 2 // of a ring, at most; one more of a ring that is behind, one less of one that is ahead
#define QN_APART 8        // steps from the mean of the group's rings from which one counts as behind or ahead
#define QN_PRODUCT_DONE 0x10000 // more steps than a warp has of a product
#define QN_SLOT_STEPS 8
#define QN_SLOTS 4     // of a warp's ring
#ifndef QN_FILLERS
#define QN_FILLERS 2   // warps that fill
#define QN_FINISHERS 2 // warps that finish products of few rows
#endif
#ifndef QN_FINISHERS_ROWS
#define QN_FINISHERS_ROWS 2
#endif
#define QN_FILLER_NAP_NS 100
#define QN_RINGS_EACH (QN_GPU_SIMDS / QN_FILLERS)
#define QN_SLOT_BYTES 4608 // at most; of 16-bit weights 4096
#define QN_RING_BARRIERS ((2 * QN_SLOTS + 1) * QN_GPU_SIMDS) // a slot: has come, is read; a warp: sums are handed to it
#define QN_SPINS_MOST 0x4000000 // seconds to a minute, by what is waited for; then the device counts as dead

// ---- which units ----

FN int qn_part_steps(const qn_cuda_stream *s, int part)
{
    return part < s->n_full ? QN_STEPS_A_PART : s->rest_steps;
}

// The matrix that strip *strip of all is of; then it is the strip of that.
FN int qn_strip_matrix(const qn_cuda_stream *s, int *strip)
{
    int m = 0;
    if (*strip >= s->strips[0] && s->strips[1]) *strip -= s->strips[0], m = 1;
    if (m == 1 && *strip >= s->strips[1] && s->strips[2]) *strip -= s->strips[1], m = 2;
    return m;
}
FN int qn_step_bytes_of(const qn_cuda_stream *s, int matrix) // no index, which would put the description into local memory
{
    return matrix == 0 ? s->step_bytes[0] : matrix == 1 ? s->step_bytes[1] : s->step_bytes[2];
}

// A warp's run, a qn_cuda_run as four numbers, is done in pieces: units, or some steps of one. Where it ends within a unit, that piece comes
// first; where it begins within one, that comes last, since its sums go on from those of the warp before, which has had its piece of
// the unit first. This is the next piece:
typedef struct {
    int left; // pieces, with this one
    int strip, part;
    int begin, end; // steps
} qn_pieces;

FN int qn_run_part(int at)
{
    return at >> 8;
}
FN int qn_run_step(int at)
{
    return at & 255;
}

// A run of qn_group_runs, by its address in shared memory.
FN int4 qn_run_at(uint at)
{
    uint4 v = qn_load_shared4(at);
    return make_int4((int)v.x, (int)v.y, (int)v.z, (int)v.w);
}

FN void qn_piece_place(qn_pieces *p, const qn_cuda_stream *s, int4 run, int strip, int part, int begin)
{
    if (strip == s->n_strips) strip = 0, part++;
    p->strip = strip;
    p->part = part;
    p->begin = begin;
    p->end = strip == run.z && part == qn_run_part(run.w) ? qn_run_step(run.w) : qn_part_steps(s, part);
}
// None: left = 0.
FN void qn_pieces_begin(qn_pieces *p, const qn_cuda_stream *s, int4 run)
{
    int part = qn_run_part(run.y), begin = qn_run_step(run.y), part_end = qn_run_part(run.w), end = qn_run_step(run.w);
    int n = (part_end - part) * s->n_strips + run.z - run.x; // units, but the last
    p->left = n == 0 ? (end > begin ? 1 : 0) : n + (end > 0 ? 1 : 0);
    if (p->left == 0) return;
    if (n && end > 0)
        qn_piece_place(p, s, run, run.z, part_end, 0);
    else if (p->left > 1 && begin > 0)
        qn_piece_place(p, s, run, run.x + 1, part, 0);
    else
        qn_piece_place(p, s, run, run.x, part, begin);
}
// The next piece; there is one.
FN void qn_pieces_next(qn_pieces *p, const qn_cuda_stream *s, int4 run)
{
    int part = qn_run_part(run.y), begin = qn_run_step(run.y);
    p->left--;
    if (p->left == 1 && begin > 0)
        qn_piece_place(p, s, run, run.x, part, begin);
    else if (p->strip == run.z && p->part == qn_run_part(run.w)) // behind the piece at the run's end
        qn_piece_place(p, s, run, run.x + (begin > 0 ? 1 : 0), part, 0);
    else
        qn_piece_place(p, s, run, p->strip + 1, p->part, 0);
}

// ---- the walk, of one lane ----

// A place in one warp's stream. `now` and `next`: a product's description and the next one's, so that what the walk needs at the
// beginning of a product has been on its way for a whole product.
typedef struct {
    const qn_cuda_stream *streams; // the next one's
    const int4 *runs;              // this warp's of it
    qn_cuda_stream now, next;
    int2 rows; // of the step, and outputs
    int4 run, next_run;
    qn_pieces pieces;
    int left, step_bytes; // steps left of this piece; < 0: the stream is over
    ulong from;
    int done; // a number that grows with the products and, within one, with the steps asked for
} qn_walker;

FN qn_cuda_stream qn_load_stream(const qn_cuda_stream *from)
{
    qn_cuda_stream s;
#pragma unroll
    for (int i = 0; i < (int)(sizeof s / 8); i++)
        ((ulong *)&s)[i] = __ldg((const ulong *)from + i);
    return s;
}

// To the beginning of a piece.
FN void qn_walker_place(qn_walker *w)
{
    const qn_pieces *p = &w->pieces;
    int strip = p->strip, m = qn_strip_matrix(&w->now, &strip);
    w->step_bytes = qn_step_bytes_of(&w->now, m);
    w->left = p->end - p->begin;
    int step = strip * (w->now.n_full * QN_STEPS_A_PART + w->now.rest_steps) + p->part * QN_STEPS_A_PART + p->begin;
    w->from = (m == 0 ? w->now.w[0] : m == 1 ? w->now.w[1] : w->now.w[2]) + (ulong)step * (ulong)w->step_bytes;
}

// To the first piece that the warp has of the products from `next` on.
FN void qn_walker_enter(qn_walker *w)
{
    for (;;) {
        w->now = w->next;
        w->left = -1;
        w->done = (w->done | (QN_PRODUCT_DONE - 1)) + 1;
        if (w->now.end) return;
        w->run = w->next_run;
        w->next = qn_load_stream(++w->streams);
        w->next_run = __ldg(w->runs += gridDim.x * QN_GPU_SIMDS);
        if ((w->now.over_outputs ? w->rows.y : w->rows.x) == 0) continue;
        qn_pieces_begin(&w->pieces, &w->now, w->run);
        if (w->pieces.left == 0) continue;
        qn_walker_place(w);
        return;
    }
}

// `runs`: the warp's of the first product.
FN void qn_walker_begin(qn_walker *w, const qn_cuda_stream *streams, const int4 *runs, int2 rows)
{
    w->streams = streams;
    w->done = 0;
    w->runs = runs;
    w->rows = rows;
    w->next = qn_load_stream(streams);
    w->next_run = __ldg(runs);
    qn_walker_enter(w);
}

// The next slot's weights: where they are, and how many bytes.
FN ulong qn_walker_next(qn_walker *w, uint *n_bytes)
{
    ulong from = w->from;
    int steps = QN_CUDA_SLOT_STEPS(w->step_bytes);
    if (w->left < steps) steps = w->left;
    *n_bytes = (uint)(steps * w->step_bytes);
    w->done += steps;
    w->from += *n_bytes;
    w->left -= steps;
    if (w->left > 0) return from;
    if (w->pieces.left == 1) {
        qn_walker_enter(w);
        return from;
    }
    qn_pieces_next(&w->pieces, &w->now, w->run);
    qn_walker_place(w);
    return from;
}

// ---- the ring ----

// A place in a warp's ring.
typedef struct {
    uint slots, full, empty; // shared memory: slots, and an mbarrier a slot each: its weights have come; all lanes have read it
    int slot, phase;
    int takes; // parity of the next sums that the warp before hands over
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
    qn_ring r = {qn_shared_address(slots) + warp * QN_SLOTS * QN_SLOT_BYTES, full, full + QN_SLOTS * QN_GPU_SIMDS * 8, 0, 0, 0};
    return r;
}
extern __shared__ __align__(128) char qn_resident_memory[]; // the group's, all of it

// This warp's ring at a place, a number that goes from function to function; 0: its beginning.
FN qn_ring qn_ring_at(int place)
{
    char *slots = qn_resident_memory + QN_CUDA_RESIDENT_WORK;
    qn_ring r = qn_ring_of(slots, (ulong *)(slots + QN_CUDA_RING_BYTES), threadIdx.x >> 5);
    r.slot = place >> 2, r.phase = place >> 1 & 1, r.takes = place & 1;
    return r;
}
FN int qn_ring_place(const qn_ring *r)
{
    return r->slot << 2 | r->phase << 1 | r->takes;
}

// One warp for all; a barrier of the group follows.
FN void qn_ring_init(ulong *barriers)
{
    for (int i = threadIdx.x & 31; i < QN_RING_BARRIERS; i += 32)
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

FN uint qn_ring_at_slot(const qn_ring *r)
{
    return r->slots + r->slot * QN_SLOT_BYTES;
}
FN void qn_ring_wait(const qn_ring *r)
{
    PROFILE_STARVING();
    qn_slot_wait(r->full + r->slot * 8, r->phase);
    PROFILE_STARVED();
}
// Where the next slot's weights lie, come by then; and that the warp has read them.
FN uint qn_ring_slot(const qn_ring *r)
{
    qn_ring_wait(r);
    return qn_ring_at_slot(r);
}
// Whether those behind it have come: asked while there is something else to do, since the answer takes a while.
FN bool qn_ring_next_come(const qn_ring *r)
{
    bool wraps = r->slot + 1 == QN_SLOTS;
    return qn_bar_over(r->full + (wraps ? 0 : r->slot + 1) * 8, r->phase ^ wraps);
}
FN void qn_ring_done(qn_ring *r)
{
    __syncwarp();
    if (qn_lane_arrives()) qn_bar_arrive(r->empty + r->slot * 8);
    qn_ring_advance(r);
}

// ---- sums of a unit that two warps have ----

// Shared memory behind the rings: barriers; the warps' runs of the product, and of the next one; for each warp the room of what the one
// before hands to it. A product has one such at most, and barriers of the group lie between two products.
#define QN_RUNS_AT (QN_CUDA_RESIDENT_WORK + QN_CUDA_RING_BYTES + QN_RING_BARRIERS * 8)
#define QN_HANDED_AT (QN_RUNS_AT + 2 * QN_GPU_SIMDS * 16)
#define QN_TASKS_AT (QN_HANDED_AT + QN_GPU_SIMDS * 512)
// The group's runs of product i of the step.
FN int4 *qn_group_runs(int i)
{
    return (int4 *)(qn_resident_memory + QN_RUNS_AT) + i % 2 * QN_GPU_SIMDS;
}
// They start to come from the list of all: of the group's first eight threads; qn_runs_come of the same, then a barrier.
FN void qn_fetch_runs(const int4 *runs, int i)
{
    if (threadIdx.x >= QN_GPU_SIMDS) return;
    const int4 *from = runs + ((ulong)i * gridDim.x + blockIdx.x) * QN_GPU_SIMDS + threadIdx.x;
    qn_copy16(qn_group_runs(i) + threadIdx.x, from, 1);
    qn_copy_commit();
}
FN void qn_runs_come(void)
{
    qn_copy_wait<0>();
}
FN uint qn_handed_bar(int warp)
{
    return qn_shared_address(qn_resident_memory + QN_CUDA_RESIDENT_WORK + QN_CUDA_RING_BYTES) + (2 * QN_SLOTS * QN_GPU_SIMDS + warp) * 8;
}
FN float4 *qn_handed_at(int warp)
{
    return (float4 *)(qn_resident_memory + QN_HANDED_AT) + warp * 32 + (threadIdx.x & 31);
}
FN void qn_hand_over(const float c[4])
{
    int to = (int)(threadIdx.x >> 5) + 1;
    *qn_handed_at(to) = make_float4(c[0], c[1], c[2], c[3]);
    __syncwarp();
    if (qn_lane_arrives()) qn_bar_arrive(qn_handed_bar(to));
}
FN void qn_take_over(qn_ring *r, float c[4])
{
    int own = (int)(threadIdx.x >> 5);
    PROFILE_STARVING();
    qn_slot_wait(qn_handed_bar(own), r->takes);
    PROFILE_STARVED();
    r->takes ^= 1;
    float4 v = *qn_handed_at(own);
    c[0] = v.x, c[1] = v.y, c[2] = v.z, c[3] = v.w;
}

// ---- filling ----

// How far the group's rings are, a number each (qn_walker.done). They are served at random speeds, and a product ends with its last: so
// who is behind asks for more at a time.
#define QN_DONE_AT (QN_TASKS_AT + 2 * sizeof(qn_cuda_resident_task) + 16)
#define QN_FINISH_AT (QN_DONE_AT + QN_GPU_SIMDS * 4) // resident_product.cuh
FN int *qn_done_of(int warp)
{
    return (int *)(qn_resident_memory + QN_DONE_AT) + warp;
}
FN void qn_tell_done(int warp, int done)
{
    asm volatile("st.relaxed.cta.shared.u32 [%0], %1;" ::"r"(qn_shared_address(qn_done_of(warp))), "r"(done) : "memory");
}
FN int4 qn_look_done(int first)
{
    int4 v;
    uint at = qn_shared_address(qn_done_of(first));
    asm volatile("ld.volatile.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at) : "memory");
    return v;
}
FN int qn_most_on_way(int done)
{
    static_assert(QN_GPU_SIMDS == 8, "two loads");
    int4 a = qn_look_done(0), b = qn_look_done(4);
    int ahead = done - ((a.x + a.y + a.z + a.w + b.x + b.y + b.z + b.w) >> 3);
    return QN_SLOTS_ON_WAY + (ahead < -QN_APART) - (ahead > QN_APART);
}

// A filling warp, `filler` of QN_FILLERS: a lane a ring. How soon a copy follows one that has come decides how fast a ring fills, so the loop
// does little else.
static __device__ __noinline__ void qn_ring_fill(const qn_cuda_stream *streams, const int4 *runs, char *slots, ulong *barriers, int2 rows,
                                                 int filler)
{
    int lane = threadIdx.x & 31, warp = filler * QN_RINGS_EACH + lane % QN_RINGS_EACH;
    int on_way = 0, n = 0; // started: n
    uint idle = 0;
    ulong policy = qn_copy_policy(true);                     // so that sums, rows of x and norms stay in L2
    qn_ring r = qn_ring_of(slots, barriers, warp), come = r; // come: the first that has not come yet
    qn_walker w;
    qn_walker_begin(&w, streams, runs + blockIdx.x * QN_GPU_SIMDS + warp, rows);
    if (lane >= QN_RINGS_EACH) w.left = -1;
#pragma unroll 1
    while (__any_sync(~0u, w.left >= 0)) {
        if (on_way && qn_bar_over(come.full + come.slot * 8, come.phase)) qn_ring_advance(&come), on_way--;
        int most = qn_most_on_way(w.done);
        bool starts = w.left >= 0 && on_way < most && (n < QN_SLOTS || qn_bar_over(r.empty + r.slot * 8, r.phase ^ 1));
        if (starts) {
            uint n_bytes;
            const void *from = (const void *)qn_walker_next(&w, &n_bytes);
            qn_tell_done(warp, w.done);
            qn_bar_expect(r.full + r.slot * 8, n_bytes);
            qn_copy_in_as(r.slots + r.slot * QN_SLOT_BYTES, from, n_bytes, r.full + r.slot * 8, policy);
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
