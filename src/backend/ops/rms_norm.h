// rms_norm: RMSNorm (Zhang & Sennrich 2019; HF Qwen2RMSNorm) of each group of `width` numbers of a row:
//   y = weight * (x / sqrt(mean(x²) + eps))
// x, y: F32 [rows, n_groups * width], may be the same; weight: [width], F32/F16/BF16. n_groups > 1 is the per-head norm of Qwen3.
// Order: x² summed in 16 lanes (lane = index mod 16, each ascending, fused multiply-add), lanes added as in matmul.h; then
// inverse = 1 / sqrt(sum / width + eps), y = weight · (x · inverse), each step rounded to float32.
#ifndef QN_BACKEND_OPS_RMS_NORM_H
#define QN_BACKEND_OPS_RMS_NORM_H
#include "backend/plan.h"

typedef struct {
    qn_tensor y, x, weight;
    int32_t n_groups;
    float eps;
    const int32_t *n_rows; // on the device
} qn_rms_norm_args;

int qn_rms_norm_accesses(const void *args, qn_access *out);

// n_rows: &counts->n_rows for the body of a pass, &counts->n_outputs behind gather.
static inline void qn_rms_norm(qn_plan *p, qn_tensor y, qn_tensor x, qn_tensor weight,
                               qn_rms_norm_args rest)
{
    rest.y = y;
    rest.x = x;
    rest.weight = weight;
    if (!rest.n_rows) rest.n_rows = &p->batch.step.counts->n_rows;
    if (!rest.n_groups) rest.n_groups = 1;
    qn_plan_add(p, QN_OP_RMS_NORM, &rest);
}

#endif
