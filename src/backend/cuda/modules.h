// The compiled kernels, embedded in the program at build (embed.py): a fat binary of kernels.cu.
#ifndef QN_BACKEND_CUDA_MODULES_H
#define QN_BACKEND_CUDA_MODULES_H

extern const unsigned char qn_cuda_module_kernels[];

#endif
