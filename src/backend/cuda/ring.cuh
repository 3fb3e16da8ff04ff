// The stream of weights of the resident kernel: what a group will multiply with, over all products of the step and in their order, comes
// through a ring of shared memory. The order is known beforehand, so the copies run on across the ends of products and over every wait
// between them.
// A unit (a part of K of a strip) is multiplied by one warp, the next by the next warp; its weights are some slots of the ring. Slots are numbered over
// the whole step: their turn. Neighbouring units make a batch, as many as there are warps, or fewer where a matrix or a part of K ends: first come the
// first slots of all of them, then the second ones, and so on. So all warps have something from the beginning on, and little is left to do when the last slot has come.
// Warps of their own start the copies, in order, no more of them at a time than keep the memory busy: a load or a
// fence of the other warps waits behind all that are on their way (bench/cuda_stream.cu: 17,000 cycles behind 128 KiB a multiprocessor, 3,000 behind 32).
// Which group has which units of a product: shares.h.
#ifndef QN_BACKEND_CUDA_RING_CUH
#define QN_BACKEND_CUDA_RING_CUH
#include "backend/cuda/barrier_ptx.cuh"
#include "backend/cuda/product.cuh"

#define QN_FILLERS 4   // warps that fill the ring, a lane of each: with two, who starts a copy holds the other up
#define QN_FINISHERS 2 // warps that finish products (resident_product.cuh)
#define QN_SLOTS_ON_WAY 3 // of a filling warp, at most
#define QN_FILLER_NAP_NS 100
#define QN_SPINS_MOST 0x4000000 // seconds to a minute, by what is waited for; then the device counts as dead

// ---- units and their slots ----

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
FN int qn_of_matrix(const int of[QN_CUDA_MAX_PARTS], int matrix) // no index, which would put a description in registers into local memory
{
    return matrix == 0 ? of[0] : matrix == 1 ? of[1] : of[2];
}
FN int qn_unit_slots(const qn_cuda_stream *s, int matrix, int part)
{
    return part < s->n_full ? qn_of_matrix(s->slots, matrix) : qn_of_matrix(s->rest_slots, matrix);
}

// A batch of units of a group's share.
typedef struct {
    int strip, part, n; // the first unit, and how many
    int left;           // units of the share, from the first on; 0: there is no batch
    int n_slots;        // of a unit
    uint turn;          // of the first's first slot
} qn_batch;
FN void qn_batch_cut(qn_batch *b, const qn_cuda_stream *s)
{
    int strip = b->strip, m = qn_strip_matrix(s, &strip), run = qn_of_matrix(s->strips, m) - strip;
    b->n = run < QN_GPU_SIMDS ? run : QN_GPU_SIMDS;
    if (b->left < b->n) b->n = b->left;
    b->n_slots = qn_unit_slots(s, m, b->part);
}
FN void qn_batch_next(qn_batch *b, const qn_cuda_stream *s)
{
    b->turn += (uint)(b->n * b->n_slots);
    b->left -= b->n;
    b->strip += b->n;
    if (b->strip == s->n_strips) b->strip = 0, b->part++;
    qn_batch_cut(b, s);
}

// A warp's unit: which one of its batch.
typedef struct {
    qn_batch batch;
    int which;
} qn_unit;
// To the n-th unit behind it; false: the share has none.
FN bool qn_unit_on(qn_unit *u, const qn_cuda_stream *s, int n)
{
    u->which += n;
    while (u->batch.left > 0 && u->which >= u->batch.n) {
        u->which -= u->batch.n;
        qn_batch_next(&u->batch, s);
    }
    return u->batch.left > 0;
}
// This warp's first of the group's share, a qn_cuda_share; turn: of the share's first slot.
FN bool qn_unit_begin(qn_unit *u, const qn_cuda_stream *s, int4 share, uint turn)
{
    *u = {{share.x, share.y, 0, share.z, 0, turn}, 0};
    if (share.z > 0) qn_batch_cut(&u->batch, s);
    return qn_unit_on(u, s, (int)(threadIdx.x >> 5));
}

// ---- the ring ----

extern __shared__ __align__(128) char qn_resident_memory[]; // the group's, all of it

// Shared memory behind the tasks' own: the ring's description; an mbarrier a slot, its weights have come; another, it has been read; the turn
// of who read it last; the group's share of the product, and of the next one; the tasks (resident.cu); the product and the task that is
// finished (resident_product.cuh); then the slots.
#define QN_RING_AT QN_CUDA_RESIDENT_WORK
#define QN_FULL_AT (QN_RING_AT + 16)
#define QN_EMPTY_AT (QN_FULL_AT + QN_CUDA_SLOTS * 8)
#define QN_READ_AT (QN_EMPTY_AT + QN_CUDA_SLOTS * 8)
#define QN_SHARES_AT (QN_READ_AT + QN_CUDA_SLOTS * 4)
#define QN_TASKS_AT (QN_SHARES_AT + 2 * 16)
#define QN_PRODUCT_AT (QN_TASKS_AT + 2 * sizeof(qn_cuda_resident_task) + 16)
#define QN_FINISH_AT (QN_PRODUCT_AT + 64)
#define QN_SLOTS_AT (QN_CUDA_RESIDENT_WORK + QN_CUDA_RESIDENT_SIDE - QN_CUDA_EARLY_BYTES)

FN uint qn_resident_at(int at) // as an address in shared memory
{
    return qn_shared_address(qn_resident_memory) + (uint)at;
}

// The ring: slots of so many bytes, as many as there is room for.
typedef struct {
    uint n_bytes, n, inverse; // ceil(2^32 / n): turns are few enough for a division by it
} qn_ring;
FN qn_ring qn_ring_at(void)
{
    return *(const qn_ring *)(qn_resident_memory + QN_RING_AT);
}

// A turn's slot, and the parity of its barriers.
typedef struct {
    uint turn, slot, parity;
} qn_slot;
FN qn_slot qn_slot_of(const qn_ring *r, uint turn)
{
    uint round = __umulhi(turn, r->inverse);
    return {turn, turn - round * r->n, round & 1};
}
FN uint qn_slot_at(const qn_ring *r, uint slot)
{
    return qn_resident_at(QN_SLOTS_AT) + slot * r->n_bytes;
}
FN uint qn_slot_full(uint slot)
{
    return qn_resident_at(QN_FULL_AT) + slot * 8;
}
FN uint qn_slot_empty(uint slot)
{
    return qn_resident_at(QN_EMPTY_AT) + slot * 8;
}
FN uint qn_slot_read(uint slot)
{
    return qn_resident_at(QN_READ_AT) + slot * 4;
}
FN bool qn_lane_is_first(void)
{
    return (threadIdx.x & 31) == 0;
}
FN void qn_tell_shared(uint at, uint v) // to warps that look at it now and then
{
    asm volatile("st.relaxed.cta.shared.u32 [%0], %1;" ::"r"(at), "r"(v) : "memory");
}
FN uint qn_look_shared(uint at)
{
    uint v;
    asm volatile("ld.relaxed.cta.shared.u32 %0, [%1];" : "=r"(v) : "r"(at) : "memory");
    return v;
}

// One warp for all; a barrier of the group follows.
FN void qn_ring_init(uint slot_bytes)
{
    uint n = QN_CUDA_RING_BYTES / slot_bytes;
    static_assert(QN_CUDA_RING_BYTES / QN_CUDA_SLOT_MOST / QN_FILLERS > QN_SLOTS_ON_WAY, "what is on its way has slots of its own, whatever a slot has");
    n = (n > QN_CUDA_SLOTS ? QN_CUDA_SLOTS : n) / QN_FILLERS * QN_FILLERS; // a slot is always filled by the same
    if (qn_lane_is_first()) *(qn_ring *)(qn_resident_memory + QN_RING_AT) = {slot_bytes, n, 0xffffffffu / n + 1};
    for (uint slot = threadIdx.x & 31; slot < n; slot += 32) {
        qn_bar_init(qn_slot_full(slot), 1); // who starts a copy
        qn_bar_init(qn_slot_empty(slot), QN_ARRIVALS_OF_WARP);
        qn_tell_shared(qn_slot_read(slot), slot - n);
    }
    qn_bar_made_for_copies();
}

// Whether a slot's weights have come. Units may be asked for before the one that has had their slots: then what tells of the slot's weights is two phases
// behind, and would look as if they had come. So who read it last is looked at first (PTX promises no order of the two; nvcc 13.0 keeps it, and the
// multiprocessor does them in turn).
FN bool qn_slot_come(const qn_ring *r, const qn_slot *s)
{
    uint read = qn_look_shared(qn_slot_read(s->slot));
    bool over = qn_bar_over(qn_slot_full(s->slot), s->parity);
    return over && read == s->turn - r->n;
}
FN void qn_slot_wait(const qn_ring *r, const qn_slot *s)
{
    PROFILE_STARVING();
    uint spins = 0;
#pragma unroll 1
    while (qn_look_shared(qn_slot_read(s->slot)) != s->turn - r->n || !qn_bar_try(qn_slot_full(s->slot), s->parity))
        if (++spins > QN_SPINS_MOST) __trap();
    PROFILE_STARVED();
}
// The warp has read it.
FN void qn_slot_done(const qn_slot *s)
{
    __syncwarp();
    if (qn_lane_is_first()) qn_tell_shared(qn_slot_read(s->slot), s->turn);
    if (qn_lane_arrives()) qn_bar_arrive(qn_slot_empty(s->slot));
}

// The group's share of product i of the step.
FN int4 *qn_group_share(int i)
{
    return (int4 *)(qn_resident_memory + QN_SHARES_AT) + i % 2;
}
// It starts to come from the list of all: of the group's first thread; qn_share_come of the same, then a barrier.
FN void qn_fetch_share(const int4 *shares, int i)
{
    if (threadIdx.x > 0) return;
    qn_copy16(qn_group_share(i), shares + (ulong)i * gridDim.x + blockIdx.x, 1);
    qn_copy_commit();
}
FN void qn_share_come(void)
{
    qn_copy_wait<0>();
}

// ---- the walk, of a filling warp ----

// A slot of the group's stream. `now` and `next`: a product's description and the next one's, so that what the walk needs at the
// beginning of a product has been on its way for a whole product.
typedef struct {
    const qn_cuda_stream *streams; // the next one's
    const int4 *shares;            // this group's of it
    qn_cuda_stream now, next;
    int2 rows; // of the step, and outputs
    int4 next_share;
    int left, run, n;     // units from the batch's first on: of the share (0: the stream is over), of its matrix and part, of the batch
    int end, part;        // the strip behind those of the matrix, and the part
    int which, slot;      // the unit of the batch, and its slot,
    int n_slots;          // of how many
    uint slot_bytes, unit_bytes;    // a unit's last slot may have fewer
    ulong batch, strip_bytes;       // weights of the batch's first unit; how far it is to the next strip's
} qn_walker;

FN qn_cuda_stream qn_load_stream(const qn_cuda_stream *from)
{
    qn_cuda_stream s;
#pragma unroll
    for (int i = 0; i < (int)(sizeof s / 8); i++)
        ((ulong *)&s)[i] = __ldg((const ulong *)from + i);
    return s;
}

FN void qn_walker_cut(qn_walker *w)
{
    w->n = w->run < QN_GPU_SIMDS ? w->run : QN_GPU_SIMDS;
    if (w->left < w->n) w->n = w->left;
    w->slot = 0;
}
// To the batch that begins with a unit, the first of the share or of a matrix and part.
FN void qn_walker_run(qn_walker *w, int strip, int part)
{
    const qn_cuda_stream *s = &w->now;
    int in_matrix = strip, m = qn_strip_matrix(s, &in_matrix), step_bytes = qn_of_matrix(s->step_bytes, m);
    w->run = qn_of_matrix(s->strips, m) - in_matrix;
    w->end = strip + w->run;
    w->part = part;
    w->n_slots = qn_unit_slots(s, m, part);
    w->slot_bytes = (uint)(qn_of_matrix(s->slot_steps, m) * step_bytes);
    w->unit_bytes = (uint)(qn_part_steps(s, part) * step_bytes);
    w->strip_bytes = (ulong)((s->n_full * QN_STEPS_A_PART + s->rest_steps) * step_bytes);
    w->batch = (m == 0 ? s->w[0] : m == 1 ? s->w[1] : s->w[2]) + (ulong)in_matrix * w->strip_bytes + (ulong)(part * QN_STEPS_A_PART * step_bytes);
    qn_walker_cut(w);
}

// To the first slot that the group has of the products from `next` on.
FN void qn_walker_enter(qn_walker *w)
{
    int4 share;
    do {
        w->now = w->next;
        w->left = 0;
        if (w->now.end) return;
        share = w->next_share;
        w->next = qn_load_stream(++w->streams);
        w->next_share = __ldg(w->shares += gridDim.x);
        if ((w->now.over_outputs ? w->rows.y : w->rows.x) > 0) w->left = share.z;
    } while (w->left == 0);
    qn_walker_run(w, share.x, share.y);
}

FN void qn_walker_next_batch(qn_walker *w)
{
    w->left -= w->n;
    w->run -= w->n;
    w->batch += (ulong)w->n * w->strip_bytes;
    if (w->left == 0)
        qn_walker_enter(w);
    else if (w->run > 0)
        qn_walker_cut(w);
    else if (w->end < w->now.n_strips)
        qn_walker_run(w, w->end, w->part);
    else
        qn_walker_run(w, 0, w->part + 1);
}
// n turns further.
FN void qn_walker_on(qn_walker *w, int n)
{
    w->which += n;
    while (w->left > 0 && w->which >= w->n) {
        w->which -= w->n;
        if (++w->slot == w->n_slots) qn_walker_next_batch(w);
    }
}
// The slot's weights: how many bytes, and where.
FN ulong qn_walker_at(const qn_walker *w, uint *n_bytes)
{
    uint before = (uint)w->slot * w->slot_bytes, left = w->unit_bytes - before;
    *n_bytes = left < w->slot_bytes ? left : w->slot_bytes;
    return w->batch + (ulong)w->which * w->strip_bytes + before;
}

// `shares`: the group's of the first product. To the slot whose turn is `turn`.
FN void qn_walker_begin(qn_walker *w, const qn_cuda_stream *streams, const int4 *shares, int2 rows, uint turn)
{
    w->streams = streams;
    w->shares = shares;
    w->rows = rows;
    w->next = qn_load_stream(streams);
    w->next_share = __ldg(shares);
    w->which = 0;
    qn_walker_enter(w);
    qn_walker_on(w, (int)turn);
}

// ---- filling ----

// Of a filling warp: every so many slots one, and where it is.
typedef struct {
    uint slot, parity;
} qn_own_slot;
FN void qn_own_next(qn_own_slot *own, const qn_ring *r)
{
    own->slot += QN_FILLERS;
    if (own->slot < r->n) return;
    own->slot -= r->n;
    own->parity ^= 1;
}

// One lane of a filling warp, `filler` of QN_FILLERS. How soon a copy follows one that has come decides how fast the ring fills, so the loop does
// little else.
static __device__ __noinline__ void qn_ring_fill(const qn_cuda_stream *streams, const int4 *shares, int2 rows, uint filler)
{
    uint idle = 0, turn = filler;
    int on_way = 0;
    ulong policy = qn_copy_policy(true); // so that sums, rows of x and norms stay in L2
    qn_ring ring = qn_ring_at();
    qn_own_slot own = {filler, 0}, come = own; // come: the first that has not come yet
    qn_walker w;
    qn_walker_begin(&w, streams, shares + blockIdx.x, rows, turn);
#pragma unroll 1
    while (w.left > 0) {
        if (on_way && qn_bar_over(qn_slot_full(come.slot), come.parity)) qn_own_next(&come, &ring), on_way--, idle = 0;
        if (on_way < QN_SLOTS_ON_WAY && (turn < ring.n || qn_bar_over(qn_slot_empty(own.slot), own.parity ^ 1))) {
            uint full = qn_slot_full(own.slot), n_bytes;
            ulong from = qn_walker_at(&w, &n_bytes);
            qn_bar_expect(full, n_bytes);
            qn_copy_in_as(qn_slot_at(&ring, own.slot), (const void *)from, n_bytes, full, policy);
            qn_own_next(&own, &ring);
            qn_walker_on(&w, QN_FILLERS);
            turn += QN_FILLERS;
            on_way++;
            idle = 0;
            continue;
        }
        if (++idle > QN_SPINS_MOST) __trap();
        if (!on_way) __nanosleep(QN_FILLER_NAP_NS); // the turns of a filling warp are some that another warp does not have
    }
}

#endif
