// sample: turns each output row's logits into its result (step.h: qn_output_kind, qn_slot_params, qn_step_result).
// The history of a row at position p is tokens[slot][0 … p]; those from n_prompt on are output.
//   log-probabilities (reported): l − (max + log Σ exp(l − max)), before everything else.
//   penalties: repetition (HF RepetitionPenaltyLogitsProcessor: l < 0 ? l·r : l/r, once for each distinct token of the whole
//     history), frequency and presence (OpenAI: − count·f − q where count > 0, output only); EOS ids −inf while
//     p + 1 − n_prompt < min_tokens. SAMPLE applies them to logits, TOP to the log-probabilities. The result is v.
//   SAMPLE greedy (or temperature ≤ 0): the largest v, ties to the lower id. Else every token weighs exp((v − max v) / temperature);
//     the list is all tokens, by id; where a filter is on, by v, largest first and ties by lower id, and then cut:
//     top-k (v ≥ the k-th largest v: ties stay, as in HF), top-p (the fewest whose sum reaches top_p · the sum of what top-k left, at
//     least one), min-p (up to the first weight below min_p). u ∈ [0, 1) from Philox4x32-10, key = seed, counter = position
//     (philox.h): the first of the list whose running sum exceeds u · total is drawn, and appended: tokens[slot][position + 1].
//   TOP: the n_top best v; those of −inf are left out.
// Order: the row is worked on by one thread. log Σ exp: 16 lanes over ids ascending, as in matmul.h; log in double. A sum over the
// list: pieces of 256, each in 16 lanes from its start, pieces added one after another; the running sum within a piece starts
// from the pieces before it and adds one by one. The sum before top-p without top-k is over the list by id.
// A row with a NaN, without a finite logit or with one of +inf: token −1, n_top 0, nothing appended.
#ifndef QN_BACKEND_OPS_SAMPLE_H
#define QN_BACKEND_OPS_SAMPLE_H
#include "backend/plan.h"

typedef struct {
    qn_tensor logits;  // F32 [max_outputs, n_vocab]; unchanged
    qn_tensor scratch; // F32 [max_outputs, 4 · n_vocab]
    qn_step_result *results;
    const qn_step_counts *counts;
    const qn_row *rows;
    const qn_output *outputs;
    qn_slot_table slots;
} qn_sample_args;

int qn_sample_accesses(const void *args, qn_access *out);

static inline void qn_sample(qn_plan *p, qn_tensor logits, qn_tensor scratch)
{
    qn_sample_args a = {logits,
                        scratch,
                        p->batch.results,
                        p->batch.step.counts,
                        p->batch.step.rows,
                        p->batch.step.outputs,
                        p->batch.slots};
    qn_plan_add(p, QN_OP_SAMPLE, &a);
}

#endif
