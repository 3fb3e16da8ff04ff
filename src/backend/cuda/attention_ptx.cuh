// The instructions that CUDA's attention (attention.cuh) uses beside qn_mma: copies to shared memory, transposed fragments, 2^x.
#ifndef QN_BACKEND_CUDA_ATTENTION_PTX_CUH
#define QN_BACKEND_CUDA_ATTENTION_PTX_CUH
#include "backend/cuda/product_ptx.cuh"

// 16 bytes into shared memory, on their way when this returns; n_bytes: 16, or 0 for zeros (then nothing is read).
FN void qn_copy16_at(uint to, const void *from, int n_bytes)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)), "r"(n_bytes) : "memory");
}
FN void qn_copy16(void *to, const void *from, int there)
{
    qn_copy16_at(qn_shared_address(to), from, there ? 16 : 0);
}
FN void qn_copy_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
// At most N groups of this thread are still on their way.
template <int N> FN void qn_copy_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
// Four 8 × 8 matrices of 16-bit numbers: B fragments (two of 16 × 8) from columns that lie as rows. Lane l gives the address of row l % 8
// of matrix l / 8.
FN uint4 qn_matrices4(const void *row)
{
    uint4 u;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(u.x), "=r"(u.y), "=r"(u.z), "=r"(u.w)
                 : "r"(qn_shared_address(row))
                 : "memory");
    return u;
}
// The same, transposed: B fragments (two of 16 × 8) from rows of keys.
FN uint4 qn_transposed4(const void *row)
{
    uint4 u;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(u.x), "=r"(u.y), "=r"(u.z), "=r"(u.w)
                 : "r"(qn_shared_address(row))
                 : "memory");
    return u;
}
FN float qn_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif
