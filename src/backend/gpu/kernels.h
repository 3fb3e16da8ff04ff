// The kernels of the dialect by name: one row a kernel in QN_GPU_KERNELS; its text is in kernels/, included by kernels/all.h.
// The hosts look them up under these very names (a Metal library's functions, a CUDA module's entries).
#ifndef QN_BACKEND_GPU_KERNELS_H
#define QN_BACKEND_GPU_KERNELS_H
#include <stdint.h>

// clang-format off
#define QN_GPU_KERNELS(X) \
    X(step_begin) X(step_end) X(copy_blocks) X(embed) X(gather) X(rms_norm) X(rope) X(kv_append) X(swiglu) \
    X(matmul_f32_1x1) X(matmul_f32_1x4) X(matmul_f32_4x2) X(matmul_f16_1x1) X(matmul_f16_1x4) X(matmul_f16_4x2) \
    X(matmul_bf16_1x1) X(matmul_bf16_1x4) X(matmul_bf16_4x2) X(matmul_any) \
    X(norm_project_f32) X(norm_project_f16) X(norm_project_bf16) \
    X(norm_gate_up_f32) X(norm_gate_up_f16) X(norm_gate_up_bf16) \
    X(sample_scan) X(sample_count) X(sample_place) X(sample_finish) \
    X(attention_merge) \
    X(attention_f32_64) X(attention_f32_128) X(attention_f32_256) X(attention_f16_64) X(attention_f16_128) X(attention_f16_256) \
    X(attention_bf16_64) X(attention_bf16_128) X(attention_bf16_256) X(attend_f32_64) X(attend_f32_128) X(attend_f32_256) \
    X(attend_f16_64) X(attend_f16_128) X(attend_f16_256) X(attend_bf16_64) X(attend_bf16_128) X(attend_bf16_256) \
    X(merge_project_f32_2048) X(merge_project_f32_4096) X(merge_project_f32_6144) X(merge_project_f16_2048) X(merge_project_f16_4096) X(merge_project_f16_6144) \
    X(merge_project_bf16_2048) X(merge_project_bf16_4096) X(merge_project_bf16_6144) \
    X(matmul_q8_0_1x2) X(matmul_q8_0_4x2) X(matmul_q4_0_1x2) X(matmul_q4_0_4x2) X(matmul_q4_1_1x2) X(matmul_q4_1_4x2) \
    X(matmul_q5_0_1x2) X(matmul_q5_0_4x2) X(matmul_q5_1_1x2) X(matmul_q5_1_4x2) X(matmul_q2_k_1x2) X(matmul_q2_k_4x2) \
    X(matmul_q3_k_1x2) X(matmul_q3_k_4x2) X(matmul_q4_k_1x2) X(matmul_q4_k_4x2) X(matmul_q5_k_1x2) X(matmul_q5_k_4x2) \
    X(matmul_q6_k_1x2) X(matmul_q6_k_4x2) X(matmul_iq4_nl_1x2) X(matmul_iq4_nl_4x2) X(matmul_iq4_xs_1x2) X(matmul_iq4_xs_4x2) \
    X(matmul_fp8_128_1x2) X(matmul_fp8_128_4x2) X(matmul_affine3_1x2) X(matmul_affine3_4x2) X(matmul_affine4_1x2) X(matmul_affine4_4x2) \
    X(matmul_affine5_1x2) X(matmul_affine5_4x2) X(matmul_affine6_1x2) X(matmul_affine6_4x2) X(matmul_affine8_1x2) X(matmul_affine8_4x2) \
    X(attention_q8_0_64) X(attention_q8_0_128) X(attention_q8_0_256)
// clang-format on

typedef enum {
#define QN_GPU_VALUE(name) QN_GPU_##name,
    QN_GPU_KERNELS(QN_GPU_VALUE)
#undef QN_GPU_VALUE
        QN_GPU_N_KERNELS
} qn_gpu_kernel;

// "rms_norm", …; NULL where there is none.
const char *qn_gpu_kernel_name(qn_gpu_kernel kernel);

#endif
