// The compiled kernels, embedded in the program at build (embed.py): fat binaries of kernels.cu and resident.cu.
#ifndef QN_BACKEND_CUDA_MODULES_H
#define QN_BACKEND_CUDA_MODULES_H

extern const unsigned char qn_cuda_module_kernels[];
extern const unsigned char qn_cuda_module_resident[];

#endif
