// The end of an attention of the resident kernel: the splits of its rows are joined and become the fragments of the product that follows.
// Splits come as numbers that carry the task's mark, so who joins some hears from each group that made them, without a wait for all; the
// joining is spread over the warps of the grid like the finishing of a product (resident_product.cuh).
#ifndef QN_BACKEND_CUDA_ATTENTION_JOIN_CUH
#define QN_BACKEND_CUDA_ATTENTION_JOIN_CUH
#include "backend/cuda/attention.cuh"

#define QN_JOINED_AT_ONCE 4 // splits that are loaded together

// Two neighbours of a row of a head, joined of the splits that there are, in the order of qn_merged. from: the first split's, to_end: how far
// it is from there to the split's max and sum.
FN float2 qn_join_two(const ulong *from, int to_end, const qn_gpu_attention_args &a, int position, uint mark)
{
    int first = qn_first_seen(position, a.window) / QN_FLASH_TILE, last = position / QN_FLASH_TILE;
    float2 o = make_float2(0.0f, 0.0f);
    float m = 0.0f, l = 0.0f;
#pragma unroll 1
    for (int z = 0; z < a.n_splits && z <= last; z += QN_JOINED_AT_ONCE) {
        ulong2 v[QN_JOINED_AT_ONCE], ml[QN_JOINED_AT_ONCE];
        uint spins = 0;
        bool come;
        do {
            come = true;
#pragma unroll
            for (int u = 0; u < QN_JOINED_AT_ONCE; u++) {
                bool there = z + u < a.n_splits && qn_first_piece(z + u, a.n_splits, first) <= last;
                const ulong *part = from + (z + u) * (a.head_dim + 2);
                v[u] = ml[u] = ulong2{(ulong)mark << 32, (ulong)mark << 32}; // zeros
                if (there) v[u] = qn_load_marked2(part), ml[u] = qn_load_marked2(part + to_end);
            }
#pragma unroll
            for (int u = 0; u < QN_JOINED_AT_ONCE; u++)
                come = come && (uint)(v[u].x >> 32) == mark && (uint)(v[u].y >> 32) == mark && (uint)(ml[u].x >> 32) == mark &&
                       (uint)(ml[u].y >> 32) == mark;
            if (++spins > QN_SPINS_MOST) __trap();
        } while (!come);
#pragma unroll
        for (int u = 0; u < QN_JOINED_AT_ONCE; u++) {
            float pm = AS_FLOAT((uint)ml[u].x), pl = AS_FLOAT((uint)ml[u].y), m_before = m, l_before = l;
            if (pl == 0.0f) continue; // not there
            qn_merge(&o.x, &m, &l, AS_FLOAT((uint)v[u].x), pm, pl);
            qn_merge(&o.y, &m_before, &l_before, AS_FLOAT((uint)v[u].y), pm, pl);
        }
    }
    return make_float2(o.x / l, o.y / l);
}

// This warp's share of all rows' strips of sixteen; a lane has two neighbours. By all groups, those without a place in the task's grid too,
// and once a group's own places are all done: it may wait for any other.
static __device__ __noinline__ void qn_flash_join(const qn_cuda_resident_task *t, const qn_flash_early *early, int n_rows)
{
    const qn_gpu_attention_args &a = *(const qn_gpu_attention_args *)t->args;
    PROFILE_AT(TRACE_UNITS);
    uint n_warps = gridDim.x * QN_GPU_SIMDS, warp = blockIdx.x * QN_GPU_SIMDS + (threadIdx.x >> 5);
    int dim = a.head_dim, all = a.n_heads * dim / 16 * n_rows;
    int first = (int)(warp * (uint)all / n_warps) * 8, end = (int)((warp + 1) * (uint)all / n_warps) * 8;
    for (int i = first + (int)(threadIdx.x & 31); i < end; i += 32) {
        int strip = i / 8 / n_rows, r = i / 8 - strip * n_rows, k = strip * 16 + i % 8 * 2, head = k / dim, d = k - head * dim;
        int position = early->known ? early->positions[r] : __ldcg(&((const qn_row *)t->buffers[10])[r].position);
        const ulong *from = early->partials + ((ulong)r * (ulong)a.n_heads + (ulong)head) * (ulong)(a.n_splits * (dim + 2)) + (ulong)d;
        float2 v = qn_join_two(from, dim - d, a, position, early->mark);
        ((uint *)t->buffers[0])[((k / 16 * n_rows + r) * 4 + k % 8 / 2) * 2 + k / 8 % 2] =
            t->joins == 1 ? qn_pack_f16(v.x, v.y) : qn_pack_bf16(v.x, v.y);
    }
    PROFILE_AT(TRACE_FOLDED);
}

#endif
