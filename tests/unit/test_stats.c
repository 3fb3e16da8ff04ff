// Live figures: the usual step time that routing predicts from, and the quantiles.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka wants the headers above first
#include <cmocka.h>

#include "engine/stats.h"

static double after_steps(qn_stats *s, int n, double ms)
{
    quern_model_stats out;
    qn_stats_step step = {.seconds = ms / 1000, .n_rows = 1, .n_tokens = 1};
    for (int i = 0; i < n; i++)
        qn_stats_step_done(s, &step, 1);
    qn_stats_read(s, &out);
    return out.decode_step_ms[0];
}

static void a_stall_is_not_taken_for_speed(void **state)
{
    (void)state;
    qn_stats s;
    qn_stats_init(&s);
    after_steps(&s, 1, 10); // the first step of all was a stall
    assert_true(after_steps(&s, 10, 0.2) < 0.4);
    double usual = after_steps(&s, 50, 0.2);
    assert_true(after_steps(&s, 1, 100) < 1.1 * usual);
    double slow = after_steps(&s, 100, 2); // what lasts counts
    assert_true(slow > 1.8 && slow <= 2);
}

static void quantiles_are_of_the_last_values(void **state)
{
    (void)state;
    qn_stats s;
    quern_model_stats out;
    qn_stats_init(&s);
    qn_stats_read(&s, &out);
    assert_true(out.ttft_ms[0] == 0);
    for (int i = 0; i < 5000; i++)
        qn_stats_add(&s.ttft_ms, i < 3000 ? 1e6 : i % 100);
    qn_stats_read(&s, &out);
    assert_in_range((int)out.ttft_ms[0], 48, 52);
    assert_in_range((int)out.ttft_ms[1], 93, 97);
    assert_in_range((int)out.ttft_ms[2], 97, 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stall_is_not_taken_for_speed),
        cmocka_unit_test(quantiles_are_of_the_last_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
