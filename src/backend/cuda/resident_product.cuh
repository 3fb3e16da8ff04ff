// Products in the resident kernel: the order of a sum is that of products.h, the weights come by the ring (ring.cuh).
// A warp writes the sums of its units to the device's memory, each number with the mark of this product; then it adds up, in
// order, those of the strips that are its own to finish, as they come. So a strip's parts may be done by any warps of the grid.
// A group that finishes no strip tells nobody that it has read x: whoever writes x later waits for strips, and every strip for all
// parts of x, so a load of x must end up in a sum.
#ifndef QN_BACKEND_CUDA_RESIDENT_PRODUCT_CUH
#define QN_BACKEND_CUDA_RESIDENT_PRODUCT_CUH
#include "backend/cuda/resident_blocks.cuh"
#include "backend/cuda/ring.cuh"

#define QN_FOLD_AT_ONCE 10 // parts whose sums are loaded together

// sums: buffer 12 of a product's task, the units' sums, marked, [strip][part][QN_CUDA_UNIT_FLOATS].
typedef struct {
    qn_product_buffers b;
    const qn_cuda_product_args *a;
    const qn_cuda_stream *s;
    ulong *sums;
    uint *progress, mark;
    int n_parts, n_rows;
} qn_resident_product;

FN qn_product_buffers qn_task_buffers(const qn_cuda_resident_task *t)
{
    qn_product_buffers b;
    for (int i = 0; i < 3; i++) {
        b.y[i] = (float *)t->buffers[i];
        b.w[i] = (const uint4 *)t->buffers[5 + i];
        b.bias[i] = (const void *)t->buffers[8 + i];
    }
    b.x = (const float *)t->buffers[3];
    b.norm = (const void *)t->buffers[4];
    b.counts = (const qn_step_counts *)t->buffers[11];
    return b;
}

// ---- sums ----

// A unit's sums, [row of x][16]: lanes with two neighbouring columns of four rows each.
FN void qn_store_sums(const qn_resident_product *p, int strip, int part, const float c[4])
{
    int g = (threadIdx.x & 31) >> 2, r = (threadIdx.x & 3) * 2;
    ulong *to = p->sums + ((ulong)strip * (ulong)p->n_parts + (ulong)part) * QN_CUDA_UNIT_FLOATS + r * 16 + g;
    if (r < p->n_rows) qn_store_marked(to, c[0], p->mark), qn_store_marked(to + 8, c[2], p->mark);
    if (r + 1 < p->n_rows) qn_store_marked(to + 16, c[1], p->mark), qn_store_marked(to + 24, c[3], p->mark);
}

// Number j of a strip's [row of x][16]: the parts' sums, added in order.
FN float qn_fold_sums(const qn_resident_product *p, int strip, int j)
{
    const ulong *from = p->sums + (ulong)strip * (ulong)p->n_parts * QN_CUDA_UNIT_FLOATS + j;
    float sum = 0.0f;
    for (int first = 0; first < p->n_parts; first += QN_FOLD_AT_ONCE) {
        ulong v[QN_FOLD_AT_ONCE];
        uint spins = 0;
        bool come;
        do {
            come = true;
#pragma unroll
            for (int i = 0; i < QN_FOLD_AT_ONCE; i++) // beyond the last part: the last again
                v[i] = qn_load_marked(from + (first + i < p->n_parts ? first + i : p->n_parts - 1) * QN_CUDA_UNIT_FLOATS);
#pragma unroll
            for (int i = 0; i < QN_FOLD_AT_ONCE; i++)
                come = come && (uint)(v[i] >> 32) == p->mark;
            if (++spins > QN_SPINS_MOST) __trap();
        } while (!come);
#pragma unroll
        for (int i = 0; i < QN_FOLD_AT_ONCE; i++)
            if (first + i < p->n_parts) sum = first + i == 0 ? AS_FLOAT((uint)v[i]) : sum + AS_FLOAT((uint)v[i]);
    }
    return sum;
}

// The strips (gated: the pairs) that this warp finishes.
FN void qn_finish_strips(const qn_resident_product *p)
{
    const qn_cuda_product_args &a = *p->a;
    int n_warps = (int)gridDim.x * QN_GPU_SIMDS, warp = (int)blockIdx.x * QN_GPU_SIMDS + (int)(threadIdx.x >> 5);
    int n = a.gated ? p->s->strips[0] : p->s->n_strips, each = 16 * p->n_rows;
    int first = (int)((uint)(warp * n) / (uint)n_warps), end = (int)((uint)((warp + 1) * n) / (uint)n_warps);
    if (first == end) return;
    for (int i = threadIdx.x & 31; i < (end - first) * each; i += 32) {
        int strip = first + i / each, j = i % each, at = strip * 16 + j % 16;
        float sum = qn_fold_sums(p, strip, j);
        if (a.gated) {
            float up = qn_fold_sums(p, strip + n, j);
            if (at < a.n_n[0]) p->b.y[0][(ulong)(j / 16) * (ulong)a.n_n[0] + (ulong)at] = qn_silu(sum) * up;
        } else
            qn_finish_plain(&p->b, a, strip, j % 16, j / 16, sum);
    }
    __syncwarp();
    PROFILE_PHASE(*p->a, 3);
    if ((threadIdx.x & 31) == 0) qn_add_release(p->progress, end - first);
}

// ---- units ----

// `part_steps` steps of the ring by the rows at xs (shared memory, `stride` bytes a step).
template <int TYPE> FN void qn_multiply_unit(qn_ring *ring, int n_steps, uint xs, uint stride, float c[4])
{
    for (int step = 0; step < n_steps; step += QN_SLOT_STEPS) {
        uint4 w[QN_SLOT_STEPS];
        uint2 x[QN_SLOT_STEPS];
#pragma unroll
        for (int i = 0; i < QN_SLOT_STEPS; i++)
            x[i] = qn_load_shared(xs + i * stride);
        xs += QN_SLOT_STEPS * stride;
        qn_ring_read(ring, w);
#pragma unroll
        for (int i = 0; i < QN_SLOT_STEPS; i++)
            qn_mma<TYPE>(c, w[i], x[i]);
    }
}

// The parts that this group's warps need: first … end.
FN void qn_group_parts(const qn_cuda_stream *s, int *first, int *end)
{
    int n_warps = (int)gridDim.x * QN_GPU_SIMDS, warp = (int)blockIdx.x * QN_GPU_SIMDS;
    int unit = qn_first_unit(s, warp, n_warps), last = qn_first_unit(s, warp + QN_GPU_SIMDS, n_warps) - 1;
    *first = qn_unit_part(s, unit);
    *end = last < unit ? *first : qn_unit_part(s, last) + 1;
}

// TYPE 0: blocks, whose formats may differ from matrix to matrix.
template <int TYPE>
FN void qn_multiply_run(const qn_resident_product *p, qn_ring *ring, const qn_product_room *room, int first_part)
{
    const qn_cuda_stream *s = p->s;
    int n_warps = (int)gridDim.x * QN_GPU_SIMDS, warp = (int)blockIdx.x * QN_GPU_SIMDS + (int)(threadIdx.x >> 5);
    int unit = qn_first_unit(s, warp, n_warps), end = qn_first_unit(s, warp + 1, n_warps);
    int lane = threadIdx.x & 31, row = lane >> 2;
    int part = qn_unit_part(s, unit), strip = unit - part * s->n_strips;
    bool there = row < p->n_rows; // rows that are not there read zeros
    for (; unit < end; unit++) {
        const uint2 *xs = room->zeros;
        if (there) xs = room->xs + ((part - first_part) * QN_STEPS_A_PART * p->n_rows + row) * 4 + (lane & 3);
        float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        uint stride = there ? p->n_rows * 32 : 0;
        if (TYPE == 0)
            qn_multiply_block_unit(ring, qn_strip_type(p->a, s, strip), qn_part_steps(s, part), qn_shared_address(xs), stride, c);
        else
            qn_multiply_unit<TYPE>(ring, qn_part_steps(s, part), qn_shared_address(xs), stride, c);
        qn_store_sums(p, strip, part, c);
        if (++strip == s->n_strips) strip = 0, part++;
    }
}

// Inverses of the rows' norms, a row a warp.
FN void qn_resident_inverses(const qn_resident_product *p, const qn_product_room *room)
{
    int r = threadIdx.x >> 5;
    if (r < p->n_rows) {
        float inverse = qn_row_inverse(p->b.x + (ulong)r * (ulong)p->a->n_k, p->a->n_k, p->a->eps);
        if ((threadIdx.x & 31) == 0) room->inverses[r] = inverse;
    }
    BARRIER();
}

FN void qn_prefetch_numbers(const void *from, int type, int n)
{
    int n_bytes = type < 0 ? 0 : n * (type == 0 ? 4 : 2);
    for (int i = threadIdx.x * 128; i < n_bytes; i += QN_GPU_THREADS * 128)
        asm volatile("prefetch.global.L2 [%0];" ::"l"((const char *)from + i));
}
// What a product reads beside x and its weights goes to L2: the weights that stream by have swept it out.
FN void qn_resident_product_prefetch(const qn_cuda_resident_task *t)
{
    const qn_cuda_product_args &a = *(const qn_cuda_product_args *)t->args;
    if (a.source == QN_CUDA_NORM) qn_prefetch_numbers((const void *)t->buffers[4], a.norm_type, a.n_k);
    for (int m = 0; m < a.n_matrices; m++)
        qn_prefetch_numbers((const void *)t->buffers[8 + m], a.bias[m], a.n_n[m]);
}

// A task's product, by the whole group. `t` in shared memory; `work`: the group's room for the rows of x; rows: of the step, and
// outputs; mark: of this product in this launch.
FN void qn_resident_product_run(const qn_cuda_resident_task *t, qn_ring *ring, char *work, int2 rows, uint *progress,
                                uint mark)
{
    qn_resident_product p;
    p.b = qn_task_buffers(t);
    p.a = (const qn_cuda_product_args *)t->args;
    p.s = &t->stream;
    p.sums = (ulong *)t->buffers[12];
    p.progress = progress;
    p.mark = mark;
    p.n_parts = qn_n_parts(*p.a);
    p.n_rows = p.a->over_outputs ? rows.y : rows.x;
    if (p.n_rows == 0) {
        if (blockIdx.x == 0 && threadIdx.x == 0) qn_add_release(progress, t->arrivals);
        return;
    }
    qn_product_room room;
    int first, end;
    room.inverses = (float *)work;
    room.zeros = (uint2 *)(work + QN_TILE_ROWS * sizeof(float));
    room.xs = (uint2 *)(work + 64);
    if (threadIdx.x == 0) *room.zeros = make_uint2(0, 0);
    qn_group_parts(p.s, &first, &end);
    PROFILE_PHASES_FROM();
    if (first < end) {
        if (p.a->source == QN_CUDA_NORM) qn_resident_inverses(&p, &room);
        PROFILE_PHASE(*p.a, 0);
        int last_step = end * QN_STEPS_A_PART < p.a->padded_k / 16 ? end * QN_STEPS_A_PART : p.a->padded_k / 16;
        qn_stage_rows(&p.b, *p.a, &room, 0, p.n_rows, first * QN_STEPS_A_PART, last_step);
        BARRIER();
        PROFILE_PHASE(*p.a, 1);
        if (QN_CUDA_IN_BLOCKS(p.a->w_type[0]))
            qn_multiply_run<0>(&p, ring, &room, first);
        else if (p.a->type == 1)
            qn_multiply_run<1>(&p, ring, &room, first);
        else
            qn_multiply_run<2>(&p, ring, &room, first);
    }
    PROFILE_PHASE(*p.a, 2);
    qn_finish_strips(&p);
    PROFILE_PHASE(*p.a, 4);
}

#endif
