// Which group of the resident kernel has what of a product. The units of a product (a part of K of a strip, product.cuh) are ordered by part,
// then by strip; every group of the grid has a run of them of nearly the same number of steps.
#ifndef QN_BACKEND_CUDA_SHARES_H
#define QN_BACKEND_CUDA_SHARES_H
#include "backend/cuda/args.h"

// Sets how the units of a product are cut into slots of the ring: slot_steps, slots, rest_slots, from the stream's other numbers.
// Any thread; can't fail.
void qn_cuda_cut_units(qn_cuda_stream *s);

// Writes the shares of a grid of n_groups groups: shares[n_groups]; of the stream all must be set. Any thread; can't fail.
void qn_cuda_make_shares(const qn_cuda_stream *s, int n_groups, qn_cuda_share *shares);

#endif
