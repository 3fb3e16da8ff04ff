// Limits: what memory, arithmetic and launches of the CPU can do at most, measured. Owner thread, between steps.
#ifndef QN_BACKEND_CPU_LIMITS_H
#define QN_BACKEND_CPU_LIMITS_H
#include "backend/backend.h"
#include "backend/cpu/pool.h"

// Bytes a second, the best of a few passes over memory far larger than the caches; 0 where there is no memory for it.
double qn_limits_read(qn_pool *pool);
double qn_limits_copy(qn_pool *pool); // bytes read plus bytes written
// Fills in matmul_flops_per_second and launch_seconds by running plans through the backend's own functions.
int qn_limits_run_plans(const qn_backend *b, qn_device *d, qn_device_limits *out);

#endif
