// The CPU backend's row for backend/registry.c.
#ifndef QN_BACKEND_CPU_CPU_H
#define QN_BACKEND_CPU_CPU_H
#include "backend/backend.h"

extern const qn_backend qn_cpu_backend;

#endif
