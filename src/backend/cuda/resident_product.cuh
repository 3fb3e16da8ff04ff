// Products in the resident kernel: the order of a sum is that of products.h, the weights come by the ring (ring.cuh).
// A warp writes the sums of its units to the device's memory, each number with the mark of this product; then those of a strip are added up, in
// order, as they come. So a strip's parts may be done by any warps of the grid.
// Every group of the grid says once that it is done with a product, whether it had a part in it or not.
// What is called here and what calls are functions of their own: inlined, ptxas spills inside the loop over units.
#ifndef QN_BACKEND_CUDA_RESIDENT_PRODUCT_CUH
#define QN_BACKEND_CUDA_RESIDENT_PRODUCT_CUH
#include "backend/cuda/ring.cuh"

#define QN_FOLD_AT_ONCE 10 // parts whose sums are loaded together
#define QN_FINISHERS_ROWS 2 // of products that warps of their own finish, at most

// A task's product, of n_rows rows, in shared memory. Buffer 12 of the task: the units' sums, marked, [strip][part][QN_CUDA_UNIT_FLOATS], and
// behind them the inverses of the rows' norms.
typedef struct {
    const qn_cuda_resident_task *t; // in shared memory; NULL: there are no more
    uint *counter;                  // of its epoch
    int4 share;                     // the group's
    int first, end;                 // the parts that it needs
    int n_parts, n_rows;
    uint mark; // of this product in this launch
    uint turn; // of the share's first slot
} qn_resident_product;
static_assert(sizeof(qn_resident_product) <= QN_FINISH_AT - QN_PRODUCT_AT, "ring.cuh");

FN qn_resident_product *qn_product_of_group(void)
{
    return (qn_resident_product *)(qn_resident_memory + QN_PRODUCT_AT);
}

FN const qn_cuda_product_args &qn_args_of(const qn_cuda_resident_task *t)
{
    return *(const qn_cuda_product_args *)t->args;
}

// ---- sums ----

FN float2 qn_load_early(const float *at) // not moved behind what stands behind it
{
    float2 v;
    asm volatile("ld.global.cg.v2.f32 {%0,%1}, [%2];" : "=f"(v.x), "=f"(v.y) : "l"(at) : "memory");
    return v;
}

// The first parts of two neighbours' sums, at most N, once all have come; beyond the last: the last again.
template <int N> FN bool qn_load_sums(ulong2 v[N], const ulong *from, int n, uint mark)
{
    bool come = true;
#pragma unroll
    for (int i = 0; i < N; i++)
        v[i] = qn_load_marked2(from + (i < n ? i : n - 1) * QN_CUDA_UNIT_FLOATS);
#pragma unroll
    for (int i = 0; i < N; i++)
        come = come && (uint)(v[i].x >> 32) == mark && (uint)(v[i].y >> 32) == mark;
    return come;
}
// A sum of two neighbours' parts, as qn_sections.
typedef struct {
    float2 total, section;
    int left, per_section;
} qn_two_sums;
FN qn_two_sums qn_no_sums(int per_section)
{
    return {make_float2(-0.0f, -0.0f), make_float2(-0.0f, -0.0f), per_section, per_section};
}
template <int N> FN void qn_add_sums(qn_two_sums *s, const ulong2 v[N], int n)
{
#pragma unroll
    for (int i = 0; i < N; i++) {
        if (i >= n) continue;
        bool over = s->left == 0;
        s->total.x = over ? s->total.x + s->section.x : s->total.x;
        s->total.y = over ? s->total.y + s->section.y : s->total.y;
        s->section.x = (over ? -0.0f : s->section.x) + AS_FLOAT((uint)v[i].x);
        s->section.y = (over ? -0.0f : s->section.y) + AS_FLOAT((uint)v[i].y);
        s->left = (over ? s->per_section : s->left) - 1;
    }
}
FN float2 qn_all_sums(const qn_two_sums *s)
{
    return make_float2(s->total.x + s->section.x, s->total.y + s->section.y);
}

// The parts' sums of two neighbours, added in order.
FN float2 qn_fold(const ulong *from, int n_parts, int section, uint mark)
{
    qn_two_sums sum = qn_no_sums(section);
#pragma unroll 1
    for (int first = 0; first < n_parts; first += QN_FOLD_AT_ONCE) {
        ulong2 v[QN_FOLD_AT_ONCE];
        uint spins = 0;
#pragma unroll 1
        while (!qn_load_sums<QN_FOLD_AT_ONCE>(v, from + first * QN_CUDA_UNIT_FLOATS, n_parts - first, mark))
            if (++spins > QN_SPINS_MOST) __trap();
        qn_add_sums<QN_FOLD_AT_ONCE>(&sum, v, n_parts - first);
    }
    return qn_all_sums(&sum);
}
// Of a gate and its partner: what they make.
FN float2 qn_fold_gated(const ulong *gate, const ulong *up, int n_parts, int section, uint mark)
{
    enum { N = QN_FOLD_AT_ONCE / 2 };
    float2 g, u;
    if (n_parts > N) {
        g = qn_fold(gate, n_parts, section, mark);
        u = qn_fold(up, n_parts, section, mark);
    } else {
        ulong2 v[N], w[N];
        uint spins = 0;
        bool come;
#pragma unroll 1
        do {
            come = qn_load_sums<N>(v, gate, n_parts, mark);
            come = qn_load_sums<N>(w, up, n_parts, mark) && come;
            if (++spins > QN_SPINS_MOST) __trap();
        } while (!come);
        qn_two_sums of_gate = qn_no_sums(section), of_up = of_gate;
        qn_add_sums<N>(&of_gate, v, n_parts);
        qn_add_sums<N>(&of_up, w, n_parts);
        g = qn_all_sums(&of_gate);
        u = qn_all_sums(&of_up);
    }
    return make_float2(qn_silu(g.x) * u.x, qn_silu(g.y) * u.y);
}

// Numbers `at` and the next of row r of a gated product.
FN void qn_put_gated(const qn_cuda_product_args &a, void *y, int r, int n_rows, int at, float2 v)
{
    if (a.packs) {
        uint pair = a.type == 1 ? qn_pack_f16(v.x, v.y) : qn_pack_bf16(v.x, v.y);
        ((uint *)y)[((at / 16 * n_rows + r) * 4 + at % 8 / 2) * 2 + at / 8 % 2] = pair;
        return;
    }
    float *to = (float *)y + (ulong)r * (ulong)a.n_n[0] + (ulong)at;
    if (at < a.n_n[0]) to[0] = v.x;
    if (at + 1 < a.n_n[0]) to[1] = v.y;
}

// What a lane needs to finish two neighbours of a row, all that can be had before their sums come.
typedef struct {
    const ulong *sums; // their first part's; of a gated product the gate's
    float *y;          // NULL: of a gated product, whose place is `at` of row r
    int r, at;
    int there; // how many of the two there are
    float2 bias, was;
    bool biased;
} qn_finish;

// Of all strips (gated: pairs) and rows of x, in this order, pair i of numbers.
FN qn_finish qn_finish_at(const qn_cuda_resident_task *t, int n_parts, int n_rows, int i)
{
    const qn_cuda_product_args &a = qn_args_of(t);
    int strip = n_rows == 1 ? i / 8 : i / 8 / n_rows, r = i / 8 - strip * n_rows, in_strip = i % 8 * 2, m = 0, s = strip;
    qn_finish f = {(const ulong *)t->buffers[12] + (ulong)strip * (ulong)n_parts * QN_CUDA_UNIT_FLOATS + r * 16 + in_strip, NULL, r,
                   strip * 16 + in_strip, 2, make_float2(0.0f, 0.0f), make_float2(0.0f, 0.0f), false};
    if (a.gated) return f;
    while (m < a.n_matrices - 1 && s >= t->stream.strips[m])
        s -= t->stream.strips[m++];
    int at = s * 16 + in_strip, left = a.n_n[m] - at;
    f.there = left < 0 ? 0 : left < 2 ? left : 2;
    f.y = (float *)t->buffers[m] + (ulong)r * (ulong)a.n_n[m] + (ulong)at;
    if (a.accumulate && left > 1 && a.n_n[m] % 2 == 0)
        f.was = qn_load_early(f.y);
    else if (a.accumulate && left > 0) {
        f.was.x = __ldcg(f.y);
        if (left > 1) f.was.y = __ldcg(f.y + 1);
    }
    f.biased = a.bias[m] >= 0;
    if (f.biased && left > 0) f.bias.x = qn_load((const void *)t->buffers[8 + m], a.bias[m], (ulong)at);
    if (f.biased && left > 1) f.bias.y = qn_load((const void *)t->buffers[8 + m], a.bias[m], (ulong)at + 1);
    return f;
}
FN void qn_finish_two(const qn_cuda_resident_task *t, const qn_finish *f, int n_parts, int n_rows, uint mark)
{
    const qn_cuda_product_args &a = qn_args_of(t);
    if (a.gated) {
        const ulong *up = f->sums + (ulong)t->stream.strips[0] * (ulong)n_parts * QN_CUDA_UNIT_FLOATS;
        float2 v = qn_fold_gated(f->sums, up, n_parts, a.section, mark);
        qn_put_gated(a, (void *)t->buffers[0], f->r, n_rows, f->at, v);
        return;
    }
    float2 sum = qn_fold(f->sums, n_parts, a.section, mark);
    if (f->biased) sum.x += f->bias.x, sum.y += f->bias.y;
    if (a.accumulate) sum.x += f->was.x, sum.y += f->was.y;
    if (f->there > 0) f->y[0] = sum.x;
    if (f->there > 1) f->y[1] = sum.y;
}

// Warp `warp` of n_warps has this of all strips and rows of x, a run of sixteens; a lane has two neighbours.
FN int2 qn_finish_share(const qn_cuda_resident_task *t, int n_rows, uint warp, uint n_warps)
{
    uint all = (uint)((qn_args_of(t).gated ? t->stream.strips[0] : t->stream.n_strips) * n_rows);
    return make_int2((int)(warp * all / n_warps) * 8, (int)((warp + 1) * all / n_warps) * 8);
}

// Of many rows, by the warps that have multiplied.
static __device__ __noinline__ void qn_finish_strips(const qn_cuda_resident_task *t, int n_parts, int n_rows, uint mark)
{
    int2 share = qn_finish_share(t, n_rows, blockIdx.x * QN_GPU_SIMDS + (threadIdx.x >> 5), gridDim.x * QN_GPU_SIMDS);
    for (int i = share.x + (int)(threadIdx.x & 31); i < share.y; i += 32) {
        qn_finish f = qn_finish_at(t, n_parts, n_rows, i);
        qn_finish_two(t, &f, n_parts, n_rows, mark);
    }
    PROFILE_AT(TRACE_FOLDED);
}

// Of few rows, by warps of their own: they know what they need when the last sums come, and the others are at the next task by then.
// Barriers of the group tell them of a product, whose epoch has begun, and that it has been multiplied.
#define QN_FINISH_BEGINS(how) asm volatile(how " 2, %0;" ::"n"((QN_GPU_SIMDS + QN_FINISHERS) * 32) : "memory")
#define QN_FINISH_MULTIPLIED() asm volatile("bar.sync 3, %0;" ::"n"((QN_GPU_SIMDS + QN_FINISHERS) * 32) : "memory")
#define QN_FINISH_TOGETHER() asm volatile("bar.sync 4, %0;" ::"n"(QN_FINISHERS * 32) : "memory")

FN bool qn_finishers_do(int n_rows)
{
    return n_rows > 0 && n_rows <= QN_FINISHERS_ROWS;
}

// The finishing warps' own copy of a task, for the others go on to the next ones.
FN const qn_cuda_resident_task *qn_finish_copy(const qn_cuda_resident_task *t, char *room)
{
    for (int i = (int)threadIdx.x - (QN_GPU_SIMDS + QN_FILLERS) * 32; i < (int)(sizeof *t / 16); i += QN_FINISHERS * 32)
        ((uint4 *)room)[i] = ((const uint4 *)t)[i];
    QN_FINISH_TOGETHER();
    return (const qn_cuda_resident_task *)room;
}

static __device__ __noinline__ void qn_finish_all(const volatile qn_resident_product *p, char *room, int finisher)
{
    for (;;) {
        QN_FINISH_BEGINS("bar.sync");
        const qn_cuda_resident_task *t = p->t;
        int n_rows = p->n_rows;
        uint mark = p->mark, *counter = p->counter;
        if (!t) return;
        if (!qn_finishers_do(n_rows)) {
            QN_FINISH_MULTIPLIED();
            continue;
        }
        t = qn_finish_copy(t, room);
        int n_parts = qn_n_parts(qn_args_of(t));
        int2 share = qn_finish_share(t, n_rows, blockIdx.x * QN_FINISHERS + finisher, gridDim.x * QN_FINISHERS);
        int i = share.x + (int)(threadIdx.x & 31);
        qn_finish f;
        if (i < share.y) f = qn_finish_at(t, n_parts, n_rows, i);
        QN_FINISH_MULTIPLIED();
        while (i < share.y) {
            qn_finish_two(t, &f, n_parts, n_rows, mark);
            i += 32;
            if (i < share.y) f = qn_finish_at(t, n_parts, n_rows, i);
        }
        QN_FINISH_TOGETHER();
        if (finisher == 0 && (threadIdx.x & 31) == 0) qn_add_release(counter, 1);
    }
}

// ---- rows of x ----

// Behind the last part of a group's share.
FN int qn_parts_end(const qn_cuda_stream *s, int4 share)
{
    int end = share.y;
    for (int left = share.z ? share.x + share.z : 0; left > 0; left -= s->n_strips)
        end++;
    return end;
}

// What a product keeps in the group's room: inverses of norms, a zero, the rows as fragments; behind those, of a product with a norm, its
// weights of the group's parts, and where they are few and have room the rows as they are.
FN qn_product_room qn_resident_room(char *work)
{
    qn_product_room room;
    room.inverses = (float *)work;
    room.zeros = (uint2 *)(work + QN_TILE_ROWS * sizeof(float));
    room.xs = (uint2 *)(work + 64);
    return room;
}
FN float *qn_norms_at(int n_parts, int n_rows, char *work) // of the group's parts
{
    return (float *)(work + 64 + n_parts * QN_CUDA_PART * 2 * n_rows);
}

#include "backend/cuda/resident_units.cuh"

// A thread's next fragment of the rows: of four a step of K the j-th, of row r; all of a column's rows, then the next column of the thread.
typedef struct {
    int j, r;
} qn_place_of_x;
FN void qn_next_place(qn_place_of_x *p, int n_rows)
{
    if (++p->r < n_rows) return;
    p->r = 0;
    p->j += QN_GPU_THREADS;
}
// The first of its two pairs of numbers of K.
FN int qn_place_k(const qn_place_of_x *p, int first)
{
    return (first + p->j / 4) * 16 + p->j % 4 * 2;
}
FN uint2 *qn_place_at(uint2 *xs, const qn_place_of_x *p, int n_rows)
{
    return xs + (p->j / 4 * n_rows + p->r) * 4 + p->j % 4;
}

// Few rows, by every group for itself: to shared memory; then their norms' inverses, a row a warp, in the order of rms_norm; then the fragments.
template <int TYPE>
static __device__ __noinline__ void qn_stage_normed(const float *x, int n_k, int n_rows, float eps, const float *norms, float *rows,
                                                    float *inverses, uint2 *xs, int first, int end)
{
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, n = n_rows * n_k / 4;
#pragma unroll 4
    for (int i = threadIdx.x; i < n; i += QN_GPU_THREADS)
        ((float4 *)rows)[i] = __ldcg((const float4 *)x + i);
    BARRIER();
    if (warp < n_rows) {
        float inverse = qn_shared_row_inverse(rows + warp * n_k, n_k, eps);
        if (lane == 0) inverses[warp] = inverse;
    }
    BARRIER();
    PROFILE_AT(TRACE_FIRST);
    int n_four = (end - first) * 4;
    for (qn_place_of_x p = {(int)threadIdx.x, 0}; p.j < n_four; qn_next_place(&p, n_rows)) {
        int k = qn_place_k(&p, first);
        const float *row = rows + p.r * n_k + k, *w = norms + k - first * 16;
        float inverse = inverses[p.r];
        uint2 v;
        v.x = k < n_k ? qn_pack2<TYPE>(w[0] * (row[0] * inverse), w[1] * (row[1] * inverse)) : 0;
        v.y = k + 8 < n_k ? qn_pack2<TYPE>(w[8] * (row[8] * inverse), w[9] * (row[9] * inverse)) : 0;
        *qn_place_at(xs, &p, n_rows) = v;
    }
}

// More rows: a row's inverse is made by one group and told to all; `told`: a marked number a row. A group reads no more of them than its parts.
template <int TYPE>
static __device__ __noinline__ void qn_stage_told(const float *x, int n_k, int n_rows, float eps, const float *norms, ulong *told, uint mark,
                                                  float *inverses, uint2 *xs, int first, int end)
{
    enum { AT_ONCE = 4 };
    int teller = (int)(blockIdx.x * QN_TILE_ROWS / gridDim.x), n_four = (end - first) * 4; // a run of groups tells of one row
    bool tells = teller < n_rows && (teller * gridDim.x + QN_TILE_ROWS - 1) / QN_TILE_ROWS == blockIdx.x;
    if (tells && threadIdx.x < 32) {
        float inverse = qn_row_inverse(x + (ulong)teller * (ulong)n_k, n_k, eps);
        if (threadIdx.x == 0) qn_store_marked(told + teller, inverse, mark);
    }
    bool is_first = true;
    qn_place_of_x next = {(int)threadIdx.x, 0};
    do { // all threads once, for the barrier
        float2 low[AT_ONCE], high[AT_ONCE];
        qn_place_of_x at = next;
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++, qn_next_place(&next, n_rows)) {
            int k = qn_place_k(&next, first);
            const float *row = x + (ulong)next.r * (ulong)n_k + (ulong)k;
            low[u] = next.j < n_four && k < n_k ? __ldcg((const float2 *)row) : make_float2(0, 0);
            high[u] = next.j < n_four && k + 8 < n_k ? __ldcg((const float2 *)(row + 8)) : make_float2(0, 0);
        }
        if (is_first) {
            if (threadIdx.x < n_rows) {
                uint spins = 0;
                ulong v;
                while ((uint)((v = qn_load_marked(told + threadIdx.x)) >> 32) != mark)
                    if (++spins > QN_SPINS_MOST) __trap();
                inverses[threadIdx.x] = AS_FLOAT((uint)v);
            }
            BARRIER();
            PROFILE_AT(TRACE_FIRST);
            is_first = false;
        }
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++, qn_next_place(&at, n_rows)) {
            if (at.j >= n_four) continue;
            const float *w = norms + qn_place_k(&at, 0); // zeros beyond n_k
            float inverse = inverses[at.r];
            *qn_place_at(xs, &at, n_rows) = make_uint2(qn_pack2<TYPE>(w[0] * (low[u].x * inverse), w[1] * (low[u].y * inverse)),
                                                       qn_pack2<TYPE>(w[8] * (high[u].x * inverse), w[9] * (high[u].y * inverse)));
        }
    } while (next.j < n_four);
}

// Rows that are fragments already.
static __device__ __noinline__ void qn_stage_packed(const uint4 *x, int n_rows, uint4 *xs, int first, int end)
{
#pragma unroll 4
    for (int i = threadIdx.x; i < (end - first) * n_rows * 2; i += QN_GPU_THREADS)
        xs[i] = __ldcg(x + first * n_rows * 2 + i);
}

template <int TYPE> FN void qn_stage_norm(const qn_resident_product *p, char *work, int first, int end)
{
    const qn_cuda_product_args &a = qn_args_of(p->t);
    qn_product_room room = qn_resident_room(work);
    const float *x = (const float *)p->t->buffers[3];
    ulong *told = (ulong *)p->t->buffers[12] + (ulong)p->t->stream.n_strips * (ulong)p->n_parts * QN_CUDA_UNIT_FLOATS;
    int n_parts = p->end - p->first;
    float *norms = qn_norms_at(n_parts, p->n_rows, work);
    if (p->n_rows <= a.by_each)
        qn_stage_normed<TYPE>(x, a.n_k, p->n_rows, a.eps, norms, norms + n_parts * QN_CUDA_PART, room.inverses, room.xs, first, end);
    else
        qn_stage_told<TYPE>(x, a.n_k, p->n_rows, a.eps, norms, told, p->mark, room.inverses, room.xs, first, end);
}

FN void qn_stage(const qn_resident_product *p, char *work)
{
    const qn_cuda_product_args &a = qn_args_of(p->t);
    int first = p->first * QN_STEPS_A_PART, end = p->end * QN_STEPS_A_PART < a.padded_k / 16 ? p->end * QN_STEPS_A_PART : a.padded_k / 16;
    if (a.source == QN_CUDA_NORM && a.type == 1)
        qn_stage_norm<1>(p, work, first, end);
    else if (a.source == QN_CUDA_NORM)
        qn_stage_norm<2>(p, work, first, end);
    else if (a.packed)
        qn_stage_packed((const uint4 *)p->t->buffers[3], p->n_rows, (uint4 *)qn_resident_room(work).xs, first, end);
    else {
        qn_product_room room = qn_resident_room(work);
        qn_stage_rows((const float *)p->t->buffers[3], (const void *)p->t->buffers[4], a, room.xs, room.inverses, p->n_rows, first, end);
    }
    BARRIER();
    PROFILE_AT(TRACE_STAGED);
}

// ---- a product ----

// The next product's norm weights and biases are asked for in L2, a group some lines: the weights that stream by have swept them out.
FN void qn_fetch_ahead(const qn_cuda_resident_task *t)
{
#pragma unroll
    for (int i = 0; i < QN_CUDA_AHEAD; i++) {
        int line = ((int)threadIdx.x * (int)gridDim.x + (int)blockIdx.x) * 128;
        if (line < t->ahead_bytes[i]) asm volatile("prefetch.global.L2 [%0];" ::"l"((const char *)t->ahead[i] + line));
    }
}

// A norm's weights from number `from` on, n of them, to shared memory; zeros beyond n_k.
template <int TYPE> FN void qn_stage_norms(float *norms, const void *list, int from, int n, int n_k)
{
    enum { AT_ONCE = 8 };
    for (int begin = (int)threadIdx.x; begin < n; begin += AT_ONCE * QN_GPU_THREADS) {
        float v[AT_ONCE];
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++) {
            int i = begin + u * QN_GPU_THREADS;
            v[u] = i < n && from + i < n_k ? qn_load(list, TYPE, (ulong)(from + i)) : 0.0f;
        }
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++)
            if (begin + u * QN_GPU_THREADS < n) norms[begin + u * QN_GPU_THREADS] = v[u];
    }
}

// What can be done before x is there; *p is there for all after a barrier. `t` in shared memory; i: which product of the step; `work`: the group's
// room; rows: of the step, and outputs; *turn: of the ring's next slot, then of the one behind the group's share.
FN void qn_resident_product_begin(qn_resident_product *p, const qn_cuda_resident_task *t, int i, char *work, int2 rows, uint mark, uint *counter,
                                  uint *turn)
{
    const qn_cuda_product_args &a = qn_args_of(t);
    int4 share = *qn_group_share(i);
    int end = qn_parts_end(&t->stream, share), n_rows = a.over_outputs ? rows.y : rows.x;
    if (threadIdx.x == 0) *qn_resident_room(work).zeros = make_uint2(0, 0);
    if (threadIdx.x == 0) *p = {t, counter, share, share.y, end, qn_n_parts(a), n_rows, mark, *turn};
    if (n_rows) *turn += (uint)share.w;
    qn_fetch_ahead(t);
    if (a.source != QN_CUDA_NORM) return;
    const void *list = (const void *)t->buffers[4];
    int from = share.y * QN_CUDA_PART, n = (end - share.y) * QN_CUDA_PART;
    float *norms = qn_norms_at(end - share.y, n_rows, work);
    if (a.norm_type == 0)
        qn_stage_norms<0>(norms, list, from, n, a.n_k);
    else if (a.norm_type == 1)
        qn_stage_norms<1>(norms, list, from, n, a.n_k);
    else
        qn_stage_norms<2>(norms, list, from, n, a.n_k);
}

// By the whole group; its barrier and its release are the caller's.
FN void qn_resident_product_run(const qn_resident_product *p, char *work)
{
    if (p->n_rows == 0) return;
    // A group without a unit may have to tell a row's norm.
    qn_stage(p, work);
    qn_multiply_units(p, work);
    PROFILE_AT(TRACE_UNITS);
    if (!qn_finishers_do(p->n_rows)) qn_finish_strips(p->t, p->n_parts, p->n_rows, p->mark);
}

#endif
