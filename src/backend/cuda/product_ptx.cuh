// The instructions that the products are made of, one function each.
#ifndef QN_BACKEND_CUDA_PRODUCT_PTX_CUH
#define QN_BACKEND_CUDA_PRODUCT_PTX_CUH

// c += a · b: m16n8k16, F16 (TYPE 1) or BF16.
template <int TYPE> FN void qn_mma(float c[4], uint4 a, uint2 b)
{
    if (TYPE == 1)
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
    else
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
}

// 16 bytes of weights: read once, so they need no place in L1.
FN uint4 qn_load_weights(const uint4 *from)
{
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(from));
    return v;
}

// Four 8 × 8 matrices of 16-bit numbers: B fragments (two of 16 × 8) from columns that lie as rows. Lane l gives the address of row l % 8
// of matrix l / 8.
FN uint4 qn_matrices4_at(uint row)
{
    uint4 u;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(u.x), "=r"(u.y), "=r"(u.z), "=r"(u.w)
                 : "r"(row)
                 : "memory");
    return u;
}
// A place in shared memory as the number that qn_load_shared takes.
FN uint qn_shared_address(const void *p)
{
    return (uint)__cvta_generic_to_shared(p);
}
FN uint2 qn_load_shared(uint at)
{
    uint2 v;
    asm volatile("ld.shared.v2.u32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(at));
    return v;
}
FN uint4 qn_load_shared4(uint at)
{
    uint4 v;
    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(at)
                 : "memory");
    return v;
}

FN uint qn_load_shared1(uint at)
{
    uint v;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(at));
    return v;
}
FN uint qn_load_shared_half(uint at)
{
    ushort v;
    asm volatile("ld.shared.u16 %0, [%1];" : "=h"(v) : "r"(at));
    return v;
}

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

// n_bytes (a multiple of 16) start to come into L2; one thread asks.
FN void qn_prefetch_l2(const void *from, int n_bytes)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(n_bytes) : "memory");
#endif
}

// ---- kernels one after another ----

#ifndef PROFILE_GRID // bench/graph_trace.cuh
#define PROFILE_GRID(what) (void)0
#define PROFILE_GROUP(moment) (void)0
#define PROFILE_GRAPH() (void)0
#endif

// Until the kernels before this one are over and what they wrote is there. Of a kernel that may be launched early each group that
// reads or writes what others do does this, and one group always, or else the next kernel would not wait for the one before.
FN void qn_grid_wait(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
    PROFILE_GRID(TRACE_GOES_ON);
}
// The next kernel may be launched where there is room, once all groups said so.
FN void qn_grid_go_on(void)
{
    PROFILE_GRID(TRACE_THERE);
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

#endif
