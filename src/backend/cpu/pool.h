// Pool: the compute threads of a CPU device. The thread that calls run is worker 0; the others wait for it, spinning a little
// and then parked. Owned by the device; run and barrier allocate nothing.
#ifndef QN_BACKEND_CPU_POOL_H
#define QN_BACKEND_CPU_POOL_H
#include "base/error.h"

typedef struct qn_pool qn_pool;

// n_threads ≥ 1, worker 0 included. More threads than processors work too: they park instead of spinning.
int qn_pool_open(int n_threads, qn_pool **out, quern_error *e);
void qn_pool_close(qn_pool *p); // takes NULL
int qn_pool_n_threads(const qn_pool *p);

// Calls work(context, worker) on every worker and returns when all have returned. One caller at a time.
void qn_pool_run(qn_pool *p, void (*work)(void *context, int worker), void *context);
// Inside work, by every worker: nobody goes on before all are here; what was written before is seen after.
void qn_pool_barrier(qn_pool *p);

#endif
