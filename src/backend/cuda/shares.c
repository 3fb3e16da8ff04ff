// See shares.h.
#include "backend/cuda/shares.h"

#include <stdint.h>

enum { STEPS = QN_CUDA_PART / QN_CUDA_STEP };

static int round_up(int n, int by)
{
    return (n + by - 1) / by;
}

void qn_cuda_cut_units(qn_cuda_stream *s)
{
    for (int i = 0; i < QN_CUDA_MAX_PARTS; i++) {
        int step_bytes = s->step_bytes[s->strips[i] ? i : 0];
        s->slot_steps[i] = QN_CUDA_SLOT_STEPS(step_bytes);
        s->slots[i] = round_up(STEPS, s->slot_steps[i]);
        s->rest_slots[i] = round_up(s->rest_steps, s->slot_steps[i]);
    }
}

static int n_units(const qn_cuda_stream *s)
{
    return (s->n_full + (s->rest_steps > 0)) * s->n_strips;
}

// Steps of the product before a unit, counted in their order.
static int64_t steps_before(const qn_cuda_stream *s, int unit)
{
    int n_full = s->n_full * s->n_strips, rest = unit > n_full ? unit - n_full : 0;
    return (int64_t)(unit - rest) * STEPS + (int64_t)rest * s->rest_steps;
}

// The first unit that begins at a step or behind it.
static int unit_from(const qn_cuda_stream *s, int64_t step)
{
    int n_full = s->n_full * s->n_strips;
    int64_t rest = step - (int64_t)n_full * STEPS;
    if (rest <= 0 || s->rest_steps == 0) return (int)((step + STEPS - 1) / STEPS);
    return n_full + (int)((rest + s->rest_steps - 1) / s->rest_steps);
}

static int slots_of(const qn_cuda_stream *s, int unit)
{
    int strip = unit % s->n_strips, m = 0;
    while (m + 1 < QN_CUDA_MAX_PARTS && s->strips[m + 1] && strip >= s->strips[m])
        strip -= s->strips[m++];
    return unit / s->n_strips < s->n_full ? s->slots[m] : s->rest_slots[m];
}

void qn_cuda_make_shares(const qn_cuda_stream *s, int n_groups, qn_cuda_share *shares)
{
    int64_t all = steps_before(s, n_units(s));
    for (int group = 0; group < n_groups; group++) {
        int first = unit_from(s, all * group / n_groups);
        int end = unit_from(s, all * (group + 1) / n_groups);
        shares[group] = (qn_cuda_share){
            .strip = first % s->n_strips, .part = first / s->n_strips, .n_units = end - first};
        for (int unit = first; unit < end; unit++)
            shares[group].n_slots += slots_of(s, unit);
    }
}
