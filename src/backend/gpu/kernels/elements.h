// embed, gather, swiglu, kv_append, rope: element by element. A group takes rows TG_Y, in pieces of 256 elements along TG_X.
#ifndef QN_BACKEND_GPU_KERNELS_ELEMENTS_H
#define QN_BACKEND_GPU_KERNELS_ELEMENTS_H
#include "backend/gpu/kernels/blocks.h"

KERNEL(embed, BUF(0, float, y), BUF(1, const void, table), BUF(2, const qn_step_counts, counts),
       BUF(3, const qn_row, rows), BUF(4, const int, tokens), ARGS(5, qn_gpu_embed_args, a))
{
    int r = TG_Y, i = TG_X * QN_GPU_THREADS + TID;
    if (r >= counts->n_rows || i >= a.width) return;
    int token = tokens[(ulong)rows[r].slot * (ulong)a.max_context + (ulong)rows[r].position];
    int inside = token >= 0 && token < a.n_vocab;
    float v = 0.0f;
    ulong at = (ulong)token * (ulong)a.width + (ulong)i;
    if (inside) v = a.type <= 2 ? qn_load(table, a.type, at) : qn_load_block(table, a.type, at);
    y[(ulong)r * (ulong)a.width + (ulong)i] = v;
}

KERNEL(gather, BUF(0, float, y), BUF(1, const float, x), BUF(2, const qn_step_counts, counts),
       BUF(3, const qn_output, outputs), ARGS(4, qn_gpu_gather_args, a))
{
    int r = TG_Y, i = TG_X * QN_GPU_THREADS + TID;
    if (r >= counts->n_outputs || i >= a.width) return;
    y[(ulong)r * (ulong)a.width + (ulong)i] = x[(ulong)outputs[r].row * (ulong)a.width + (ulong)i];
}

FN float qn_silu(float x)
{
    return SILU(x);
}

KERNEL(swiglu, BUF(0, float, y), BUF(1, const float, gate), BUF(2, const float, up),
       BUF(3, const qn_step_counts, counts), ARGS(4, qn_gpu_swiglu_args, a))
{
    int r = TG_Y, i = TG_X * QN_GPU_THREADS + TID;
    if (r >= counts->n_rows || i >= a.width) return;
    ulong at = (ulong)r * (ulong)a.width + (ulong)i;
    y[at] = qn_silu(gate[at]) * up[at];
}

// A number into element i of blocks of q8_0: a simdgroup has a block, lane l its number l.
FN void qn_store_q8_0(GLOBAL void *p, ulong i, int lane, float x)
{
    GLOBAL uchar *block = (GLOBAL uchar *)p + (i >> 5) * 34;
    float d = SG_MAX(x < 0.0f ? -x : x) / 127.0f;
    float q = x * (d > 0.0f ? 1.0f / d : 0.0f);
    q = q > 127.0f ? 127.0f : q > -127.0f ? q : -127.0f;
    block[2 + lane] = (uchar)((int)(q < 0.0f ? q - 0.5f : q + 0.5f) & 255);
    if (lane == 0) *(GLOBAL f16s *)block = qn_to_h(d);
}

KERNEL(kv_append, BUF(0, const float, k), BUF(1, const float, v), BUF(2, void, k_cache),
       BUF(3, void, v_cache), BUF(4, const qn_step_counts, counts), BUF(5, const qn_row, rows),
       BUF(6, const int, table), ARGS(7, qn_gpu_kv_append_args, a))
{
    int r = TG_Y, i = TG_X * QN_GPU_THREADS + TID, width = a.n_kv_heads * a.head_dim;
    if (r >= counts->n_rows || i >= width) return;
    int position = rows[r].position, head = i / a.head_dim, d = i % a.head_dim;
    int block =
        table[(ulong)rows[r].slot * (ulong)a.max_blocks + (ulong)(position / QN_BLOCK_TOKENS)];
    ulong line = ((ulong)block * (ulong)a.n_kv_heads + (ulong)head) * QN_BLOCK_TOKENS +
                 (ulong)(position % QN_BLOCK_TOKENS);
    ulong at = line * (ulong)a.head_dim + (ulong)d;
    ulong from = (ulong)r * (ulong)width + (ulong)i;
    if (a.type == 3) {
        qn_store_q8_0(k_cache, at, LANE, k[from]);
        qn_store_q8_0(v_cache, at, LANE, v[from]);
        return;
    }
    qn_store(k_cache, a.type, at, k[from]);
    qn_store(v_cache, a.type, at, v[from]);
}

// a c + b s, written so that no compiler's contraction makes it differ between the kernels that rotate.
FN float qn_rotate(float a, float c, float b, float s)
{
    return FMA(a, c, b * s);
}

// One thread a pair (x[i], x[i + D/2]) of a head. Far angles: sin and cos are the precise ones.
KERNEL(rope, BUF(0, float, x), BUF(1, const float, inv_freq), BUF(2, const qn_step_counts, counts),
       BUF(3, const qn_row, rows), ARGS(4, qn_gpu_rope_args, a))
{
    int r = TG_Y, i = TG_X * QN_GPU_THREADS + TID, half_dim = a.head_dim / 2;
    if (r >= counts->n_rows || i >= a.n_heads * half_dim) return;
    int head = i / half_dim, d = i % half_dim;
    float angle = (float)rows[r].position * inv_freq[d];
    float c = a.scale * COS(angle), s = a.scale * SIN(angle);
    ulong at = ((ulong)r * (ulong)a.n_heads + (ulong)head) * (ulong)a.head_dim + (ulong)d;
    float low = x[at], high = x[at + (ulong)half_dim];
    x[at] = qn_rotate(low, c, -high, s);
    x[at + (ulong)half_dim] = qn_rotate(high, c, low, s);
}

#endif
