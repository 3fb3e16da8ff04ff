// Beam search by hand: what transformers' _beam_search does on cases small enough to follow. The vocabulary is a, b, c … with
// token 9 as EOS unless said otherwise. (Whole searches are compared with transformers' own in tests/golden.)
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <math.h>
#include <string.h>

#include "engine/beam.h"

enum { A, B, C, D, EOS = 9 };

typedef struct {
    int32_t id;
    float logprob;
} choice;

static qn_beam_search start(int n_beams, int max_new, int early, double length_penalty)
{
    qn_beam_search b;
    qn_beam_settings s = {.n_beams = n_beams,
                          .max_new = max_new,
                          .early_stopping = early,
                          .length_penalty = length_penalty,
                          .n_eos = 1,
                          .eos = {EOS}};
    assert_int_equal(qn_beam_init(&b, &s, NULL), QUERN_OK);
    return b;
}

// One step; lists[i] are the choices of live beam i, ended by logprob 0.
static qn_beam_next step(qn_beam_search *b, const choice lists[][6])
{
    static qn_step_result results[QUERN_MAX_BEAMS];
    const qn_step_result *at[QUERN_MAX_BEAMS];
    qn_beam_next next;
    for (int i = 0; i < b->n_live; i++) {
        int n = 0;
        for (; n < 6 && lists[i][n].logprob < 0; n++) {
            results[i].top_id[n] = lists[i][n].id;
            results[i].top_logprob[n] = lists[i][n].logprob;
        }
        results[i].n_top = n;
        at[i] = &results[i];
    }
    assert_int_equal(qn_beam_advance(b, at, &next), QUERN_OK);
    return next;
}

static void assert_ids(const qn_beam_search *b, int i, int n, const int32_t *want)
{
    int32_t ids[32];
    assert_int_equal(b->finished[i].n, n);
    qn_beam_read(b, i, ids);
    assert_memory_equal(ids, want, (size_t)n * sizeof *ids);
}

static void the_best_of_all_continuations_live_on(void **state)
{
    (void)state;
    qn_beam_search b = start(2, 10, QUERN_EARLY_FALSE, 1);
    assert_int_equal(qn_beam_n_top(&b.settings), 4);
    qn_beam_next n = step(&b, (const choice[][6]){{{A, -1}, {B, -2}, {C, -3}, {D, -4}}});
    assert_int_equal(n.n, 2);
    assert_true(n.parent[0] == 0 && n.token[0] == A && n.parent[1] == 0 && n.token[1] == B);
    // Both of the best continue beam 1: beam 0 dies.
    n = step(&b, (const choice[][6]){{{A, -5}, {B, -6}, {C, -7}, {D, -8}},
                                     {{C, -0.5f}, {D, -1}, {A, -2}, {B, -3}}});
    assert_true(n.parent[0] == 1 && n.token[0] == C && n.parent[1] == 1 && n.token[1] == D);
    assert_true(b.sums[0] == -2.5f && b.sums[1] == -3);
    qn_beam_free(&b);
}

static void eos_finishes_only_among_the_best_n_beams(void **state)
{
    (void)state;
    qn_beam_search b = start(2, 10, QUERN_EARLY_FALSE, 1);
    // EOS is third: too late to finish, and it cannot live on either.
    qn_beam_next n = step(&b, (const choice[][6]){{{A, -1}, {B, -2}, {EOS, -3}, {D, -4}}});
    assert_int_equal(b.n_finished, 0);
    // EOS is second: finishes with (−1 − 1.5) / 2, and the next best takes its place.
    n = step(&b, (const choice[][6]){{{A, -1}, {EOS, -1.5f}, {C, -4}, {D, -5}},
                                     {{A, -4}, {B, -5}, {C, -6}, {D, -7}}});
    assert_int_equal(b.n_finished, 1);
    assert_true(b.finished[0].score == -1.25f);
    assert_ids(&b, 0, 2, (const int32_t[]){A, EOS});
    assert_true(n.n == 2 && n.token[0] == A && n.token[1] == C && n.parent[1] == 0);
    qn_beam_free(&b);
}

static void early_stopping_ends_when_n_beams_are_finished(void **state)
{
    (void)state;
    const choice both[][6] = {{{EOS, -1}, {EOS + 1, -1.5f}, {A, -2}, {B, -3}}};
    for (int early = 0; early < 3; early++) {
        qn_beam_search b = start(1, 10, early, 0);
        qn_beam_next n = step(&b, both);
        // With one beam finished at −1: true ends; the best live one at −1.5 cannot beat it without a length penalty, so
        // the heuristic of false and never ends too.
        assert_int_equal(n.n, 0);
        assert_ids(&b, 0, 1, (const int32_t[]){EOS});
        qn_beam_free(&b);
    }
}

static void a_length_penalty_keeps_the_search_going(void **state)
{
    (void)state;
    // Finished: −1 / 1². The live beam has −1.5 so far: / 1² is worse (false ends), / 10² could be better (never goes on).
    const choice first[][6] = {{{EOS, -1}, {A, -1.5f}, {B, -2}, {C, -3}}};
    qn_beam_search b = start(1, 10, QUERN_EARLY_FALSE, 2);
    assert_int_equal(step(&b, first).n, 0);
    qn_beam_free(&b);
    b = start(1, 10, QUERN_EARLY_NEVER, 2);
    assert_int_equal(step(&b, first).n, 1);
    qn_beam_next n = step(&b, (const choice[][6]){{{EOS, -0.1f}, {A, -8}, {B, -9}, {C, -9.5f}}});
    assert_true(fabsf(b.finished[0].score - -1.6f / 4) < 1e-6f);
    assert_ids(&b, 0, 2, (const int32_t[]){A, EOS});
    assert_int_equal(n.n, 1); // −9.5 / 100 could still win
    qn_beam_free(&b);
}

static void at_max_new_the_live_beams_finish(void **state)
{
    (void)state;
    qn_beam_search b = start(2, 2, QUERN_EARLY_FALSE, 1);
    step(&b, (const choice[][6]){{{A, -1}, {B, -2}, {C, -3}, {D, -4}}});
    qn_beam_next n = step(&b, (const choice[][6]){{{A, -1}, {B, -4}, {C, -6}, {D, -7}},
                                                  {{C, -0.5f}, {D, -9}, {A, -9.5f}, {B, -10}}});
    assert_int_equal(n.n, 0);
    assert_int_equal(b.n_finished, 2);
    assert_ids(&b, 0, 2, (const int32_t[]){A, A});
    assert_ids(&b, 1, 2, (const int32_t[]){B, C});
    assert_true(b.finished[0].score == -1 && b.finished[1].score == -1.25f);
    qn_beam_free(&b);
}

static void long_ancestries_are_read_back(void **state)
{
    (void)state;
    // Two beams that swap at every step: the winner's tokens come from alternating columns of the trellis.
    qn_beam_search b = start(2, 6, QUERN_EARLY_FALSE, 0);
    step(&b, (const choice[][6]){{{A, -1}, {B, -2}, {C, -9}, {D, -9.5f}}});
    for (int i = 0; i < 5; i++) {
        qn_beam_next n = step(&b, (const choice[][6]){{{C, -3}, {D, -20}, {A, -21}, {B, -22}},
                                                      {{D, -1}, {C, -20}, {A, -21}, {B, -22}}});
        if (i < 4) assert_true(n.parent[0] == 1 && n.parent[1] == 0);
    }
    assert_int_equal(b.n_finished, 2);
    assert_ids(&b, 0, 6, (const int32_t[]){B, D, C, D, C, D});
    assert_ids(&b, 1, 6, (const int32_t[]){A, C, D, C, D, C});
    qn_beam_free(&b);
}

static void what_is_no_number_is_an_error(void **state)
{
    (void)state;
    qn_beam_search b = start(2, 6, QUERN_EARLY_FALSE, 1);
    static qn_step_result r = {.n_top = 4, .top_logprob = {NAN, NAN, NAN, NAN}};
    const qn_step_result *at[] = {&r};
    qn_beam_next next;
    assert_int_equal(qn_beam_advance(&b, at, &next), QUERN_E_INTERNAL);
    qn_beam_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_of_all_continuations_live_on),
        cmocka_unit_test(eos_finishes_only_among_the_best_n_beams),
        cmocka_unit_test(early_stopping_ends_when_n_beams_are_finished),
        cmocka_unit_test(a_length_penalty_keeps_the_search_going),
        cmocka_unit_test(at_max_new_the_live_beams_finish),
        cmocka_unit_test(long_ancestries_are_read_back),
        cmocka_unit_test(what_is_no_number_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
