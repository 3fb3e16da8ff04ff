// swiglu on 16 lanes; see ops/swiglu.h. Part of kernels_body.h. A chunk is a part of a row, so that a single row is shared too.
#ifndef QN_BACKEND_CPU_SWIGLU_BODY_H
#define QN_BACKEND_CPU_SWIGLU_BODY_H
#include "backend/cpu/lanes.h"
#include "backend/ops/swiglu.h"
#ifdef SIMD_ISA

enum { SWIGLU_CHUNK = 2048 };

static void swiglu_some(float *y, const float *gate, const float *up, int64_t n)
{
    lanes one = lanes_set(1), zero = lanes_set(0);
    int64_t i = 0;
    for (; i + QN_CPU_LANES <= n; i += QN_CPU_LANES) {
        lanes g = lanes_load(gate + i);
        lanes silu = lanes_div(g, lanes_add(one, lanes_exp(lanes_sub(zero, g))));
        lanes_store(y + i, lanes_mul(silu, lanes_load(up + i)));
    }
    for (; i < n; i++)
        y[i] = qn_scalar_silu(gate[i]) * up[i];
}

static void swiglu(const void *args, const qn_cpu_task *task)
{
    const qn_swiglu_args *a = args;
    int64_t width = a->y.dim[1], per_row = (width + SWIGLU_CHUNK - 1) / SWIGLU_CHUNK;
    for (int64_t chunk; (chunk = qn_cpu_take(task)) < *a->n_rows * per_row;) {
        int64_t row = chunk / per_row, from = chunk % per_row * SWIGLU_CHUNK;
        int64_t n = width - from < SWIGLU_CHUNK ? width - from : SWIGLU_CHUNK;
        swiglu_some(qn_cpu_row(&a->y, row) + from, qn_cpu_row(&a->gate, row) + from,
                    qn_cpu_row(&a->up, row) + from, n);
    }
}

#endif
#endif
