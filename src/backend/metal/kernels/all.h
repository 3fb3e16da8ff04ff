// All of kernels.metal: the dialect's kernels and what is Metal's own, but for the products in simdgroup matrices.
#include "backend/gpu/kernels/all.h"

#include "backend/metal/kernels/copy.h"
#include "backend/metal/kernels/gate.h"
