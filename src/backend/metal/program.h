// Program: a plan's tasks as they are encoded. Private to program.c and launch.c.
#ifndef QN_BACKEND_METAL_PROGRAM_H
#define QN_BACKEND_METAL_PROGRAM_H
#include "backend/gpu/task.h"
#include "backend/metal/device.h"

// A place without a buffer is a flight's own: its offset says which.
enum { QN_METAL_STAGED_STEP = 1, QN_METAL_STAGED_RESULTS = 2 };

typedef struct {
    qn_metal_id pipeline;
    uint32_t n_groups[3];
    int barrier_before; // it meets a dispatch since the last barrier
    int n_places;
    qn_metal_place places[QN_GPU_MAX_BUFFERS];
    uint32_t args_bytes;
    uint32_t args[QN_GPU_MAX_ARGS_BYTES / 4];
} qn_metal_dispatch;

struct qn_program {
    qn_step_limits limits;
    int max_rows;
    void *scratch;
    size_t scratch_bytes;
    qn_metal_dispatch *dispatches;
    int n_dispatches;
};

#endif
