// Work of known parts on several threads, for what happens once (loading, converting); steps have the device's own pool.
#ifndef QN_BASE_PARALLEL_H
#define QN_BASE_PARALLEL_H
#include <stdint.h>

// Calls work(context, begin, end) on ranges that together are 0 … n - 1, each once, on as many threads as there are processors
// (at most 16, at least the caller's), and returns when all are done. Ranges begin at multiples of `step`.
void qn_parallel_for(int64_t n, int64_t step,
                     void (*work)(void *context, int64_t begin, int64_t end), void *context);

#endif
