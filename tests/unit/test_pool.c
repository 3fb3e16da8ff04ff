// Pool: barriers hold and results are visible behind them, with fewer and with more threads than processors.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>

#include "backend/cpu/pool.h"

enum { MOST_THREADS = 9 };

typedef struct {
    qn_pool *pool;
    int n_threads, n_rounds;
    int written[MOST_THREADS]; // plain memory: the barrier alone orders it
    int wrong[MOST_THREADS];
} shared;

static void rounds(void *context, int worker)
{
    shared *s = context;
    for (int round = 1; round <= s->n_rounds; round++) {
        s->written[worker] = round;
        qn_pool_barrier(s->pool);
        for (int i = 0; i < s->n_threads; i++)
            if (s->written[i] != round) s->wrong[worker] = 1;
        qn_pool_barrier(s->pool);
    }
}

static void test_barriers(void **state)
{
    (void)state;
    for (int n = 1; n <= MOST_THREADS; n++) {
        shared s = {.n_threads = n, .n_rounds = n <= 2 ? 2000 : 100};
        quern_error e;
        assert_int_equal(qn_pool_open(n, &s.pool, &e), 0);
        assert_int_equal(qn_pool_n_threads(s.pool), n);
        qn_pool_run(s.pool, rounds, &s);
        for (int i = 0; i < n; i++) {
            assert_int_equal(s.written[i], s.n_rounds);
            assert_int_equal(s.wrong[i], 0);
        }
        qn_pool_close(s.pool);
    }
}

static void count(void *context, int worker)
{
    ((int *)context)[worker]++;
}

// Many runs, back to back and after a pause: every worker is in each, and run waits for all.
static void test_runs(void **state)
{
    (void)state;
    for (int n = 1; n <= 5; n += 2) {
        qn_pool *pool;
        quern_error e;
        int counts[MOST_THREADS] = {0};
        assert_int_equal(qn_pool_open(n, &pool, &e), 0);
        for (int i = 1; i <= 500; i++) {
            qn_pool_run(pool, count, counts);
            for (int w = 0; w < n; w++)
                assert_int_equal(counts[w], i);
        }
        qn_pool_close(pool);
    }
}

static void test_unused_and_refused(void **state)
{
    (void)state;
    qn_pool *pool;
    quern_error e;
    assert_int_equal(qn_pool_open(4, &pool, &e), 0);
    qn_pool_close(pool); // without a run
    assert_int_equal(qn_pool_open(0, &pool, &e), QUERN_E_ARGUMENT);
    assert_null(pool);
    assert_int_equal(qn_pool_open(1 << 20, &pool, &e), QUERN_E_ARGUMENT);
    qn_pool_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_barriers),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_unused_and_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
