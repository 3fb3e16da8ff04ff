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
    [QN_DTYPE_AFFINE3_32] = &qn_format_affine[0],
    [QN_DTYPE_AFFINE3_64] = &qn_format_affine[1],
    [QN_DTYPE_AFFINE3_128] = &qn_format_affine[2],
    [QN_DTYPE_AFFINE4_32] = &qn_format_affine[3],
    [QN_DTYPE_AFFINE4_64] = &qn_format_affine[4],
    [QN_DTYPE_AFFINE4_128] = &qn_format_affine[5],
    [QN_DTYPE_AFFINE5_32] = &qn_format_affine[6],
    [QN_DTYPE_AFFINE5_64] = &qn_format_affine[7],
    [QN_DTYPE_AFFINE5_128] = &qn_format_affine[8],
    [QN_DTYPE_AFFINE6_32] = &qn_format_affine[9],
    [QN_DTYPE_AFFINE6_64] = &qn_format_affine[10],
    [QN_DTYPE_AFFINE6_128] = &qn_format_affine[11],
    [QN_DTYPE_AFFINE8_32] = &qn_format_affine[12],
    [QN_DTYPE_AFFINE8_64] = &qn_format_affine[13],
    [QN_DTYPE_AFFINE8_128] = &qn_format_affine[14],
    [QN_DTYPE_FP8_128] = &qn_format_fp8_128,
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

qn_dtype qn_dtype_affine(int64_t bits, int64_t group)
{
    static const int all_bits[] = {3, 4, 5, 6, 8}, groups[] = {32, 64, 128};
    for (int i = 0; i < QN_AFFINE_N; i++)
        if (bits == all_bits[i / 3] && group == groups[i % 3])
            return (qn_dtype)(QN_DTYPE_AFFINE3_32 + i);
    return QN_DTYPE_COUNT;
}
