// Sizes of views; see tensor.h. Shapes were checked where they entered (formats/, model/), so nothing overflows here.
#include "tensor/tensor.h"

int64_t qn_tensor_n_elements(const qn_tensor *t)
{
    int64_t n = t->rank > 0 ? 1 : 0;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

size_t qn_format_bytes(const qn_format *f, uint64_t n)
{
    uint64_t block = (uint64_t)f->block_elements;
    return (size_t)((n + block - 1) / block * (uint64_t)f->block_bytes);
}

size_t qn_format_alignment(const qn_format *f)
{
    size_t bytes = (size_t)f->block_bytes, power = bytes & (~bytes + 1);
    return power < 16 ? power : 16;
}

size_t qn_tensor_bytes(const qn_tensor *t)
{
    return qn_format_bytes(qn_format_of(t->dtype), (uint64_t)qn_tensor_n_elements(t));
}

size_t qn_tensor_row_bytes(const qn_tensor *t)
{
    return t->rank ? qn_format_bytes(qn_format_of(t->dtype), (uint64_t)t->dim[t->rank - 1]) : 0;
}
