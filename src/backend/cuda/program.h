// A compiled program: graphs for each of the two places in flight. Private to backend/cuda.
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
    CUgraphExec graphs[QN_CUDA_IN_FLIGHT][QN_CUDA_N_STEPS];
    int run_window; // by which attention looks for runs; 0: its kernels are the same for all steps
    int near;       // steps with positions from here on have graphs of their own; 0: none have
};

// Where a task's buffer is in a launch: what differs from launch to launch has a place of its own for each in flight.
const void *qn_cuda_program_place(const qn_program *p, int flight, const void *address);

#endif
