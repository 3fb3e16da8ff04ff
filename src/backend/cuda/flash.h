// Attention in CUDA's own form (attention.cuh): takes over the dialect's tasks of a list where the matrix units can have them.
#ifndef QN_BACKEND_CUDA_FLASH_H
#define QN_BACKEND_CUDA_FLASH_H
#include "backend/cuda/device.h"
#include "backend/gpu/task.h"

// Steps by what their rows are to attention: some in runs and some not, which takes the kernels of both; or all of one kind. Of few rows
// also: those with long contexts, where groups share a row's splits.
typedef enum {
    QN_CUDA_MIXED,
    QN_CUDA_ALONE,
    QN_CUDA_RUNS,
    QN_CUDA_FAR,
    QN_CUDA_N_STEPS
} qn_cuda_steps;
// Of a list that this rewrote: rows of the windows within which runs are looked for; 0: there are no kernels of their own for runs.
int qn_cuda_flash_window(const qn_device *d, const qn_gpu_list *list);
qn_cuda_steps qn_cuda_flash_steps(const qn_row *rows, int n_rows, int window);
// Where groups share a row's splits in the list: the position from which on they had better do that; steps without such positions want a second
// list, of whole rows. 0: they do not. And whether a step has such a position.
int qn_cuda_flash_near(const qn_gpu_list *list);
int qn_cuda_flash_is_far(const qn_row *rows, int n_rows, int near);
// Whether steps of the kind do without a task of such a list.
int qn_cuda_flash_spares(qn_cuda_steps steps, const qn_gpu_task *t);
// *out: the tasks of `in`, those of attention rewritten where qn_cuda_flash_all(plan) and the list has pieces of QN_CUDA_PIECE; initialised by
// this. Where memory runs out the list has failed.
void qn_cuda_flash_rewrite(const qn_device *d, const qn_plan *plan, const qn_gpu_list *in,
                           qn_gpu_list *out);
// 1 where all of the plan's attention is of such a form.
int qn_cuda_flash_all(const qn_plan *plan);
// Bytes of shared memory that a group of a task's kernel needs; 0 where it is not one of these.
int qn_cuda_flash_shared(int kernel);
// Threads of a group of such a kernel, where they are not as many as in the dialect's; else 0.
int qn_cuda_flash_threads(int kernel);
// Whether, on Hopper, it waits by itself for the kernel before (as qn_cuda_gemm_early has it).
int qn_cuda_flash_early(int kernel);
// Whether, on Hopper, it can write its results as a product's tiles of that type.
int qn_cuda_flash_tiled(int kernel, int type);

#endif
