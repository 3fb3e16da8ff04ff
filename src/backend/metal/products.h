// Metal's own kernels by number, and products in simdgroup matrices (kernels/matrix.h) in place of the dialect's. Which of the two
// a device uses is decided once, at open, for rows of every step: so a row's bits never hang on its company. No Objective-C here.
#ifndef QN_BACKEND_METAL_PRODUCTS_H
#define QN_BACKEND_METAL_PRODUCTS_H
#include "backend/gpu/task.h"

// clang-format off
#define QN_METAL_KERNELS(X) X(gate_open) X(gate_close) X(copy_all)
#define QN_METAL_MATRIX_KERNELS(X) \
    X(matrix_few_f16) X(matrix_few_bf16) X(matrix_tiles_f16) X(matrix_tiles_bf16) \
    X(matrix_norm_project_f16) X(matrix_norm_project_bf16) X(matrix_norm_gate_up_f16) X(matrix_norm_gate_up_bf16) \
    X(matrix_merge_project_f16_2048) X(matrix_merge_project_f16_4096) X(matrix_merge_project_f16_6144) \
    X(matrix_merge_project_bf16_2048) X(matrix_merge_project_bf16_4096) X(matrix_merge_project_bf16_6144)
// clang-format on

// They go on where the dialect's end.
enum {
    QN_METAL_BEFORE_KERNELS = QN_GPU_N_KERNELS - 1,
#define QN_METAL_VALUE(name) QN_METAL_##name,
    QN_METAL_KERNELS(QN_METAL_VALUE) QN_METAL_MATRIX_KERNELS(QN_METAL_VALUE)
#undef QN_METAL_VALUE
        QN_METAL_N_KERNELS,
    QN_METAL_FIRST_MATRIX = QN_METAL_matrix_few_f16, // from here on in the library of matrix.metal
};

// Of the dialect's kernels too.
const char *qn_metal_kernel_name(int kernel);
// Puts simdgroup matrices in the place of every product with F16 or BF16 weights that they can do: K a multiple of 8, weights at
// multiples of 8 bytes. That hangs on the weight alone.
void qn_metal_products_rewrite(qn_gpu_list *list);

#endif
