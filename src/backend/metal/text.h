// The kernels as Metal texts, made at build by make_msl.py from kernels/all.h and kernels/matrix_all.h. NUL-terminated.
#ifndef QN_BACKEND_METAL_TEXT_H
#define QN_BACKEND_METAL_TEXT_H

extern const char qn_metal_kernels_text[];
extern const char qn_metal_matrix_text[];

#endif
