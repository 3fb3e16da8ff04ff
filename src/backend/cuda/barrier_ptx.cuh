// Barriers in shared memory (mbarriers) and the bulk copies whose end they tell, one instruction a function (sm_90). Addresses of shared
// memory are the 32-bit numbers of qn_shared_address.
#ifndef QN_BACKEND_CUDA_BARRIER_PTX_CUH
#define QN_BACKEND_CUDA_BARRIER_PTX_CUH

// A warp that has read a place says so once, for all its lanes. compute-sanitizer's racecheck follows threads, not warps: for it there are
// builds in which every lane says so (-DQN_EVERY_LANE, bench/cuda_variant.sh).
#ifdef QN_EVERY_LANE
#define QN_ARRIVALS_OF_WARP 32
#define QN_BAR_ARRIVE "bar.sync" // what one side only tells the other: the tool seems to count those alone that wait
#else
#define QN_ARRIVALS_OF_WARP 1
#define QN_BAR_ARRIVE "bar.arrive"
#endif
FN bool qn_lane_arrives(void)
{
    return QN_ARRIVALS_OF_WARP == 32 || (threadIdx.x & 31) == 0;
}

FN void qn_bar_init(uint bar, uint n_arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(n_arrivals) : "memory");
}
// Barriers made by this thread are seen by the copies.
FN void qn_bar_made_for_copies(void)
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
FN void qn_bar_expect(uint bar, uint n_bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(n_bytes) : "memory");
}
FN void qn_bar_arrive(uint bar)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}
// Whether a phase is over, after a short wait at most, or at once. Never asked of one more than one ahead, which would look as if it were.
FN bool qn_bar_try(uint bar, uint parity)
{
    uint over;
    asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
                 : "=r"(over)
                 : "r"(bar), "r"(parity)
                 : "memory");
    return over != 0;
}
FN bool qn_bar_over(uint bar, uint parity)
{
    uint over;
    asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(over)
                 : "r"(bar), "r"(parity)
                 : "memory");
    return over;
}
// n_bytes (a multiple of 16) to shared memory; the barrier hears of them.
FN void qn_copy_in(uint to, const void *from, uint n_bytes, uint bar)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to), "l"(from),
                 "r"(n_bytes), "r"(bar)
                 : "memory");
}

// How what is copied stays in L2: as usual, or (once) gone first.
FN ulong qn_copy_policy(bool once)
{
    ulong usual, first;
    asm("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(usual));
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(first));
    return once ? first : usual;
}
FN void qn_copy_in_as(uint to, const void *from, uint n_bytes, uint bar, ulong policy)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(to),
                 "l"(from), "r"(n_bytes), "r"(bar), "l"(policy)
                 : "memory");
}

#endif
