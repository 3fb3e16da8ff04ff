// The pieces of rms_norm and rope that qk_norm_rope uses too.
#ifndef QN_BACKEND_CPU_REF_NORM_H
#define QN_BACKEND_CPU_REF_NORM_H
#include "backend/ops/rope.h"

void qn_ref_norm_group(float *y, const float *x, const qn_tensor *weight, float eps);
// Rotates the heads of one row.
void qn_ref_rope_row(const qn_rope_args *a, int row);

#endif
