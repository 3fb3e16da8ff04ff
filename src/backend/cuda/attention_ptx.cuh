// The instructions that CUDA's attention (attention.cuh) uses beside product_ptx.cuh's: transposed fragments, 2^x.
#ifndef QN_BACKEND_CUDA_ATTENTION_PTX_CUH
#define QN_BACKEND_CUDA_ATTENTION_PTX_CUH
#include "backend/cuda/product_ptx.cuh"

FN uint4 qn_matrices4(const void *row)
{
    return qn_matrices4_at(qn_shared_address(row));
}
// The same, transposed: B fragments (two of 16 × 8) from rows of keys.
FN uint4 qn_transposed4_at(uint row)
{
    uint4 u;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(u.x), "=r"(u.y), "=r"(u.z), "=r"(u.w)
                 : "r"(row)
                 : "memory");
    return u;
}
FN uint4 qn_transposed4(const void *row)
{
    return qn_transposed4_at(qn_shared_address(row));
}
// An 8 × 8 matrix of 16-bit numbers transposed: lane l has numbers 2 (l % 4), + 1 of row l / 4, before and after.
FN uint qn_transposed(uint u)
{
    uint v;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(v) : "r"(u));
    return v;
}
FN float qn_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif
