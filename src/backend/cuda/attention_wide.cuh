// attention.cuh's form for runs on Hopper: what attention_tiles.cuh does, the same bits, by wgmma. A group is two warpgroups of 64 rows of the
// products each (rows of the run × query heads of a key head) and one that fetches. Tiles of keys and values come by a ring of stages.
// While a warpgroup's softmax runs, so does its product of the weights and the values before, and the other warpgroup's products. The
// one that fetches walks the tiles and leaves a note with each; the others go by the notes. A group does one window of rows after another.
#ifndef QN_BACKEND_CUDA_ATTENTION_WIDE_CUH
#define QN_BACKEND_CUDA_ATTENTION_WIDE_CUH
#include "backend/cuda/attention_wide_blocks.cuh"

// What a thread has of its rows g and g + 8: accumulators as in qn_flash_pair, of the split; of those before, m and l.
template <int D> struct qn_wide_rows {
    float o[D / 2], m[2], l[2];
    float all_m[2], all_l[2];
    int any; // there are some before
};

// A descriptor of shared memory that is swizzled over 128 bytes: its low word, and the high one, which all have.
FN ulong qn_wide_descriptor(uint low)
{
    return (ulong)(1024 >> 4 | 1 << 30) << 32 | low;
}
// Keys as B: rows of dims. Step i: dims 16 i ….
template <int TYPE, int D> FN void qn_wide_scores(float s[32], const uint4 q[D / 16], uint keys)
{
    uint k = (keys >> 4 & 0x3fff) | 1 << 16;
#pragma unroll
    for (int i = 0; i < D / 16; i++)
        qn_wgmma<TYPE, 64>::run(s, q[i], qn_wide_descriptor(k + i / 4 * (QN_WIDE_HALF >> 4) + i % 4 * 2), i > 0);
    qn_mma_commit();
}
// Values as B: rows of keys, 64 dims a half. more: on top of what o holds.
template <int TYPE, int D> FN void qn_wide_values(float o[D / 2], const uint w[2][4][2], uint values, int more)
{
    uint v = (values >> 4 & 0x3fff) | (QN_WIDE_HALF >> 4) << 16;
#pragma unroll
    for (int i = 0; i < 4; i++)
        qn_wgmma<TYPE, D, 1>::run(o, make_uint4(w[0][i][0], w[1][i][0], w[0][i][1], w[1][i][1]), qn_wide_descriptor(v + i * (2048 >> 4)),
                                  i > 0 || more);
    qn_mma_commit();
}
// A wait for all products, behind what makes `sum`. ptxas would put the wait first; the branch, never taken, is in its way.
FN void qn_wide_wait_behind(float sum)
{
    while (sum < 0.0f)
        qn_give_up();
    qn_mma_wait<0>();
}

// The next stage is full. asked: it was.
FN void qn_wide_await(const qn_wide_ring *r, bool asked)
{
    if (!asked) qn_bar_wait(qn_wide_full(r), r->parity);
}
// One number for all lanes, so that ptxas keeps what comes of it in uniform registers.
FN int qn_wide_same(int v)
{
    return (int)__reduce_or_sync(~0u, (uint)v);
}
FN void qn_wide_release(uint empty)
{
    if (qn_lane_arrives()) qn_bar_arrive(empty);
    __syncwarp();
}

// Scores to weights, not yet rounded: qn_flash_soften's first half. What is not seen is below QN_NEVER, so its weight is 0.
FN void qn_wide_soften(const qn_flash_sight *t, int p0, float s[32], float m[2], float shrink[2])
{
#pragma unroll
    for (int i = 0; i < 32; i++)
        s[i] *= t->scale;
    if (p0 < t->all_from || p0 + QN_FLASH_TILE - 1 > t->all_to) {
        int own = p0 + 2 * (threadIdx.x & 3);
#pragma unroll
        for (int i = 0; i < 32; i++) {
            int p = own + i / 4 * 8 + i % 2, r = i / 2 % 2;
            if (p < t->first[r] || p > t->position[r]) s[i] = -INFINITY;
        }
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float a = m[r], b = s[2 * r];
#pragma unroll
        for (int n = 0; n < 8; n++) {
            a = fmaxf(a, s[4 * n + 2 * r + 1]);
            b = fmaxf(b, s[4 * n + 2 * r]);
        }
        a = fmaxf(a, b);
        a = fmaxf(a, __shfl_xor_sync(~0u, a, 1));
        a = fmaxf(a, __shfl_xor_sync(~0u, a, 2));
        shrink[r] = qn_flash_weight(m[r], a);
        m[r] = a;
    }
#pragma unroll
    for (int i = 0; i < 32; i++)
        s[i] = qn_flash_weight(s[i], m[i / 2 % 2]);
}
// The second half: weights as A fragments, and their sums.
template <int TYPE> FN void qn_wide_round(const float s[32], uint w[2][4][2], const float shrink[2], float l[2])
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
#pragma unroll
        for (int n = 0; n < 8; n++)
            w[r][n / 2][n % 2] = qn_flash_pack<TYPE>(s[4 * n + 2 * r], s[4 * n + 2 * r + 1]);
        l[r] = FMA(l[r], shrink[r], qn_flash_sum<TYPE>(w[r]));
    }
}

// One step of qn_merge's for a row: its factors, and what becomes of m and l: nothing where the row saw nothing of the split.
FN void qn_wide_factors(float *all_m, float *all_l, float m, float l, float *old, float *fresh)
{
    float most = *all_l > 0.0f && *all_m > m ? *all_m : m, before = EXP(*all_m - most);
    bool saw = l > 0.0f;
    *old = *all_l > 0.0f ? before : 0.0f, *fresh = EXP(m - most);
    *all_l = saw ? FMA(l, *fresh, *all_l * *old) : *all_l;
    *all_m = saw ? most : *all_m;
}
// Joins the split in h->o, whose sums are m and l, to those before, which are kept at a stride of a warpgroup: h->o becomes all.
template <int D> FN void qn_wide_join(qn_wide_rows<D> *h, const float m[2], const float l[2], const float4 *kept)
{
    float old[2], fresh[2];
#pragma unroll
    for (int r = 0; r < 2; r++)
        qn_wide_factors(h->all_m + r, h->all_l + r, m[r], l[r], old + r, fresh + r);
    bool all = __all_sync(~0u, l[0] > 0.0f && l[1] > 0.0f);
#pragma unroll
    for (int i = 0; i < D / 8; i++) {
        float4 v = h->any ? kept[i * 128] : make_float4(0, 0, 0, 0);
        float *o = h->o + 4 * i;
        o[0] = FMA(o[0], fresh[0], v.x * old[0]);
        o[1] = FMA(o[1], fresh[0], v.y * old[0]);
        o[2] = FMA(o[2], fresh[1], v.z * old[1]);
        o[3] = FMA(o[3], fresh[1], v.w * old[1]);
    }
    if (!all)
#pragma unroll
        for (int i = 0; i < D / 8; i++) {
            float4 v = h->any ? kept[i * 128] : make_float4(0, 0, 0, 0);
            float *o = h->o + 4 * i;
            if (!(l[0] > 0.0f)) o[0] = v.x, o[1] = v.y;
            if (!(l[1] > 0.0f)) o[2] = v.z, o[3] = v.w;
        }
    h->any = 1;
}

// The walk of a run, by the notes. At its end h->o is the sum of all splits.
template <int TYPE, int D>
FN void qn_wide_walk(const qn_flash_sight *t, const uint4 q[D / 16], qn_wide_ring *r, qn_wide_rows<D> *h, float4 *kept)
{
    float s[32], shrink[2];
    uint w[2][4][2], w_next[2][4][2], none = qn_opaque(0);
    r->stage = qn_wide_same(r->stage); // descriptors come of it
    qn_wide_await(r, false);
    int more = 0, note = qn_wide_same(r->notes[r->stage]);
    uint stage = r->at + r->stage * qn_wide_form<D>::stage_bytes, empty = qn_wide_empty(r);
    qn_mma_fence();
    qn_wide_scores<TYPE, D>(s, q, stage);
    qn_mma_wait<0>();
    qn_wide_soften(t, (note >> 2) * QN_FLASH_TILE, s, h->m, shrink);
    qn_wide_round<TYPE>(s, w, shrink, h->l);
    qn_wide_step(r);
    bool full = false;
    while (!(note & QN_WIDE_LAST)) {
        int ends = note & QN_WIDE_ENDS;
        uint ahead = r->at + r->stage * qn_wide_form<D>::stage_bytes, empty_ahead = qn_wide_empty(r);
        float m[2] = {h->m[0], h->m[1]}, l[2] = {h->l[0], h->l[1]};
        qn_wide_await(r, full);
        qn_mma_fence();
        qn_wide_scores<TYPE, D>(s, q, ahead);
        qn_wide_values<TYPE, D>(h->o, w, stage + qn_wide_form<D>::side_bytes, more);
        qn_mma_wait<1>();
        int next = qn_wide_same(r->notes[r->stage]);
        qn_wide_step(r);
        if (ends) h->m[0] = h->m[1] = QN_NEVER, h->l[0] = h->l[1] = 0.0f;
        qn_wide_soften(t, (next >> 2) * QN_FLASH_TILE, s, h->m, shrink);
        qn_wide_round<TYPE>(s, w_next, shrink, h->l);
        qn_wide_wait_behind(h->l[0] + h->l[1]);
        qn_wide_release(empty);
        full = qn_bar_over(qn_wide_full(r), r->parity); // asked early: the answer takes its time
        if (ends) {
            qn_wide_join<D>(h, m, l, kept);
#pragma unroll
            for (int i = 0; i < D / 8; i++)
                kept[i * 128] = make_float4(h->o[4 * i], h->o[4 * i + 1], h->o[4 * i + 2], h->o[4 * i + 3]);
        } else {
#pragma unroll
            for (int i = 0; i < D / 2; i++)
                h->o[i] *= shrink[i / 2 % 2];
        }
        more = !ends;
#pragma unroll
        for (int i = 0; i < 16; i++)
            w[i / 8][i / 2 % 4][i % 2] = w_next[i / 8][i / 2 % 4][i % 2] ^ none;
        note = next, stage = ahead, empty = empty_ahead;
    }
    qn_mma_fence();
    qn_wide_values<TYPE, D>(h->o, w, stage + qn_wide_form<D>::side_bytes, more);
    qn_mma_wait<0>();
    qn_wide_release(empty);
    qn_wide_join<D>(h, h->m, h->l, kept);
}

// Row i of the products is row i / group of the run, head i % group. The place of a warp's row lane % 16 in q and y, in rows of them;
// −1: it is not there.
FN int qn_wide_own(const qn_gpu_attention_args &a, const qn_wide_place *p)
{
    int group = a.n_heads / a.n_kv_heads, i = 16 * (int)(threadIdx.x >> 5) + (int)(threadIdx.x & 15), row = i / group;
    return row < p->to - p->from ? (p->from + row) * a.n_heads + p->kv_head * group + i - row * group : -1;
}
// What a warp's rows see.
FN void qn_wide_sight(const qn_gpu_attention_args &a, const qn_wide_place *p, const qn_view *c, int own, qn_flash_sight *t)
{
    int lane = threadIdx.x & 31, position = own >= 0 ? c->position + own / a.n_heads - p->from : -1;
    uint there = __ballot_sync(~0u, own >= 0) & 0xffff;
    int last = __shfl_sync(~0u, position, there ? 31 - __clz(there) : 0);
    t->any = there != 0;
    t->all_to = __shfl_sync(~0u, position, 0);
    t->all_from = t->any ? qn_first_seen(last, a.window) : 0;
    t->scale = __shfl_sync(~0u, c->scale, 0); // a register: a factor in a uniform one takes twice the time
#pragma unroll
    for (int r = 0; r < 2; r++) {
        t->position[r] = __shfl_sync(~0u, position, (lane >> 2) + 8 * r);
        t->first[r] = qn_first_seen(t->position[r], a.window);
    }
}

// Row r of a warp's queries in its threads' part of what `kept` is for later: 512 bytes of every 2,048.
template <int D> FN char *qn_wide_query(float4 *kept, int r, int chunk)
{
    char *part = (char *)(kept - (threadIdx.x & 31)) + r * D * 2 / 512 * 2048;
    return part + r * D * 2 % 512 + qn_chunk(r, chunk) * 16;
}
// A warp's 16 rows of queries as A fragments, by way of shared memory: whole rows are read at once. Of a row that is not there, which
// nobody asks for, those of row `any`.
template <int TYPE, int D> FN void qn_wide_queries(const float *from, int own, int any, float4 *kept, uint4 q[D / 16])
{
    const int lanes = D / 4;
    int lane = threadIdx.x & 31, d = lane % lanes * 4;
    float4 x[D / 8];
#pragma unroll
    for (int i = 0; i < D / 8; i++) {
        int line = __shfl_sync(~0u, own, i * (32 / lanes) + lane / lanes);
        x[i] = *(const float4 *)(from + (ulong)(line >= 0 ? line : any) * D + d);
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < D / 8; i++)
        *(uint2 *)(qn_wide_query<D>(kept, i * (32 / lanes) + lane / lanes, d / 8) + d % 8 * 2) =
            make_uint2(qn_pack2<TYPE>(x[i].x, x[i].y), qn_pack2<TYPE>(x[i].z, x[i].w));
    __syncwarp();
#pragma unroll
    for (int i = 0; i < D / 16; i++)
        q[i] = qn_matrices4(qn_wide_query<D>(kept, lane & 15, 2 * i + (lane >> 4)));
    __syncwarp();
}

// x / l by l's inverse, the same bits: two steps of what the compiler's division does, without its tests. For numbers of usual size.
FN float qn_wide_quotient(float x, float l, float inverse)
{
    float v = x * inverse;
    v = FMA(FMA(-v, l, x), inverse, v);
    return FMA(FMA(-v, l, x), inverse, v);
}
// The results of line `line` of y, o's first two of each four over l: as floats, or as a product's tiles.
template <int TYPE, int D> FN void qn_wide_put(float *y, const qn_gpu_attention_args &a, int line, const float *o, float l)
{
    float inverse = 1.0f / l, least = INFINITY, most = l;
    int own = 2 * (threadIdx.x & 3), row = line / a.n_heads, swap = row % 8 * 8;
    ushort *tiles = (ushort *)y + own; // of the line that the head begins with
    if (a.tile_rows) tiles += qn_gemm_tiled(a.tile_rows, a.n_heads * D, row, line % a.n_heads * D) - swap;
    y += (ulong)line * D + own;
#pragma unroll
    for (int i = 0; i < D / 4; i++) {
        float x = fabsf(o[4 * (i / 2) + i % 2]);
        least = fminf(least, x);
        most = fmaxf(most, x);
    }
    bool usual = least > 0x1p-60f && most < 0x1p60f; // NaN: least and most do not tell, and the quotient is NaN either way
#pragma unroll
    for (int n = 0; n < D / 8; n++) {
        const float *x = o + 4 * n;
        float2 v = usual ? make_float2(qn_wide_quotient(x[0], l, inverse), qn_wide_quotient(x[1], l, inverse))
                         : make_float2(x[0] / l, x[1] / l);
        if (a.tile_rows)
            *(uint *)(tiles + n / 8 * a.tile_rows * QN_GEMM_SLAB + (n % 8 * 8 ^ swap)) = qn_pack2<TYPE>(v.x, v.y);
        else
            *(float2 *)(y + 8 * n) = v;
    }
}

template <int TYPE, int D>
FN void qn_wide_multiply(const qn_wide_buffers *b, const qn_gpu_attention_args &a, qn_wide_ring r, float4 *kept, int window)
{
    qn_wide_place place = {};
    while (qn_wide_next(&place, b->rows, b->n_rows, window, a.n_kv_heads)) {
        qn_view c = qn_wide_look(b, a, &place);
        qn_flash_sight t;
        uint4 q[D / 16];
        qn_wide_rows<D> h;
        int own = qn_wide_own(a, &place);
        qn_wide_queries<TYPE, D>(b->q, own, place.from * a.n_heads, kept, q);
        qn_wide_sight(a, &place, &c, own, &t);
        h.m[0] = h.m[1] = QN_NEVER, h.l[0] = h.l[1] = h.all_m[0] = h.all_m[1] = h.all_l[0] = h.all_l[1] = 0.0f;
        h.any = 0;
        qn_wide_walk<TYPE, D>(&t, q, &r, &h, kept);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int line = __shfl_sync(~0u, own, ((threadIdx.x & 31) >> 2) + 8 * r);
            if (line >= 0) qn_wide_put<TYPE, D>(b->y, a, line, h.o + 2 * r, h.all_l[r]);
        }
    }
}

template <int TYPE, int D, bool BLOCKS> FN void qn_wide_run(const qn_wide_buffers *b, const qn_gpu_attention_args &a, char *shared)
{
    typedef qn_wide_form<D, BLOCKS> form;
    shared += (1024 - (qn_shared_address(shared) & 1023)) & 1023;
    int window = qn_wide_window(a.n_heads / a.n_kv_heads);
    qn_wide_ring r = {qn_opaque(qn_shared_address(shared)), qn_opaque(qn_shared_address(shared + form::bars_at)),
                      (int *)(shared + form::notes_at), 0, form::n_stages, 0};
    if (threadIdx.x == 0) {
        for (int i = 0; i < form::n_stages; i++) {
            qn_bar_init(r.bars + i * 8, 4 * QN_ARRIVALS_OF_WARP);
            qn_bar_init(r.bars + 64 + i * 8, QN_WIDE_ROWS / 16 * QN_ARRIVALS_OF_WARP);
        }
        for (int i = 0; BLOCKS && i < QN_WIDE_BLOCKS_TILES; i++)
            qn_bar_init(qn_shared_address(shared + form::blocks_bars_at) + i * 8, 1);
        qn_bar_made();
    }
    __syncthreads();
    if (__shfl_sync(~0u, (int)threadIdx.x >> 7, 0) == 2) {
        qn_fewer_registers<BLOCKS ? 72 : 40>();
        if (BLOCKS)
            qn_wide_fetch_blocks<D>(b, a, r, shared, window);
        else
            qn_wide_fetch<D>(b, a, r, window);
    } else {
        qn_more_registers<BLOCKS ? 216 : 232>();
        float4 *kept = (float4 *)(shared + form::kept_at) + (threadIdx.x >> 7) * (D / 8 * 128) + (threadIdx.x & 127);
        qn_wide_multiply<TYPE, D>(b, a, r, kept, window);
    }
}

#endif
