// The speed model: when would a request finish here? From the engine's own measured rates, kept current by it.
#include "fleet/internal.h"

qn_fleet_view qn_fleet_look(const quern_model *m)
{
    qn_fleet_view view;
    quern_model_get_info(m, &view.info);
    quern_model_get_stats(m, &view.stats);
    return view;
}

// Milliseconds of a decode step of n_rows rows: the measured class at or above it; a larger batch than any measured takes as
// long as the largest measured (decode is bound by reading the weights).
static double step_ms(const quern_model_stats *s, int n_rows)
{
    double best = 0;
    for (int i = 0; i < QUERN_BATCH_CLASSES; i++) {
        if (s->decode_step_ms[i] <= 0) continue;
        best = s->decode_step_ms[i];
        if (1 << i >= n_rows) break;
    }
    return best;
}

double qn_fleet_predict_ms(const qn_fleet_view *view, int n_prompt, int n_output)
{
    const quern_model_stats *s = &view->stats;
    int n_before = s->running + s->waiting, max_batch = view->info.max_batch;
    int n_batch = n_before + 1 < max_batch ? n_before + 1 : max_batch;
    double one_step_ms = step_ms(s, n_batch), queue_ms = 0, prompt_ms = 0;
    if (n_before >= max_batch && max_batch > 0)
        queue_ms = (double)s->queued_tokens * one_step_ms / max_batch;
    if (s->prefill_tokens_per_second > 0) prompt_ms = n_prompt / s->prefill_tokens_per_second * 1e3;
    return queue_ms + prompt_ms + n_output * one_step_ms;
}
