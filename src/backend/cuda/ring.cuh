// The stream of weights of the resident kernel: what a group will multiply with, over all products of the step and in their order, comes
// through a ring of shared memory. The order is known beforehand, so the copies run on across the ends of products and over every wait
// between them.
// Slots are numbered over the whole step: their turn. The slots of a unit (a part of K of a strip) have turns behind each other, and one warp multiplies it,
// the next unit the next warp; so what is shared is the fetching, and the chain of a unit's products stays with one warp.
// Warps of their own start the copies, a lane some neighbouring slots, no more of them at a time than keep the memory busy: a load or a
// fence of the other warps waits behind all that are on their way (bench/cuda_stream.cu: 17,000 cycles behind 128 KiB a multiprocessor, 3,000 behind 32).
// Which group has which units of a product: shares.h.
#ifndef QN_BACKEND_CUDA_RING_CUH
#define QN_BACKEND_CUDA_RING_CUH
#include "backend/cuda/barrier_ptx.cuh"
#include "backend/cuda/product.cuh"

#define QN_SLOTS 32
#define QN_LANE_SLOTS 4 // neighbours, filled by one lane
#define QN_FILLERS 4    // warps that fill
#define QN_LANES_EACH (QN_SLOTS / QN_LANE_SLOTS / QN_FILLERS)
#define QN_FINISHERS 2     // warps that finish products (resident_product.cuh)
#define QN_SLOTS_ON_WAY 2  // of a lane, at most
#define QN_FILLER_NAP_NS 100
#define QN_SLOT_BYTES 4608 // at most; of 16-bit weights 4096
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

// Shared memory behind the slots: an mbarrier a slot, its weights have come; another, it has been read; the turn of who read it last; the group's
// share of the product, and of the next one; the tasks (resident.cu); the product and the
// task that is finished (resident_product.cuh).
#define QN_FULL_AT (QN_CUDA_RESIDENT_WORK + QN_CUDA_RING_BYTES)
#define QN_EMPTY_AT (QN_FULL_AT + QN_SLOTS * 8)
#define QN_READ_AT (QN_EMPTY_AT + QN_SLOTS * 8)
#define QN_SHARES_AT (QN_READ_AT + QN_SLOTS * 4)
#define QN_TASKS_AT (QN_SHARES_AT + 2 * 16)
#define QN_PRODUCT_AT (QN_TASKS_AT + 2 * sizeof(qn_cuda_resident_task) + 16)
#define QN_FINISH_AT (QN_PRODUCT_AT + 64)

FN uint qn_resident_at(int at) // as an address in shared memory
{
    return qn_shared_address(qn_resident_memory) + (uint)at;
}
FN uint qn_slot_at(uint turn)
{
    return qn_resident_at(QN_CUDA_RESIDENT_WORK) + turn % QN_SLOTS * QN_SLOT_BYTES;
}
FN uint qn_slot_full(uint turn)
{
    return qn_resident_at(QN_FULL_AT) + turn % QN_SLOTS * 8;
}
FN uint qn_slot_empty(uint turn)
{
    return qn_resident_at(QN_EMPTY_AT) + turn % QN_SLOTS * 8;
}
FN uint qn_slot_read(uint turn)
{
    return qn_resident_at(QN_READ_AT) + turn % QN_SLOTS * 4;
}
FN uint qn_slot_parity(uint turn)
{
    return turn / QN_SLOTS & 1;
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
FN void qn_ring_init(void)
{
    static_assert(QN_SLOTS == 32, "a lane each");
    uint turn = threadIdx.x & 31;
    qn_bar_init(qn_slot_full(turn), 1); // who starts a copy
    qn_bar_init(qn_slot_empty(turn), QN_ARRIVALS_OF_WARP);
    qn_tell_shared(qn_slot_read(turn), turn - QN_SLOTS);
    qn_bar_made_for_copies();
}

// Whether a slot's weights have come. Units may be asked for before the one that has had their slots: then what tells of the slot's weights is two phases
// behind, and would look as if they had come.
FN bool qn_slot_come(uint turn)
{
    uint read = qn_look_shared(qn_slot_read(turn));
    bool over = qn_bar_over(qn_slot_full(turn), qn_slot_parity(turn));
    return over && read == turn - QN_SLOTS;
}
FN void qn_slot_wait(uint turn)
{
    PROFILE_STARVING();
    uint spins = 0;
#pragma unroll 1
    while (qn_look_shared(qn_slot_read(turn)) != turn - QN_SLOTS || !qn_bar_try(qn_slot_full(turn), qn_slot_parity(turn)))
        if (++spins > QN_SPINS_MOST) __trap();
    PROFILE_STARVED();
}
// The warp has read it.
FN void qn_slot_done(uint turn)
{
    __syncwarp();
    if ((threadIdx.x & 31) == 0) qn_tell_shared(qn_slot_read(turn), turn);
    if (qn_lane_arrives()) qn_bar_arrive(qn_slot_empty(turn));
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

// ---- the walk, of one lane that fills ----

// A slot of the group's stream. `now` and `next`: a product's description and the next one's, so that what the walk needs at the
// beginning of a product has been on its way for a whole product.
typedef struct {
    const qn_cuda_stream *streams; // the next one's
    const int4 *shares;            // this group's of it
    qn_cuda_stream now, next;
    int2 rows; // of the step, and outputs
    int4 next_share;
    int left;               // slots of the group's share, from this one on; 0: the stream is over
    int strip, part, slot, n_slots; // the slot's unit, which of its slots it is, and of how many
    ulong from;             // its weights,
    uint n_bytes;
} qn_walker;

FN qn_cuda_stream qn_load_stream(const qn_cuda_stream *from)
{
    qn_cuda_stream s;
#pragma unroll
    for (int i = 0; i < (int)(sizeof s / 8); i++)
        ((ulong *)&s)[i] = __ldg((const ulong *)from + i);
    return s;
}

// To the first slot that the group has of the products from `next` on.
FN void qn_walker_enter(qn_walker *w)
{
    do {
        w->now = w->next;
        w->left = 0;
        if (w->now.end) return;
        int4 share = w->next_share;
        w->next = qn_load_stream(++w->streams);
        w->next_share = __ldg(w->shares += gridDim.x);
        if ((w->now.over_outputs ? w->rows.y : w->rows.x) == 0) continue;
        w->strip = share.x, w->part = share.y, w->slot = 0, w->left = share.w;
    } while (w->left == 0);
    w->n_slots = qn_unit_slots(&w->now, w->strip, w->part);
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
    w->slot += n;
    while (w->slot >= w->n_slots) {
        w->slot -= w->n_slots;
        if (++w->strip == w->now.n_strips) w->strip = 0, w->part++;
        w->n_slots = qn_unit_slots(&w->now, w->strip, w->part);
    }
    int strip = w->strip, m = qn_strip_matrix(&w->now, &strip), each = qn_of_matrix(w->now.slot_steps, m), bytes = qn_of_matrix(w->now.step_bytes, m);
    int before = w->slot * each, steps = qn_part_steps(&w->now, w->part) - before;
    int step = strip * (w->now.n_full * QN_STEPS_A_PART + w->now.rest_steps) + w->part * QN_STEPS_A_PART + before;
    w->n_bytes = (uint)((steps < each ? steps : each) * bytes);
    w->from = (m == 0 ? w->now.w[0] : m == 1 ? w->now.w[1] : w->now.w[2]) + (ulong)step * (ulong)bytes;
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

// The turn that a lane has behind this one.
FN uint qn_lane_turns_on(uint turn)
{
    return turn % QN_LANE_SLOTS == QN_LANE_SLOTS - 1 ? QN_SLOTS - QN_LANE_SLOTS + 1 : 1;
}

// A filling warp, `filler` of QN_FILLERS. How soon a copy follows one that has come decides how fast the ring fills, so the loop does little else.
static __device__ __noinline__ void qn_ring_fill(const qn_cuda_stream *streams, const int4 *shares, int2 rows, int filler)
{
    int lane = threadIdx.x & 31, on_way = 0;
    uint idle = 0, turn = (uint)(filler * QN_LANES_EACH + lane % QN_LANES_EACH) * QN_LANE_SLOTS, come = turn; // come: the first that has not come yet
    ulong policy = qn_copy_policy(true); // so that sums, rows of x and norms stay in L2
    qn_walker w;
    qn_walker_begin(&w, streams, shares + blockIdx.x, rows, turn);
    if (lane >= QN_LANES_EACH) w.left = 0;
#pragma unroll 1
    while (__any_sync(~0u, w.left > 0)) {
        if (on_way && qn_bar_over(qn_slot_full(come), qn_slot_parity(come))) come += qn_lane_turns_on(come), on_way--;
        bool starts = w.left > 0 && on_way < QN_SLOTS_ON_WAY && (turn < QN_SLOTS || qn_bar_over(qn_slot_empty(turn), qn_slot_parity(turn) ^ 1));
        if (starts) {
            qn_bar_expect(qn_slot_full(turn), w.n_bytes);
            qn_copy_in_as(qn_slot_at(turn), (const void *)w.from, w.n_bytes, qn_slot_full(turn), policy);
            uint n = qn_lane_turns_on(turn);
            turn += n;
            qn_walker_on(&w, (int)n);
            on_way++;
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
