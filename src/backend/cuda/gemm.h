// Products of one row to many on sm_90 (gemm.cuh): takes over a plan's product tasks, together with what is around them: the norm in front,
// the products that share a row of x, silu(gate) · up behind.
#ifndef QN_BACKEND_CUDA_GEMM_H
#define QN_BACKEND_CUDA_GEMM_H
#include "backend/cuda/device.h"

enum {
    QN_CUDA_EARLY_ROWS = 512
}; // of a plan whose kernels may begin early; of larger ones they only take room from those in front of them

// Device memory that a program's products share, zeroed once.
typedef struct {
    void *
        at; // qn_cuda_gemm_room_bytes, in this order: sums handed over; sums of parts; tiles of x; tiles of gate · up
    size_t handed_bytes, partial_bytes, x_bytes, gated_bytes;
    void *weights; // blocks of products side by side as F16; programs of a device may share it
    size_t weight_bytes; // of it
} qn_cuda_gemm_room;

// Sizes the room for the list; at stays NULL.
void qn_cuda_gemm_measure(const qn_device *d, const qn_plan *plan, const qn_gpu_list *in,
                          qn_cuda_gemm_room *room);
size_t qn_cuda_gemm_room_bytes(const qn_cuda_gemm_room *room);
// *out: the tasks of `in`, those products rewritten; initialised by this. Where memory runs out the list has failed.
void qn_cuda_gemm_rewrite(const qn_device *d, const qn_plan *plan, const qn_gpu_list *in,
                          const qn_cuda_gemm_room *room, qn_gpu_list *out);
// Threads of a group of a task's kernel.
int qn_cuda_gemm_threads(int kernel);
// Whether it may be launched before the kernel before it is over: it waits by itself (product_ptx.cuh: qn_grid_wait).
int qn_cuda_gemm_early(int kernel);
// Its shared memory; 0: not one of these.
int qn_cuda_gemm_shared(int kernel);

#endif
