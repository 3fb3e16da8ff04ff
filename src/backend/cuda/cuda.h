// The CUDA backend: NVIDIA GPUs from sm_80 on, through the driver's library, which is opened at run time: a program built with
// nvcc runs on machines without a driver too, where this backend is not available.
#ifndef QN_BACKEND_CUDA_CUDA_H
#define QN_BACKEND_CUDA_CUDA_H
#include "backend/backend.h"

extern const qn_backend qn_cuda_backend;

#endif
