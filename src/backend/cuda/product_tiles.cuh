// The product of many rows with packed 16-bit weights: products.h's order of a sum and product.cuh's results, bit for bit.
// A group does 8 strips of w (of a gated product 4 of gate and the same 4 of up) by 16 · NT rows of x. Its 8 warps stand 4 × 2: a
// warp does two strips by NT tiles of 8 rows. A fragments come straight from memory, four steps ahead in registers. x comes as
// float32 and becomes 16-bit B fragments in shared memory, a slab of 64 along K at a time: while a slab is multiplied, the next
// one's numbers are on their way in registers. Sums of parts wait in shared memory, each thread's its own.
// n_split > 1: a group does one part and writes its sums to `partials` [part][row][column over all strips]; product_fold adds.
#ifndef QN_BACKEND_CUDA_PRODUCT_TILES_CUH
#define QN_BACKEND_CUDA_PRODUCT_TILES_CUH

#define QN_SLAB_STEPS 4
#define QN_TILES_STRIPS 8
#define QN_TILES_MOST 128 // rows of x
// Slabs [2][step][tile of 8 rows][lane] as uint2, of 128 rows; sums [2 NT][thread] as float4; inverses of the norm.
#define QN_TILES_SUMS_AT (2 * QN_SLAB_STEPS * QN_TILES_MOST * 16 * 2)
#define QN_TILES_INVERSES_AT (QN_TILES_SUMS_AT + QN_TILES_MOST * QN_TILES_STRIPS * 16 * 4)

// A thread's place.
typedef struct {
    const uint4 *w[2];        // this lane's fragments of its strips, from the first step on
    int strip[2];             // among all matrices; −1: not there
    int row0, n_rows;         // of the group's rows of x
    int first_part, end_part; // of K
    int n_steps;              // where K ends, for this group
    bool busy;                // there are rows of x for this warp
} qn_tiles_place;

FN float4 qn_tiles_load4(const float *x)
{
#ifdef QN_CPU_MODEL
    return *(const float4 *)x;
#else
    float4 v;
    asm volatile("ld.global.L1::no_allocate.v4.f32 {%0,%1,%2,%3}, [%4];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "l"(x));
    return v;
#endif
}

FN uint4 qn_tiles_load_w(const uint4 *w)
{
#ifdef QN_CPU_MODEL
    return *w;
#else
    uint4 v; // through L1: two warps of the group read the same
    asm volatile("ld.global.nc.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(w));
    return v;
#endif
}

// ---- x ----

// Four numbers of a row, 0 beyond its end.
FN float4 qn_tiles_fetch(const float *row, int k, int n_k)
{
    if (n_k % 4 == 0) return k < n_k ? qn_tiles_load4(row + k) : make_float4(0, 0, 0, 0);
    float4 v = make_float4(0, 0, 0, 0); // rows begin anywhere
    if (k < n_k) v.x = row[k];
    if (k + 1 < n_k) v.y = row[k + 1];
    if (k + 2 < n_k) v.z = row[k + 2];
    if (k + 3 < n_k) v.w = row[k + 3];
    return v;
}

// Number i of a thread's fours of a slab: its step and its tile of 8 rows; within, lane / 4 is the row and lane % 4 the four.
FN int qn_tiles_row(int i)
{
    return ((int)(threadIdx.x >> 5) + QN_GPU_SIMDS * i) / QN_SLAB_STEPS * 8 + (int)((threadIdx.x & 31) >> 2);
}
FN int qn_tiles_step(int i)
{
    return ((int)(threadIdx.x >> 5) + QN_GPU_SIMDS * i) % QN_SLAB_STEPS;
}

template <int NT>
FN void qn_tiles_fetch_slab(float4 to[NT], const qn_product_buffers *b, const qn_cuda_product_args &a,
                            const qn_tiles_place *p, int slab)
{
#pragma unroll
    for (int i = 0; i < NT; i++) {
        int row = qn_tiles_row(i), k = (slab * QN_SLAB_STEPS + qn_tiles_step(i)) * 16 + (int)(threadIdx.x & 3) * 4;
        to[i] = make_float4(0, 0, 0, 0);
        if (row < p->n_rows) to[i] = qn_tiles_fetch(b->x + (ulong)(p->row0 + row) * (ulong)a.n_k, k, a.n_k);
    }
}

// The norm of four numbers, as qn_source2 has it.
FN float4 qn_tiles_norm4(const qn_product_buffers *b, const qn_cuda_product_args &a, float4 v, int k, float inverse)
{
    if (k < a.n_k) v.x = qn_load(b->norm, a.norm_type, (ulong)k) * (v.x * inverse);
    if (k + 1 < a.n_k) v.y = qn_load(b->norm, a.norm_type, (ulong)k + 1) * (v.y * inverse);
    if (k + 2 < a.n_k) v.z = qn_load(b->norm, a.norm_type, (ulong)k + 2) * (v.z * inverse);
    if (k + 3 < a.n_k) v.w = qn_load(b->norm, a.norm_type, (ulong)k + 3) * (v.w * inverse);
    return v;
}

// Fours as B fragments: 4 q … 4 q + 3 of a step belong to two neighbouring lanes, q / 2 says to which of their registers. Rows 4 … 7
// write the second lane's first: so a warp's stores meet in no bank.
template <int TYPE, int NT>
FN void qn_tiles_store_slab(const float4 from[NT], const qn_product_buffers *b, const qn_cuda_product_args &a,
                            const qn_tiles_place *p, const float *inverses, int slab, uint *xs)
{
    int q = threadIdx.x & 3, in_tile = (threadIdx.x & 31) >> 2, late = in_tile >> 2;
#pragma unroll
    for (int i = 0; i < NT; i++) {
        int row = qn_tiles_row(i), step = qn_tiles_step(i);
        float4 v = from[i];
        if (a.source == QN_CUDA_NORM && row < p->n_rows)
            v = qn_tiles_norm4(b, a, v, (slab * QN_SLAB_STEPS + step) * 16 + q * 4, inverses[row]);
        uint low = qn_pack2<TYPE>(v.x, v.y), high = qn_pack2<TYPE>(v.z, v.w);
        uint *to = xs + ((step * 2 * NT + row / 8) * 32 + in_tile * 4 + (q & 1) * 2) * 2 + (q >> 1);
        to[2 * late] = late ? high : low;
        to[2 - 2 * late] = late ? low : high;
    }
}

FN void qn_tiles_inverses(const qn_product_buffers *b, const qn_cuda_product_args &a, const qn_tiles_place *p,
                          float *inverses)
{
    for (int r = threadIdx.x >> 5; r < p->n_rows; r += QN_GPU_SIMDS) {
        float inverse = qn_row_inverse(b->x + (ulong)(p->row0 + r) * (ulong)a.n_k, a.n_k, a.eps);
        if ((threadIdx.x & 31) == 0) inverses[r] = inverse;
    }
    BARRIER();
}

// ---- products ----

// Step s of a slab that begins at step `first`; then this step's registers get those of the next slab.
template <int TYPE, int NT>
FN void qn_tiles_multiply(float c[2][NT][4], uint4 w[QN_SLAB_STEPS][2], const qn_tiles_place *p, int first,
                          const uint2 *xs)
{
    const uint2 *at = xs + (int)(threadIdx.x >> 5 & 1) * NT * 32 + (int)(threadIdx.x & 31);
#pragma unroll
    for (int s = 0; s < QN_SLAB_STEPS; s++) {
        if (first + s < p->n_steps) {
            uint2 x[NT];
#pragma unroll
            for (int n = 0; n < NT; n++)
                x[n] = at[(s * 2 * NT + n) * 32];
#pragma unroll
            for (int n = 0; n < NT; n++) {
                qn_mma<TYPE>(c[0][n], w[s][0], x[n]);
                qn_mma<TYPE>(c[1][n], w[s][1], x[n]);
            }
        }
        if (first + QN_SLAB_STEPS + s < p->n_steps) {
            w[s][0] = qn_tiles_load_w(p->w[0] + (ulong)(first + QN_SLAB_STEPS + s) * 32);
            w[s][1] = qn_tiles_load_w(p->w[1] + (ulong)(first + QN_SLAB_STEPS + s) * 32);
        }
    }
}

// The part's sum meets those before it.
template <int NT> FN void qn_tiles_end_part(float c[2][NT][4], float4 *sums, bool first)
{
#pragma unroll
    for (int j = 0; j < 2; j++)
#pragma unroll
        for (int n = 0; n < NT; n++) {
            float *v = c[j][n];
            float4 *at = sums + (j * NT + n) * QN_GPU_THREADS + threadIdx.x;
            if (!first) {
                float4 before = *at;
                v[0] = before.x + v[0], v[1] = before.y + v[1], v[2] = before.z + v[2], v[3] = before.w + v[3];
            }
            *at = make_float4(v[0], v[1], v[2], v[3]);
            v[0] = v[1] = v[2] = v[3] = 0.0f;
        }
}

// The weights 16 steps on go to L2.
FN void qn_tiles_prefetch(const qn_tiles_place *p, int step)
{
    int n = p->n_steps - step < QN_SLAB_STEPS ? p->n_steps - step : QN_SLAB_STEPS;
    if (n <= 0 || (threadIdx.x >> 5 & 1)) return; // the other warp of the strips does it
    qn_prefetch_unit(p->w[0] + (ulong)step * 32, n);
    qn_prefetch_unit(p->w[1] + (ulong)step * 32, n);
}

template <int TYPE, int NT>
FN void qn_tiles_sums(const qn_product_buffers *b, const qn_cuda_product_args &a, const qn_tiles_place *p, char *shared)
{
    const float *inverses = (const float *)(shared + QN_TILES_INVERSES_AT);
    const int slab_words = QN_SLAB_STEPS * 2 * NT * 64, slabs_a_part = QN_STEPS_A_PART / QN_SLAB_STEPS;
    int slab = p->first_part * slabs_a_part, end = (p->n_steps + QN_SLAB_STEPS - 1) / QN_SLAB_STEPS;
    float c[2][NT][4] = {};
    float4 x[NT];
    uint4 w[QN_SLAB_STEPS][2];
#pragma unroll
    for (int s = 0; s < QN_SLAB_STEPS; s++)
        if (p->busy && slab * QN_SLAB_STEPS + s < p->n_steps) {
            w[s][0] = qn_tiles_load_w(p->w[0] + (ulong)(slab * QN_SLAB_STEPS + s) * 32);
            w[s][1] = qn_tiles_load_w(p->w[1] + (ulong)(slab * QN_SLAB_STEPS + s) * 32);
        }
    for (int i = 1; i < 4; i++)
        qn_tiles_prefetch(p, (slab + i) * QN_SLAB_STEPS);
    qn_tiles_fetch_slab<NT>(x, b, a, p, slab);
    qn_tiles_store_slab<TYPE, NT>(x, b, a, p, inverses, slab, (uint *)shared + slab % 2 * slab_words);
    BARRIER();
    for (; slab < end; slab++) {
        bool more = slab + 1 < end;
        if (more) qn_tiles_fetch_slab<NT>(x, b, a, p, slab + 1);
        qn_tiles_prefetch(p, (slab + 4) * QN_SLAB_STEPS);
        if (p->busy)
            qn_tiles_multiply<TYPE, NT>(c, w, p, slab * QN_SLAB_STEPS,
                                        (const uint2 *)((uint *)shared + slab % 2 * slab_words));
        if (more)
            qn_tiles_store_slab<TYPE, NT>(x, b, a, p, inverses, slab + 1,
                                          (uint *)shared + (slab + 1) % 2 * slab_words);
        if (p->busy && (!more || (slab + 1) % slabs_a_part == 0))
            qn_tiles_end_part<NT>(c, (float4 *)(shared + QN_TILES_SUMS_AT), slab / slabs_a_part == p->first_part);
        BARRIER();
    }
}

// ---- results ----

FN int qn_tiles_columns(const qn_cuda_product_args &a)
{
    return qn_n_strips(a) * 16;
}

// Row i of a strip (of a gated product: of gate's; `up` is the partner's sum) and a row of x.
FN void qn_tiles_finish(const qn_product_buffers *b, const qn_cuda_product_args &a, int strip, int i, int row, float sum,
                        float up)
{
    if (!a.gated) {
        qn_finish_plain(b, a, strip, i, row, sum);
        return;
    }
    int at = strip * 16 + i;
    if (at < a.n_n[0]) b->y[0][(ulong)row * (ulong)a.n_n[0] + (ulong)at] = qn_silu(sum) * up;
}

// A thread's own sums: four of a strip's tile of 8 rows, [row of w, + 8][row of x, + 1].
template <int NT>
FN void qn_tiles_results(const qn_product_buffers *b, const qn_cuda_product_args &a, const qn_tiles_place *p, int all,
                         const float *sums, float *partials)
{
    int lane = threadIdx.x & 31, half = threadIdx.x >> 5 & 1;
    if (!p->busy) return;
    for (int v = 0; v < 2 * NT * 4; v++) {
        int j = v / (NT * 4), n = v / 4 % NT, i = (lane >> 2) + (v & 2) * 4;
        int r = (half * NT + n) * 8 + (lane & 3) * 2 + (v & 1), row = p->row0 + r;
        const float *at = sums + ((v / 4) * QN_GPU_THREADS + threadIdx.x) * 4 + v % 4;
        if (r >= p->n_rows || p->strip[j] < 0) continue;
        if (a.n_split > 1)
            partials[((ulong)p->first_part * (ulong)all + (ulong)row) * (ulong)qn_tiles_columns(a) +
                     (ulong)(p->strip[j] * 16 + i)] = *at;
        else if (!a.gated || j == 0)
            qn_tiles_finish(b, a, p->strip[j], i, row, *at, at[a.gated ? NT * QN_GPU_THREADS * 4 : 0]);
    }
}

FN int qn_tiles_rows(const qn_product_buffers *b, const qn_cuda_product_args &a)
{
    return a.over_outputs ? b->counts->n_outputs : b->counts->n_rows;
}

template <int TYPE, int NT>
FN void qn_tiles_group(const qn_product_buffers *b, const qn_cuda_product_args &a, float *partials, char *shared, int3 at)
{
    int all = qn_tiles_rows(b, a), warp = threadIdx.x >> 5, n_parts = qn_n_parts(a);
    int n_strips = qn_n_strips(a), n_gate = a.gated ? (a.n_n[0] + 15) / 16 : n_strips;
    qn_tiles_place p;
    p.row0 = at.y * 16 * NT;
    p.n_rows = all - p.row0 < 16 * NT ? all - p.row0 : 16 * NT;
    if (p.n_rows <= 0) return;
    p.busy = (warp & 1) * 8 * NT < p.n_rows;
    p.first_part = a.n_split > 1 ? at.z : 0;
    p.end_part = a.n_split > 1 ? at.z + 1 : n_parts;
    p.n_steps = p.end_part * QN_STEPS_A_PART < a.padded_k / 16 ? p.end_part * QN_STEPS_A_PART : a.padded_k / 16;
#pragma unroll
    for (int j = 0; j < 2; j++) {
        int s = a.gated ? at.x * (QN_TILES_STRIPS / 2) + (warp >> 1) : at.x * QN_TILES_STRIPS + (warp >> 1) * 2 + j;
        int matrix;
        bool there = s < n_gate;
        s = (there ? s : n_gate - 1) + (a.gated ? j * n_gate : 0); // what is not there reads what is
        p.w[j] = (const uint4 *)qn_strip_at(b, a, s, &matrix) + (threadIdx.x & 31);
        p.strip[j] = there ? s : -1;
    }
    if (a.source == QN_CUDA_NORM) qn_tiles_inverses(b, a, &p, (float *)(shared + QN_TILES_INVERSES_AT));
    qn_tiles_sums<TYPE, NT>(b, a, &p, shared);
    qn_tiles_results<NT>(b, a, &p, all, (const float *)(shared + QN_TILES_SUMS_AT), partials);
}

// Group `at` of a grid of: strips by 8 (gated: by 4), rows of x by tile_rows, n_split.
FN void qn_tiles_run(const qn_product_buffers *b, const qn_cuda_product_args &a, float *partials, char *shared, int3 at)
{
    if (a.tile_rows == 128 && a.type == 1)
        qn_tiles_group<1, 8>(b, a, partials, shared, at);
    else if (a.tile_rows == 128)
        qn_tiles_group<2, 8>(b, a, partials, shared, at);
    else if (a.tile_rows == 64 && a.type == 1)
        qn_tiles_group<1, 4>(b, a, partials, shared, at);
    else if (a.tile_rows == 64)
        qn_tiles_group<2, 4>(b, a, partials, shared, at);
    else if (a.type == 1)
        qn_tiles_group<1, 2>(b, a, partials, shared, at);
    else
        qn_tiles_group<2, 2>(b, a, partials, shared, at);
}

// Column c of row r: the parts' sums, added in order.
FN float qn_fold_parts(const qn_cuda_product_args &a, const float *partials, int all, int r, int c)
{
    ulong columns = (ulong)qn_tiles_columns(a);
    const float *at = partials + (ulong)r * columns + (ulong)c;
    float sum = at[0];
    for (int p = 1; p < a.n_split; p++)
        sum += at[(ulong)p * (ulong)all * columns];
    return sum;
}

// Group `at` of a grid of: columns (gated: of gate) by 256, rows of x.
FN void qn_fold_run(const qn_product_buffers *b, const qn_cuda_product_args &a, const float *partials, int3 at)
{
    int all = qn_tiles_rows(b, a), c = at.x * QN_GPU_THREADS + (int)threadIdx.x, r = at.y;
    int n_gate = (a.n_n[0] + 15) / 16 * 16, columns = a.gated ? n_gate : qn_tiles_columns(a);
    if (r >= all || c >= columns) return;
    float up = a.gated ? qn_fold_parts(a, partials, all, r, n_gate + c) : 0.0f;
    qn_tiles_finish(b, a, c / 16, c % 16, r, qn_fold_parts(a, partials, all, r, c), up);
}

#endif
