// Pool: the compute threads of a CPU device. The thread that calls run is worker 0; the others wait for it, spinning a little
// and then parked. Owned by the device; run allocates nothing.
#ifndef QN_BACKEND_CPU_POOL_H
#define QN_BACKEND_CPU_POOL_H
#include "base/error.h"

typedef struct qn_pool qn_pool;

// n_threads ≥ 1, worker 0 included. More threads than processors work too: they park instead of spinning.
int qn_pool_open(int n_threads, qn_pool **out, quern_error *e);
void qn_pool_close(qn_pool *p); // takes NULL
int qn_pool_n_threads(const qn_pool *p);

// Calls work(context, phase, worker) for phases 0 … n_phases - 1, one after another; returns after the last. A phase is called by
// any number of workers, at least one, by each at most once, and is over when all who were called have returned: so a call takes
// pieces of the phase's work until none is left, and those that others have taken are theirs. What a phase has written is seen in
// the next. A worker that the system keeps waiting holds nobody up, unless it has joined a phase. One caller at a time.
void qn_pool_run(qn_pool *p, int n_phases, void (*work)(void *context, int phase, int worker),
                 void *context);

#endif
