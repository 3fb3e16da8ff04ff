// The functions of libcuda.so.1 that the backend calls, found by dlsym. Loaded once by the first call; any thread.
#ifndef QN_BACKEND_CUDA_DRIVER_H
#define QN_BACKEND_CUDA_DRIVER_H
#include <cuda.h>

#include "base/error.h"

// clang-format off
#define QN_CUDA_FUNCTIONS(X) \
    X(cuInit, (unsigned)) \
    X(cuDeviceGetCount, (int *)) \
    X(cuDeviceGet, (CUdevice *, int)) \
    X(cuDeviceGetName, (char *, int, CUdevice)) \
    X(cuDeviceGetAttribute, (int *, CUdevice_attribute, CUdevice)) \
    X(cuDeviceTotalMem_v2, (size_t *, CUdevice)) \
    X(cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice)) \
    X(cuDevicePrimaryCtxRelease_v2, (CUdevice)) \
    X(cuCtxSetCurrent, (CUcontext)) \
    X(cuMemAlloc_v2, (CUdeviceptr *, size_t)) \
    X(cuMemFree_v2, (CUdeviceptr)) \
    X(cuMemHostAlloc, (void **, size_t, unsigned)) \
    X(cuMemFreeHost, (void *)) \
    X(cuMemsetD8Async, (CUdeviceptr, unsigned char, size_t, CUstream)) \
    X(cuMemcpyDtoH_v2, (void *, CUdeviceptr, size_t)) \
    X(cuMemcpyDtoDAsync_v2, (CUdeviceptr, CUdeviceptr, size_t, CUstream)) \
    X(cuMemcpyHtoDAsync_v2, (CUdeviceptr, const void *, size_t, CUstream)) \
    X(cuStreamCreate, (CUstream *, unsigned)) \
    X(cuStreamDestroy_v2, (CUstream)) \
    X(cuStreamSynchronize, (CUstream)) \
    X(cuStreamBeginCapture_v2, (CUstream, CUstreamCaptureMode)) \
    X(cuStreamEndCapture, (CUstream, CUgraph *)) \
    X(cuGraphInstantiateWithFlags, (CUgraphExec *, CUgraph, unsigned long long)) \
    X(cuGraphLaunch, (CUgraphExec, CUstream)) \
    X(cuGraphDestroy, (CUgraph)) \
    X(cuGraphExecDestroy, (CUgraphExec)) \
    X(cuEventCreate, (CUevent *, unsigned)) \
    X(cuEventDestroy_v2, (CUevent)) \
    X(cuEventRecord, (CUevent, CUstream)) \
    X(cuEventQuery, (CUevent)) \
    X(cuEventSynchronize, (CUevent)) \
    X(cuModuleLoadData, (CUmodule *, const void *)) \
    X(cuModuleUnload, (CUmodule)) \
    X(cuModuleGetFunction, (CUfunction *, CUmodule, const char *)) \
    X(cuFuncSetAttribute, (CUfunction, CUfunction_attribute, int)) \
    X(cuLaunchKernel, (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, \
                       void **, void **)) \
    X(cuLaunchKernelEx, (const CUlaunchConfig *, CUfunction, void **, void **)) \
    X(cuGetErrorName, (CUresult, const char **))
// clang-format on

typedef struct {
#define QN_CUDA_MEMBER(name, arguments) CUresult(*name) arguments;
    QN_CUDA_FUNCTIONS(QN_CUDA_MEMBER)
#undef QN_CUDA_MEMBER
} qn_cuda_driver;

// NULL where there is no driver, or one too old. The table lives until the process ends.
const qn_cuda_driver *qn_cuda_driver_get(void);
// QUERN_E_DEVICE (QUERN_E_MEMORY for lack of memory) with "cuda: <what>: <the driver's name of the error>"; 0 for CUDA_SUCCESS.
int qn_cuda_driver_check(CUresult result, const char *what, quern_error *e);

#endif
