// Monotonic time, and waits of bounded length. Any thread.
#ifndef QN_BASE_CLOCK_H
#define QN_BASE_CLOCK_H
#include <pthread.h>
#include <stdint.h>

uint64_t qn_clock_ns(void);
// Waits for a signal at `condition` for at most `ms` (below 1,000), with `lock` held; may come back early, as all such waits.
void qn_clock_await(pthread_cond_t *condition, pthread_mutex_t *lock, int ms);
static inline double qn_clock_ms(void)
{
    return (double)qn_clock_ns() * 1e-6;
}

#endif
