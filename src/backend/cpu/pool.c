// Compute threads; see pool.h. Both waits (for work, at a barrier) are one thing: a gate, which is a counter that somebody
// advances. A waiter spins on the counter for a while and then sleeps on a condition; the advancer takes the lock only where
// someone sleeps. Sleeper: count itself, then look at the value. Advancer: change the value, then look at the count. Both in
// sequentially consistent order, so one of them sees the other.
#include "backend/cpu/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "backend/cpu/machine.h"

enum { MAX_THREADS = 1024, STACK_BYTES = 1 << 20, SPINS = 4000, SPINS_CROWDED = 50 };

typedef struct {
    _Alignas(64) atomic_uint value;
    _Alignas(64) atomic_int n_sleepers;
    pthread_mutex_t lock;
    pthread_cond_t moved;
} gate;

struct qn_pool {
    gate start, barrier;
    _Alignas(64) atomic_int n_arrived;
    int n_threads, n_started, spins;
    atomic_int stop;
    void (*work)(void *context, int worker);
    void *context;
    struct worker {
        qn_pool *pool;
        pthread_t thread;
        int index;
    } * workers;
};

static void gate_init(gate *g)
{
    atomic_init(&g->value, 0);
    atomic_init(&g->n_sleepers, 0);
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->moved, NULL);
}

static void gate_free(gate *g)
{
    pthread_cond_destroy(&g->moved);
    pthread_mutex_destroy(&g->lock);
}

static void gate_advance(gate *g)
{
    atomic_fetch_add(&g->value, 1);
    if (atomic_load(&g->n_sleepers) == 0) return;
    pthread_mutex_lock(&g->lock);
    pthread_cond_broadcast(&g->moved);
    pthread_mutex_unlock(&g->lock);
}

// Returns when the value is no longer `seen`.
static void gate_wait(gate *g, unsigned seen, int spins)
{
    for (int i = 0; i < spins; i++) {
        if (atomic_load_explicit(&g->value, memory_order_acquire) != seen) return;
        qn_machine_relax();
    }
    pthread_mutex_lock(&g->lock);
    atomic_fetch_add(&g->n_sleepers, 1);
    while (atomic_load(&g->value) == seen)
        pthread_cond_wait(&g->moved, &g->lock);
    atomic_fetch_sub(&g->n_sleepers, 1);
    pthread_mutex_unlock(&g->lock);
}

void qn_pool_barrier(qn_pool *p)
{
    if (p->n_threads == 1) return;
    unsigned seen = atomic_load_explicit(&p->barrier.value, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&p->n_arrived, 1, memory_order_acq_rel) + 1 == p->n_threads) {
        atomic_store_explicit(&p->n_arrived, 0, memory_order_relaxed);
        gate_advance(&p->barrier);
    } else {
        gate_wait(&p->barrier, seen, p->spins);
    }
}

void qn_pool_run(qn_pool *p, void (*work)(void *context, int worker), void *context)
{
    p->work = work;
    p->context = context;
    if (p->n_threads > 1) gate_advance(&p->start);
    work(context, 0);
    qn_pool_barrier(p);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    qn_pool *p = w->pool;
    qn_machine_prepare_worker();
    for (unsigned seen = 0;; seen++) {
        gate_wait(&p->start, seen, p->spins);
        if (atomic_load(&p->stop)) return NULL;
        p->work(p->context, w->index);
        qn_pool_barrier(p);
    }
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
    gate_init(&p->start);
    gate_init(&p->barrier);
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
    gate_advance(&p->start);
    for (int i = 1; i <= p->n_started; i++)
        pthread_join(p->workers[i].thread, NULL);
    gate_free(&p->start);
    gate_free(&p->barrier);
    free(p->workers);
    free(p);
}

int qn_pool_n_threads(const qn_pool *p)
{
    return p->n_threads;
}
