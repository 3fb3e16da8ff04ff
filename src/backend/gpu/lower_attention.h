// Attention's pieces as tasks, for its own lowering and for the fused forms; see kernels/attention.h for the splits.
#ifndef QN_BACKEND_GPU_LOWER_ATTENTION_H
#define QN_BACKEND_GPU_LOWER_ATTENTION_H
#include "backend/gpu/lower.h"
#include "backend/ops/attention.h"

// How the plan runs it. `whole`: a group does all splits of its row and writes the result, nothing is merged; the bits are the
// same. So it is where rows fill the machine by themselves, where there is one split, and where the scratch does not suffice.
qn_gpu_attention_args qn_gpu_attention_shape(const qn_gpu_lowering *l, const qn_attention_args *o);
// Its grid, and its place (0 … 2) in tables of kernels by width: heads of at most 64, 128, 256.
void qn_gpu_attention_grid(uint32_t n_groups[3], const qn_plan *p, const qn_gpu_attention_args *a);
int qn_gpu_attention_width(int64_t head_dim);
// Adds its output: the result where `whole`, else the partials, which a merge then reads.
void qn_gpu_attention_out(qn_gpu_lowering *l, qn_gpu_task *t, const qn_attention_args *o,
                          const qn_gpu_attention_args *a, int write);
void qn_gpu_attention_split(qn_gpu_lowering *l, const qn_attention_args *o,
                            const qn_gpu_attention_args *a);
void qn_gpu_attention_merge(qn_gpu_lowering *l, const qn_attention_args *o,
                            const qn_gpu_attention_args *a);

#endif
