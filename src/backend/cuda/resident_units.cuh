// The units of the resident kernel's products: fragments come by the ring (ring.cuh) and meet the rows of x in shared memory; each unit's
// sums go to the device's memory, marked, by whichever warp has its last steps.
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

// Where a piece's sums go: those of its unit, or NULL: the next warp goes on from them.
FN ulong *qn_sums_of(const qn_cuda_resident_task *t, const qn_pieces *p, int n_parts)
{
    if (p->end < qn_part_steps(&t->stream, p->part)) return NULL;
    return (ulong *)t->buffers[12] + ((ulong)p->strip * (ulong)n_parts + (ulong)p->part) * QN_CUDA_UNIT_FLOATS;
}
FN void qn_piece_over(ulong *sums, int n_rows, uint mark, const float c[4])
{
    if (sums)
        qn_store_sums(sums, n_rows, mark, c);
    else
        qn_hand_over(c);
}

// ---- 16-bit weights ----

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
static __device__ __noinline__ int qn_multiply_run(const qn_cuda_resident_task *t, uint run, int place, uint xs, uint zeros,
                                                   int first_part, int n_parts, int n_rows, uint mark)
{
    const qn_cuda_stream *s = &t->stream;
    qn_pieces piece;
    qn_pieces_begin(&piece, s, qn_run_at(run));
    if (piece.left == 0) return place;
    qn_ring ring = qn_ring_at(place);
    int left = piece.end - piece.begin;
    uint stride = qn_x_stride(n_rows), x_at = qn_x_at(xs, zeros, piece.part - first_part, n_rows) + piece.begin * stride;
    uint lane_at = (threadIdx.x & 31) * 16;
    float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    uint4 low[QN_HALF_SLOT], high[QN_HALF_SLOT];
    uint at = qn_ring_slot(&ring) + lane_at;
    qn_read_half(low, at);
    if (piece.begin) qn_take_over(&ring, c);
    uint2 x_low[QN_HALF_SLOT], x_high[QN_HALF_SLOT];
    qn_read_x(x_low, x_at, stride);
#pragma unroll 1
    for (;;) {
        qn_read_half(high, at + QN_HALF_SLOT * 512);
        qn_read_x(x_high, x_at + QN_HALF_SLOT * stride, stride);
        bool next_come = qn_ring_next_come(&ring);
        qn_multiply_half<TYPE>(c, low, x_low);
        qn_ring_done(&ring);
        x_at += QN_SLOT_STEPS * stride;
        left -= QN_SLOT_STEPS;
        bool over = left == 0 && piece.left == 1;
        if (!over) {
            if (!next_come) qn_ring_wait(&ring);
            at = qn_ring_at_slot(&ring) + lane_at;
            qn_read_half(low, at);
        }
        if (left > 0) qn_read_x(x_low, x_at, stride);
        qn_multiply_half<TYPE>(c, high, x_high);
        if (left > 0) continue;
        qn_piece_over(qn_sums_of(t, &piece, n_parts), n_rows, mark, c);
        if (over) return qn_ring_place(&ring);
        qn_pieces_next(&piece, s, qn_run_at(run));
        left = piece.end - piece.begin;
        x_at = qn_x_at(xs, zeros, piece.part - first_part, n_rows) + piece.begin * stride;
        qn_read_x(x_low, x_at, stride);
#pragma unroll
        for (int i = 0; i < 4; i++)
            c[i] = 0.0f;
        if (piece.begin) qn_take_over(&ring, c);
    }
}

// ---- weights in blocks ----

// One piece: its groups become F16 fragments in registers, several groups a slot.
template <int TYPE>
static __device__ __noinline__ int qn_multiply_block_piece(int place, int n_steps, bool goes_on, uint xs, uint stride, ulong *sums, int n_rows,
                                                           uint mark)
{
    typedef qn_group_form<TYPE> form;
    const int slot_steps = QN_CUDA_SLOT_STEPS(QN_CUDA_STEP_BYTES(TYPE));
    static_assert(slot_steps * QN_CUDA_STEP_BYTES(TYPE) <= QN_SLOT_BYTES && slot_steps % form::steps == 0 &&
                      form::steps == QN_CUDA_GROUP_STEPS(TYPE), // the grain
                  "args.h");
    qn_ring ring = qn_ring_at(place);
    float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (goes_on) qn_take_over(&ring, c);
#pragma unroll 1
    for (int step = 0; step < n_steps; step += slot_steps) {
        uint at = qn_ring_slot(&ring);
        int left = n_steps - step < slot_steps ? n_steps - step : slot_steps;
#pragma unroll 1
        for (int i = 0; i < left; i += form::steps, at += form::bytes, xs += form::steps * stride)
            qn_multiply_group<TYPE>(qn_in_shared{at}, xs, stride, c);
        qn_ring_done(&ring);
    }
    qn_piece_over(sums, n_rows, mark, c);
    return qn_ring_place(&ring);
}

FN int qn_type_of(const qn_cuda_product_args &a, int matrix)
{
    return matrix == 0 ? a.w_type[0] : matrix == 1 ? a.w_type[1] : a.w_type[2];
}

static __device__ __noinline__ int qn_multiply_blocks_run(const qn_cuda_resident_task *t, uint run, int place, uint xs, uint zeros,
                                                          int first_part, int n_parts, int n_rows, uint mark)
{
    const qn_cuda_stream *s = &t->stream;
    qn_pieces piece;
    qn_pieces_begin(&piece, s, qn_run_at(run));
    if (piece.left == 0) return place;
    uint stride = qn_x_stride(n_rows);
    for (;;) {
        uint x = qn_x_at(xs, zeros, piece.part - first_part, n_rows) + piece.begin * stride;
        ulong *sums = qn_sums_of(t, &piece, n_parts);
        int strip = piece.strip, n = piece.end - piece.begin, m = qn_strip_matrix(s, &strip);
        switch (qn_type_of(*(const qn_cuda_product_args *)t->args, m)) {
#define CASE(value)                                                                                                    \
    case value:                                                                                                        \
        place = qn_multiply_block_piece<value>(place, n, piece.begin > 0, x, stride, sums, n_rows, mark);              \
        break;
            QN_PACKED_FORMATS(CASE)
#undef CASE
        }
        if (piece.left == 1) return place;
        qn_pieces_next(&piece, s, qn_run_at(run));
    }
}

// All pieces of this warp's run; the ring's place before and after.
FN int qn_multiply_units(const qn_cuda_resident_task *t, uint run, int place, qn_product_room room, int first_part, int n_parts, int n_rows,
                         uint mark)
{
    const qn_cuda_product_args &a = *(const qn_cuda_product_args *)t->args;
    uint xs = qn_shared_address(room.xs), zeros = qn_shared_address(room.zeros);
    if (QN_CUDA_IN_BLOCKS(a.w_type[0])) return qn_multiply_blocks_run(t, run, place, xs, zeros, first_part, n_parts, n_rows, mark);
    return a.type == 1 ? qn_multiply_run<1>(t, run, place, xs, zeros, first_part, n_parts, n_rows, mark)
                       : qn_multiply_run<2>(t, run, place, xs, zeros, first_part, n_parts, n_rows, mark);
}

#endif
