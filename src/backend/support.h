// Which weight formats the backends compute with, whether this build contains a backend or not: the answer is that of the rule
// by which each takes or refuses a product. Stateless.
#ifndef QN_BACKEND_SUPPORT_H
#define QN_BACKEND_SUPPORT_H
#include <stdbool.h>

#include "tensor/tensor.h"

// The name of backend i ("cpu", "cuda", "metal"), from 0 on; NULL past the last.
const char *qn_support_name(int i);
// Whether backend i has products with matrices of this format.
bool qn_support_weights(int i, qn_dtype dtype);

#endif
