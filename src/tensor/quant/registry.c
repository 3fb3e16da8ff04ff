// The weight formats: one row each, in the order of qn_dtype.
#include <string.h>

#include "tensor/quant/formats.h"

// clang-format off
static const qn_format *const formats[QN_DTYPE_COUNT] = {
    [QN_DTYPE_F32] = &qn_format_f32,
    [QN_DTYPE_F16] = &qn_format_f16,
    [QN_DTYPE_BF16] = &qn_format_bf16,
    [QN_DTYPE_Q8_0] = &qn_format_q8_0,
    [QN_DTYPE_Q4_0] = &qn_format_q4_0,
    [QN_DTYPE_Q4_1] = &qn_format_q4_1,
    [QN_DTYPE_Q5_0] = &qn_format_q5_0,
    [QN_DTYPE_Q5_1] = &qn_format_q5_1,
    [QN_DTYPE_Q2_K] = &qn_format_q2_k,
    [QN_DTYPE_Q3_K] = &qn_format_q3_k,
    [QN_DTYPE_Q4_K] = &qn_format_q4_k,
    [QN_DTYPE_Q5_K] = &qn_format_q5_k,
    [QN_DTYPE_Q6_K] = &qn_format_q6_k,
    [QN_DTYPE_IQ4_NL] = &qn_format_iq4_nl,
    [QN_DTYPE_IQ4_XS] = &qn_format_iq4_xs,
};
// clang-format on

const qn_format *qn_format_of(qn_dtype dtype)
{
    return (unsigned)dtype < QN_DTYPE_COUNT ? formats[dtype] : NULL;
}

static void (*const weighted[QN_DTYPE_COUNT])(const float *, const float *, void *, size_t) = {
    [QN_DTYPE_Q4_0] = qn_q4_0_weighted, [QN_DTYPE_Q4_1] = qn_q4_1_weighted,
    [QN_DTYPE_Q5_0] = qn_q5_0_weighted, [QN_DTYPE_Q4_K] = qn_q4_k_weighted,
    [QN_DTYPE_Q5_K] = qn_q5_k_weighted, [QN_DTYPE_Q6_K] = qn_q6_k_weighted,
};

bool qn_format_weighs(qn_dtype dtype)
{
    return weighted[dtype] != NULL;
}

void qn_format_quantise(qn_dtype dtype, const float *from, const float *columns, void *to, size_t n)
{
    if (weighted[dtype])
        weighted[dtype](from, columns, to, n);
    else
        formats[dtype]->from_f32(from, to, n);
}

qn_dtype qn_dtype_by_name(const char *name)
{
    for (int i = 0; i < QN_DTYPE_COUNT; i++)
        if (strcmp(name, formats[i]->name) == 0) return (qn_dtype)i;
    return QN_DTYPE_COUNT;
}
