// Monotonic time. Any thread.
#ifndef QN_BASE_CLOCK_H
#define QN_BASE_CLOCK_H
#include <stdint.h>

uint64_t qn_clock_ns(void);
static inline double qn_clock_ms(void)
{
    return (double)qn_clock_ns() * 1e-6;
}

#endif
