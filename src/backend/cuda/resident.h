// Programs of few rows as one resident kernel a step (resident.cu): the task list, the stream of weights, and the counters that the
// groups meet at. Private to backend/cuda.
#ifndef QN_BACKEND_CUDA_RESIDENT_H
#define QN_BACKEND_CUDA_RESIDENT_H
#include "backend/cuda/program.h"

// The most rows of a plan with these weights that count as few (0: one row is not, on Hopper with weights of 16 bits): its operations are fused
// where they can be, and it runs as a resident kernel where the device can; with more, products as kernels of their own are faster (on Hopper
// those of gemm.h: docs/performance.md).
int qn_cuda_few_rows(const qn_device *d, const qn_plan *plan);
// 1 where the device and the plan's shapes allow it.
int qn_cuda_resident_fits(const qn_device *d, const qn_plan *plan, const qn_gpu_list *list);
// Makes the program's list on the device: p->n_tasks and what is beside it. QUERN_E_MEMORY, QUERN_E_DEVICE.
int qn_cuda_resident_make(qn_device *d, qn_program *p, const qn_gpu_list *list, quern_error *e);
// Starts the kernel for the place in flight, in the device's stream.
CUresult qn_cuda_resident_start(qn_device *d, qn_program *p, int flight);

#endif
