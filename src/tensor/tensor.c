// Sizes of views; see tensor.h. Shapes were checked where they entered (formats/, model/), so nothing overflows here.
#include "tensor/tensor.h"

int64_t qn_tensor_n_elements(const qn_tensor *t)
{
    int64_t n = t->rank > 0 ? 1 : 0;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

size_t qn_tensor_bytes(const qn_tensor *t)
{
    const qn_format *f = qn_format_of(t->dtype);
    size_t n = (size_t)qn_tensor_n_elements(t), block = (size_t)f->block_elements;
    return (n + block - 1) / block * (size_t)f->block_bytes;
}
