// sample (ops/sample.h), in four kernels over segments of 4096 tokens; TG_Y is the output.
//   sample_scan: penalised values; of each segment the best, the least and Σ exp.
//   sample_count: with the row's largest value known, the mass of each segment, and where an order is needed a histogram over bins.
//   sample_place: puts the ids of the bins that can matter together, a bin behind the other.
//   sample_finish: one group an output and job; picks, and writes the result.
// Many outputs draw nothing: a group of sample_count and sample_place looks at `each` of them at once, and does those that have work.
// An output has two jobs (TG_Z): 0 draws the token, 1 lists the n_top best. Values: the logits where nothing is penalised, else in
// part 0 of the record's scratch; ids of job 0 in part 1, of job 1 in part 2. Masses are integers (sample_values.h), so nothing
// depends on the order of threads; Σ exp is added in a fixed order.
#ifndef QN_BACKEND_GPU_KERNELS_SAMPLE_H
#define QN_BACKEND_GPU_KERNELS_SAMPLE_H
#include "backend/gpu/kernels/sample_row.h"

#define SAMPLE_KERNEL(NAME)                                                                        \
    KERNEL(NAME, BUF(0, const float, logits), BUF(1, float, scratch), BUF(2, uint, work),          \
           BUF(3, qn_step_result, results), BUF(4, int, tokens),                                   \
           BUF(5, const qn_step_counts, counts), BUF(6, const qn_row, rows),                       \
           BUF(7, const qn_output, outputs), BUF(8, const qn_slot_params, params),                 \
           ARGS(9, qn_gpu_sample_args, a))
#define SAMPLE_ROW(r, i)                                                                           \
    qn_sample_row_of(r, logits, scratch, work, tokens, rows, outputs, params, i, a)

// ---- the kernels ----

SAMPLE_KERNEL(sample_scan)
{
    SHARED(ATOMIC_UINT, seen, QN_SAMPLE_EACH * QN_GPU_THREADS);
    SHARED(uint, part, 4 * QN_GPU_SIMDS);
    if (TG_Y >= counts->n_outputs) return;
    int first = TG_X * QN_SAMPLE_EACH * QN_GPU_THREADS + TID;
    float x[QN_SAMPLE_EACH]; // on their way while the row is looked up
    qn_sample_load(x, logits + (ulong)TG_Y * (ulong)a.n_vocab, first, a.n_vocab);
    qn_sample_row r;
    SAMPLE_ROW(&r, TG_Y);
    if (r.kind == QN_OUTPUT_LOGITS) return;
    GLOBAL uint *segment = r.work + QN_SAMPLE_SEGMENTS_AT + TG_X * QN_SAMPLE_SEGMENT_WORDS;
    if (TG_X == 0)
        for (int i = TID; i < QN_SAMPLE_SEGMENTS_AT; i += QN_GPU_THREADS)
            r.work[i] = 0;
    qn_sample_extent e;
    qn_sample_extent_of(&e, x, first, r.n_vocab, part, LANE, SG);
    float max = e.max ? qn_sample_number(e.max) : 0.0f;
    float sum = qn_sample_sum_exp(x, first, r.n_vocab, max, part, LANE, SG);
    if (TID == 0) {
        qn_sample_write_extent(segment, &e);
        segment[QN_SAMPLE_SUM_AT] = AS_UINT(sum);
    }
    if (r.kind != QN_OUTPUT_SAMPLE) return;
    if (r.penalised) {
        qn_sample_penalise(x, &r, 0.0f, seen, TG_X, TID);
        qn_sample_extent_of(&e, x, first, r.n_vocab, part, LANE, SG);
    }
    if (TID == 0) qn_sample_write_extent(segment + 4, &e);
}

// Adds the group's bins to the row's; masses as three limbs, so that sums over segments fit 32 bits.
FN void qn_sample_add_bins(GLOBAL uint *job, LOCAL ATOMIC_UINT *bins, int weigh, int tid)
{
    for (int b = tid; b < QN_SAMPLE_BINS; b += QN_GPU_THREADS) {
        GLOBAL ATOMIC_UINT *to = (GLOBAL ATOMIC_UINT *)job + b;
        uint n = ATOMIC_GET(&bins[b]);
        if (n) ATOMIC_ADD(to, n);
        if (!weigh || !n) continue;
        ulong mass = ((ulong)ATOMIC_GET(&bins[QN_SAMPLE_BINS + b]) << QN_SAMPLE_LIMB) +
                     (ulong)ATOMIC_GET(&bins[2 * QN_SAMPLE_BINS + b]);
        for (int j = 0; j < 3; j++) {
            uint limb = (uint)(mass >> (QN_SAMPLE_LIMB * j)) & QN_SAMPLE_LIMB_MASK;
            if (limb) ATOMIC_ADD(to + QN_SAMPLE_LIMBS_AT + j * QN_SAMPLE_BINS, limb);
        }
    }
}

// One of the group's numbers into its bin.
FN void qn_sample_bin_one(LOCAL ATOMIC_UINT *bins, int bin, ulong mass)
{
    ATOMIC_ADD(&bins[bin], 1u);
    uint high = (uint)(mass >> QN_SAMPLE_LIMB), low = (uint)mass & QN_SAMPLE_LIMB_MASK;
    if (high) ATOMIC_ADD(&bins[QN_SAMPLE_BINS + bin], high);
    if (low) ATOMIC_ADD(&bins[2 * QN_SAMPLE_BINS + bin], low);
}

// A segment of an output that has work for the job. seen, bins: threadgroup memory, and five numbers a simdgroup.
FN void qn_sample_count_one(PRIV const qn_sample_row *r, int segment, int job,
                            LOCAL ATOMIC_UINT *seen, LOCAL ATOMIC_UINT *bins, LOCAL uint *part,
                            int tid, int lane, int sg)
{
    int first = segment * QN_SAMPLE_EACH * QN_GPU_THREADS + tid, top = r->kind == QN_OUTPUT_TOP;
    float x[QN_SAMPLE_EACH];
    qn_sample_load(x, top ? r->logits : qn_sample_values_of(r, job), first, r->n_vocab);
    qn_sample_stats s;
    qn_sample_stats_of(&s, r, lane);
    if (s.is_bad) return;
    int order = job == 1 || qn_sample_is_filtered(r);
    float max = job ? 0.0f : s.best_value, min_p = r->p->min_p;
    if (top) qn_sample_penalise(x, r, s.log_sum, seen, segment, tid);
    for (int i = tid; i < 3 * QN_SAMPLE_BINS; i += QN_GPU_THREADS)
        ATOMIC_SET(&bins[i], 0u);
    BARRIER();
    qn_sample_binning binning;
    qn_sample_binning_of(&binning, r, &s, job);
    uint kept = 0, kept_high = 0, kept_low = 0, high = 0, low = 0;
    for (int j = 0; j < QN_SAMPLE_EACH; j++) {
        uint key = qn_sample_key(x[j]);
        if (first + j * QN_GPU_THREADS >= r->n_vocab) continue;
        if (qn_sample_is_bad(key)) ATOMIC_ADD((GLOBAL ATOMIC_UINT *)r->work + QN_SAMPLE_BAD_AT, 1u);
        if (!qn_sample_is_finite(key)) continue;
        float share = job ? 0.0f : qn_sample_share(x[j], max, r->p->temperature);
        ulong mass = qn_sample_fixed(share);
        if (order) qn_sample_bin_one(bins, qn_sample_bin(&binning, x[j]), mass);
        high += (uint)(mass >> QN_SAMPLE_LIMB);
        low += (uint)mass & QN_SAMPLE_LIMB_MASK;
        if (!(share >= min_p)) continue;
        kept++;
        kept_high += (uint)(mass >> QN_SAMPLE_LIMB);
        kept_low += (uint)mass & QN_SAMPLE_LIMB_MASK;
    }
    high = SG_SUM(high);
    low = SG_SUM(low);
    kept = SG_SUM(kept);
    kept_high = SG_SUM(kept_high);
    kept_low = SG_SUM(kept_low);
    if (lane == 0) {
        part[sg] = high;
        part[QN_GPU_SIMDS + sg] = low;
        part[2 * QN_GPU_SIMDS + sg] = kept;
        part[3 * QN_GPU_SIMDS + sg] = kept_high;
        part[4 * QN_GPU_SIMDS + sg] = kept_low;
    }
    BARRIER();
    if (order) qn_sample_add_bins(r->work + job * QN_SAMPLE_JOB_WORDS, bins, job == 0, tid);
    if (job != 0 || tid >= 5) return;
    uint sum = 0;
    for (int i = 0; i < QN_GPU_SIMDS; i++)
        sum += part[tid * QN_GPU_SIMDS + i];
    r->work[QN_SAMPLE_SEGMENTS_AT + segment * QN_SAMPLE_SEGMENT_WORDS + QN_SAMPLE_MASS_AT + tid] =
        sum;
}

// Of the outputs that a group has, from `first` on, a bit for each that has work for the job.
#define SAMPLE_TODO(first)                                                                         \
    qn_sample_todo(outputs, rows, params, first, a.each, counts->n_outputs, TG_Z, LANE)

SAMPLE_KERNEL(sample_count)
{
    SHARED(ATOMIC_UINT, seen, QN_SAMPLE_EACH * QN_GPU_THREADS);
    SHARED(ATOMIC_UINT, bins, 3 * QN_SAMPLE_BINS);
    SHARED(uint, part, 5 * QN_GPU_SIMDS);
    int first = TG_Y * a.each;
    uint todo = SAMPLE_TODO(first);
    for (int i = first; todo; i++, todo >>= 1) {
        if (!(todo & 1)) continue;
        qn_sample_row r;
        SAMPLE_ROW(&r, i);
        qn_sample_count_one(&r, TG_X, TG_Z, seen, bins, part, TID, LANE, SG);
        BARRIER();
    }
}

// A segment of an output that has work for the job.
FN void qn_sample_place_one(PRIV const qn_sample_row *r, int segment, int job,
                            LOCAL ulong *before_n, LOCAL ulong *before_mass, LOCAL ulong *sums,
                            LOCAL ATOMIC_UINT *bins, int tid, int lane, int sg)
{
    int first = segment * QN_SAMPLE_EACH * QN_GPU_THREADS + tid;
    float x[QN_SAMPLE_EACH];
    qn_sample_load(x, qn_sample_values_of(r, job), first, r->n_vocab);
    qn_sample_stats s;
    qn_sample_stats_of(&s, r, lane);
    if (s.is_bad) return;
    GLOBAL uint *work = r->work + job * QN_SAMPLE_JOB_WORDS;
    qn_sample_kept by_min_p;
    by_min_p.count = 0;
    if (job == 0 && r->p->min_p > 0.0f) qn_sample_kept_by_min_p(&by_min_p, r, lane);
    for (int i = tid; i < QN_SAMPLE_BINS; i += QN_GPU_THREADS)
        ATOMIC_SET(&bins[i], 0u);
    qn_sample_load_bins(work, job == 0, before_n, before_mass, sums, tid, lane, sg);
    int last = qn_sample_last_bin(r, job, before_n, before_mass, by_min_p.count);
    qn_sample_binning binning;
    qn_sample_binning_of(&binning, r, &s, job);
    for (int j = 0; j < QN_SAMPLE_EACH; j++) {
        int bin = qn_sample_bin(&binning, x[j]);
        if (first + j * QN_GPU_THREADS < r->n_vocab && bin <= last &&
            qn_sample_is_finite(qn_sample_key(x[j])))
            ATOMIC_ADD(&bins[bin], 1u);
    }
    BARRIER();
    GLOBAL ATOMIC_UINT *cursors = (GLOBAL ATOMIC_UINT *)work + QN_SAMPLE_CURSORS_AT;
    for (int i = tid; i <= last; i += QN_GPU_THREADS) {
        uint n = ATOMIC_GET(&bins[i]);
        if (n) ATOMIC_SET(&bins[i], (uint)before_n[i] + ATOMIC_ADD(&cursors[i], n));
    }
    BARRIER();
    GLOBAL int *ids = r->ids + job * r->n_vocab;
    for (int j = 0; j < QN_SAMPLE_EACH; j++) {
        int id = first + j * QN_GPU_THREADS, bin = qn_sample_bin(&binning, x[j]);
        if (id >= r->n_vocab || bin > last || !qn_sample_is_finite(qn_sample_key(x[j]))) continue;
        uint at = ATOMIC_ADD(&bins[bin], 1u);
        if (at < (uint)before_n[bin + 1]) ids[at] = id;
    }
}

SAMPLE_KERNEL(sample_place)
{
    SHARED(ulong, before_n, QN_SAMPLE_BINS + 1);
    SHARED(ulong, before_mass, QN_SAMPLE_BINS + 1);
    SHARED(ulong, sums, QN_GPU_SIMDS);
    SHARED(ATOMIC_UINT, bins, QN_SAMPLE_BINS); // the group's counts, then its places
    int first = TG_Y * a.each;
    uint todo = SAMPLE_TODO(first);
    for (int i = first; todo; i++, todo >>= 1) {
        if (!(todo & 1)) continue;
        qn_sample_row r;
        SAMPLE_ROW(&r, i);
        if (TG_Z == 0 && !qn_sample_is_filtered(&r)) continue;
        qn_sample_place_one(&r, TG_X, TG_Z, before_n, before_mass, sums, bins, TID, LANE, SG);
        BARRIER();
    }
}

// ---- the result ----

// The draw where nothing is filtered: tokens by id. First the segment, then 16 tokens a thread.
FN int qn_sample_draw_by_id(PRIV const qn_sample_row *r, PRIV const qn_sample_picker *p, uint u)
{
    int each = (r->n_segments + QN_GPU_THREADS - 1) / QN_GPU_THREADS;
    GLOBAL const uint *masses = r->work + QN_SAMPLE_SEGMENTS_AT + QN_SAMPLE_MASS_AT;
    ulong mass = 0;
    for (int s = p->tid * each; s < (p->tid + 1) * each && s < r->n_segments; s++)
        mass += qn_sample_mass_of(masses + s * QN_SAMPLE_SEGMENT_WORDS);
    ulong upto = qn_sample_scan(mass, p->sums, p->lane, p->sg);
    if (p->tid == QN_GPU_THREADS - 1) p->found[2] = upto;
    BARRIER();
    ulong target = qn_sample_part_of(p->found[2], u) + 1, before = upto - mass;
    if (before < target && upto >= target) {
        int s = p->tid * each;
        for (; s < r->n_segments - 1; s++) {
            mass = qn_sample_mass_of(masses + s * QN_SAMPLE_SEGMENT_WORDS);
            if (before + mass >= target) break;
            before += mass;
        }
        p->found[0] = (ulong)s;
        p->found[1] = before;
    }
    BARRIER();
    int first = ((int)p->found[0] * QN_GPU_THREADS + p->tid) * QN_SAMPLE_EACH, id = 0;
    ulong weights[QN_SAMPLE_EACH];
    mass = 0;
    for (int j = 0; j < QN_SAMPLE_EACH; j++) {
        weights[j] = first + j < r->n_vocab ? qn_sample_weight(p, p->v[first + j]) : 0;
        mass += weights[j];
    }
    upto = p->found[1] + qn_sample_scan(mass, p->sums, p->lane, p->sg);
    before = upto - mass;
    // The last thread that weighs anything stands in where rounding left the target beyond the end.
    ulong end = p->found[1];
    for (int i = 0; i < QN_GPU_SIMDS; i++)
        end += p->sums[i];
    if (target > end) target = end;
    if (before < target && upto >= target) {
        for (int j = 0; j < QN_SAMPLE_EACH && before < target; j++) {
            before += weights[j];
            id = first + j;
        }
        p->found[3] = (ulong)id;
    }
    BARRIER();
    return (int)p->found[3];
}

// The draw from what the filters keep.
FN int qn_sample_draw_filtered(PRIV const qn_sample_row *r, PRIV const qn_sample_picker *p, uint u,
                               int best)
{
    qn_sample_picked last;
    last.count = p->counts[QN_SAMPLE_BINS];
    last.mass = p->masses[QN_SAMPLE_BINS];
    if (qn_sample_by_count(r) && (ulong)r->p->top_k < last.count)
        qn_sample_pick(&last, p, 0, (ulong)r->p->top_k, 1);
    if (r->p->top_p < 1.0f)
        qn_sample_pick(&last, p, 1, qn_sample_top_p_target(r->p->top_p, last.mass), 0);
    if (r->p->min_p > 0.0f) {
        qn_sample_kept kept;
        qn_sample_kept_by_min_p(&kept, r, p->lane);
        if (kept.count == 0) return best;
        if (kept.count < last.count) last.mass = kept.mass;
    }
    qn_sample_pick(&last, p, 1, qn_sample_part_of(last.mass, u) + 1, 0);
    return (int)(uint)last.element;
}

FN int qn_sample_choose(PRIV const qn_sample_row *r, PRIV const qn_sample_picker *p, int best)
{
    if (qn_sample_is_greedy(r->p)) return best;
    uint u = qn_sample_uniform(r->p->seed_low, r->p->seed_high, (uint)r->position);
    if (qn_sample_is_filtered(r)) return qn_sample_draw_filtered(r, p, u, best);
    return qn_sample_draw_by_id(r, p, u);
}

// The n best into the result, each at its rank.
FN void qn_sample_list(GLOBAL qn_step_result *to, PRIV const qn_sample_picker *p, int n,
                       float shift)
{
    qn_sample_picked last;
    qn_sample_pick(&last, p, 0, (ulong)n, 0);
    qn_sample_range r; // from the first bin up to what was picked
    r.low = 0;
    r.high = last.element;
    r.from = r.is_near = 0;
    r.n_in_bin = (int)p->counts[qn_sample_bin_of(p->counts, (ulong)n) + 1];
    qn_sample_collect(p, &r, 0, n);
    for (int i = p->tid; i < n; i += QN_GPU_THREADS) {
        ulong e = p->elements[i];
        int rank = 0, id = (int)(uint)e;
        for (int j = 0; j < n; j++)
            rank += p->elements[j] < e;
        to->top_id[rank] = id;
        to->top_logprob[rank] = p->v[id] - shift;
    }
}

SAMPLE_KERNEL(sample_finish)
{
    SHARED(ulong, before_n, QN_SAMPLE_BINS + 1);
    SHARED(ulong, before_mass, QN_SAMPLE_BINS + 1);
    SHARED(ATOMIC_UINT, digits, 4 * QN_SAMPLE_DIGITS);
    SHARED(ulong, elements, QN_SAMPLE_ROOM);
    SHARED(ulong, weights, QN_SAMPLE_FEW);
    SHARED(float, near_values, QN_SAMPLE_NEAR);
    SHARED(int, near_ids, QN_SAMPLE_NEAR);
    SHARED(ulong, found, QN_SAMPLE_FOUND);
    SHARED(ulong, sums, QN_GPU_SIMDS);
    if (TG_Y >= counts->n_outputs) return;
    qn_sample_row r;
    SAMPLE_ROW(&r, TG_Y);
    GLOBAL qn_step_result *to = results + TG_Y;
    int works = qn_sample_works(&r, TG_Z), token = -1, n_top = 0;
    float logprob = 0.0f;
    qn_sample_stats s;
    s.is_bad = 1;
    if (r.kind != QN_OUTPUT_LOGITS) qn_sample_stats_of(&s, &r, LANE);
    qn_sample_picker p;
    p.v = qn_sample_values_of(&r, TG_Z);
    p.ids = r.ids + TG_Z * r.n_vocab;
    p.counts = before_n;
    p.masses = before_mass;
    p.digits = digits;
    p.elements = elements;
    p.weights = weights;
    p.near_values = near_values;
    p.near_ids = near_ids;
    p.found = found;
    p.sums = sums;
    p.max = s.is_bad || TG_Z ? 0.0f : s.best_value;
    p.temperature = r.p->temperature;
    p.weigh = TG_Z == 0;
    p.tid = TID;
    p.lane = LANE;
    p.sg = SG;
    if (works && !s.is_bad && (TG_Z == 1 || qn_sample_is_filtered(&r)))
        qn_sample_load_bins(r.work + TG_Z * QN_SAMPLE_JOB_WORDS, p.weigh, before_n, before_mass,
                            sums, TID, LANE, SG);
    if (TG_Z == 0) {
        if (r.kind == QN_OUTPUT_SAMPLE && !s.is_bad) {
            token = qn_sample_choose(&r, &p, s.best);
            logprob = r.logits[token] - s.log_sum;
        }
        if (TID != 0) return;
        to->token = token;
        to->logprob = logprob;
        to->reserved = 0;
        if (token >= 0 && r.position + 1 < a.max_context) r.tokens[r.position + 1] = token;
        return;
    }
    if (works && !s.is_bad && r.work[QN_SAMPLE_BAD_AT] == 0)
        n_top = qn_sample_n_top(&r, before_n[QN_SAMPLE_BINS]);
    if (n_top > 0) qn_sample_list(to, &p, n_top, r.kind == QN_OUTPUT_TOP ? 0.0f : s.log_sum);
    for (int i = n_top + TID; i < QN_TOP_MAX; i += QN_GPU_THREADS) {
        to->top_id[i] = 0;
        to->top_logprob[i] = 0.0f;
    }
    if (TID == 0) to->n_top = n_top;
}

#endif
