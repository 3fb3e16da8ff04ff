// backend/cuda/shares.h: every unit of a product is some group's, once, in order, and its slots of the ring hold all of its steps.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/cuda/shares.h"

enum { STEPS = QN_CUDA_PART / QN_CUDA_STEP, MOST_GROUPS = 132 };

static uint32_t seed = 1;
static int roll(int n)
{
    seed = seed * 1664525u + 1013904223u;
    return (int)((seed >> 8) % (uint32_t)n);
}

static int part_steps(const qn_cuda_stream *s, int part)
{
    return part < s->n_full ? STEPS : s->rest_steps;
}

static int slots_of(const qn_cuda_stream *s, int strip, int part)
{
    int m = 0;
    while (strip >= s->strips[m])
        strip -= s->strips[m++];
    return part < s->n_full ? s->slots[m] : s->rest_slots[m];
}

static void assert_cut(const qn_cuda_stream *s)
{
    for (int m = 0; m < QN_CUDA_MAX_PARTS; m++) {
        int each = s->slot_steps[m];
        if (s->strips[m] == 0) { // what is not there is as the first
            assert_true(each == s->slot_steps[0] && s->slots[m] == s->slots[0] &&
                        s->rest_slots[m] == s->rest_slots[0]);
            continue;
        }
        assert_int_equal(each, QN_CUDA_SLOT_STEPS(s->step_bytes[m]));
        assert_true(s->slots[m] * each >= STEPS && (s->slots[m] - 1) * each < STEPS);
        assert_true(s->rest_slots[m] * each >= s->rest_steps &&
                    (s->rest_slots[m] - 1) * each < s->rest_steps);
    }
}

static void assert_shared(const qn_cuda_stream *s, int n_groups)
{
    static qn_cuda_share shares[MOST_GROUPS];
    int64_t all = (int64_t)s->n_strips * (s->n_full * STEPS + s->rest_steps);
    int strip = 0, part = 0, n_parts = s->n_full + (s->rest_steps > 0);
    qn_cuda_make_shares(s, n_groups, shares);
    for (int group = 0; group < n_groups; group++) {
        const qn_cuda_share *share = &shares[group];
        int64_t n_steps = 0;
        int n_slots = 0;
        if (share->n_units > 0) assert_true(share->strip == strip && share->part == part);
        for (int i = 0; i < share->n_units; i++) {
            assert_true(part < n_parts);
            n_steps += part_steps(s, part);
            n_slots += slots_of(s, strip, part);
            if (++strip == s->n_strips) strip = 0, part++;
        }
        assert_int_equal(share->n_slots, n_slots);
        assert_true(n_steps > all / n_groups - STEPS && n_steps <= all / n_groups + STEPS);
    }
    assert_true(strip == 0 && part == n_parts);
}

static void all_units_are_shared_evenly_and_in_order(void **state)
{
    (void)state;
    static const int STEP_BYTES[] = {512, 272, 144, 160, 84, 210, 168, 192};
    for (int i = 0; i < 3000; i++) {
        int k = (roll(200) + 1) * 8, n_matrices = roll(QN_CUDA_MAX_PARTS) + 1;
        qn_cuda_stream s = {.n_full = k / STEPS, .rest_steps = k % STEPS};
        for (int m = 0; m < n_matrices; m++) {
            s.strips[m] = roll(200) + 1;
            s.n_strips += s.strips[m];
            s.step_bytes[m] = STEP_BYTES[roll(8)];
        }
        qn_cuda_cut_units(&s);
        assert_cut(&s);
        assert_shared(&s, roll(MOST_GROUPS) + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_units_are_shared_evenly_and_in_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
