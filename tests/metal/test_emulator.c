// The emulator itself: right kernels give right results for every seed and order, and every planted fault of selftest.metal
// is caught. Built once for each build of the kernels' object; -DQN_SELFTEST_TSAN and -DQN_SELFTEST_COUNTING say which.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka wants the headers above first
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "emulator.h"

#ifdef QN_SELFTEST_TSAN
enum { N_THREADS = 256, N_SEEDS = 3 }; // a report costs milliseconds
#else
enum { N_THREADS = 256, N_SEEDS = 8 };
#endif

typedef struct {
    uint32_t n, mode;
} selftest_args;

static char error[512];

#ifdef QN_SELFTEST_TSAN
const char *__tsan_default_options(void);

// Races are planted here: they are counted, not printed, and do not end the program.
const char *__tsan_default_options(void)
{
    return "exitcode=0:log_path=/dev/"
           "null:suppress_equal_stacks=0:suppress_equal_addresses=0:symbolize=0";
}
#endif

static void *buffer(size_t n_bytes)
{
    void *p = qn_emulator_guarded_alloc(n_bytes);
    assert_non_null(p);
    memset(p, 0, n_bytes);
    return p;
}

static void drop(void *p)
{
    assert_true(qn_emulator_guarded_free(p));
}

// A dispatch of n_groups x 1 x 1 with one or two float buffers.
static qn_emulator_dispatch dispatch(const char *kernel, uint32_t n_groups,
                                     const selftest_args *args)
{
    return (qn_emulator_dispatch){.kernel = kernel,
                                  .n_groups = {n_groups, 1, 1},
                                  .n_threads = N_THREADS,
                                  .args = args,
                                  .args_bytes = args ? sizeof(*args) : 0};
}

static void bind(qn_emulator_dispatch *d, void *p, size_t n_bytes)
{
    d->buffers[d->n_buffers].address = p;
    d->buffers[d->n_buffers++].n_bytes = n_bytes;
}

static void runs(const qn_emulator_dispatch *d)
{
    error[0] = 0;
    if (qn_emulator_run(d, error, sizeof(error))) fail_msg("%s", error);
}

// The run must fail with a message that has `fragment` in it.
static void fails(const qn_emulator_dispatch *d, const char *fragment)
{
    error[0] = 0;
    assert_int_equal(qn_emulator_run(d, error, sizeof(error)), -1);
    if (!strstr(error, fragment)) fail_msg("\"%s\" is not in: %s", fragment, error);
}

static void every_thread_knows_its_place(void **state)
{
    (void)state;
    selftest_args args = {.n = 3};
    uint32_t *y = buffer(27 * 256 * 4);
    qn_emulator_dispatch d = dispatch("ids", 3, &args);
    d.n_groups[1] = d.n_groups[2] = 3;
    bind(&d, y, 27 * 256 * 4);
    runs(&d);
    for (uint32_t i = 0; i < 27 * 256; i++)
        assert_int_equal(y[i], (i / 256) << 16 | (i % 256 / 32) << 8 | i % 32);
    drop(y);
}

// How many of N_SEEDS runs of reverse(mode) or sum_twice(mode) gave a wrong result or an error.
static int wrong_seeds(const char *kernel, uint32_t mode)
{
    selftest_args args = {.mode = mode};
    float *x = buffer(1024), *y = buffer(2048);
    bool twice = !strcmp(kernel, "sum_twice");
    int n_wrong = 0;
    for (int i = 0; i < 256; i++)
        x[i] = (float)(i + 1);
    for (uint32_t seed = 0; seed < N_SEEDS; seed++) {
        qn_emulator_dispatch d = dispatch(kernel, 1, &args);
        bind(&d, x, 1024);
        bind(&d, y, 2048);
        qn_emulator_seed(seed);
        bool wrong = qn_emulator_run(&d, error, sizeof(error)) != 0;
        for (int i = 0; i < 256 && !twice; i++)
            wrong |= y[i] != (float)(256 - i);
        for (int i = 0; i < 512 && twice; i++)
            wrong |= y[i] != 32896.0f * (float)(i / 256 + 1);
        n_wrong += wrong;
    }
    drop(x);
    drop(y);
    return n_wrong;
}

static void a_barrier_orders(void **state)
{
    (void)state;
    assert_int_equal(wrong_seeds("reverse", 0), 0);
    assert_int_equal(wrong_seeds("sum_twice", 0), 0);
}

static void a_missing_barrier_shows(void **state)
{
    (void)state;
#ifdef QN_SELFTEST_TSAN // every run reports, whatever its order
    assert_int_equal(wrong_seeds("reverse", 1), N_SEEDS);
    assert_non_null(strstr(error, "data races"));
    assert_int_equal(wrong_seeds("reverse", 2), N_SEEDS);
    assert_int_equal(wrong_seeds("reverse", 3), N_SEEDS);
    assert_int_equal(wrong_seeds("sum_twice", 1), N_SEEDS);
#else
    assert_true(wrong_seeds("reverse", 1) > 0);
    assert_true(wrong_seeds("reverse", 2) > 0);
    assert_true(wrong_seeds("sum_twice", 1) > 0);
#endif
}

static void simdgroups_may_differ(void **state)
{
    (void)state;
    selftest_args args = {.n = 5};
    float *y = buffer(1024);
    qn_emulator_dispatch d = dispatch("own_pace", 1, &args);
    bind(&d, y, 1024);
    runs(&d);
    for (int i = 0; i < 256; i++)
        assert_true(y[i] == ldexpf(1.0f, i / 32 + 1) + 5.0f);
    drop(y);
}

static void divergence_is_an_error(void **state)
{
    (void)state;
    static const struct {
        const char *kernel;
        uint32_t mode;
        const char *fragment;
    } rows[] = {
        {"leaves", 0, "lane 0 is at simd_sum, lane 5 at its return"},
        {"leaves", 1, "lane 0 is at threadgroup_barrier, lane 5 at its return"},
        {"leaves", 2, "threadgroup_barrier not reached by every thread"},
        {"apart", 0, "divergent simdgroup"},
        {"apart", 1, "different threadgroup_barriers"},
    };
    float *y = buffer(1024);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        selftest_args args = {.mode = rows[i].mode};
        qn_emulator_dispatch d = dispatch(rows[i].kernel, 1, &args);
        bind(&d, y, 1024);
        fails(&d, rows[i].fragment);
    }
    drop(y);
}

static void faults_have_a_name_and_a_place(void **state)
{
    (void)state;
    int32_t *y = buffer(1024);
    selftest_args args = {.n = 256, .mode = 0};
    qn_emulator_dispatch d = dispatch("touches", 2, &args);
    bind(&d, y, 1024);
    fails(&d, "kernel touches, threadgroup (1, 0, 0): thread 7: ");
    fails(&d, "0 bytes past the end of buffer 0");
    args.mode = 1;
    fails(&d, "0 bytes past the end of buffer 0");
    args.n = 300;
    fails(&d, "176 bytes past the end of buffer 0");
    args = (selftest_args){.n = 0x3fffffff, .mode = 0};
    fails(&d, "near no buffer");
    args = (selftest_args){.n = 9, .mode = 2};
    fails(&d, "division by zero");
    d.kernel = "overflows";
    fails(&d, "stack has overflowed");
    d.kernel = "touches";
    args = (selftest_args){.n = 255, .mode = 0}; // and all goes on after them
    runs(&d);
    assert_int_equal(y[255], 1);
    drop(y);
}

static void bad_dispatches_are_refused(void **state)
{
    (void)state;
    float *y = buffer(1024);
    selftest_args args = {0};
    qn_emulator_dispatch d = dispatch("no_such_kernel", 1, &args);
    bind(&d, y, 1024);
    fails(&d, "no such kernel");
    assert_false(qn_emulator_has_kernel("no_such_kernel"));
    assert_true(qn_emulator_has_kernel("own_pace"));
    d.kernel = "own_pace";
    d.n_threads = 48;
    fails(&d, "multiple of 32");
    d.n_threads = 2048;
    fails(&d, "multiple of 32");
    d.n_threads = 256;
    d.n_groups[0] = 0;
    runs(&d);
    drop(y);
}

// Two dispatches of increment, y = x + 1 and z = y + 1 (or of other bytes), without a barrier.
static int run_pair(float *x, float *y, float *z, bool same)
{
    selftest_args args = {.n = 1000};
    qn_emulator_dispatch d[2] = {dispatch("increment", 4, &args), dispatch("increment", 4, &args)};
    bind(&d[0], x, 4096);
    bind(&d[0], y, 4096);
    bind(&d[1], same ? y : x, 4096);
    bind(&d[1], z, 4096);
    return qn_emulator_run_concurrent(d, 2, error, sizeof(error));
}

static void concurrent_dispatches_are_unordered(void **state)
{
    (void)state;
    float *x = buffer(4096), *y = buffer(4096), *z = buffer(4096);
    int n_wrong = 0, n_failed = 0;
    qn_emulator_strict_races(true);
    for (uint32_t seed = 0; seed < N_SEEDS; seed++) {
        qn_emulator_seed(seed);
        assert_int_equal(run_pair(x, y, z, false), 0);
        for (int i = 0; i < 1000; i++)
            assert_true(y[i] == 1.0f && z[i] == 1.0f);
        memset(y, 0, 4096);
        n_failed += run_pair(x, y, z, true) != 0;
        for (int i = 0; i < 1000; i += 256)
            n_wrong += z[i] != 2.0f;
    }
    assert_true(n_wrong > 0);
#ifdef QN_SELFTEST_TSAN
    assert_int_equal(n_failed, N_SEEDS);
#elif defined(QN_SELFTEST_COUNTING)
    assert_int_equal(n_failed, N_SEEDS);
    assert_non_null(strstr(error, "of kernel increment touches too: nothing orders the two"));
#else
    assert_int_equal(n_failed, 0);
#endif
    for (int i = 0; i < 3; i++) { // one after the other is in order
        selftest_args args = {.n = 1000};
        qn_emulator_dispatch d = dispatch("increment", 4, &args);
        bind(&d, y, 4096);
        bind(&d, y, 4096);
        runs(&d);
        runs(&d);
    }
    qn_emulator_strict_races(false);
    drop(x);
    drop(y);
    drop(z);
}

// What collectives() makes of x in lane i of 32.
static void expect_lane(const int32_t *x, int i, const int32_t *r)
{
    int32_t sum = 0, most = INT32_MIN, least = INT32_MAX, before = 0;
    uint32_t umost = 0;
    bool any = false, all = true;
    for (int k = 0; k < 32; k++) {
        sum += x[k];
        before += k < i ? x[k] : 0;
        most = x[k] > most ? x[k] : most;
        least = x[k] < least ? x[k] : least;
        umost = (uint32_t)x[k] > umost ? (uint32_t)x[k] : umost;
        any = any || x[k] == 17;
        all = all && x[k] < 1000;
    }
    float fleast = (float)least;
    int32_t fbits;
    memcpy(&fbits, &fleast, 4);
    const int32_t want[16] = {sum,
                              most,
                              least,
                              (int32_t)umost,
                              before,
                              x[i ^ 5],
                              x[(i * 7 + 3) % 32],
                              i + 3 < 32 ? x[i + 3] : x[i],
                              x[9],
                              any + 2 * all,
                              sum,
                              31,
                              -x[i ^ 1],
                              fbits,
                              __builtin_popcount((unsigned)x[i]) +
                                  100 * (x[i] ? __builtin_clz((unsigned)x[i]) : 32),
                              i >= 2 ? x[i - 2] : x[i]};
    for (int k = 0; k < 16; k++)
        if (r[k] != want[k])
            fail_msg("result %d of lane %d is %d, expected %d", k, i, r[k], want[k]);
}

static void collectives_are_right(void **state)
{
    (void)state;
    int32_t *x = buffer(1024), *y = buffer(1024 * 16);
    for (int i = 0; i < 256; i++)
        x[i] = i % 40 ? (i * 7919) % 2003 - (i < 128 ? 1100 : 900) : 17;
    qn_emulator_dispatch d = dispatch("collectives", 1, NULL);
    bind(&d, x, 1024);
    bind(&d, y, 1024 * 16);
    runs(&d);
    for (int i = 0; i < 256; i++)
        expect_lane(x + i / 32 * 32, i % 32, y + i * 16);
    drop(x);
    drop(y);
}

static void atomics_are_atomic(void **state)
{
    (void)state;
    uint32_t *x = buffer(4096), *h = buffer(64), want[16] = {0};
    int32_t *most = buffer(4);
    for (uint32_t i = 0; i < 1024; i++) {
        x[i] = i * 2654435761u >> 20;
        want[x[i] % 16]++;
    }
    x[700] = 4112;
    want[(700 * 2654435761u >> 20) % 16]--;
    want[0]++;
    qn_emulator_dispatch d = dispatch("histogram", 4, NULL);
    bind(&d, x, 4096);
    bind(&d, h, 64);
    bind(&d, most, 4);
    runs(&d);
    assert_memory_equal(h, want, sizeof(want));
    assert_int_equal(*most, 4112);
    drop(x);
    drop(h);
    drop(most);
}

// Small integers as halves, exactly.
static uint16_t half_of(int v)
{
    if (!v) return 0;
    int a = abs(v), e = 31 - __builtin_clz((unsigned)a);
    return (uint16_t)((v < 0) << 15 | (e + 15) << 10 | ((a << (10 - e)) & 1023));
}

static void matrices_multiply(void **state)
{
    (void)state;
    uint16_t *a = buffer(512), *b = buffer(512);
    float *c = buffer(1024);
    int left[256], right[256];
    for (int i = 0; i < 256; i++) {
        a[i] = half_of(left[i] = i * 37 % 31 - 15);
        b[i] = half_of(right[i] = i * 53 % 29 - 14);
    }
    qn_emulator_dispatch d = dispatch("matrices", 1, NULL);
    bind(&d, a, 512);
    bind(&d, b, 512);
    bind(&d, c, 1024);
    runs(&d);
    for (int i = 0; i < 16; i++) {
        for (int j = 0; j < 16; j++) {
            int sum = 0;
            for (int k = 0; k < 16; k++)
                sum += left[i * 16 + k] * right[j * 16 + k];
            assert_true(c[i * 16 + j] == (float)sum);
        }
    }
    drop(a);
    drop(b);
    drop(c);
}

static void denormals_are_flushed_on_demand(void **state)
{
    (void)state;
    float *x = buffer(1024), *y = buffer(1024);
    qn_emulator_dispatch d = dispatch("denormals", 1, NULL);
    bind(&d, x, 1024);
    bind(&d, y, 1024);
    for (int i = 0; i < 256; i++)
        x[i] = ldexpf(1.0f, -127);
    runs(&d);
    assert_true(y[0] == ldexpf(1.0f, -128));
    qn_emulator_flush_denormals(true);
    runs(&d);
    assert_true(y[0] == 0.0f && ldexpf(y[0], 0) == 0.0f);
    qn_emulator_flush_denormals(false);
    runs(&d);
    assert_true(y[0] == ldexpf(1.0f, -128));
    drop(x);
    drop(y);
}

static void threadgroup_memory_begins_unset(void **state)
{
    (void)state;
    uint32_t *y = buffer(1024);
    qn_emulator_dispatch d = dispatch("unset", 1, NULL);
    bind(&d, y, 1024);
    runs(&d);
    for (int i = 0; i < 256; i++)
        assert_int_equal(y[i], UINT32_MAX);
    drop(y);
}

static void guarded_memory_tells_of_a_touched_end(void **state)
{
    (void)state;
    unsigned char *p = qn_emulator_guarded_alloc(21);
    assert_int_equal((uintptr_t)p % 16, 0);
    assert_int_equal(p[20], 0xcb);
    p[21] = 1;
    assert_false(qn_emulator_guarded_free(p));
    assert_true(qn_emulator_guarded_free(NULL));
    drop(buffer(0));
    drop(buffer(1 << 20));
}

static void distinct_bytes_are_counted(void **state)
{
    (void)state;
    selftest_args args = {.n = 1};
    float *x = buffer(4096), *y = buffer(64);
    qn_emulator_counts counts;
    qn_emulator_dispatch d = dispatch("sparse", 1, &args);
    bind(&d, x, 4096);
    bind(&d, y, 64);
    runs(&d);
#ifdef QN_SELFTEST_COUNTING
    assert_true(qn_emulator_counters(0, &counts));
    assert_int_equal(counts.read_bytes[0], 32 * 32);
    assert_int_equal(counts.written_bytes[0], 0);
    assert_int_equal(counts.read_bytes[1], 0);
    assert_int_equal(counts.written_bytes[1], 32);
    assert_false(qn_emulator_counters(1, &counts));
    d.buffers[0].n_bytes = 1984; // what lane 31 reads is mapped, but not bound
    fails(&d, "load of 4 bytes at 0x");
    fails(&d, "0 bytes past the end of buffer 0");
#else
    assert_false(qn_emulator_counters(0, &counts));
#endif
    drop(x);
    drop(y);
}

// Printed, not judged: tests never measure speed.
static void speed_is_told(void **state)
{
    (void)state;
    selftest_args args = {.n = 2000};
    float *y = buffer(1024 * 40);
    qn_emulator_dispatch d = dispatch("many_sums", 1, &args);
    bind(&d, y, 1024 * 40);
    struct timespec a, b;
    unsigned long long before = qn_emulator_n_switches();
    clock_gettime(CLOCK_MONOTONIC, &a);
    runs(&d);
    clock_gettime(CLOCK_MONOTONIC, &b);
    double s = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    printf("# %.1f million fibers resumed a second\n",
           (double)(qn_emulator_n_switches() - before) / s / 1e6);
    args.n = 0;
    d.n_groups[0] = 40;
    clock_gettime(CLOCK_MONOTONIC, &a);
    runs(&d);
    clock_gettime(CLOCK_MONOTONIC, &b);
    s = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    printf("# %.3f ms a threadgroup that does nothing\n", s * 1e3 / 40);
    drop(y);
}

int main(void)
{
    qn_emulator_strict_bounds(true);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_thread_knows_its_place),
        cmocka_unit_test(a_barrier_orders),
        cmocka_unit_test(a_missing_barrier_shows),
        cmocka_unit_test(simdgroups_may_differ),
        cmocka_unit_test(divergence_is_an_error),
        cmocka_unit_test(faults_have_a_name_and_a_place),
        cmocka_unit_test(bad_dispatches_are_refused),
        cmocka_unit_test(concurrent_dispatches_are_unordered),
        cmocka_unit_test(collectives_are_right),
        cmocka_unit_test(atomics_are_atomic),
        cmocka_unit_test(matrices_multiply),
        cmocka_unit_test(denormals_are_flushed_on_demand),
        cmocka_unit_test(threadgroup_memory_begins_unset),
        cmocka_unit_test(guarded_memory_tells_of_a_touched_end),
        cmocka_unit_test(distinct_bytes_are_counted),
        cmocka_unit_test(speed_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
