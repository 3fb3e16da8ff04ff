// matmul: y[r, n] = Σ_k x[r, k] · w[n, k]  (+ bias[n])  (+ y[r, n] where `accumulate`: the residual stream)
// x: F32 [rows, K]; w: [N, K] in any weight format, read as it lies; bias: [N] F32/F16/BF16 or absent; y: F32 [rows, N].
// x and y do not overlap.
// Order, for one row as for thousands: 16 lanes, lane l = Σ over k ≡ l (mod 16), k ascending, from 0, by fused multiply-add
// (x and w as float32); then the lanes are added as a tree: l += l+8, l += l+4, l += l+2, l += l+1; then + bias, then + y.
#ifndef QN_BACKEND_OPS_MATMUL_H
#define QN_BACKEND_OPS_MATMUL_H
#include "backend/plan.h"

typedef struct {
    qn_tensor y, x, w, bias; // bias.data NULL: none
    int32_t accumulate;
    const int32_t *n_rows; // on the device
} qn_matmul_args;

int qn_matmul_accesses(const void *args, qn_access *out);

static inline void qn_matmul(qn_plan *p, qn_tensor y, qn_tensor x, qn_tensor w, qn_tensor bias)
{
    qn_matmul_args a = {y, x, w, bias, 0, &p->batch.step.counts->n_rows};
    qn_plan_add(p, QN_OP_MATMUL, &a);
}

// y += x · wᵀ
static inline void qn_matmul_residual(qn_plan *p, qn_tensor y, qn_tensor x, qn_tensor w,
                                      qn_tensor bias)
{
    qn_matmul_args a = {y, x, w, bias, 1, &p->batch.step.counts->n_rows};
    qn_plan_add(p, QN_OP_MATMUL, &a);
}

// Over the gathered output rows (the head).
static inline void qn_matmul_outputs(qn_plan *p, qn_tensor y, qn_tensor x, qn_tensor w)
{
    qn_matmul_args a = {y, x, w, {0}, 0, &p->batch.step.counts->n_outputs};
    qn_plan_add(p, QN_OP_MATMUL, &a);
}

#endif
