// Hopper's instructions that the products of many rows are made of, one function each: barriers in shared memory, bulk copies,
// matrix units fed from registers and shared memory. Addresses of shared memory are the 32-bit numbers of qn_shared_address.
#ifndef QN_BACKEND_CUDA_GEMM_PTX_CUH
#define QN_BACKEND_CUDA_GEMM_PTX_CUH
#include "backend/cuda/barrier_ptx.cuh"
#include "backend/cuda/gemm_wgmma.cuh"

#define QN_WAIT_CYCLES (1ll << 34) // some seconds: past it a wait traps, and the device counts as dead

// Ends the launch with an error: a write where nothing is. (Beside a trap ptxas leaves setmaxnreg's registers unused.)
FN void qn_give_up(void)
{
    asm volatile("st.global.u32 [%0], %1;" ::"l"(0ull), "r"(0) : "memory");
}

// The same number, computed here and not again at every use.
FN uint qn_opaque(uint v)
{
    asm volatile("mov.u32 %0, %0;" : "+r"(v));
    return v;
}

// ---- barriers ----

// Barriers made by this thread are seen by the cluster and by the copies.
FN void qn_bar_made(void)
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    qn_bar_made_for_copies();
}
// At the same barrier of a group of the cluster.
FN void qn_bar_arrive_at(uint bar, int rank)
{
    asm volatile("{.reg .b32 at; mapa.shared::cluster.u32 at, %0, %1; mbarrier.arrive.shared::cluster.b64 _, [at];}" ::"r"(bar),
                 "r"(rank)
                 : "memory");
}
FN void qn_bar_wait(uint bar, uint parity)
{
    if (qn_bar_try(bar, parity)) return;
    for (long long from = clock64(); !qn_bar_try(bar, parity);)
        if (clock64() - from > QN_WAIT_CYCLES) qn_give_up();
}
// All threads of the cluster meet.
FN void qn_cluster_meet(void)
{
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// The threads of one of the two warpgroups that multiply meet; of the one that fetches.
FN void qn_warpgroup_meet(void)
{
    if (threadIdx.x < 128)
        asm volatile("bar.sync 3, 128;" ::: "memory");
    else
        asm volatile("bar.sync 4, 128;" ::: "memory");
}
FN void qn_fetchers_meet(void)
{
    asm volatile("bar.sync 7, 128;" ::: "memory");
}
// Between the two warpgroups that multiply, of a gated product: the room is free for silu(gate); silu(gate) is there; it has been read.
// The first warpgroup waits for the first and the last, the second for the one between; who does not wait only tells.
FN void qn_gate_room_free(void)
{
    asm volatile("bar.sync 2, 256;" ::: "memory");
}
FN void qn_gate_room_leave(void)
{
    asm volatile(QN_BAR_ARRIVE " 2, 256;" ::: "memory");
}
FN void qn_gate_told(void)
{
    asm volatile(QN_BAR_ARRIVE " 5, 256;" ::: "memory");
}
FN void qn_gate_wait(void)
{
    asm volatile("bar.sync 5, 256;" ::: "memory");
}
FN void qn_gate_read(void)
{
    asm volatile("bar.arrive 6, 256;" ::: "memory");
}
FN void qn_gate_wait_read(void)
{
    asm volatile("bar.sync 6, 256;" ::: "memory");
}

// ---- copies ----

// The same to the same place of every group of the cluster that `mask` names.
FN void qn_copy_in_all(uint to, const void *from, uint n_bytes, uint bar, ushort mask)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1], %2, [%3], %4;" ::"r"(
                     to),
                 "l"(from), "r"(n_bytes), "r"(bar), "h"(mask)
                 : "memory");
}

// n_bytes (a multiple of 16) from shared memory, which the copies see (qn_bar_made_for_copies); then, by the same thread: all that it
// started has been read; is in memory.
FN void qn_copy_out(void *to, uint from, uint n_bytes)
{
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;\ncp.async.bulk.commit_group;" ::"l"(to), "r"(from), "r"(n_bytes)
                 : "memory");
}
FN void qn_copies_out_read(void)
{
    asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
FN void qn_copies_out_over(void)
{
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}
// Four 8 × 8 matrices of 16-bit numbers, stored transposed: lane l gives the address of row l % 8 of matrix l / 8.
FN void qn_store_transposed4(uint at, uint a, uint b, uint c, uint d)
{
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(at), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}

// ---- matrix units ----

FN void qn_mma_fence(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
FN void qn_mma_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int N> FN void qn_mma_wait(void)
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
// Rows of 64 numbers along K, in atoms of 8 rows with their pieces of 16 bytes swizzled over 128 bytes.
FN ulong qn_mma_descriptor(uint at)
{
    return (ulong)(at >> 4 & 0x3fff) | (ulong)1 << 16 | (ulong)(1024 >> 4) << 32 | (ulong)1 << 62;
}
FN uint4 qn_load_fragment(uint at)
{
    uint4 v;
    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at));
    return v;
}
template <int N> FN void qn_more_registers(void)
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N> FN void qn_fewer_registers(void)
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

// ---- flags between groups, in memory ----

FN void qn_flag_set(uint *flag, uint value)
{
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(flag), "r"(value) : "memory");
}
FN uint qn_flag_get(const uint *flag)
{
    uint v;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(flag) : "memory");
    return v;
}
FN void qn_flag_wait(const uint *flag)
{
    for (long long from = clock64(); !qn_flag_get(flag);)
        if (clock64() - from > QN_WAIT_CYCLES) qn_give_up();
}

#endif
