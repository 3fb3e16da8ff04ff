// Which warp of the resident kernel has what of a product. The units of a product (a part of K of a strip, product.cuh) are ordered by part,
// then by strip; every group of the grid has a run of them of nearly the same number of steps, and its warps share that by grains.
#ifndef QN_BACKEND_CUDA_RUNS_H
#define QN_BACKEND_CUDA_RUNS_H
#include "backend/cuda/args.h"

// Writes the runs of all warps of a grid of n_groups groups, QN_CUDA_RESIDENT_WARPS a group, one behind the other: runs[n_groups *
// QN_CUDA_RESIDENT_WARPS]. grain: steps of which a warp's share of its group's is a multiple, but at the end; a multiple of those of
// blocks that are decoded together (QN_CUDA_GROUP_STEPS). Of a group with fewer grains than warps the first have one each, so that who goes on with a unit is always the next warp.
// Any thread; can't fail.
void qn_cuda_make_runs(const qn_cuda_stream *s, int grain, int n_groups, qn_cuda_run *runs);

#endif
