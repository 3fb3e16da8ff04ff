// attention and attend over one type of cache (FORMAT) and heads of at most DIMS, of which a lane has MINE, read by LOAD_MINE.
// Included by attention_format.h, so without a guard.
#define NAME(what) QN_JOIN(QN_JOIN(QN_JOIN(what, FORMAT), _), DIMS)
#define ROUNDS (DIMS * QN_HEADS / QN_GPU_THREADS) // a thread has one element of a head a round
#define HEADS_A_ROUND (QN_HEADS / ROUNDS)

// Scores of a block of 16 positions by all heads: a quad of lanes has positions i and i + 8.
FN void NAME(qn_scores_)(PRIV const qn_view *c, int p0, int lane, LOCAL const float4 *q,
                         LOCAL float *scores)
{
    float s[2 * QN_HEADS];
    for (int h = 0; h < 2 * QN_HEADS; h++)
        s[h] = 0.0f;
    ulong at = qn_block_at(c, p0) + (ulong)((lane >> 2) * c->dim);
    for (int i = 8 * (lane & 3); i < c->dim; i += 32) {
        float4 ka, kb, la, lb;
        QN_JOIN(qn_key8_, FORMAT)(c->k, at + (ulong)i, c->wide_k, c->dim - i, &ka, &kb);
        QN_JOIN(qn_key8_, FORMAT)
        (c->k, at + (ulong)(8 * c->dim + i), c->wide_k, c->dim - i, &la, &lb);
        for (int h = 0; h < QN_HEADS; h++)
            if (h < c->n_heads) {
                float4 qa = q[h * (DIMS / 4) + i / 4], qb = q[h * (DIMS / 4) + i / 4 + 1];
                s[2 * h] = qn_dot4(qb, kb, qn_dot4(qa, ka, s[2 * h]));
                s[2 * h + 1] = qn_dot4(qb, lb, qn_dot4(qa, la, s[2 * h + 1]));
            }
    }
    for (int h = 0; h < QN_HEADS; h++)
        if (h < c->n_heads) {
            float a = s[2 * h], b = s[2 * h + 1];
            a += SG_XOR(a, 1);
            b += SG_XOR(b, 1);
            a += SG_XOR(a, 2);
            b += SG_XOR(b, 2);
            if ((lane & 3) == 0) scores[32 * h + (lane >> 2)] = a * c->scale;
            if ((lane & 3) == 1) scores[32 * h + (lane >> 2) + 8] = b * c->scale;
        }
}

// The values of a block, times the weights that stand where the scores stood.
FN void NAME(qn_values_)(PRIV const qn_view *c, int p0, int lane, LOCAL const float *weights,
                         PRIV float *acc)
{
    ulong at = qn_block_at(c, p0) + (ulong)(MINE * lane);
    for (int i = 0; i < QN_BLOCK_TOKENS; i += 4) {
        if (p0 + i > c->position || p0 + i + 3 < c->first) continue;
        float v[4 * MINE];
        for (int j = 0; j < 4; j++) {
            ulong from = at + (ulong)((i + j) * c->dim);
            int left = qn_seen(c, p0 + i + j) ? c->dim - MINE * lane : 0;
            if (left >= MINE && c->wide_v)
                LOAD_MINE(c->v, from, v + MINE * j);
            else
                for (int d = 0; d < MINE; d++)
                    v[MINE * j + d] = d < left ? qn_load(c->v, FORMAT_TYPE, from + (ulong)d) : 0.0f;
        }
        for (int h = 0; h < QN_HEADS; h++)
            if (h < c->n_heads) {
                float4 w = *(LOCAL const float4 *)(weights + 32 * h + i);
                for (int d = 0; d < MINE; d++) {
                    float o = FMA(w.x, v[d], acc[MINE * h + d]);
                    o = FMA(w.y, v[MINE + d], o);
                    o = FMA(w.z, v[2 * MINE + d], o);
                    acc[MINE * h + d] = FMA(w.w, v[3 * MINE + d], o);
                }
            }
    }
}

// A simdgroup's blocks of a piece: one step of the online softmax.
FN void NAME(qn_piece_)(PRIV const qn_view *c, int p0, int lane, LOCAL const float4 *q,
                        LOCAL float *scores, PRIV float *acc, PRIV float *m, PRIV float *l)
{
    int p1 = p0 + QN_HALF, mine = (lane < 16 ? p0 : p1 - 16) + lane;
    int first = qn_block_seen(c, p0), second = qn_block_seen(c, p1), seen = qn_seen(c, mine);
    if (!first && !second) return; // the whole simdgroup
    if (first) NAME(qn_scores_)(c, p0, lane, q, scores);
    if (second) NAME(qn_scores_)(c, p1, lane, q, scores + 16);
    SG_BARRIER();
    for (int h = 0; h < QN_HEADS; h++)
        if (h < c->n_heads) {
            float s = seen ? scores[32 * h + lane] : QN_NEVER;
            float top = SG_MAX(s);
            float most = top > m[h] ? top : m[h];
            float shrink = EXP(m[h] - most), w = seen ? EXP(s - most) : 0.0f;
            scores[32 * h + lane] = w;
            l[h] = FMA(l[h], shrink, SG_SUM(w));
            m[h] = most;
            for (int d = 0; d < MINE; d++)
                acc[MINE * h + d] *= shrink;
        }
    SG_BARRIER();
    if (first) NAME(qn_values_)(c, p0, lane, scores, acc);
    if (second) NAME(qn_values_)(c, p1, lane, scores + 16, acc);
    SG_BARRIER();
}

// Joins the simdgroups of a split, and the split to what the thread has (o, m, l, an element a round).
FN void NAME(qn_join_)(int n_heads, int tid, int lane, int sg, LOCAL float *at, LOCAL float *ml,
                       PRIV const float *acc, PRIV float *o, PRIV float *m, PRIV float *l)
{
    int g_head = tid / DIMS, d = tid % DIMS;
#pragma unroll
    for (int r = 0; r < ROUNDS; r++)
        if (r * HEADS_A_ROUND < n_heads) {
#pragma unroll
            for (int i = 0; i < HEADS_A_ROUND; i++) {
                int h = r * HEADS_A_ROUND + i;
                float most = QN_NEVER;
                for (int g = 0; g < QN_GPU_SIMDS; g++)
                    most = ml[16 * g + 2 * h] > most ? ml[16 * g + 2 * h] : most;
                float f = ml[16 * sg + 2 * h + 1] > 0.0f ? EXP(ml[16 * sg + 2 * h] - most) : 0.0f;
                for (int e = 0; e < MINE; e++)
                    at[(8 * i + sg) * DIMS + MINE * lane + e] = acc[MINE * h + e] * f;
            }
            BARRIER();
            int h = r * HEADS_A_ROUND + g_head;
            float most = QN_NEVER, sum = 0.0f, all = 0.0f;
            for (int g = 0; g < QN_GPU_SIMDS; g++)
                most = ml[16 * g + 2 * h] > most ? ml[16 * g + 2 * h] : most;
            for (int g = 0; g < QN_GPU_SIMDS; g++) {
                float n = ml[16 * g + 2 * h + 1];
                if (n > 0.0f) sum = FMA(n, EXP(ml[16 * g + 2 * h] - most), sum);
                all += at[(8 * g_head + g) * DIMS + d];
            }
            if (h < n_heads) qn_merge(o + r, m + r, l + r, all, most, sum);
            BARRIER();
        }
}

// What a group does once q lies in threadgroup memory. z < 0: all splits, and the row's result to y + d; else its partials.
FN void NAME(qn_splits_)(PRIV const qn_view *c, int z, int tid, int lane, int sg,
                         LOCAL const float4 *q, LOCAL float *scores, LOCAL float *ml,
                         GLOBAL float *out)
{
    float o[ROUNDS], m[ROUNDS], l[ROUNDS];
    for (int r = 0; r < ROUNDS; r++)
        o[r] = 0.0f, m[r] = 0.0f, l[r] = 0.0f;
    int last = c->position / QN_PIECE;
    for (int split = z < 0 ? 0 : z; split < (z < 0 ? c->n_splits : z + 1); split++) {
        int piece = qn_first_piece(split, c->n_splits, c->first / QN_PIECE);
        if (piece > last) continue;
        float acc[MINE * QN_HEADS], top[QN_HEADS], sum[QN_HEADS];
        for (int i = 0; i < MINE * QN_HEADS; i++)
            acc[i] = 0.0f;
        for (int h = 0; h < QN_HEADS; h++)
            top[h] = QN_NEVER, sum[h] = 0.0f;
        for (; piece <= last; piece += c->n_splits)
            NAME(qn_piece_)
        (c, piece * QN_PIECE + QN_BLOCK_TOKENS * sg, lane, q, scores + 256 * sg, acc, top, sum);
        for (int h = 0; h < QN_HEADS; h++)
            if (lane == 0) ml[16 * sg + 2 * h] = top[h], ml[16 * sg + 2 * h + 1] = sum[h];
        BARRIER();
        NAME(qn_join_)(c->n_heads, tid, lane, sg, scores, ml, acc, o, m, l);
    }
    int d = tid % DIMS;
#pragma unroll
    for (int r = 0; r < ROUNDS; r++) {
        int h = r * HEADS_A_ROUND + tid / DIMS;
        if (h >= c->n_heads || d >= c->dim) continue;
        if (z < 0) {
            out[h * c->dim + d] = o[r] / l[r];
            continue;
        }
        GLOBAL float *part = out + (h * c->n_splits + z) * (c->dim + 2);
        part[d] = o[r];
        if (d == 0) part[c->dim] = m[r], part[c->dim + 1] = l[r];
    }
}

KERNEL(NAME(attention_), BUF(0, float, out), BUF(1, const float, q_in), BUF(2, const void, k_cache),
       BUF(3, const void, v_cache), BUF(4, const qn_step_counts, counts),
       BUF(5, const qn_row, rows), BUF(6, const int, table), ARGS(7, qn_gpu_attention_args, a))
{
    SHARED(float4, q, QN_HEADS * DIMS / 4);
    SHARED(float4, scores, 512);
    SHARED(float, ml, 128);
    int row = TG_Y;
    if (row >= counts->n_rows) return;
    qn_view c;
    qn_look(&c, a, rows + row, table, TG_X);
    c.k = k_cache;
    c.v = v_cache;
    if (!a.whole && qn_first_piece(TG_Z, a.n_splits, c.first / QN_PIECE) > c.position / QN_PIECE)
        return;
    int head = qn_head_of(a, TG_X), padded = (c.dim + 7) / 8 * 8;
    ulong line = (ulong)row * (ulong)a.n_heads + (ulong)head;
    for (int i = TID; i < c.n_heads * padded; i += QN_GPU_THREADS) {
        int h = i / padded, d = i % padded;
        ((LOCAL float *)q)[h * DIMS + d] =
            d < c.dim ? q_in[(line + (ulong)h) * (ulong)c.dim + (ulong)d] : 0.0f;
    }
    BARRIER();
    NAME(qn_splits_)
    (&c, a.whole ? -1 : TG_Z, TID, LANE, SG, q, (LOCAL float *)scores, ml,
     out + line * (ulong)(a.whole ? a.head_dim : a.n_splits * (a.head_dim + 2)));
}

#if FORMAT_TYPE < 3
// One row: queries as their norm and their rotation leave them, to q; and where this group appends, the key and the value to
// their place in the cache. A simdgroup a head; the key is the one behind the queries. The caller's barrier follows.
FN void NAME(qn_enter_)(PRIV const qn_view *c, PRIV const qn_entry *e,
                        ARGS_OF(qn_gpu_attention_args, a), int appends, int tid, LOCAL float *q)
{
    int lane = tid & 31, half_dim = c->dim / 2;
    ulong at = qn_block_at(c, c->position) + (ulong)(c->position % QN_BLOCK_TOKENS * c->dim);
    for (int h = tid >> 5; h < c->n_heads + appends; h += QN_GPU_SIMDS) {
        int key = h == c->n_heads, type = key ? a.k_norm_type : a.q_norm_type;
        GLOBAL const float *x = key ? e->k : e->q + h * c->dim;
        GLOBAL const void *norm = key ? e->k_norm : e->q_norm;
        float inverse = 0.0f;
        if (type >= 0) inverse = qn_inverse(SG_SUM(qn_squares(x, c->dim, lane)), c->dim, a.eps);
        for (int d = lane; d < half_dim; d += 32) {
            float2 t = qn_turn(e->inv_freq, d, c->position, a.rope_scale);
            float x_low = qn_headed(x, norm, type, inverse, d);
            float x_high = qn_headed(x, norm, type, inverse, d + half_dim);
            float low = qn_rotate(x_low, t.x, -x_high, t.y),
                  high = qn_rotate(x_high, t.x, x_low, t.y);
            if (key) {
                qn_store(e->k_cache, FORMAT_TYPE, at + (ulong)d, low);
                qn_store(e->k_cache, FORMAT_TYPE, at + (ulong)(d + half_dim), high);
            } else {
                q[h * DIMS + d] = low;
                q[h * DIMS + d + half_dim] = high;
            }
        }
        if (!key && lane < (8 - c->dim % 8) % 8) q[h * DIMS + c->dim + lane] = 0.0f;
    }
    if (appends && tid < c->dim) qn_store(e->v_cache, FORMAT_TYPE, at + (ulong)tid, e->v[tid]);
}

// One row: norms and rotation of queries and keys, the append of the new position and attention. The group whose split has
// the new position writes it to the cache and then reads it there as any other.
KERNEL(NAME(attend_), BUF(0, float, out), BUF(1, const float, q_in), BUF(2, const float, k_in),
       BUF(3, const float, v_in), BUF(4, const float, inv_freq), BUF(5, const void, q_norm),
       BUF(6, const void, k_norm), BUF(7, void, k_cache), BUF(8, void, v_cache),
       BUF(9, const qn_step_counts, counts), BUF(10, const qn_row, rows), BUF(11, const int, table),
       ARGS(12, qn_gpu_attention_args, a))
{
    SHARED(float4, q, QN_HEADS * DIMS / 4);
    SHARED(float4, scores, 512);
    SHARED(float, ml, 128);
    if (counts->n_rows < 1) return;
    qn_view c;
    qn_look(&c, a, rows, table, TG_X);
    c.k = k_cache;
    c.v = v_cache;
    int last = c.position / QN_PIECE, head = qn_head_of(a, TG_X);
    if (!a.whole && qn_first_piece(TG_Z, a.n_splits, c.first / QN_PIECE) > last) return;
    qn_entry e;
    e.q = q_in + head * c.dim;
    e.k = k_in + TG_X * c.dim;
    e.v = v_in + TG_X * c.dim;
    e.inv_freq = inv_freq;
    e.q_norm = q_norm;
    e.k_norm = k_norm;
    e.k_cache = k_cache;
    e.v_cache = v_cache;
    NAME(qn_enter_)(&c, &e, a, a.whole || last % a.n_splits == TG_Z, TID, (LOCAL float *)q);
    BARRIER_DEVICE();
    NAME(qn_splits_)
    (&c, a.whole ? -1 : TG_Z, TID, LANE, SG, q, (LOCAL float *)scores, ml,
     out + head * (a.whole ? a.head_dim : a.n_splits * (a.head_dim + 2)));
}

#endif
#undef NAME
#undef ROUNDS
#undef HEADS_A_ROUND
