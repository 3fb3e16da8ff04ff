// See runs.h.
#include "backend/cuda/runs.h"

#include <stdint.h>

enum { STEPS = QN_CUDA_PART / QN_CUDA_STEP, WARPS = QN_CUDA_RESIDENT_WARPS };

// Steps of the product before a unit, counted in their order.
static int64_t steps_before(const qn_cuda_stream *s, int unit)
{
    int n_full = s->n_full * s->n_strips, rest = unit > n_full ? unit - n_full : 0;
    return (int64_t)(unit - rest) * STEPS + (int64_t)rest * s->rest_steps;
}

// The unit of step `step`, and which of the unit's it is.
static int unit_of(const qn_cuda_stream *s, int64_t step, int *in_unit)
{
    int n_full = s->n_full * s->n_strips;
    int64_t rest = step - (int64_t)n_full * STEPS;
    int size = rest >= 0 && s->rest_steps ? s->rest_steps : STEPS;
    if (rest >= 0) step = rest;
    *in_unit = (int)(step % size);
    return (rest >= 0 ? n_full : 0) + (int)(step / size);
}

// First unit of a group: its share of the steps, as all others', from the first unit that begins in it.
static int first_unit(const qn_cuda_stream *s, int group, int n_groups)
{
    int n_units = (s->n_full + (s->rest_steps > 0)) * s->n_strips, in_unit;
    int unit = unit_of(s, steps_before(s, n_units) * group / n_groups, &in_unit);
    return unit + (in_unit > 0);
}

// Where share i of a group's begins, as a run does: its strip, and QN_CUDA_RUN_AT.
static void share_begin(const qn_cuda_stream *s, int grain, int first, int end, int i, int *strip,
                        int *at)
{
    int64_t from = steps_before(s, first), n = (steps_before(s, end) - from + grain - 1) / grain;
    int64_t before = i * (n > WARPS ? n : WARPS) / WARPS;
    int in_unit = 0, unit = before < n ? unit_of(s, from + before * grain, &in_unit) : end;
    *strip = unit % s->n_strips;
    *at = QN_CUDA_RUN_AT(unit / s->n_strips, in_unit);
}

void qn_cuda_make_runs(const qn_cuda_stream *s, int grain, int n_groups, qn_cuda_run *runs)
{
    for (int group = 0; group < n_groups; group++) {
        int first = first_unit(s, group, n_groups), end = first_unit(s, group + 1, n_groups);
        for (int i = 0; i < WARPS; i++, runs++) {
            share_begin(s, grain, first, end, i, &runs->strip, &runs->at);
            share_begin(s, grain, first, end, i + 1, &runs->strip_end, &runs->at_end);
        }
    }
}
