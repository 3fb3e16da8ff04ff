// Pool: phases come one after another and see what those before wrote, with fewer and with more threads than processors; a worker
// that does not run holds nobody up.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "backend/cpu/pool.h"

enum { MOST_THREADS = 9, PIECES = 24, MOST_PHASES = 2000 };

typedef struct {
    atomic_int n_taken[MOST_PHASES];
    atomic_int n_calls[MOST_PHASES], wrong;
    atomic_int by_worker[MOST_PHASES][MOST_THREADS];
    int written[PIECES]; // plain memory: the phases alone order it
} shared;

// Piece i of a phase is what its neighbour was in the phase before, plus one.
static void add(void *context, int phase, int worker)
{
    shared *s = context;
    atomic_fetch_add(&s->n_calls[phase], 1);
    if (atomic_fetch_add(&s->by_worker[phase][worker], 1) > 0) atomic_store(&s->wrong, 1);
    if (phase % 2 == 0) { // phases 1, 3, 5 … add, the others look
        for (int i = 0; i < PIECES; i++)
            if (s->written[i] != phase / 2) atomic_store(&s->wrong, 1);
        return;
    }
    for (int i; (i = atomic_fetch_add(&s->n_taken[phase], 1)) < PIECES;)
        s->written[i]++;
}

static void test_phases(void **state)
{
    (void)state;
    for (int n = 1; n <= MOST_THREADS; n++) {
        int n_phases = n <= 2 ? MOST_PHASES : 100;
        shared *s = calloc(1, sizeof *s);
        quern_error e;
        qn_pool *pool;
        assert_int_equal(qn_pool_open(n, &pool, &e), 0);
        assert_int_equal(qn_pool_n_threads(pool), n);
        qn_pool_run(pool, n_phases, add, s);
        assert_int_equal(s->wrong, 0);
        for (int i = 0; i < PIECES; i++)
            assert_int_equal(s->written[i], n_phases / 2);
        for (int i = 0; i < n_phases; i++)
            assert_in_range(s->n_calls[i], 1, n);
        qn_pool_close(pool);
        free(s);
    }
}

static atomic_int n_inside;

static void count(void *context, int phase, int worker)
{
    (void)phase;
    (void)worker;
    atomic_fetch_add(&n_inside, 1);
    atomic_fetch_add((atomic_int *)context, 1);
    for (volatile int i = 0; i < 300; i++) {
    }
    atomic_fetch_sub(&n_inside, 1);
}

// Many runs, back to back and after a pause: none returns while a worker is inside, none is without phases or workers.
static void test_runs(void **state)
{
    (void)state;
    for (int n = 1; n <= 5; n += 2) {
        qn_pool *pool;
        quern_error e;
        assert_int_equal(qn_pool_open(n, &pool, &e), 0);
        for (int i = 1; i <= 500; i++) {
            atomic_int calls = 0;
            qn_pool_run(pool, 3, count, &calls);
            assert_int_equal(atomic_load(&n_inside), 0);
            assert_in_range(calls, 3, 3 * n);
            qn_pool_run(pool, 0, count, NULL);
            if (i % 100 == 0) nanosleep(&(struct timespec){0, 2000000}, NULL);
        }
        qn_pool_close(pool);
    }
}

enum { HELD_POOL = 3 };
static pthread_t threads[HELD_POOL];

// All workers in one phase at once: each waits for the others.
static void meet(void *context, int phase, int worker)
{
    (void)phase;
    threads[worker] = pthread_self();
    atomic_fetch_add((atomic_int *)context, 1);
    while (atomic_load((atomic_int *)context) < HELD_POOL)
        nanosleep(&(struct timespec){0, 100000}, NULL);
}

// Pipes: macOS has no unnamed semaphores.
static int held[2], go[2];

static void tell(const int *pipe_ends)
{
    while (write(pipe_ends[1], "", 1) != 1) {
    }
}

static void await(const int *pipe_ends)
{
    char byte;
    while (read(pipe_ends[0], &byte, 1) != 1) {
    }
}

static void hold(int number)
{
    (void)number;
    tell(held);
    await(go);
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){0, ms * 1000000}, NULL);
}

// A signal's handler keeps a worker from running, as a busy machine would: runs go on without it, while the third one sleeps and wakes.
static void test_a_worker_that_does_not_run(void **state)
{
    (void)state;
    qn_pool *pool;
    quern_error e;
    atomic_int met = 0, calls = 0;
    assert_int_equal(pipe(held), 0);
    assert_int_equal(pipe(go), 0);
    signal(SIGUSR1, hold);
    assert_int_equal(qn_pool_open(HELD_POOL, &pool, &e), 0);
    qn_pool_run(pool, 1, meet, &met);
    assert_int_equal(met, HELD_POOL);
    pause_ms(30); // they sleep
    pthread_kill(threads[1], SIGUSR1);
    await(held);
    for (int i = 1; i <= 10; i++) {
        qn_pool_run(pool, 50, count, &calls);
        assert_in_range(calls, 50 * i, 100 * i);
        pause_ms(5);
    }
    tell(go);
    met = 0;
    qn_pool_run(pool, 1, meet, &met); // it is back
    assert_int_equal(met, HELD_POOL);
    qn_pool_close(pool);
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
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_a_worker_that_does_not_run),
        cmocka_unit_test(test_unused_and_refused),
    };
    alarm(300); // a pool that waits for ever is a failure
    return cmocka_run_group_tests(tests, NULL, NULL);
}
