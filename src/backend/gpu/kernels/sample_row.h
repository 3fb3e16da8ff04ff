// A row to sample from, as the four kernels of sample.h share it: where its parts lie, what is known of its segments and of all of
// it, and what its filters keep.
#ifndef QN_BACKEND_GPU_KERNELS_SAMPLE_ROW_H
#define QN_BACKEND_GPU_KERNELS_SAMPLE_ROW_H
#include "backend/gpu/kernels/sample_pick.h"
#include "backend/gpu/kernels/sample_values.h"

// An output's words: a histogram a job (counts, three limbs of masses, cursors), the segments' words.
#define QN_SAMPLE_LIMBS_AT QN_SAMPLE_BINS
#define QN_SAMPLE_CURSORS_AT (4 * QN_SAMPLE_BINS)
#define QN_SAMPLE_JOB_WORDS (5 * QN_SAMPLE_BINS)
#define QN_SAMPLE_BAD_AT (2 * QN_SAMPLE_JOB_WORDS) // how many penalised log-probabilities are bad
#define QN_SAMPLE_SEGMENTS_AT (2 * QN_SAMPLE_JOB_WORDS + 16)

// A segment's words: extents of logits and of values, Σ exp, its mass, and what min-p keeps of it.
#define QN_SAMPLE_SEGMENT_WORDS 16
#define QN_SAMPLE_SUM_AT 8
#define QN_SAMPLE_MASS_AT 9  // high and low limb
#define QN_SAMPLE_KEPT_AT 11 // how many, high and low limb

typedef struct {
    GLOBAL const float *logits;
    GLOBAL float *values;
    GLOBAL int *ids; // of job 0; those of job 1 lie n_vocab behind
    GLOBAL uint *work;
    GLOBAL int *tokens;
    GLOBAL const qn_slot_params *p;
    int n_vocab, n_segments, position, kind, n_top;
    int penalised; // SAMPLE: values differ from logits
} qn_sample_row;

FN void qn_sample_row_of(PRIV qn_sample_row *r, GLOBAL const float *logits, GLOBAL float *scratch,
                         GLOBAL uint *work, GLOBAL int *tokens, GLOBAL const qn_row *rows,
                         GLOBAL const qn_output *outputs, GLOBAL const qn_slot_params *params,
                         int i, ARGS_OF(qn_gpu_sample_args, a))
{
    int slot = rows[outputs[i].row].slot;
    r->logits = logits + (ulong)i * (ulong)a.n_vocab;
    r->values = scratch + (ulong)i * (ulong)a.scratch_width;
    r->ids = (GLOBAL int *)r->values + a.n_vocab;
    r->work = work + (ulong)i * (ulong)a.work_words;
    r->tokens = tokens + (ulong)slot * (ulong)a.max_context;
    r->p = params + slot;
    r->n_vocab = a.n_vocab;
    r->n_segments = a.n_segments;
    r->position = rows[outputs[i].row].position;
    r->kind = outputs[i].kind;
    r->n_top = outputs[i].n_top;
    r->penalised = qn_sample_penalises(r->p, r->position);
}

FN int qn_sample_is_greedy(GLOBAL const qn_slot_params *p)
{
    return p->greedy != 0 || !(p->temperature > 0.0f);
}
FN int qn_sample_by_count(PRIV const qn_sample_row *r)
{
    return r->p->top_k > 0 && r->p->top_k < r->n_vocab;
}
FN int qn_sample_is_filtered(PRIV const qn_sample_row *r)
{
    return qn_sample_by_count(r) || r->p->top_p < 1.0f || r->p->min_p > 0.0f;
}
// Whether the job has something to do before the last kernel.
FN int qn_sample_works(PRIV const qn_sample_row *r, int job)
{
    if (job == 1) return r->kind != QN_OUTPUT_LOGITS && r->n_top > 0;
    return r->kind == QN_OUTPUT_SAMPLE && !qn_sample_is_greedy(r->p);
}
// Of up to 32 outputs from `first` on, a bit for each that has.
FN uint qn_sample_todo(GLOBAL const qn_output *outputs, GLOBAL const qn_row *rows,
                       GLOBAL const qn_slot_params *params, int first, int each, int n_outputs,
                       int job, int lane)
{
    uint bit = 0;
    if (lane < each && first + lane < n_outputs) {
        qn_sample_row r;
        r.kind = outputs[first + lane].kind;
        r.n_top = outputs[first + lane].n_top;
        r.p = params + rows[outputs[first + lane].row].slot;
        bit = (uint)qn_sample_works(&r, job) << lane;
    }
    return SG_SUM(bit);
}
FN GLOBAL const float *qn_sample_values_of(PRIV const qn_sample_row *r, int job)
{
    if (r->kind == QN_OUTPUT_TOP || (job == 0 && r->penalised)) return r->values;
    return r->logits;
}

// ---- what is known of a segment, then of a row ----

typedef struct {
    uint max, min; // keys of finite values; 0 and ~0 where there is none
    int at;        // the lowest id of max
    uint n_bad;
} qn_sample_extent;

// Over the group's numbers; x[j] is token first + 256 j, those from n on are not there. The same in all threads.
FN void qn_sample_extent_of(PRIV qn_sample_extent *e, PRIV const float *x, int first, int n,
                            LOCAL uint *part, int lane, int sg)
{
    uint max = 0, min = 0xffffffffu, n_bad = 0;
    int at = QN_SAMPLE_NONE;
    for (int j = 0; j < QN_SAMPLE_EACH; j++) {
        uint key = qn_sample_key(x[j]);
        if (first + j * QN_GPU_THREADS >= n) continue;
        if (qn_sample_is_bad(key)) n_bad++;
        if (!qn_sample_is_finite(key)) continue;
        if (key > max) max = key, at = first + j * QN_GPU_THREADS;
        min = key < min ? key : min;
    }
    e->max = SG_MAX(max);
    e->at = SG_MIN(max == e->max ? at : QN_SAMPLE_NONE);
    e->min = SG_MIN(min);
    e->n_bad = SG_SUM(n_bad);
    BARRIER();
    if (lane == 0) {
        part[4 * sg] = e->max;
        part[4 * sg + 1] = e->min;
        part[4 * sg + 2] = (uint)e->at;
        part[4 * sg + 3] = e->n_bad;
    }
    BARRIER();
    e->max = 0, e->min = 0xffffffffu, e->n_bad = 0, e->at = QN_SAMPLE_NONE;
    for (int i = 0; i < QN_GPU_SIMDS; i++) {
        if (part[4 * i] > e->max || (part[4 * i] == e->max && (int)part[4 * i + 2] < e->at)) {
            e->max = part[4 * i];
            e->at = (int)part[4 * i + 2];
        }
        e->min = part[4 * i + 1] < e->min ? part[4 * i + 1] : e->min;
        e->n_bad += part[4 * i + 3];
    }
}

// Σ exp(x − max) over the group's finite numbers: a thread's own in order, then simd_sum, then the simdgroups in order.
FN float qn_sample_sum_exp(PRIV const float *x, int first, int n, float max, LOCAL uint *part,
                           int lane, int sg)
{
    float sum = 0.0f;
    for (int j = 0; j < QN_SAMPLE_EACH; j++)
        if (first + j * QN_GPU_THREADS < n && qn_sample_is_finite(qn_sample_key(x[j])))
            sum += EXP(x[j] - max);
    sum = SG_SUM(sum);
    BARRIER();
    if (lane == 0) part[sg] = AS_UINT(sum);
    BARRIER();
    sum = 0.0f;
    for (int i = 0; i < QN_GPU_SIMDS; i++)
        sum += AS_FLOAT(part[i]);
    return sum;
}

FN void qn_sample_write_extent(GLOBAL uint *to, PRIV const qn_sample_extent *e)
{
    to[0] = e->max;
    to[1] = e->min;
    to[2] = (uint)e->at;
    to[3] = e->n_bad;
}

// Joins the extents of the segments that this lane saw with those of the others.
FN void qn_sample_join(PRIV qn_sample_extent *e)
{
    uint max = SG_MAX(e->max);
    e->at = SG_MIN(e->max == max ? e->at : QN_SAMPLE_NONE);
    e->max = max;
    e->min = SG_MIN(e->min);
    e->n_bad = SG_SUM(e->n_bad);
}
// A further segment; they come in order.
FN void qn_sample_add_extent(PRIV qn_sample_extent *e, GLOBAL const uint *segment)
{
    uint max = segment[0], min = segment[1];
    if (max > e->max) e->max = max, e->at = (int)segment[2];
    e->min = min < e->min ? min : e->min;
    e->n_bad += segment[3];
}

typedef struct {
    float max, min;          // finite logits: the largest and the least
    float best_value, least; // SAMPLE: finite values
    int best;                // SAMPLE: the lowest id of best_value
    float log_sum;           // max + log Σ exp(l − max)
    int is_bad;              // nothing can be said of the row
} qn_sample_stats;

// Whole simdgroups come here; the same in all threads. A lane takes every 32nd segment.
FN void qn_sample_stats_of(PRIV qn_sample_stats *s, PRIV const qn_sample_row *r, int lane)
{
    qn_sample_extent l, v;
    l.max = v.max = l.n_bad = v.n_bad = 0;
    l.min = v.min = 0xffffffffu;
    l.at = v.at = QN_SAMPLE_NONE;
    float sum = 0.0f; // relative to the lane's largest
    for (int i = lane; i < r->n_segments; i += 32) {
        GLOBAL const uint *w = r->work + QN_SAMPLE_SEGMENTS_AT + i * QN_SAMPLE_SEGMENT_WORDS;
        uint before = l.max;
        qn_sample_add_extent(&l, w);
        if (r->kind == QN_OUTPUT_SAMPLE) qn_sample_add_extent(&v, w + 4);
        if (w[0] == 0) continue; // nothing finite
        float max = qn_sample_number(l.max);
        sum = before ? sum * EXP(qn_sample_number(before) - max) : 0.0f;
        sum += AS_FLOAT(w[QN_SAMPLE_SUM_AT]) * EXP(qn_sample_number(w[0]) - max);
    }
    float lane_max = l.max ? qn_sample_number(l.max) : 0.0f;
    int has_any = l.max != 0;
    qn_sample_join(&l);
    qn_sample_join(&v);
    s->is_bad = l.n_bad > 0 || l.max == 0;
    s->max = l.max ? qn_sample_number(l.max) : 0.0f;
    s->min = l.max ? qn_sample_number(l.min) : 0.0f;
    s->log_sum = s->max + LOG(SG_SUM(has_any ? sum * EXP(lane_max - s->max) : 0.0f));
    if (r->kind == QN_OUTPUT_SAMPLE && (v.n_bad > 0 || v.max == 0)) s->is_bad = 1;
    s->best = v.at;
    s->best_value = v.max ? qn_sample_number(v.max) : 0.0f;
    s->least = v.max ? qn_sample_number(v.min) : 0.0f;
}

FN void qn_sample_load(PRIV float *x, GLOBAL const float *v, int first, int n)
{
    for (int j = 0; j < QN_SAMPLE_EACH; j++) {
        int id = first + j * QN_GPU_THREADS;
        x[j] = id < n ? v[id] : 0.0f;
    }
}

// x, less shift, penalised; also to the row's values.
FN void qn_sample_penalise(PRIV float *x, PRIV const qn_sample_row *r, float shift,
                           LOCAL ATOMIC_UINT *seen, int segment, int tid)
{
    int first = segment * QN_SAMPLE_EACH * QN_GPU_THREADS;
    if (r->penalised) qn_sample_read_history(seen, r->tokens, r->p, r->position, first, tid);
    for (int j = 0; j < QN_SAMPLE_EACH; j++) {
        int at = tid + j * QN_GPU_THREADS;
        x[j] = x[j] - shift;
        if (r->penalised) x[j] = qn_sample_penalised(x[j], ATOMIC_GET(&seen[at]), r->p);
        if (first + at < r->n_vocab) r->values[first + at] = x[j];
    }
}

// ---- bins ----

// The bins of job `job`; all kernels that come here have the same.
FN void qn_sample_binning_of(PRIV qn_sample_binning *b, PRIV const qn_sample_row *r,
                             PRIV const qn_sample_stats *s, int job)
{
    float shift = r->kind == QN_OUTPUT_TOP ? s->log_sum : 0.0f;
    if (job == 0)
        qn_sample_bins_over(b, s->best_value, s->least, r->p->temperature);
    else
        qn_sample_bins_over(b, s->max - shift, s->min - shift, 1.0f);
}

// What lies before each bin of a job, by count and by mass. All threads come here.
FN void qn_sample_load_bins(GLOBAL const uint *job, int weigh, LOCAL ulong *before_n,
                            LOCAL ulong *before_mass, LOCAL ulong *sums, int tid, int lane, int sg)
{
    ulong n[2], mass[2];
    for (int i = 0; i < 2; i++) {
        GLOBAL const uint *bin = job + 2 * tid + i;
        n[i] = (ulong)bin[0];
        mass[i] = 0;
        for (int j = 0; j < 3 && weigh; j++)
            mass[i] += (ulong)bin[QN_SAMPLE_LIMBS_AT + j * QN_SAMPLE_BINS] << (QN_SAMPLE_LIMB * j);
    }
    ulong n_upto = qn_sample_scan(n[0] + n[1], sums, lane, sg);
    ulong mass_upto = qn_sample_scan(mass[0] + mass[1], sums, lane, sg);
    before_n[2 * tid + 1] = n_upto - n[1];
    before_n[2 * tid + 2] = n_upto;
    before_mass[2 * tid + 1] = mass_upto - mass[1];
    before_mass[2 * tid + 2] = mass_upto;
    if (tid == 0) before_n[0] = 0, before_mass[0] = 0;
    BARRIER();
}

FN ulong qn_sample_mass_of(GLOBAL const uint *limbs)
{
    return ((ulong)limbs[0] << QN_SAMPLE_LIMB) + (ulong)limbs[1];
}

// What min-p keeps, of the whole row: count, mass.
typedef struct {
    ulong count, mass;
} qn_sample_kept;
FN void qn_sample_kept_by_min_p(PRIV qn_sample_kept *kept, PRIV const qn_sample_row *r, int lane)
{
    uint count = 0, low = 0, middle = 0, high = 0;
    for (int s = lane; s < r->n_segments; s += 32) {
        GLOBAL const uint *w =
            r->work + QN_SAMPLE_SEGMENTS_AT + s * QN_SAMPLE_SEGMENT_WORDS + QN_SAMPLE_KEPT_AT;
        ulong mass = qn_sample_mass_of(w + 1);
        count += w[0];
        low += (uint)mass & QN_SAMPLE_LIMB_MASK;
        middle += (uint)(mass >> QN_SAMPLE_LIMB) & QN_SAMPLE_LIMB_MASK;
        high += (uint)(mass >> (2 * QN_SAMPLE_LIMB));
    }
    kept->count = (ulong)SG_SUM(count);
    kept->mass = (ulong)SG_SUM(low) + ((ulong)SG_SUM(middle) << QN_SAMPLE_LIMB) +
                 ((ulong)SG_SUM(high) << (2 * QN_SAMPLE_LIMB));
}

FN ulong qn_sample_top_p_target(float top_p, ulong mass)
{
    uint part = top_p > 0.0f ? (uint)(top_p * 16777216.0f) : 0;
    ulong target = qn_sample_part_of(mass, part);
    return target > 0 ? target : 1;
}
FN int qn_sample_n_top(PRIV const qn_sample_row *r, ulong n)
{
    int most = n < QN_TOP_MAX ? (int)n : QN_TOP_MAX;
    return r->n_top < most ? r->n_top : most;
}

// The last bin in which a job picks something: top-k and top-p do so whatever comes after them, min-p never.
FN int qn_sample_last_bin(PRIV const qn_sample_row *r, int job, LOCAL const ulong *before_n,
                          LOCAL const ulong *before_mass, ulong n_by_min_p)
{
    if (job == 1)
        return qn_sample_bin_of(before_n, (ulong)qn_sample_n_top(r, before_n[QN_SAMPLE_BINS]));
    if (qn_sample_by_count(r)) return qn_sample_bin_of(before_n, (ulong)r->p->top_k);
    if (!(r->p->top_p < 1.0f)) return qn_sample_bin_of(before_n, n_by_min_p);
    ulong target = qn_sample_top_p_target(r->p->top_p, before_mass[QN_SAMPLE_BINS]);
    return qn_sample_bin_of(before_mass, target);
}

#endif
