// All kernels of the dialect, in one translation unit: what kernels.metal and the CUDA module are made from.
#include "backend/gpu/args.h"
#include "backend/gpu/dialect.h"
#include "backend/step_layout.h"

#include "backend/gpu/kernels/attention.h" // after norm, elements and product: it uses their parts
#include "backend/gpu/kernels/elements.h"
#include "backend/gpu/kernels/norm.h"
#include "backend/gpu/kernels/product.h"
#include "backend/gpu/kernels/sample.h"
#include "backend/gpu/kernels/step.h"
