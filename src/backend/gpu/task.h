// Tasks: a plan as GPU dispatches, what the hosts of CUDA and Metal share. A task is one dispatch of one kernel: its grid, its
// buffers (fixed device addresses with the bytes they span) and its argument struct. Row counts are read on the device, so a
// list is made once at load and launched every step. Tasks run in order; two that touch no common bytes may overlap.
#ifndef QN_BACKEND_GPU_TASK_H
#define QN_BACKEND_GPU_TASK_H
#include "backend/gpu/kernels.h"
#include "backend/plan.h"

enum {
    QN_GPU_MAX_BUFFERS = 15,
    QN_GPU_MAX_ARGS_BYTES = 128,
    QN_GPU_N_THREADS = 256,
    QN_GPU_N_SIMDS = 8
};

// Places that differ from launch to launch (two are in flight); the host binds its own memory there. No valid addresses.
#define QN_GPU_STAGED_STEP ((const void *)(uintptr_t)1) // the step block that the host wrote
#define QN_GPU_STAGED_RESULTS                                                                      \
    ((const void *)(uintptr_t)2) // qn_step_result[max_outputs] for the host to read

typedef struct {
    qn_gpu_kernel kernel;
    uint32_t n_groups[3]; // threadgroups of QN_GPU_THREADS threads
    int n_buffers;
    qn_access buffers[QN_GPU_MAX_BUFFERS]; // in the order of the kernel's parameters
    uint32_t args_bytes;
    uint32_t args[QN_GPU_MAX_ARGS_BYTES / 4];
} qn_gpu_task;

typedef struct {
    qn_arena arena;
    qn_gpu_task *tasks;
    int n_tasks, capacity;
    int failed;        // memory ran out
    qn_gpu_task spare; // what is written then
} qn_gpu_list;

// How a host wants it.
typedef struct {
    void *scratch; // device memory of qn_gpu_scratch_bytes(plan), used between tasks of one launch
    size_t scratch_bytes; // its size
    int fuse_rows; // plans of up to so many rows become few dispatches (norms, rotations and merges inside the products); the
                   // dialect's own kernels for these take one row
    int fuse_blocks; // 1: products with weights in blocks too, of which q, k and v may differ in format, and attend over caches in Q8_0; the
        // host has all of these in its own form and replaces the tasks, whose kernels are then those of F16
    int piece; // positions of a piece of attention, where the host's own kernels take others than the dialect's; 0: as the dialect's
    int whole; // 1: attention never splits a row among groups, whatever the plan's rows
    // Takes over a record (a product in the platform's own form): 1 when it appended its own tasks, 0 to have the dialect's. May be NULL.
    int (*claim)(void *context, const qn_record *r, const qn_plan *plan, qn_gpu_list *out);
    void *context;
} qn_gpu_options;

// 1 where the dialect's kernels can run the record.
int qn_gpu_supports(const qn_record *r);
// Scratch that the plan's tasks need.
size_t qn_gpu_scratch_bytes(const qn_plan *plan);
// The plan as tasks. The first fetches the staged step block into the plan's; where the plan samples, the last hands the results
// out. Returns 0, QUERN_E_MEMORY or QUERN_E_UNSUPPORTED; *out is initialised by this and empty on failure.
int qn_gpu_lower(const qn_plan *plan, const qn_gpu_options *o, qn_gpu_list *out, quern_error *e);
void qn_gpu_list_free(qn_gpu_list *l);

#endif
