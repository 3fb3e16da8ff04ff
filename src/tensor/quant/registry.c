// The weight formats: one row each, in the order of qn_dtype.
#include <string.h>

#include "tensor/quant/formats.h"

static const qn_format *const formats[QN_DTYPE_COUNT] = {
    [QN_DTYPE_F32] = &qn_format_f32,
    [QN_DTYPE_F16] = &qn_format_f16,
    [QN_DTYPE_BF16] = &qn_format_bf16,
};

const qn_format *qn_format_of(qn_dtype dtype)
{
    return (unsigned)dtype < QN_DTYPE_COUNT ? formats[dtype] : NULL;
}

qn_dtype qn_dtype_by_name(const char *name)
{
    for (int i = 0; i < QN_DTYPE_COUNT; i++)
        if (strcmp(name, formats[i]->name) == 0) return (qn_dtype)i;
    return QN_DTYPE_COUNT;
}
