// Compute threads; see pool.h. One word says all: at which phase of all that ever were the pool is, whether it is one of a run, and
// how many workers are inside. A worker joins a phase by counting itself in; the last to leave moves the word on. Nobody waits
// for a worker that has not come: what it would have done, others have. There is no lock here (on Linux: machine.h), which a worker that does not run could
// hold. Who waits for the next phase spins a while and then sleeps on `moves`. Sleeper: look at moves, count itself, look at the word.
// Mover: change the word, then moves, then look at the count. All in sequentially consistent order, so one sees the other.
#include "backend/cpu/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "backend/cpu/machine.h"

enum { MAX_THREADS = 1024, STACK_BYTES = 1 << 20, SPINS = 4000, SPINS_CROWDED = 50 };

// The word: workers inside, whether a run is on, the phase.
#define ONE_INSIDE ((uint64_t)1)
#define INSIDE_MASK ((uint64_t)0xffff)
#define RUNNING ((uint64_t)1 << 16)
#define ONE_PHASE ((uint64_t)1 << 17)

struct qn_pool {
    _Alignas(64) _Atomic uint64_t word;
    _Alignas(64) atomic_uint moves;
    atomic_int n_sleepers;
    int n_threads, n_started, spins;
    atomic_int stop;
    // The run: written between two, read by those inside.
    void (*work)(void *context, int phase, int worker);
    void *context;
    uint64_t first; // phase
    int n_phases;
    struct worker {
        qn_pool *pool;
        pthread_t thread;
        int index;
    } * workers;
};

static uint64_t phase_of(uint64_t word)
{
    return word / ONE_PHASE;
}

static void wake(qn_pool *p)
{
    atomic_fetch_add(&p->moves, 1);
    if (atomic_load(&p->n_sleepers) > 0) qn_machine_wake(&p->moves);
}

// Returns when the phase is no longer `seen`.
static void await_move(qn_pool *p, uint64_t seen)
{
    for (int i = 0; i < p->spins; i++) {
        if (phase_of(atomic_load_explicit(&p->word, memory_order_acquire)) != seen) return;
        qn_machine_relax();
    }
    for (;;) {
        unsigned moves = atomic_load(&p->moves);
        atomic_fetch_add(&p->n_sleepers, 1);
        int moved = phase_of(atomic_load(&p->word)) != seen;
        if (!moved) qn_machine_sleep(&p->moves, moves);
        atomic_fetch_sub(&p->n_sleepers, 1);
        if (moved) return;
    }
}

// By a worker that is inside: its part of the phase, and out.
static void take_part(qn_pool *p, uint64_t phase, int worker)
{
    int i = (int)(phase - p->first);
    uint64_t next = (phase + 1) * ONE_PHASE | (i + 1 < p->n_phases ? RUNNING : 0);
    p->work(p->context, i, worker);
    uint64_t word = atomic_load_explicit(&p->word, memory_order_relaxed), last;
    do
        last = (word & INSIDE_MASK) == ONE_INSIDE;
    while (!atomic_compare_exchange_weak(&p->word, &word, last ? next : word - ONE_INSIDE));
    if (last) wake(p);
}

// Takes part in the next phase, or waits for one. `word` was just read; *done is the last phase that this worker was in.
static void go_on(qn_pool *p, uint64_t word, uint64_t *done, int worker)
{
    uint64_t phase = phase_of(word);
    if (!(word & RUNNING) || phase == *done) {
        await_move(p, phase);
    } else if (atomic_compare_exchange_weak(&p->word, &word, word + ONE_INSIDE)) {
        take_part(p, phase, worker);
        *done = phase;
    }
}

void qn_pool_run(qn_pool *p, int n_phases, void (*work)(void *context, int phase, int worker),
                 void *context)
{
    if (p->n_threads == 1 || n_phases == 0) {
        for (int i = 0; i < n_phases; i++)
            work(context, i, 0);
        return;
    }
    p->work = work;
    p->context = context;
    p->n_phases = n_phases;
    uint64_t word = atomic_load_explicit(&p->word, memory_order_relaxed), done = phase_of(word);
    p->first = done + 1;
    atomic_store(&p->word, p->first * ONE_PHASE | RUNNING);
    wake(p);
    while (phase_of(word = atomic_load(&p->word)) < p->first + (uint64_t)n_phases)
        go_on(p, word, &done, 0);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    qn_pool *p = w->pool;
    qn_machine_prepare_worker();
    for (uint64_t done = 0, word; word = atomic_load(&p->word), !atomic_load(&p->stop);)
        go_on(p, word, &done, w->index);
    return NULL;
}

static int start_workers(qn_pool *p, quern_error *e)
{
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return qn_error_set(e, QUERN_E_MEMORY, "cpu: no memory for threads");
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    int failed = 0;
    for (int i = 1; i < p->n_threads && !failed; i++) {
        p->workers[i] = (struct worker){.pool = p, .index = i};
        failed = pthread_create(&p->workers[i].thread, &attributes, worker_main, &p->workers[i]);
        if (!failed) p->n_started = i;
    }
    pthread_attr_destroy(&attributes);
    if (!failed) return 0;
    return qn_error_set(e, QUERN_E_MEMORY, "cpu: thread %d of %d could not be started",
                        p->n_started + 2, p->n_threads);
}

int qn_pool_open(int n_threads, qn_pool **out, quern_error *e)
{
    *out = NULL;
    if (n_threads < 1 || n_threads > MAX_THREADS)
        return qn_error_set(e, QUERN_E_ARGUMENT, "cpu: threads: 1 … %d expected, found %d",
                            MAX_THREADS, n_threads);
    void *memory = NULL;
    if (posix_memalign(&memory, 64, sizeof(qn_pool)) != 0)
        return qn_error_set(e, QUERN_E_MEMORY, "cpu: no memory for the thread pool");
    qn_pool *p = memory;
    *p = (qn_pool){.n_threads = n_threads};
    p->spins = n_threads <= qn_machine_n_cpus() ? SPINS : SPINS_CROWDED;
    p->workers = calloc((size_t)n_threads, sizeof *p->workers);
    int code = p->workers ? start_workers(p, e)
                          : qn_error_set(e, QUERN_E_MEMORY, "cpu: no memory for the thread pool");
    if (code != 0) {
        qn_pool_close(p);
        return code;
    }
    *out = p;
    return 0;
}

void qn_pool_close(qn_pool *p)
{
    if (!p) return;
    atomic_store(&p->stop, 1);
    atomic_fetch_add(&p->word, ONE_PHASE);
    wake(p);
    for (int i = 1; i <= p->n_started; i++)
        pthread_join(p->workers[i].thread, NULL);
    free(p->workers);
    free(p);
}

int qn_pool_n_threads(const qn_pool *p)
{
    return p->n_threads;
}
