// embed (kernels/elements.h) from a table in the products' form (products.h).
#ifndef QN_BACKEND_CUDA_EMBED_PACKED_CUH
#define QN_BACKEND_CUDA_EMBED_PACKED_CUH
#include "backend/cuda/blocks_packed.cuh"

KERNEL(embed_packed, BUF(0, float, y), BUF(1, const ushort, table), BUF(2, const qn_step_counts, counts),
       BUF(3, const qn_row, rows), BUF(4, const int, tokens), ARGS(5, qn_cuda_embed_args, a))
{
    int r = TG_Y, k = TG_X * QN_GPU_THREADS + TID;
    if (r >= counts->n_rows || k >= a.width) return;
    int token = tokens[(ulong)rows[r].slot * (ulong)a.max_context + (ulong)rows[r].position];
    float v = 0.0f;
    if (token >= 0 && token < a.n_vocab && QN_CUDA_IN_BLOCKS(a.type))
        v = qn_packed_block_value((const uchar *)table, a.type, a.padded_k, token, k);
    else if (token >= 0 && token < a.n_vocab) {
        int in_step = k % 16, lane = (token % 8) * 4 + in_step % 8 / 2, reg = (token % 16) / 8 + in_step / 8 * 2;
        ulong step = (ulong)(token / 16) * (ulong)(a.padded_k / 16) + (ulong)(k / 16);
        v = qn_load(table, a.type, (step * 32 + (ulong)lane) * 8 + (ulong)(reg * 2 + k % 2));
    }
    y[(ulong)r * (ulong)a.width + (ulong)k] = v;
}

#endif
