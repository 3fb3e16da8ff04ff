// The rows of tensor/quant/registry.c: one weight format a file. Constant data; any thread.
#ifndef QN_TENSOR_QUANT_FORMATS_H
#define QN_TENSOR_QUANT_FORMATS_H
#include "tensor/tensor.h"

extern const qn_format qn_format_f32;
extern const qn_format qn_format_f16;
extern const qn_format qn_format_bf16;

#endif
