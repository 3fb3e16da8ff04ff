// Sums that one cluster begins and its neighbour goes on with (gemm.cuh).
#ifndef QN_BACKEND_CUDA_GEMM_HANDED_CUH
#define QN_BACKEND_CUDA_GEMM_HANDED_CUH

// A warpgroup's flag and sums that cluster c takes.
FN uint *qn_gemm_flag(const qn_gemm_buffers *b, int cluster_size, int c, int rank)
{
    return (uint *)b->handed + ((c * cluster_size + rank) * 2 + (int)(threadIdx.x >> 7));
}
// Sums lie by kind: of the parts that are done; the begun chain's.
enum { QN_GEMM_BEGUN, QN_GEMM_CHAIN };
static_assert(QN_GEMM_CHAIN + 1 == QN_CUDA_GEMM_KINDS, "args.h");
template <int NX> FN float4 *qn_gemm_handed(const qn_gemm_buffers *b, int kind, int cluster_size, int c, int rank)
{
    int n = (int)gridDim.x * 2, at = (c * cluster_size + rank) * 2 + (int)(threadIdx.x >> 7);
    return (float4 *)(b->handed + QN_CUDA_GEMM_FLAG_BYTES) + (ulong)(kind * n + at) * (NX / 8 * 128) + (threadIdx.x & 127);
}
// What is handed over at a slab: the sum of the parts before it (there are some); a chain.
FN bool qn_gemm_has_begun(const qn_gemm_plan *p, int slab)
{
    return slab >= p->a_part;
}
FN bool qn_gemm_has_chain(const qn_gemm_plan *p, int slab)
{
    return slab % p->a_part != 0;
}

template <int NX, int CLUSTER, int PARTS>
FN void qn_gemm_hand_over(const qn_gemm_buffers *b, const qn_gemm_plan *p, const qn_gemm_piece *piece, const float c[NX / 2],
                          const qn_gemm_sum<NX, CLUSTER, PARTS> *sum, int to, int rank)
{
    float4 *at = qn_gemm_handed<NX>(b, QN_GEMM_BEGUN, CLUSTER, to, rank), *chain = qn_gemm_handed<NX>(b, QN_GEMM_CHAIN, CLUSTER, to, rank);
    if (PARTS && qn_gemm_has_begun(p, piece->end))
#pragma unroll
        for (int i = 0; i < NX / 8; i++)
            __stcg(at + i * 128, qn_gemm_sum_get(sum, 4 * i));
    if (qn_gemm_has_chain(p, piece->end))
#pragma unroll
        for (int i = 0; i < NX / 8; i++)
            __stcg(chain + i * 128, qn_gemm_four(c + 4 * i));
    __threadfence();
    qn_warpgroup_meet();
    if ((threadIdx.x & 127) == 0) qn_flag_set(qn_gemm_flag(b, CLUSTER, to, rank), 1);
}

// Then the flag is ready for the next launch.
template <int NX, int CLUSTER, int PARTS>
FN void qn_gemm_take(const qn_gemm_buffers *b, const qn_gemm_plan *p, const qn_gemm_piece *piece, float c[NX / 2],
                     qn_gemm_sum<NX, CLUSTER, PARTS> *sum, int cluster, int rank)
{
    uint *flag = qn_gemm_flag(b, CLUSTER, cluster, rank);
    const float4 *at = qn_gemm_handed<NX>(b, QN_GEMM_BEGUN, CLUSTER, cluster, rank);
    const float4 *chain = qn_gemm_handed<NX>(b, QN_GEMM_CHAIN, CLUSTER, cluster, rank);
    qn_flag_wait(flag);
    qn_gemm_settle<NX, CLUSTER, PARTS>(&sum->busy);
    if (PARTS && qn_gemm_has_begun(p, piece->begin))
#pragma unroll
        for (int i = 0; i < NX / 8; i++)
            qn_gemm_sum_set(sum, 4 * i, __ldcg(at + i * 128));
    if (qn_gemm_has_chain(p, piece->begin))
#pragma unroll
        for (int i = 0; i < NX / 8; i++)
            qn_gemm_put(c + 4 * i, __ldcg(chain + i * 128));
    qn_warpgroup_meet();
    if ((threadIdx.x & 127) == 0) *flag = 0;
}

#endif
