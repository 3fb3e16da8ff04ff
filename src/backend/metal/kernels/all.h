// All of kernels.metal: the dialect's kernels and what is Metal's own.
#include "backend/gpu/kernels/all.h"

#include "backend/metal/kernels/gate.h"
