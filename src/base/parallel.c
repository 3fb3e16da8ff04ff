// See parallel.h.
#include "base/parallel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { MAX_THREADS = 16, RANGES_PER_THREAD = 4 };

typedef struct {
    int64_t n, size;
    _Atomic int64_t next; // the first part that nobody has taken
    void (*work)(void *context, int64_t begin, int64_t end);
    void *context;
} job;

static void *worker(void *argument)
{
    job *j = argument;
    for (;;) {
        int64_t begin = atomic_fetch_add(&j->next, j->size);
        if (begin >= j->n) return NULL;
        j->work(j->context, begin, j->n - begin < j->size ? j->n : begin + j->size);
    }
}

void qn_parallel_for(int64_t n, int64_t step,
                     void (*work)(void *context, int64_t begin, int64_t end), void *context)
{
    long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int n_threads = n_cpus < 1 ? 1 : n_cpus > MAX_THREADS ? MAX_THREADS : (int)n_cpus;
    int64_t steps = (n + step - 1) / step, n_ranges = (int64_t)n_threads * RANGES_PER_THREAD;
    job j = {
        .n = n, .size = (steps + n_ranges - 1) / n_ranges * step, .work = work, .context = context};
    pthread_t threads[MAX_THREADS];
    int n_started = 0;
    while (n_started < n_threads - 1 && (n_started + 1) * j.size < n &&
           !pthread_create(&threads[n_started], NULL, worker, &j))
        n_started++;
    worker(&j);
    for (int i = 0; i < n_started; i++)
        pthread_join(threads[i], NULL);
}
