// What sampling does with one row; see sampling.h and ops/sample.h.
// The scratch, in parts of n_vocab: [0] penalised values · [1] ids, sorted · [2] counts of tokens, then weights by id · [3] room to
// sort in, then the weights in the list's order.
#include "backend/cpu/sampling.h"

#include <math.h>
#include <string.h>

#include "backend/cpu/scalar.h"
#include "backend/philox.h"

enum { PIECE = 256 };

// ---- loops over a vocabulary in plain C ----

static float scalar_max(const float *v, int n)
{
    float max = -INFINITY;
    for (int i = 0; i < n; i++) {
        if (v[i] != v[i]) return v[i];
        max = qn_scalar_max(v[i], max);
    }
    return max;
}

static float scalar_sum_exp(const float *v, int n, float max)
{
    float lanes[QN_CPU_LANES] = {0};
    for (int i = 0; i < n; i++)
        lanes[i % QN_CPU_LANES] += qn_scalar_exp(v[i] - max);
    return qn_scalar_tree(lanes);
}

static void scalar_weights(float *e, const float *v, int n, float max, float temperature)
{
    for (int i = 0; i < n; i++)
        e[i] = qn_scalar_exp((v[i] - max) / temperature);
}

static float scalar_sum(const float *e, int n)
{
    float lanes[QN_CPU_LANES] = {0};
    for (int i = 0; i < n; i++)
        lanes[i % QN_CPU_LANES] += e[i];
    return qn_scalar_tree(lanes);
}

const qn_sampling_math qn_sampling_scalar = {scalar_max, scalar_sum_exp, scalar_weights,
                                             scalar_sum};

// ---- penalties ----

static int counts_output(const qn_slot_params *p)
{
    return p->frequency_penalty != 0 || p->presence_penalty != 0;
}

// The repetition penalty, once for each distinct token of the history. `seen` is zero outside and left so.
static void penalise_repetition(const qn_sampling_row *row, float *v, int32_t *seen)
{
    float penalty = row->params->repetition_penalty;
    for (int i = 0; i <= row->position; i++) {
        int32_t t = row->tokens[i];
        if (t < 0 || t >= row->n_vocab || seen[t]) continue;
        seen[t] = 1;
        v[t] = v[t] < 0 ? v[t] * penalty : v[t] / penalty;
    }
    for (int i = 0; i <= row->position; i++)
        if (row->tokens[i] >= 0 && row->tokens[i] < row->n_vocab) seen[row->tokens[i]] = 0;
}

static void penalise_output(const qn_sampling_row *row, float *v, int32_t *count)
{
    const qn_slot_params *p = row->params;
    int first = p->n_prompt > 0 ? p->n_prompt : 0;
    for (int i = first; i <= row->position; i++)
        if (row->tokens[i] >= 0 && row->tokens[i] < row->n_vocab) count[row->tokens[i]]++;
    for (int i = first; i <= row->position; i++) {
        int32_t t = row->tokens[i];
        if (t < 0 || t >= row->n_vocab || !count[t]) continue;
        v[t] = v[t] - (float)count[t] * p->frequency_penalty - p->presence_penalty;
        count[t] = 0;
    }
}

void qn_sampling_penalise(const qn_sampling_row *row, float shift)
{
    const qn_slot_params *p = row->params;
    float *v = row->scratch;
    int32_t *counts = (int32_t *)(row->scratch + 2 * (size_t)row->n_vocab);
    for (int i = 0; i < row->n_vocab; i++)
        v[i] = row->logits[i] - shift;
    if (p->repetition_penalty != 1 || counts_output(p))
        memset(counts, 0, (size_t)row->n_vocab * sizeof *counts);
    if (p->repetition_penalty != 1) penalise_repetition(row, v, counts);
    if (counts_output(p)) penalise_output(row, v, counts);
    if (row->position + 1 - p->n_prompt >= p->min_tokens) return;
    for (int i = 0; i < p->n_eos && i < QN_MAX_EOS; i++)
        if (p->eos[i] >= 0 && p->eos[i] < row->n_vocab) v[p->eos[i]] = -INFINITY;
}

// ---- the list ----

// The sum of the list up to and including element i is the first that reaches the target: returns i, or n − 1 where none does.
static int find(const qn_sampling_math *math, const float *weights, int n, float target, int exceed)
{
    float before = 0;
    for (int start = 0; start < n; start += PIECE) {
        int length = n - start < PIECE ? n - start : PIECE;
        float after = before + math->sum(weights + start, length);
        if (start + length == n || (exceed ? after > target : after >= target)) {
            for (int i = start; i < start + length; i++) {
                before += weights[i];
                if (exceed ? before > target : before >= target) return i;
            }
            return start + length - 1;
        }
        before = after;
    }
    return n - 1;
}

static float sum_list(const qn_sampling_math *math, const float *weights, int n)
{
    float total = 0;
    for (int start = 0; start < n; start += PIECE)
        total += math->sum(weights + start, n - start < PIECE ? n - start : PIECE);
    return total;
}

static int cut_top_k(const float *v, const int32_t *ids, int n, int k)
{
    if (k >= n) return n;
    while (k < n && v[ids[k]] == v[ids[k - 1]])
        k++;
    return k;
}

static int cut_min_p(const float *weights, int n, float min_p)
{
    int kept = 1;
    while (kept < n && weights[kept] >= min_p)
        kept++;
    return kept;
}

void qn_sampling_make_list(const qn_sampling_kit *kit, const qn_sampling_row *row, float max,
                           qn_sampling_list *out)
{
    const qn_slot_params *p = row->params;
    const qn_sampling_math *math = kit->math;
    size_t n_vocab = (size_t)row->n_vocab;
    float *v = row->scratch, *weights = v + 2 * n_vocab, *sorted = v + 3 * n_vocab;
    int32_t *ids = (int32_t *)(v + n_vocab);
    int by_count = p->top_k > 0 && p->top_k < row->n_vocab;
    math->weights(weights, v, row->n_vocab, max, p->temperature);
    *out = (qn_sampling_list){row->n_vocab, NULL, weights, sum_list(math, weights, row->n_vocab)};
    if (!by_count && p->top_p >= 1 && p->min_p <= 0) return;

    qn_sampling_need need = {.n_vocab = row->n_vocab,
                             .v = v,
                             .weights = weights,
                             .max = max,
                             .temperature = p->temperature,
                             .total = out->total};
    if (by_count)
        need.count = p->top_k;
    else
        need.mass = p->top_p < 1 ? p->top_p : 0, need.min_weight = p->min_p > 0 ? p->min_p : 0;
    int n = kit->order(&need, ids, (int32_t *)sorted);
    if (by_count) n = cut_top_k(v, ids, n, p->top_k);
    for (int i = 0; i < n; i++)
        sorted[i] = weights[ids[i]];
    if (p->top_p < 1) {
        float total = by_count ? sum_list(math, sorted, n) : out->total;
        n = find(math, sorted, n, p->top_p * total, 0) + 1;
    }
    if (p->min_p > 0) n = cut_min_p(sorted, n, p->min_p);
    *out = (qn_sampling_list){n, ids, sorted, sum_list(math, sorted, n)};
}

int qn_sampling_draw(const qn_sampling_kit *kit, const qn_sampling_list *list, float u)
{
    int i = find(kit->math, list->weights, list->n, u * list->total, 1);
    while (i > 0 && list->weights[i] == 0)
        i--; // only rounding ends on a token that cannot be
    return list->ids ? list->ids[i] : i;
}

// ---- a row's result ----

static int argmax(const float *v, int n, float max)
{
    int i = 0;
    while (i < n - 1 && v[i] != max)
        i++;
    return i;
}

// The n_top best of v (less shift) into the result. The scratch from its second part on is free to use.
static void report_top(const qn_sampling_kit *kit, const qn_sampling_row *row, const float *v,
                       float max, float shift, int n_top, qn_step_result *out)
{
    int32_t *ids = (int32_t *)(row->scratch + row->n_vocab);
    if (n_top > QN_TOP_MAX) n_top = QN_TOP_MAX;
    if (n_top > row->n_vocab) n_top = row->n_vocab;
    if (n_top <= 0) return;
    qn_sampling_need need = {
        .n_vocab = row->n_vocab, .v = v, .max = max, .temperature = 1, .count = n_top};
    int n = kit->order(&need, ids, ids + row->n_vocab);
    if (n > n_top) n = n_top;
    while (n > 0 && v[ids[n - 1]] == -INFINITY)
        n--;
    out->n_top = n;
    for (int i = 0; i < n; i++) {
        out->top_id[i] = ids[i];
        out->top_logprob[i] = v[ids[i]] - shift;
    }
}

static int choose(const qn_sampling_kit *kit, const qn_sampling_row *row)
{
    const qn_slot_params *p = row->params;
    qn_sampling_penalise(row, 0);
    float max = kit->math->max(row->scratch, row->n_vocab);
    if (!isfinite(max)) return -1;
    if (p->greedy || !(p->temperature > 0)) return argmax(row->scratch, row->n_vocab, max);
    qn_sampling_list list;
    qn_sampling_make_list(kit, row, max, &list);
    float u = qn_philox_uniform(p->seed_low, p->seed_high, (uint32_t)row->position);
    return qn_sampling_draw(kit, &list, u);
}

static void sample_row(const qn_sampling_kit *kit, const qn_sampling_row *row, const qn_output *o,
                       qn_step_result *out)
{
    *out = (qn_step_result){.token = -1};
    if (o->kind == QN_OUTPUT_LOGITS) return;
    float max = kit->math->max(row->logits, row->n_vocab);
    if (!isfinite(max)) return;
    float sum = kit->math->sum_exp(row->logits, row->n_vocab, max);
    float log_sum = max + (float)log((double)sum);
    if (o->kind == QN_OUTPUT_TOP) {
        qn_sampling_penalise(row, log_sum);
        float best = kit->math->max(row->scratch, row->n_vocab);
        if (isfinite(best)) report_top(kit, row, row->scratch, best, 0, o->n_top, out);
        return;
    }
    out->token = choose(kit, row);
    if (out->token < 0) return;
    out->logprob = row->logits[out->token] - log_sum;
    report_top(kit, row, row->logits, max, log_sum, o->n_top, out);
}

void qn_sampling_run(const qn_sample_args *a, const qn_cpu_task *task, const qn_sampling_kit *kit)
{
    int n_vocab = (int)a->logits.dim[1], max_context = a->slots.max_context;
    for (int i; (i = (int)qn_cpu_take(task)) < a->counts->n_outputs;) {
        qn_row r = a->rows[a->outputs[i].row];
        int32_t *tokens = a->slots.tokens + (size_t)r.slot * (size_t)max_context;
        qn_sampling_row row = {qn_cpu_row(&a->logits, i),
                               qn_cpu_row(&a->scratch, i),
                               n_vocab,
                               r.position,
                               &a->slots.params[r.slot],
                               tokens};
        sample_row(kit, &row, &a->outputs[i], &a->results[i]);
        if (a->results[i].token >= 0 && r.position + 1 < max_context)
            tokens[r.position + 1] = a->results[i].token;
    }
}
