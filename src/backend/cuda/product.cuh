// The product of up to eight rows with packed weights, by 256 threads of each of many groups; see products.h for the order
// of a sum. Packed: strips of 16 rows of w; of a strip, steps of 16 along K; of a step, the 32 lanes' A fragments of
// mma.m16n8k16, 16 bytes a lane: so a warp reads 512 bytes in a row with one instruction. Of blocks: blocks_packed.cuh.
// A unit of work is a part of K of one strip. A group takes every n-th strip; its warps share the units; the parts' sums meet in
// shared memory and are added in order.
#ifndef QN_BACKEND_CUDA_PRODUCT_CUH
#define QN_BACKEND_CUDA_PRODUCT_CUH
#include "backend/cuda/blocks_packed.cuh"
#include "backend/cuda/product_ptx.cuh"

#define QN_TILE_ROWS 8
#define QN_STEPS_A_PART (QN_CUDA_PART / 16)
#define QN_STEPS_AT_ONCE 8 // loads of a buffer; a warp has three

typedef struct {
    float *y[QN_CUDA_MAX_PARTS];
    const float *x;   // of a merge: the attention's partials
    const void *norm; // of a merge: the rows
    const uint4 *w[QN_CUDA_MAX_PARTS];
    const void *bias[QN_CUDA_MAX_PARTS];
    const qn_step_counts *counts;
} qn_product_buffers;

typedef struct {
    uint2 *xs;       // the rows of x in the window, as B fragments: [step][row][4]
    float *sums;     // [units][32 lanes][4]
    float *inverses; // [QN_TILE_ROWS]
    uint2 *zeros;    // one
    int window_parts, max_units;
} qn_product_room;

FN uint qn_pack_f16(float low, float high)
{
    low = fminf(fmaxf(low, -65504.0f), 65504.0f);
    high = fminf(fmaxf(high, -65504.0f), 65504.0f);
    __half2 h = __floats2half2_rn(low, high);
    return *(uint *)&h;
}
FN uint qn_pack_bf16(float low, float high)
{
    __nv_bfloat162 h = __floats2bfloat162_rn(low, high);
    return *(uint *)&h;
}

// ---- rows of x ----

// A row's inverse of the norm, by one warp, in the order of rms_norm (kernels/norm.h): 16 loads in flight.
FN float qn_row_inverse(const float *x, int width, float eps)
{
    float sum = 0.0f;
    int lane = threadIdx.x & 31;
    for (int i = 4 * lane; i < width; i += 16 * 128) {
        float4 v[16];
#pragma unroll
        for (int j = 0; j < 16; j++)
            v[j] = i + 128 * j + 3 < width ? __ldcg((const float4 *)(x + i + 128 * j)) : make_float4(0, 0, 0, 0);
#pragma unroll
        for (int j = 0; j < 16; j++)
            sum = qn_dot4(v[j], v[j], sum); // what is beyond adds exact zeros
    }
    return qn_inverse(SG_SUM(sum), width, eps);
}

// The same of a row in shared memory, on every lane of the warp.
FN float qn_shared_row_inverse(const float *row, int width, float eps)
{
    float sum = 0.0f;
#pragma unroll 8
    for (int i = 4 * (threadIdx.x & 31); i < width; i += 128) {
        float4 v = *(const float4 *)(row + i);
        sum = qn_dot4(v, v, sum);
    }
    return qn_inverse(SG_SUM(sum), width, eps);
}

template <int TYPE> FN uint qn_pack2(float low, float high)
{
    return TYPE == 1 ? qn_pack_f16(low, high) : qn_pack_bf16(low, high);
}

// Numbers k and k + 1 of a row whose attention's partials are at x; k is even, and so are heads.
FN float2 qn_merged_at(const qn_cuda_product_args &a, const float *x, int k, int position)
{
    int head = k / a.head_dim, d = k % a.head_dim;
    if (position < a.piece) { // one split, with nothing to join
        const float *part = x + (ulong)head * (ulong)a.n_splits * (ulong)(a.head_dim + 2);
        float2 v = __ldcg((const float2 *)(part + d));
        float l = __ldcg(part + a.head_dim + 1);
        return make_float2(v.x / l, v.y / l);
    }
    int first = qn_first_seen(position, a.window) / a.piece, last = position / a.piece;
    return make_float2(qn_merged(x, head, d, a.head_dim, a.n_splits, first, last), qn_merged(x, head, d + 1, a.head_dim, a.n_splits, first, last));
}

// Two neighbouring numbers of a row, as the product takes them.
template <int TYPE, int SOURCE>
FN uint qn_source2(const void *norm, const qn_cuda_product_args &a, const float *x, int k, float inverse,
                   int position)
{
    float low = 0.0f, high = 0.0f;
    if (SOURCE == QN_CUDA_MERGE) {
        float2 v = k < a.n_k ? qn_merged_at(a, x, k, position) : make_float2(0, 0);
        return qn_pack2<TYPE>(v.x, v.y);
    }
    if (k + 1 < a.n_k && a.n_k % 2 == 0) {
        float2 v = __ldcg((const float2 *)(x + k));
        low = v.x, high = v.y;
    } else if (k < a.n_k) { // rows of an odd length begin anywhere
        low = __ldcg(x + k);
        if (k + 1 < a.n_k) high = __ldcg(x + k + 1);
    }
    if (SOURCE == QN_CUDA_NORM && k < a.n_k) {
        low = qn_load(norm, a.norm_type, (ulong)k) * (low * inverse);
        if (k + 1 < a.n_k) high = qn_load(norm, a.norm_type, (ulong)k + 1) * (high * inverse);
    }
    return qn_pack2<TYPE>(low, high);
}

// Steps first … end of n_rows rows into xs; x: the first row (of a merge: its partials), norm: the weights, or the rows of a merge. A function
// of its own, so that its registers are none of the products'.
template <int TYPE, int SOURCE>
static __device__ __noinline__ void qn_stage_source(const float *rows, const void *norm, const qn_cuda_product_args &a, uint2 *xs,
                                                    const float *inverses, int n_rows, int first, int end)
{
    int n = (end - first) * 4;
    ulong line = (ulong)a.n_k;
    if (SOURCE == QN_CUDA_MERGE) line = (ulong)(a.n_k / a.head_dim) * (ulong)a.n_splits * (ulong)(a.head_dim + 2);
#pragma unroll SOURCE == QN_CUDA_MERGE ? 4 : 8
    for (int i = threadIdx.x; i < n * n_rows; i += QN_GPU_THREADS) {
        int r = i / n, j = i - r * n, k = (first + j / 4) * 16 + (j % 4) * 2;
        const float *x = rows + (ulong)r * line;
        int position = SOURCE == QN_CUDA_MERGE ? __ldcg(&((const qn_row *)norm)[r].position) : 0;
        float inverse = SOURCE == QN_CUDA_NORM ? inverses[r] : 0.0f;
        uint2 v;
        v.x = qn_source2<TYPE, SOURCE>(norm, a, x, k, inverse, position);
        v.y = qn_source2<TYPE, SOURCE>(norm, a, x, k + 8, inverse, position);
        xs[((j / 4) * n_rows + r) * 4 + j % 4] = v;
    }
}
template <int TYPE>
FN void qn_stage_type(const float *x, const void *norm, const qn_cuda_product_args &a, uint2 *xs, const float *inverses, int n_rows, int first,
                      int end)
{
    if (a.source == QN_CUDA_NORM)
        qn_stage_source<TYPE, QN_CUDA_NORM>(x, norm, a, xs, inverses, n_rows, first, end);
    else if (a.source == QN_CUDA_MERGE)
        qn_stage_source<TYPE, QN_CUDA_MERGE>(x, norm, a, xs, inverses, n_rows, first, end);
    else
        qn_stage_source<TYPE, QN_CUDA_PLAIN>(x, norm, a, xs, inverses, n_rows, first, end);
}
FN void qn_stage_rows(const float *x, const void *norm, const qn_cuda_product_args &a, uint2 *xs, const float *inverses, int n_rows, int first,
                      int end)
{
    if (a.type == 1)
        qn_stage_type<1>(x, norm, a, xs, inverses, n_rows, first, end);
    else
        qn_stage_type<2>(x, norm, a, xs, inverses, n_rows, first, end);
}

// ---- units ----

// Strip s of all matrices side by side: whose, and where it begins.
FN const char *qn_strip_at(const qn_product_buffers *b, const qn_cuda_product_args &a, int s, int *matrix)
{
    int m = 0;
    while (m < a.n_matrices - 1 && s >= (a.n_n[m] + 15) / 16) {
        s -= (a.n_n[m] + 15) / 16;
        m++;
    }
    *matrix = m;
    return (const char *)b->w[m] + (ulong)s * (ulong)(a.padded_k / 16) * QN_CUDA_STEP_BYTES(a.w_type[m]);
}

FN int qn_n_strips(const qn_cuda_product_args &a)
{
    int n = 0;
    for (int m = 0; m < a.n_matrices; m++)
        n += (a.n_n[m] + 15) / 16;
    return n;
}

FN int qn_n_parts(const qn_cuda_product_args &a)
{
    return (a.padded_k + QN_CUDA_PART - 1) / QN_CUDA_PART;
}

// The units of a group's batch: strips first + i · stride (of a gated product, each with its partner), parts begin … end.
typedef struct {
    int first, stride, n_strips, begin, end;
} qn_batch_of_units;

FN int qn_batch_n_units(const qn_cuda_product_args &a, const qn_batch_of_units *u)
{
    return u->n_strips * (u->end - u->begin) * (a.gated ? 2 : 1);
}

// The strip of unit number `which` of a part.
FN int qn_unit_strip(const qn_cuda_product_args &a, const qn_batch_of_units *u, int which)
{
    int partner = a.gated ? which % 2 : 0;
    return u->first + (a.gated ? which / 2 : which) * u->stride + partner * ((a.n_n[0] + 15) / 16);
}

// Where unit i's weights begin (this lane's), and how many steps it has.
FN const uint4 *qn_unit_at(const qn_product_buffers *b, const qn_cuda_product_args &a, const qn_batch_of_units *u, int i,
                           int *n_steps)
{
    int n_parts = u->end - u->begin, part = u->begin + i % n_parts, strip = qn_unit_strip(a, u, i / n_parts);
    int steps = a.padded_k / 16 - part * QN_STEPS_A_PART;
    *n_steps = steps < QN_STEPS_A_PART ? steps : QN_STEPS_A_PART;
    int m;
    return (const uint4 *)qn_strip_at(b, a, strip, &m) + (ulong)part * QN_STEPS_A_PART * 32 + (threadIdx.x & 31);
}

FN void qn_prefetch_unit(const uint4 *lane_at, int n_steps)
{
    if ((threadIdx.x & 31) == 0) qn_prefetch_l2(lane_at, n_steps * 512);
}

FN void qn_load_steps(uint4 to[QN_STEPS_AT_ONCE], const uint4 *from)
{
#pragma unroll
    for (int i = 0; i < QN_STEPS_AT_ONCE; i++)
        to[i] = qn_load_weights(from + i * 32);
}

// xs: address of this lane's numbers of the first step in shared memory; `stride` bytes on to the next.
FN void qn_multiply_steps(int type, float c[4], const uint4 a[QN_STEPS_AT_ONCE], uint xs, uint stride)
{
    uint2 b[QN_STEPS_AT_ONCE];
#pragma unroll
    for (int i = 0; i < QN_STEPS_AT_ONCE; i++)
        b[i] = qn_load_shared(xs + i * stride);
    if (type == 1) {
#pragma unroll
        for (int i = 0; i < QN_STEPS_AT_ONCE; i++)
            qn_mma<1>(c, a[i], b[i]);
    } else {
#pragma unroll
        for (int i = 0; i < QN_STEPS_AT_ONCE; i++)
            qn_mma<2>(c, a[i], b[i]);
    }
}

// What a warp still has to load of its units, and what to multiply: two places in one sequence of steps.
typedef struct {
    const uint4 *load_at;
    int load_unit, load_left;
    int unit, left;
    uint xs, stride; // shared memory, bytes
    int n_units, n_parts, all_parts, n_rows;
    float c[4];
} qn_unit_walk;

// A buffer's next eight steps start to come.
FN void qn_walk_load(uint4 to[QN_STEPS_AT_ONCE], qn_unit_walk *w, const qn_product_buffers *b, const qn_cuda_product_args &a,
                     const qn_batch_of_units *u)
{
    if (w->load_unit >= w->n_units) return;
    qn_load_steps(to, w->load_at);
    w->load_at += QN_STEPS_AT_ONCE * 32;
    w->load_left -= QN_STEPS_AT_ONCE;
    if (w->load_left > 0) return;
    w->load_unit += QN_GPU_SIMDS;
    if (w->load_unit >= w->n_units) return;
    w->load_at = qn_unit_at(b, a, u, w->load_unit, &w->load_left);
    if (w->load_unit + QN_GPU_SIMDS < w->n_units) {
        int n_steps;
        const uint4 *next = qn_unit_at(b, a, u, w->load_unit + QN_GPU_SIMDS, &n_steps);
        qn_prefetch_unit(next, n_steps);
    }
}

FN int qn_unit_steps(const qn_cuda_product_args &a, const qn_batch_of_units *u, int i)
{
    int part = u->begin + i % (u->end - u->begin), steps = a.padded_k / 16 - part * QN_STEPS_A_PART;
    return steps < QN_STEPS_A_PART ? steps : QN_STEPS_A_PART;
}

// Where this lane's numbers of a unit's part lie; rows that are not there read zeros.
FN void qn_walk_enter(qn_unit_walk *w, const qn_product_room *room, const qn_cuda_product_args &a,
                      const qn_batch_of_units *u)
{
    int lane = threadIdx.x & 31, row = lane >> 2;
    w->left = qn_unit_steps(a, u, w->unit);
    const uint2 *xs = room->zeros;
    if (row < w->n_rows)
        xs = room->xs + ((w->unit % w->n_parts) * QN_STEPS_A_PART * w->n_rows + row) * 4 + (lane & 3);
    w->xs = qn_shared_address(xs);
#pragma unroll
    for (int i = 0; i < 4; i++)
        w->c[i] = 0.0f;
}

// Sums are kept by strip and part, whatever the window.
FN void qn_walk_leave(const qn_unit_walk *w, const qn_product_room *room, const qn_batch_of_units *u)
{
    int place = w->unit / w->n_parts * w->all_parts + u->begin + w->unit % w->n_parts;
    ((float4 *)room->sums)[place * 32 + (threadIdx.x & 31)] = make_float4(w->c[0], w->c[1], w->c[2], w->c[3]);
}

// Multiplies a buffer's steps and loads it again. False at the end of the warp's units.
FN bool qn_walk_turn(uint4 buffer[QN_STEPS_AT_ONCE], qn_unit_walk *w, const qn_product_buffers *b,
                     const qn_cuda_product_args &a, const qn_product_room *room, const qn_batch_of_units *u)
{
    qn_multiply_steps(a.type, w->c, buffer, w->xs, w->stride);
    qn_walk_load(buffer, w, b, a, u);
    w->xs += QN_STEPS_AT_ONCE * w->stride;
    w->left -= QN_STEPS_AT_ONCE;
    if (w->left > 0) return true;
    qn_walk_leave(w, room, u);
    w->unit += QN_GPU_SIMDS;
    if (w->unit >= w->n_units) return false;
    qn_walk_enter(w, room, a, u);
    return true;
}

// The batch's units over the window, whose rows of x are staged: a warp has three buffers of loads in flight, across the ends of units.
FN void qn_multiply_units(const qn_product_buffers *b, const qn_cuda_product_args &a, const qn_product_room *room,
                          const qn_batch_of_units *u, int n_rows)
{
    uint4 b0[QN_STEPS_AT_ONCE], b1[QN_STEPS_AT_ONCE], b2[QN_STEPS_AT_ONCE];
    int warp = threadIdx.x >> 5;
    qn_unit_walk w;
    w.unit = w.load_unit = warp;
    w.n_units = qn_batch_n_units(a, u);
    w.n_parts = u->end - u->begin;
    w.all_parts = qn_n_parts(a);
    w.n_rows = n_rows;
    w.stride = ((threadIdx.x & 31) >> 2) < n_rows ? n_rows * 32 : 0;
    if (warp >= w.n_units) return;
    w.load_at = qn_unit_at(b, a, u, warp, &w.load_left);
    qn_walk_load(b0, &w, b, a, u);
    qn_walk_load(b1, &w, b, a, u);
    qn_walk_load(b2, &w, b, a, u);
    qn_walk_enter(&w, room, a, u);
    while (qn_walk_turn(b0, &w, b, a, room, u) && qn_walk_turn(b1, &w, b, a, room, u) &&
           qn_walk_turn(b2, &w, b, a, room, u)) {
    }
}

// The same with weights in blocks, whose units are shared in the same way.
FN void qn_multiply_block_units(const qn_product_buffers *b, const qn_cuda_product_args &a, const qn_product_room *room,
                                const qn_batch_of_units *u, int n_rows)
{
    qn_unit_walk w;
    w.n_units = qn_batch_n_units(a, u);
    w.n_parts = u->end - u->begin;
    w.all_parts = qn_n_parts(a);
    w.n_rows = n_rows;
    w.stride = ((threadIdx.x & 31) >> 2) < n_rows ? n_rows * 32 : 0;
    for (w.unit = threadIdx.x >> 5; w.unit < w.n_units; w.unit += QN_GPU_SIMDS) {
        int part = u->begin + w.unit % w.n_parts, m;
        qn_walk_enter(&w, room, a, u);
        const char *at = qn_strip_at(b, a, qn_unit_strip(a, u, w.unit / w.n_parts), &m);
        at += (ulong)part * QN_STEPS_A_PART * QN_CUDA_STEP_BYTES(a.w_type[m]);
        float4 c = qn_multiply_blocks(a.w_type[m], at, w.left, w.xs, w.stride);
        w.c[0] = c.x, w.c[1] = c.y, w.c[2] = c.z, w.c[3] = c.w;
        qn_walk_leave(&w, room, u);
    }
}

// ---- results ----

// Row i of a strip and row r of x: the parts' sums, added in order.
FN float qn_add_parts(const qn_product_room *room, int which, int n_parts, int i, int r)
{
    const float *from = room->sums + (ulong)which * n_parts * QN_CUDA_UNIT_FLOATS + ((i & 7) * 4 + (r >> 1)) * 4 +
                        (i >= 8 ? 2 : 0) + (r & 1);
    float sum = from[0];
    for (int p = 1; p < n_parts; p++)
        sum += from[p * QN_CUDA_UNIT_FLOATS];
    return sum;
}

FN void qn_finish_plain(const qn_product_buffers *b, const qn_cuda_product_args &a, int strip, int i, int row, float sum)
{
    int m = 0;
    while (m < a.n_matrices - 1 && strip >= (a.n_n[m] + 15) / 16) {
        strip -= (a.n_n[m] + 15) / 16;
        m++;
    }
    int n = strip * 16 + i;
    if (n >= a.n_n[m]) return;
    if (a.bias[m] >= 0) sum += qn_load(b->bias[m], a.bias[m], (ulong)n);
    float *y = b->y[m] + (ulong)row * (ulong)a.n_n[m] + (ulong)n;
    *y = a.accumulate ? sum + __ldcg(y) : sum;
}

FN void qn_finish_units(const qn_product_buffers *b, const qn_cuda_product_args &a, const qn_product_room *room,
                        const qn_batch_of_units *u, int row0, int n_rows)
{
    int n_parts = qn_n_parts(a), n = u->n_strips * 16 * n_rows;
    for (int j = threadIdx.x; j < n; j += QN_GPU_THREADS) {
        int i = j % 16, r = j / 16 % n_rows, s = j / (16 * n_rows), strip = u->first + s * u->stride;
        if (a.gated) {
            float gate = qn_add_parts(room, 2 * s, n_parts, i, r), up = qn_add_parts(room, 2 * s + 1, n_parts, i, r);
            int at = strip * 16 + i;
            if (at < a.n_n[0]) b->y[0][(ulong)(row0 + r) * (ulong)a.n_n[0] + (ulong)at] = qn_silu(gate) * up;
        } else
            qn_finish_plain(b, a, strip, i, row0 + r, qn_add_parts(room, s, n_parts, i, r));
    }
}

// Rows row0 … row0 + n_rows of the product, by group `group` of n_groups.
static __device__ __noinline__ void qn_product_rows(const qn_product_buffers *b, const qn_cuda_product_args &a, const qn_product_room *room, int row0,
                        int n_rows, int group, int n_groups)
{
    int n_strips = a.gated ? (a.n_n[0] + 15) / 16 : qn_n_strips(a);
    int n_parts = qn_n_parts(a), own = (n_strips - group + n_groups - 1) / n_groups;
    int a_strip = n_parts * (a.gated ? 2 : 1), at_once = room->max_units / a_strip;
    if (group >= n_strips) return;
    if (at_once < 1) at_once = 1;
    if (a.source == QN_CUDA_NORM) {
        int r = threadIdx.x >> 5;
        if (r < n_rows) {
            float inverse = qn_row_inverse(b->x + (ulong)(row0 + r) * (ulong)a.n_k, a.n_k, a.eps);
            if ((threadIdx.x & 31) == 0) room->inverses[r] = inverse;
        }
        BARRIER();
    }
    for (int done = 0; done < own; done += at_once) {
        qn_batch_of_units u = {group + done * n_groups, n_groups, own - done < at_once ? own - done : at_once, 0, 0};
        for (u.begin = 0; u.begin < n_parts; u.begin = u.end) {
            u.end = u.begin + room->window_parts < n_parts ? u.begin + room->window_parts : n_parts;
            int last = u.end * QN_STEPS_A_PART < a.padded_k / 16 ? u.end * QN_STEPS_A_PART : a.padded_k / 16;
            if (done == 0 || room->window_parts < n_parts) {
                ulong line = a.source == QN_CUDA_MERGE ? (ulong)(a.n_k / a.head_dim) * (ulong)a.n_splits * (ulong)(a.head_dim + 2) : (ulong)a.n_k;
                const void *norm = a.source == QN_CUDA_MERGE ? (const void *)((const qn_row *)b->norm + row0) : b->norm;
                qn_stage_rows(b->x + (ulong)row0 * line, norm, a, room->xs, room->inverses, n_rows, u.begin * QN_STEPS_A_PART, last);
                BARRIER();
            }
            if (QN_CUDA_IN_BLOCKS(a.w_type[0]))
                qn_multiply_block_units(b, a, room, &u, n_rows);
            else
                qn_multiply_units(b, a, room, &u, n_rows);
            BARRIER();
        }
        qn_finish_units(b, a, room, &u, row0, n_rows);
        BARRIER();
    }
}

// The room of a group in n_bytes of shared memory, for tiles of n_rows rows.
FN qn_product_room qn_product_make_room(char *shared, int n_bytes, int max_units, int n_rows)
{
    qn_product_room room;
    room.inverses = (float *)shared;
    room.zeros = (uint2 *)(shared + QN_TILE_ROWS * sizeof(float));
    if (threadIdx.x == 0) *room.zeros = make_uint2(0, 0); // a barrier follows before it is read
    room.sums = (float *)(shared + 64);
    room.max_units = max_units;
    room.xs = (uint2 *)(shared + 64 + max_units * QN_CUDA_UNIT_FLOATS * 4);
    room.window_parts = (n_bytes - 64 - max_units * QN_CUDA_UNIT_FLOATS * 4) / (n_rows * QN_CUDA_PART * 2);
    return room;
}

FN void qn_product_run(const qn_product_buffers *b, const qn_cuda_product_args &a, char *shared, int n_bytes, int max_units,
                       int tile, int group, int n_groups)
{
    int all = a.over_outputs ? b->counts->n_outputs : b->counts->n_rows, row0 = tile * QN_TILE_ROWS;
    int n_rows = all - row0 < QN_TILE_ROWS ? all - row0 : QN_TILE_ROWS;
    if (n_rows <= 0) return;
    qn_product_room room = qn_product_make_room(shared, n_bytes, max_units, n_rows);
    qn_product_rows(b, a, &room, row0, n_rows, group, n_groups);
}

#endif
