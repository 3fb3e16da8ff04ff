// The units of the resident kernel's products: fragments come by the ring (ring.cuh) and meet the rows of x in shared memory; each unit's
// sums go to the device's memory, marked.
#ifndef QN_BACKEND_CUDA_RESIDENT_UNITS_CUH
#define QN_BACKEND_CUDA_RESIDENT_UNITS_CUH
#include "backend/cuda/ring.cuh"

// Included by resident_product.cuh, whose product this is about.

// A unit's sums, [row of x][16]: lanes with two neighbouring columns of four rows each. at: the unit's.
FN void qn_store_sums(ulong *at, int n_rows, uint mark, const float c[4])
{
    int g = (threadIdx.x & 31) >> 2, r = (threadIdx.x & 3) * 2;
    ulong *to = at + r * 16 + g;
    if (r < n_rows) qn_store_marked(to, c[0], mark), qn_store_marked(to + 8, c[2], mark);
    if (r + 1 < n_rows) qn_store_marked(to + 16, c[1], mark), qn_store_marked(to + 24, c[3], mark);
}

// Where this lane's numbers of a part lie in shared memory, and how far it is to the next step's; rows that are not there read zeros.
FN uint qn_x_at(uint xs, uint zeros, int part, int n_rows)
{
    int lane = threadIdx.x & 31, row = lane >> 2;
    return row < n_rows ? xs + (uint)((part * QN_STEPS_A_PART * n_rows + row) * 4 + (lane & 3)) * 8 : zeros;
}
FN uint qn_x_stride(int n_rows)
{
    return ((threadIdx.x & 31) >> 2) < n_rows ? (uint)n_rows * 32 : 0;
}

// Where a unit's sums go.
FN ulong *qn_sums_of(const qn_resident_product *p, const qn_unit *u)
{
    return (ulong *)p->t->buffers[12] + ((ulong)(u->batch.strip + u->which) * (ulong)p->n_parts + (ulong)u->batch.part) * QN_CUDA_UNIT_FLOATS;
}
// This lane's numbers of x for a unit.
FN uint qn_x_of(const qn_resident_product *p, const qn_unit *u, char *work)
{
    qn_product_room room = qn_resident_room(work);
    return qn_x_at(qn_shared_address(room.xs), qn_shared_address(room.zeros), u->batch.part - p->first, p->n_rows);
}

// ---- 16-bit weights ----

#define QN_SLOT_STEPS QN_CUDA_SLOT_STEPS(512)
#define QN_HALF_SLOT (QN_SLOT_STEPS / 2)

FN void qn_read_half(uint4 to[QN_HALF_SLOT], uint at)
{
#pragma unroll
    for (int i = 0; i < QN_HALF_SLOT; i++)
        to[i] = qn_load_shared4(at + i * 512);
}
FN void qn_read_x(uint2 to[QN_HALF_SLOT], uint at, uint stride)
{
#pragma unroll
    for (int i = 0; i < QN_HALF_SLOT; i++)
        to[i] = qn_load_shared(at + i * stride);
}
template <int TYPE> FN void qn_multiply_half(float c[4], const uint4 w[QN_HALF_SLOT], const uint2 x[QN_HALF_SLOT])
{
#pragma unroll
    for (int i = 0; i < QN_HALF_SLOT; i++)
        qn_mma<TYPE>(c, w[i], x[i]);
}

// One chain of products waits for itself, so the next half of a slot is read while one is multiplied, across the ends of units. What is needed at
// those ends alone is read there: registers are few, and what ptxas would keep in local memory comes from far.
template <int TYPE> static __device__ __noinline__ void qn_multiply_share(const qn_resident_product *p, char *work)
{
    qn_unit unit;
    bool more = qn_unit_begin(&unit, &p->t->stream, p->share, p->turn);
    if (!more) return;
    qn_ring ring = qn_ring_at();
    qn_slot slot = qn_slot_of(&ring, unit.batch.turn + unit.which);
    int left = unit.batch.n_slots;
    uint stride = qn_x_stride(p->n_rows), x_at = qn_x_of(p, &unit, work), lane_at = (threadIdx.x & 31) * 16;
    uint4 low[QN_HALF_SLOT], high[QN_HALF_SLOT];
    uint2 x_low[QN_HALF_SLOT], x_high[QN_HALF_SLOT];
    qn_slot_wait(&ring, &slot);
    uint at = qn_slot_at(&ring, slot.slot) + lane_at;
    qn_read_half(low, at);
    qn_read_x(x_low, x_at, stride);
#pragma unroll 1
    while (more) {
        ulong *sums = qn_sums_of(p, &unit);
        uint to_next = unit.batch.n;
        float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 1
        for (; left > 1; left--) {
            qn_slot next = qn_slot_of(&ring, slot.turn + to_next);
            qn_read_half(high, at + QN_HALF_SLOT * 512);
            qn_read_x(x_high, x_at + QN_HALF_SLOT * stride, stride);
            bool next_come = qn_slot_come(&ring, &next);
            qn_multiply_half<TYPE>(c, low, x_low);
            qn_slot_done(&slot);
            slot = next;
            if (!next_come) qn_slot_wait(&ring, &slot);
            at = qn_slot_at(&ring, slot.slot) + lane_at;
            x_at += QN_SLOT_STEPS * stride;
            qn_read_half(low, at);
            qn_read_x(x_low, x_at, stride);
            qn_multiply_half<TYPE>(c, high, x_high);
        }
        qn_read_half(high, at + QN_HALF_SLOT * 512);
        qn_read_x(x_high, x_at + QN_HALF_SLOT * stride, stride);
        qn_multiply_half<TYPE>(c, low, x_low);
        qn_slot_done(&slot);
        more = qn_unit_on(&unit, &p->t->stream, QN_GPU_SIMDS);
        if (more) {
            slot = qn_slot_of(&ring, unit.batch.turn + unit.which);
            left = unit.batch.n_slots;
            x_at = qn_x_of(p, &unit, work);
            qn_slot_wait(&ring, &slot);
            at = qn_slot_at(&ring, slot.slot) + lane_at;
            qn_read_half(low, at);
            qn_read_x(x_low, x_at, stride);
        }
        qn_multiply_half<TYPE>(c, high, x_high);
        qn_store_sums(sums, p->n_rows, p->mark, c);
    }
}

// ---- weights in blocks ----

// One unit: its groups become F16 fragments in registers, several groups a slot.
template <int TYPE>
static __device__ __noinline__ void qn_multiply_block_unit(uint turn, uint to_next, int n_steps, uint xs, uint stride, ulong *sums, int n_rows, uint mark)
{
    typedef qn_group_form<TYPE> form;
    const int slot_steps = QN_CUDA_SLOT_STEPS(QN_CUDA_STEP_BYTES(TYPE));
    static_assert(QN_CUDA_SLOT_BYTES(QN_CUDA_STEP_BYTES(TYPE)) <= QN_CUDA_SLOT_MOST && slot_steps % form::steps == 0 && form::steps == QN_CUDA_GROUP_STEPS(TYPE), "args.h");
    qn_ring ring = qn_ring_at();
    float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 1
    for (int step = 0; step < n_steps; step += slot_steps, turn += to_next) {
        qn_slot slot = qn_slot_of(&ring, turn);
        qn_slot_wait(&ring, &slot);
        uint at = qn_slot_at(&ring, slot.slot);
        int left = n_steps - step < slot_steps ? n_steps - step : slot_steps;
#pragma unroll 1
        for (int i = 0; i < left; i += form::steps, at += form::bytes, xs += form::steps * stride)
            qn_multiply_group<TYPE>(qn_in_shared{at}, xs, stride, c);
        qn_slot_done(&slot);
    }
    qn_store_sums(sums, n_rows, mark, c);
}

static __device__ __noinline__ void qn_multiply_blocks_share(const qn_resident_product *p, char *work)
{
    const qn_cuda_stream *s = &p->t->stream;
    uint stride = qn_x_stride(p->n_rows);
    qn_unit u;
    for (bool more = qn_unit_begin(&u, s, p->share, p->turn); more; more = qn_unit_on(&u, s, QN_GPU_SIMDS)) {
        uint x = qn_x_of(p, &u, work), turn = u.batch.turn + u.which;
        ulong *sums = qn_sums_of(p, &u);
        int strip = u.batch.strip, n = qn_part_steps(s, u.batch.part);
        switch (qn_of_matrix(((const qn_cuda_product_args *)p->t->args)->w_type, qn_strip_matrix(s, &strip))) {
#define CASE(value)                                                                                                    \
    case value:                                                                                                        \
        qn_multiply_block_unit<value>(turn, u.batch.n, n, x, stride, sums, p->n_rows, p->mark);                                 \
        break;
            QN_PACKED_FORMATS(CASE)
#undef CASE
        }
    }
}

// This warp's units of the group's share.
FN void qn_multiply_units(const qn_resident_product *p, char *work)
{
    const qn_cuda_product_args &a = *(const qn_cuda_product_args *)p->t->args;
    if (QN_CUDA_IN_BLOCKS(a.w_type[0]))
        qn_multiply_blocks_share(p, work);
    else if (a.type == 1)
        qn_multiply_share<1>(p, work);
    else
        qn_multiply_share<2>(p, work);
}

#endif
