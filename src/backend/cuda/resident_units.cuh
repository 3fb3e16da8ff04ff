// The units of the resident kernel's products: fragments come by the ring (ring.cuh) and meet the rows of x in shared memory; each unit's
// sums go to the device's memory, marked.
#ifndef QN_BACKEND_CUDA_RESIDENT_UNITS_CUH
#define QN_BACKEND_CUDA_RESIDENT_UNITS_CUH
#include "backend/cuda/ring.cuh"

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
FN ulong *qn_sums_of(const qn_cuda_resident_task *t, const qn_unit_turn *u, int n_parts)
{
    return (ulong *)t->buffers[12] + ((ulong)u->strip * (ulong)n_parts + (ulong)u->part) * QN_CUDA_UNIT_FLOATS;
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

// One chain of products waits for itself, so the next half of a slot is read while one is multiplied, across the ends of units.
template <int TYPE>
static __device__ __noinline__ void qn_multiply_share(const qn_cuda_resident_task *t, int4 share, int turn, uint xs, uint zeros,
                                                      int first_part, int n_parts, int n_rows, uint mark)
{
    const qn_cuda_stream *s = &t->stream;
    qn_unit_turn unit = qn_units_begin(s, share, turn);
    if (unit.left <= 0) return;
    int left = qn_part_steps(s, unit.part);
    uint stride = qn_x_stride(n_rows), x_at = qn_x_at(xs, zeros, unit.part - first_part, n_rows);
    uint lane_at = (threadIdx.x & 31) * 16;
    float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    uint4 low[QN_HALF_SLOT], high[QN_HALF_SLOT];
    uint2 x_low[QN_HALF_SLOT], x_high[QN_HALF_SLOT];
    turn = unit.turn;
    qn_slot_wait(turn);
    uint at = qn_slot_at(turn) + lane_at;
    qn_read_half(low, at);
    qn_read_x(x_low, x_at, stride);
    ulong *sums = qn_sums_of(t, &unit, n_parts);
#pragma unroll 1
    for (;;) {
        qn_read_half(high, at + QN_HALF_SLOT * 512);
        qn_read_x(x_high, x_at + QN_HALF_SLOT * stride, stride);
        x_at += QN_SLOT_STEPS * stride;
        left -= QN_SLOT_STEPS;
        int next = turn + 1;
        bool ends = left == 0;
        if (ends) {
            qn_units_on(&unit, s, QN_GPU_SIMDS);
            next = unit.turn;
            if (unit.left > 0) x_at = qn_x_at(xs, zeros, unit.part - first_part, n_rows);
        }
        bool over = ends && unit.left <= 0, next_come = !over && qn_slot_come(next);
        qn_multiply_half<TYPE>(c, low, x_low);
        qn_slot_done(turn);
        if (!over) {
            if (!next_come) qn_slot_wait(next);
            at = qn_slot_at(next) + lane_at;
            qn_read_half(low, at);
            qn_read_x(x_low, x_at, stride);
        }
        turn = next;
        qn_multiply_half<TYPE>(c, high, x_high);
        if (!ends) continue;
        qn_store_sums(sums, n_rows, mark, c);
        if (over) return;
        left = qn_part_steps(s, unit.part);
        sums = qn_sums_of(t, &unit, n_parts);
#pragma unroll
        for (int i = 0; i < 4; i++)
            c[i] = 0.0f;
    }
}

// ---- weights in blocks ----

// One unit: its groups become F16 fragments in registers, several groups a slot.
template <int TYPE>
static __device__ __noinline__ void qn_multiply_block_unit(int turn, int n_steps, uint xs, uint stride, ulong *sums, int n_rows, uint mark)
{
    typedef qn_group_form<TYPE> form;
    const int slot_steps = QN_CUDA_SLOT_STEPS(QN_CUDA_STEP_BYTES(TYPE));
    static_assert(slot_steps * QN_CUDA_STEP_BYTES(TYPE) <= QN_SLOT_BYTES && slot_steps % form::steps == 0 &&
                      form::steps == QN_CUDA_GROUP_STEPS(TYPE),
                  "args.h");
    float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 1
    for (int step = 0; step < n_steps; step += slot_steps, turn++) {
        qn_slot_wait(turn);
        uint at = qn_slot_at(turn);
        int left = n_steps - step < slot_steps ? n_steps - step : slot_steps;
#pragma unroll 1
        for (int i = 0; i < left; i += form::steps, at += form::bytes, xs += form::steps * stride)
            qn_multiply_group<TYPE>(qn_in_shared{at}, xs, stride, c);
        qn_slot_done(turn);
    }
    qn_store_sums(sums, n_rows, mark, c);
}

static __device__ __noinline__ void qn_multiply_blocks_share(const qn_cuda_resident_task *t, int4 share, int turn, uint xs, uint zeros,
                                                             int first_part, int n_parts, int n_rows, uint mark)
{
    const qn_cuda_stream *s = &t->stream;
    uint stride = qn_x_stride(n_rows);
    for (qn_unit_turn u = qn_units_begin(s, share, turn); u.left > 0; qn_units_on(&u, s, QN_GPU_SIMDS)) {
        uint x = qn_x_at(xs, zeros, u.part - first_part, n_rows);
        ulong *sums = qn_sums_of(t, &u, n_parts);
        int strip = u.strip, n = qn_part_steps(s, u.part);
        switch (qn_of_matrix(((const qn_cuda_product_args *)t->args)->w_type, qn_strip_matrix(s, &strip))) {
#define CASE(value)                                                                                                    \
    case value:                                                                                                        \
        qn_multiply_block_unit<value>(u.turn, n, x, stride, sums, n_rows, mark);                                       \
        break;
            QN_PACKED_FORMATS(CASE)
#undef CASE
        }
    }
}

// This warp's units of the group's share; turn: of the share's first slot.
FN void qn_multiply_units(const qn_cuda_resident_task *t, int4 share, int turn, qn_product_room room, int first_part, int n_parts,
                          int n_rows, uint mark)
{
    const qn_cuda_product_args &a = *(const qn_cuda_product_args *)t->args;
    uint xs = qn_shared_address(room.xs), zeros = qn_shared_address(room.zeros);
    if (QN_CUDA_IN_BLOCKS(a.w_type[0]))
        qn_multiply_blocks_share(t, share, turn, xs, zeros, first_part, n_parts, n_rows, mark);
    else if (a.type == 1)
        qn_multiply_share<1>(t, share, turn, xs, zeros, first_part, n_parts, n_rows, mark);
    else
        qn_multiply_share<2>(t, share, turn, xs, zeros, first_part, n_parts, n_rows, mark);
}

#endif
