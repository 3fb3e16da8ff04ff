// The stream of weights of the resident kernel: what a group will multiply with, over all products of the step and in their order, comes
// through a ring of shared memory. The order is known beforehand, so the copies run on across the ends of products and over every wait
// between them.
// Slots are numbered over the whole step: their turn. The slots of a unit (a part of K of a strip) have turns behind each other, and one warp multiplies it,
// the next unit the next warp; so what is shared is the fetching, and the chain of a unit's products stays with one warp.
// Warps of their own start the copies, in order, no more of them at a time than keep the memory busy: a load or a
// fence of the other warps waits behind all that are on their way (bench/cuda_stream.cu: 17,000 cycles behind 128 KiB a multiprocessor, 3,000 behind 32).
// Which group has which units of a product: shares.h.
#ifndef QN_BACKEND_CUDA_RING_CUH
#define QN_BACKEND_CUDA_RING_CUH
#include "backend/cuda/barrier_ptx.cuh"
#include "backend/cuda/product.cuh"

#define QN_FILLERS 4   // warps that fill the ring, a lane of each: with two, who starts a copy holds the other up
#define QN_FINISHERS 2 // warps that finish products (resident_product.cuh)
#define QN_SLOTS_ON_WAY 4 // of a filling warp, at most
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
FN int qn_unit_slots(const qn_cuda_stream *s, int strip, int part)
{
    int m = qn_strip_matrix(s, &strip);
    return part < s->n_full ? qn_of_matrix(s->slots, m) : qn_of_matrix(s->rest_slots, m);
}

// A warp's unit of a product: its place, its first slot's turn; left: the group's units from it on, and no unit where there are none.
typedef struct {
    int strip, part, left;
    uint turn;
} qn_unit_turn;

// n units further.
FN void qn_units_on(qn_unit_turn *u, const qn_cuda_stream *s, int n)
{
    u->left -= n;
    if (u->left <= 0) return;
    bool alike = s->slots[0] == s->slots[1] && s->slots[0] == s->slots[2];
    if (alike && u->strip + n < s->n_strips) { // of one part
        u->strip += n;
        u->turn += (uint)(n * (u->part < s->n_full ? s->slots[0] : s->rest_slots[0]));
        return;
    }
#pragma unroll 1
    for (int i = 0; i < n; i++) {
        u->turn += (uint)qn_unit_slots(s, u->strip, u->part);
        if (++u->strip == s->n_strips) u->strip = 0, u->part++;
    }
}
// This warp's first of the group's share, a qn_cuda_share; turn: of the share's first slot.
FN qn_unit_turn qn_units_begin(const qn_cuda_stream *s, int4 share, uint turn)
{
    qn_unit_turn u = {share.x, share.y, share.z, turn};
    qn_units_on(&u, s, (int)(threadIdx.x >> 5));
    return u;
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
// behind, and would look as if they had come.
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
    int left;             // slots of the group's share, from this one on; 0: the stream is over
    int run, end, part;   // units of this matrix and part, with the slot's; the strip behind them; their part
    int slot, n_slots;    // which slot of its unit it is, and of how many
    uint slot_bytes, unit_bytes; // a unit's last slot may have fewer
    ulong unit, strip_bytes;     // the unit's weights; how far it is to the next strip's
} qn_walker;

FN qn_cuda_stream qn_load_stream(const qn_cuda_stream *from)
{
    qn_cuda_stream s;
#pragma unroll
    for (int i = 0; i < (int)(sizeof s / 8); i++)
        ((ulong *)&s)[i] = __ldg((const ulong *)from + i);
    return s;
}

// To the first slot of a unit.
FN void qn_walker_unit(qn_walker *w, int strip, int part)
{
    const qn_cuda_stream *s = &w->now;
    int in_matrix = strip, m = qn_strip_matrix(s, &in_matrix), step_bytes = qn_of_matrix(s->step_bytes, m);
    w->run = qn_of_matrix(s->strips, m) - in_matrix;
    w->end = strip + w->run;
    w->part = part;
    w->slot = 0;
    w->n_slots = part < s->n_full ? qn_of_matrix(s->slots, m) : qn_of_matrix(s->rest_slots, m);
    w->slot_bytes = (uint)(qn_of_matrix(s->slot_steps, m) * step_bytes);
    w->unit_bytes = (uint)(qn_part_steps(s, part) * step_bytes);
    w->strip_bytes = (ulong)((s->n_full * QN_STEPS_A_PART + s->rest_steps) * step_bytes);
    w->unit = (m == 0 ? s->w[0] : m == 1 ? s->w[1] : s->w[2]) + (ulong)in_matrix * w->strip_bytes + (ulong)(part * QN_STEPS_A_PART * step_bytes);
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
        if ((w->now.over_outputs ? w->rows.y : w->rows.x) > 0) w->left = share.w;
    } while (w->left == 0);
    qn_walker_unit(w, share.x, share.y);
}

// n slots further.
FN void qn_walker_on(qn_walker *w, int n)
{
    while (n >= w->left) {
        n -= w->left;
        qn_walker_enter(w);
        if (w->left == 0) return;
    }
    w->left -= n;
    n += w->slot;
    while (n >= w->n_slots) {
        n -= w->n_slots;
        if (--w->run > 0)
            w->unit += w->strip_bytes;
        else if (w->end < w->now.n_strips)
            qn_walker_unit(w, w->end, w->part);
        else
            qn_walker_unit(w, 0, w->part + 1);
    }
    w->slot = n;
}
// The slot's weights: how many bytes, and where.
FN ulong qn_walker_at(const qn_walker *w, uint *n_bytes)
{
    uint before = (uint)w->slot * w->slot_bytes, left = w->unit_bytes - before;
    *n_bytes = left < w->slot_bytes ? left : w->slot_bytes;
    return w->unit + before;
}

// `shares`: the group's of the first product. To the slot whose turn is `turn`.
FN void qn_walker_begin(qn_walker *w, const qn_cuda_stream *streams, const int4 *shares, int2 rows, uint turn)
{
    w->streams = streams;
    w->shares = shares;
    w->rows = rows;
    w->next = qn_load_stream(streams);
    w->next_share = __ldg(shares);
    qn_walker_enter(w);
    if (w->left) qn_walker_on(w, (int)turn);
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
