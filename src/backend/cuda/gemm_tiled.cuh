// Rows of x as the products of many rows read them: 16-bit, in tiles of n rows; of a tile, slabs of 64 along K; of a slab, a line of
// 128 bytes a row, whose eight pieces of 16 bytes are swapped by the row's number: piece i lies at i ^ row % 8. K is padded with 0.
#ifndef QN_BACKEND_CUDA_GEMM_TILED_CUH
#define QN_BACKEND_CUDA_GEMM_TILED_CUH
#include "backend/cuda/product.cuh"

#define QN_GEMM_SLAB 64 // numbers of K

// The place of number k of row r; n is a power of two.
FN ulong qn_gemm_tiled(int n, int padded_k, int r, int k)
{
    uint in_tile = (uint)r & (uint)(n - 1), tile = (uint)r >> (31 - __clz(n)), slab = (uint)k / QN_GEMM_SLAB;
    uint piece = (uint)k % QN_GEMM_SLAB / 8 ^ in_tile % 8;
    ulong line = ((ulong)tile * (ulong)(padded_k / QN_GEMM_SLAB) + (ulong)slab) * (ulong)n + (ulong)in_tile;
    return line * QN_GEMM_SLAB + (ulong)(piece * 8 + (uint)k % 8);
}
FN uint qn_gemm_pack(int type, float low, float high)
{
    return type == 1 ? qn_pack_f16(low, high) : qn_pack_bf16(low, high);
}

#endif
