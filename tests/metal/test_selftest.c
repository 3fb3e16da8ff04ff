// The self-test on the emulated device, with orders drawn anew: whole layers of a model too, whose dispatches run at once where no
// barrier separates them. Built for ThreadSanitizer it finds a missing barrier, built for counting an access outside a buffer.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "backend/metal/metal.h"
#include "backend/selftest.h"
#include "emulator/emulator.h"

#ifdef QN_SELFTEST_TSAN // which takes its time: one case of each kernel
enum { N_SEEDS = 1 };
#else
enum { N_SEEDS = 2, ROUNDS = 2 };
#endif

static void test_device(qn_device *d, uint64_t seed)
{
    quern_error e = {0};
#ifdef QN_SELFTEST_TSAN
    (void)seed;
    if (qn_selftest_quick(&qn_metal_backend, d, &e)) fail_msg("%s", e.message);
#else
    qn_selftest_report report;
    if (qn_selftest_run(&qn_metal_backend, d, &(qn_selftest_options){seed, ROUNDS, NULL}, &report,
                        &e))
        fail_msg("%s", e.message);
    for (int i = 0; i < report.n_rows; i++) {
#ifdef QN_TEST_FAST // bits hang on the order of sums, which fast maths may change
        if (!strncmp(report.rows[i].name, "row alone", 9)) continue;
#endif
        if (report.rows[i].n_failed)
            fail_msg("%s: off by %.3g, at most %.3g %s", report.rows[i].name, report.rows[i].worst,
                     report.rows[i].tolerance, report.rows[i].why);
    }
#endif
}

static void run(uint64_t seed)
{
    qn_device *d;
    quern_error e = {0};
    qn_emulator_seed((uint32_t)seed);
    if (qn_metal_backend.open(&(qn_device_options){.unchecked = 1}, &d, &e))
        fail_msg("%s", e.message);
    test_device(d, seed);
    qn_metal_backend.close(d);
}

static void test_selftest(void **state)
{
    (void)state;
    qn_emulator_strict_bounds(true);
    for (uint64_t seed = 11; seed < 11 + N_SEEDS; seed++)
        run(seed);
    assert_int_equal(qn_emulator_races(), 0);
}

#ifndef QN_SELFTEST_TSAN // values, which no race changes
static void test_flushed_denormals(void **state)
{
    (void)state;
    qn_emulator_flush_denormals(true);
    run(21);
    qn_emulator_flush_denormals(false);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_selftest),
#ifndef QN_SELFTEST_TSAN
        cmocka_unit_test(test_flushed_denormals),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
