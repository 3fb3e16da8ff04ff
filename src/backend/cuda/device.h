// A CUDA device: its context, stream, memory and kernels. Private to backend/cuda. Owner thread, except open and close.
#ifndef QN_BACKEND_CUDA_DEVICE_H
#define QN_BACKEND_CUDA_DEVICE_H
#include "backend/backend.h"
#include "backend/cuda/driver.h"
#include "backend/cuda/products.h"
#include "backend/gpu/task.h"

enum { QN_CUDA_IN_FLIGHT = 2, QN_CUDA_STAGING_BYTES = 32 << 20 };

typedef struct qn_cuda_allocation {
    struct qn_cuda_allocation *next;
    void *address;
    size_t n_bytes;
    int adopted; // a weight: the device's own copy, which it may reorder
    int given;   // by alloc or adopt; else a program's
} qn_cuda_allocation;

// Memory that programs of one device share, since only one of them runs at a time (staging.c).
typedef struct qn_cuda_shared {
    struct qn_cuda_shared *next;
    void *at;
    size_t n_bytes;
    int n_users;
} qn_cuda_shared;

// A launch: its event, and where its results go when it is over.
typedef struct {
    CUevent over;
    qn_ticket ticket; // 0: none, or finished
    qn_step_result *output;
    const qn_step_result *staged; // what the device wrote, in pinned memory
    int n_outputs;
} qn_cuda_flight;

// The capability of the cards that gemm.cuh and attention_wide.cuh are for.
enum { QN_CUDA_HOPPER = 90 };

struct qn_device {
    const qn_cuda_driver *cu;
    CUdevice device;
    CUcontext context;
    CUstream stream;
    CUmodule module;
    CUfunction kernels[QN_GPU_N_KERNELS], own[QN_CUDA_N_KERNELS];
    int n_processors, capability; // 90 for sm_90
    int shared_bytes;             // of a group, at most
    int unified; // alloc gives pinned memory of the host, which both sides read (tests)
    qn_cuda_allocation *allocations;
    qn_cuda_weights weights; // the products' own form
    qn_cuda_shared *shared;
    char *staging[2]; // pinned, for uploads
    CUevent staged[2];
    qn_cuda_flight flights[QN_CUDA_IN_FLIGHT];
    qn_ticket last;
    int dead; // 0, or the CUresult that tells why
    char name[64];
};

// Memory of the device, zeroed; entered in its list. QUERN_E_MEMORY.
int qn_cuda_device_alloc(qn_device *d, size_t n_bytes, void **address, quern_error *e);
void qn_cuda_device_free(qn_device *d, void *address); // takes NULL
// The allocation that starts at the address, or NULL.
qn_cuda_allocation *qn_cuda_device_find(qn_device *d, const void *address);
// Room of at least n_bytes that other programs use too: the smallest there is, or a new one. NULL: QUERN_E_MEMORY.
qn_cuda_shared *qn_cuda_shared_take(qn_device *d, size_t n_bytes, quern_error *e);
// Freed with its last user; takes NULL.
void qn_cuda_shared_drop(qn_device *d, qn_cuda_shared *s);
// The kernel of a task: the dialect's, or CUDA's own behind them.
CUfunction qn_cuda_device_kernel(const qn_device *d, int kernel);
// Bytes of shared memory that a group of a task's kernel needs beside what the kernel declares.
int qn_cuda_device_shared(int kernel);
// Threads of a group of a task's kernel.
int qn_cuda_device_threads(int kernel);

// The calling thread works on this device from here on.
static inline void qn_cuda_use(const qn_device *d)
{
    d->cu->cuCtxSetCurrent(d->context);
}

static inline CUdeviceptr qn_cuda_address(const void *p)
{
    return (CUdeviceptr)(uintptr_t)p;
}

// launch.c
int qn_cuda_launch(qn_device *d, qn_program *p, const qn_launch *step, qn_ticket *out);
int qn_cuda_poll(qn_device *d, qn_ticket t);
int qn_cuda_wait(qn_device *d, qn_ticket t, int timeout_ms);
// program.c
int qn_cuda_compile(qn_device *d, const qn_plan *plan, qn_program **out, quern_error *e);
void qn_cuda_free_program(qn_device *d, qn_program *p);
// limits.c
double qn_cuda_measure_read(qn_device *d);
int qn_cuda_measure_limits(qn_device *d, qn_device_limits *out);

#endif
