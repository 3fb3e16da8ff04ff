// sample: turns each output row's logits into its result (step.h: qn_output_kind, qn_slot_params, qn_step_result).
// The history of a row at position p is tokens[slot][0 … p]; those from n_prompt on are output.
//   log-probabilities (reported): log_softmax(logits), before everything else.
//   penalties: repetition (HF RepetitionPenaltyLogitsProcessor: l < 0 ? l·r : l/r, once for each distinct token of the whole
//     history), frequency and presence (OpenAI: − count·f − (count > 0)·q, output only); EOS ids −inf while
//     p + 1 − n_prompt < min_tokens. SAMPLE applies them to logits, TOP to log_softmax(logits).
//   SAMPLE greedy: argmax, ties to the lower id. Else temperature, top-k, top-p (the smallest set of most probable tokens
//     whose sum reaches top_p, at least one), min-p (p ≥ min_p · max p), and one draw u ∈ [0, 1) from Philox4x32-10, key = seed,
//     counter = position: the first token, most probable first and ties by lower id (by id where no filter is on), whose
//     cumulative probability exceeds u · total. The token is appended: tokens[slot][position + 1].
//   TOP: the n_top best of the penalised log-probabilities.
// Order: sums run over ids ascending in 16 lanes as in matmul.h; the logits row is worked on by one thread. NaN logits: token -1.
#ifndef QN_BACKEND_OPS_SAMPLE_H
#define QN_BACKEND_OPS_SAMPLE_H
#include "backend/plan.h"

typedef struct {
    qn_tensor logits; // F32 [max_outputs, n_vocab]; unchanged
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
