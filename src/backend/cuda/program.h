// A compiled program: graphs for each of the two places in flight, or the task list of the resident kernel. Private to
// backend/cuda.
#ifndef QN_BACKEND_CUDA_PROGRAM_H
#define QN_BACKEND_CUDA_PROGRAM_H
#include "backend/cuda/device.h"
#include "backend/cuda/flash.h"

struct qn_program {
    qn_step_limits limits;
    int max_rows;
    void *step[QN_CUDA_IN_FLIGHT];    // pinned: what the host wrote; the device reads it there
    void *results[QN_CUDA_IN_FLIGHT]; // pinned: what the device hands out
    int has_results;
    void *scratch, *partials; // between tasks of one launch
    size_t partial_bytes;     // of the latter
    qn_cuda_shared *unpacked; // of products whose weights come in blocks (gemm.h)
    CUgraphExec graphs[QN_CUDA_IN_FLIGHT][QN_CUDA_N_STEPS]; // where there is no resident task list
    int run_window; // by which attention looks for runs; 0: its kernels are the same for all steps
    int near;       // steps with positions from here on have graphs of their own; 0: none have
    int n_tasks;    // of the resident list
    uint32_t slot_bytes;            // of its ring of weights
    void *tasks[QN_CUDA_IN_FLIGHT]; // qn_cuda_resident_task[n_tasks] on the device
    void *streams;                  // qn_cuda_stream[], on the device
    void *shares;                   // qn_cuda_share[], a group of the grid each, for every stream
    void *progress,
        *sums;           // of the resident kernel: a counter an epoch; parts of its products' sums
    uint32_t n_launches; // of the resident kernel
};

// Where a task's buffer is in a launch: what differs from launch to launch has a place of its own for each in flight.
const void *qn_cuda_program_place(const qn_program *p, int flight, const void *address);

#endif
