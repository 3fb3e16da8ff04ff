// The rows of tensor/quant/registry.c: one weight format a file. Constant data; any thread.
#ifndef QN_TENSOR_QUANT_FORMATS_H
#define QN_TENSOR_QUANT_FORMATS_H
#include "tensor/tensor.h"

extern const qn_format qn_format_f32;
extern const qn_format qn_format_f16;
extern const qn_format qn_format_bf16;
extern const qn_format qn_format_q8_0;
extern const qn_format qn_format_q4_0;
extern const qn_format qn_format_q4_1;
extern const qn_format qn_format_q5_0;
extern const qn_format qn_format_q5_1;
extern const qn_format qn_format_q2_k;
extern const qn_format qn_format_q3_k;
extern const qn_format qn_format_q4_k;
extern const qn_format qn_format_q5_k;
extern const qn_format qn_format_q6_k;
extern const qn_format qn_format_iq4_nl;
extern const qn_format qn_format_iq4_xs;
extern const qn_format qn_format_fp8_128;

enum { QN_AFFINE_N = 15 };                            // 5 numbers of bits by 3 sizes of groups
extern const qn_format qn_format_affine[QN_AFFINE_N]; // from QN_DTYPE_AFFINE3_32 on

// As from_f32, with columns[i] the weight of number i's error (above 0; NULL: as from_f32): what qn_format_quantise calls.
void qn_q4_0_weighted(const float *from, const float *columns, void *to, size_t n);
void qn_q4_1_weighted(const float *from, const float *columns, void *to, size_t n);
void qn_q5_0_weighted(const float *from, const float *columns, void *to, size_t n);
void qn_q4_k_weighted(const float *from, const float *columns, void *to, size_t n);
void qn_q5_k_weighted(const float *from, const float *columns, void *to, size_t n);
void qn_q6_k_weighted(const float *from, const float *columns, void *to, size_t n);

// What the four bits of iq4_nl and iq4_xs stand for, ascending.
extern const int8_t qn_iq4_values[16];

#endif
