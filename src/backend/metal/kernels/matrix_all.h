// All of matrix.metal, a text of its own: a compiler that refuses it leaves the dialect's products. make_msl.py leaves the
// dialect's kernels out of it; what they share stays.
#include "backend/gpu/kernels/all.h"

#include "backend/metal/kernels/matrix.h"
