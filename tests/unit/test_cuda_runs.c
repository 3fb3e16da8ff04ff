// backend/cuda/runs.h: every step of a product is somebody's, once, in order, and shared as ring.cuh relies on.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/cuda/runs.h"

enum { WARPS = QN_CUDA_RESIDENT_WARPS, STEPS = QN_CUDA_PART / QN_CUDA_STEP, MOST_GROUPS = 132 };

static uint32_t seed = 1;
static int roll(int n)
{
    seed = seed * 1664525u + 1013904223u;
    return (int)((seed >> 8) % (uint32_t)n);
}

// Steps before a place of a run.
static int64_t steps_before(const qn_cuda_stream *s, int strip, int at)
{
    int part = at >> 8, each = part < s->n_full ? STEPS : s->rest_steps;
    if (part > s->n_full) return (int64_t)s->n_strips * (s->n_full * STEPS + s->rest_steps);
    return (int64_t)part * STEPS * s->n_strips + (int64_t)strip * each + (at & 255);
}

// A place is written one way: the device compares them.
static void assert_place(const qn_cuda_stream *s, int strip, int at)
{
    int part = at >> 8, step = at & 255, steps = part < s->n_full ? STEPS : s->rest_steps;
    assert_true(strip >= 0 && strip < s->n_strips && part >= 0);
    assert_true(steps > 0 && part <= s->n_full ? step < steps : strip == 0 && step == 0);
}

// group_steps: steps of blocks that are decoded together.
static void assert_shared(const qn_cuda_stream *s, int group_steps, int grain, int n_groups)
{
    static qn_cuda_run runs[MOST_GROUPS * WARPS];
    int64_t all = (int64_t)s->n_strips * (s->n_full * STEPS + s->rest_steps), at = 0;
    qn_cuda_make_runs(s, grain, n_groups, runs);
    for (int group = 0; group < n_groups; group++) {
        const qn_cuda_run *last = &runs[group * WARPS + WARPS - 1];
        int64_t begin = at, end = steps_before(s, last->strip_end, last->at_end);
        int64_t least = all, most = 0;
        int idle = 0;
        for (int i = 0; i < WARPS; i++) {
            const qn_cuda_run *r = &runs[group * WARPS + i];
            int64_t from = steps_before(s, r->strip, r->at),
                    to = steps_before(s, r->strip_end, r->at_end), n = to - from;
            assert_true(from == at && n >= 0 && (n % grain == 0 || to == end));
            assert_int_equal((r->at & 255) % group_steps, 0);
            assert_place(s, r->strip, r->at);
            assert_place(s, r->strip_end, r->at_end);
            if (i > 0) assert_true(r->strip == r[-1].strip_end && r->at == r[-1].at_end);
            assert_true(n == 0 || !idle); // who goes on with a unit is the next warp
            idle = n == 0;
            if (n < least) least = n;
            if (n > most) most = n;
            at = to;
        }
        assert_true(most - least < 2 * grain);             // the last has what is left
        assert_int_equal(runs[group * WARPS].at & 255, 0); // a group begins with a whole unit,
        assert_int_equal(last->at_end & 255, 0);           // and ends with one
        int64_t share = all / n_groups;
        assert_true(at - begin >= share - STEPS && at - begin <= share + STEPS + 1);
    }
    assert_true(at == all);
}

static void all_steps_are_shared_evenly_and_in_order(void **state)
{
    (void)state;
    static const int FORMS[][2] = {{8, 8}, {16, 16}, {8, 32}};
    for (int i = 0; i < 3000; i++) {
        const int *form = FORMS[i % 3];
        int k = (roll(200) + 1) * form[0];
        qn_cuda_stream s = {
            .n_strips = roll(400) + 1, .n_full = k / STEPS, .rest_steps = k % STEPS};
        assert_shared(&s, form[0], form[1], roll(MOST_GROUPS) + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_steps_are_shared_evenly_and_in_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
