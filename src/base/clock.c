// See clock.h.
#include "base/clock.h"

#include <time.h>

uint64_t qn_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// By the wall clock: macOS has no pthread_condattr_setclock.
void qn_clock_await(pthread_cond_t *condition, pthread_mutex_t *lock, int ms)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += ms * 1000000L;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    pthread_cond_timedwait(condition, lock, &t);
}
