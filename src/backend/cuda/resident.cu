// The resident kernel: one launch a step of few rows. A group a multiprocessor walks the step's task list; groups wait for each
// other only in front of tasks that depend on earlier ones. While a group waits, the weights that its next product begins with
// are already on their way into the L2 cache, so that the memory stays busy over the ends of tasks.
// Only one such kernel is in flight on a device (they share its stream), all its groups are resident at once (a cooperative
// launch), and every wait is bounded.
// Compiled with -dlcm=cg: what other groups wrote is read from L2, never from a stale line of L1.
#define QN_CUDA 1
#define QN_CUDA_BODIES 1
#include "backend/gpu/kernels/all.h"

#include "backend/cuda/args.h"
#include "backend/cuda/embed_packed.cuh"
#include "backend/cuda/product.cuh"
#include "backend/gpu/kernels.h"

#include "backend/cuda/attention.cuh"

#define MAX_UNITS 96
#define SPINS_MOST (1u << 27) // some seconds

// ---- waiting for each other ----

// barrier[0]: groups that have come; barrier[1]: barriers passed.
FN void wait_for_all(uint *barrier)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        uint passed, now, spins = 0;
        asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(passed) : "l"(barrier + 1) : "memory");
        __threadfence();
        if (atomicAdd(barrier, 1u) == gridDim.x - 1) {
            barrier[0] = 0;
            __threadfence();
            atomicAdd(barrier + 1, 1u);
        } else
            do {
                asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(now) : "l"(barrier + 1) : "memory");
                if (++spins > SPINS_MOST) __trap(); // the device counts as dead then
            } while (now == passed);
        __threadfence();
    }
    __syncthreads();
}

// ---- bodies ----

// Calls a body with its buffers and its argument struct, whatever their types: void f(buffers …, args, place, shared memory). The
// parameters are split by their number: all but the last three are buffers.
template <int... I> struct sequence {
};
template <int N, int... I> struct make_sequence : make_sequence<N - 1, N - 1, I...> {
};
template <int... I> struct make_sequence<0, I...> {
    typedef sequence<I...> type;
};

template <typename... P> struct signature {
};
// Splits the parameters into the buffers, the args and the place.
template <typename F, F f, typename Buffers, typename Rest> struct body;
template <typename F, F f, typename... B, typename A>
struct body<F, f, signature<B...>, signature<A, int3, char *>> {
    template <int... I> static __device__ __forceinline__ void run_with(const qn_cuda_resident_task *t, int3 at, char *shared, sequence<I...>)
    {
        f((B)t->buffers[I]..., *(const A *)t->args, at, shared);
    }
    static __device__ __forceinline__ void run(const qn_cuda_resident_task *t, int3 at, char *shared)
    {
        run_with(t, at, shared, typename make_sequence<sizeof...(B)>::type());
    }
};
template <typename F, F f, typename... B, typename Next, typename Second, typename Third, typename Fourth, typename... Rest>
struct body<F, f, signature<B...>, signature<Next, Second, Third, Fourth, Rest...>>
    : body<F, f, signature<B..., Next>, signature<Second, Third, Fourth, Rest...>> {
};
template <typename F, F f> struct any_body;
template <typename... P, void (*f)(P...)> struct any_body<void (*)(P...), f> : body<void (*)(P...), f, signature<>, signature<P...>> {
};

FN void run_body(const qn_cuda_resident_task *t, int3 at, char *shared)
{
    switch (t->kernel) {
#define CASE(name)                                                                                                     \
    case QN_GPU_##name:                                                                                                \
        any_body<decltype(&name), name>::run(t, at, shared);                                                                   \
        break;
        QN_GPU_KERNELS(CASE)
#undef CASE
#define CASE(name)                                                                                                     \
    case QN_GPU_N_KERNELS + QN_CUDA_##name:                                                                            \
        any_body<decltype(&name), name>::run(t, at, shared);                                                           \
        break;
        CASE(embed_packed)
        QN_CUDA_FLASH(CASE, rows)
        QN_CUDA_FLASH(CASE, attend)
#undef CASE
    default:
        break;
    }
}

FN void run_groups(const qn_cuda_resident_task *t, char *shared)
{
    int nx = t->n_groups[0], ny = t->n_groups[1], n = nx * ny * t->n_groups[2];
    for (int g = blockIdx.x; g < n; g += gridDim.x) {
        run_body(t, make_int3(g % nx, g / nx % ny, g / nx / ny), shared);
        __syncthreads(); // the next group's threadgroup memory is the same
    }
}

// ---- products ----

FN qn_product_buffers buffers_of(const qn_cuda_resident_task *t)
{
    qn_product_buffers b;
    for (int i = 0; i < 3; i++) {
        b.y[i] = (float *)t->buffers[i];
        b.w[i] = (const uint4 *)t->buffers[5 + i];
        b.bias[i] = (const void *)t->buffers[8 + i];
    }
    b.x = (const float *)t->buffers[3];
    b.norm = (const void *)t->buffers[4];
    b.counts = (const qn_step_counts *)t->buffers[11];
    return b;
}

// What this warp will read first of a product goes to L2 now.
FN void prefetch(const qn_cuda_resident_task *t)
{
    const qn_cuda_product_args &a = *(const qn_cuda_product_args *)t->args;
    qn_product_buffers b = buffers_of(t);
    int n_strips = a.gated ? (a.n_n[0] + 15) / 16 : qn_n_strips(a), n_groups = gridDim.x, group = blockIdx.x;
    if (group >= n_strips) return;
    qn_batch_of_units u = {group, n_groups, (n_strips - group + n_groups - 1) / n_groups, 0, qn_n_parts(a)};
    int warp = threadIdx.x >> 5, n_steps;
    if (warp >= qn_batch_n_units(a, &u)) return;
    const uint4 *at = qn_unit_at(&b, a, &u, warp, &n_steps);
    qn_prefetch_unit(at, n_steps);
}

#ifdef QN_PROFILE
#include <resident_profile.cuh> // bench/: where the first group's time goes
#else
#define PROFILE_BEGIN()
#define PROFILE_START(t)
#define PROFILE_END()
#define PROFILE_REPORT(n_tasks)
#endif

extern "C" __global__ void __launch_bounds__(QN_GPU_THREADS, 1)
    resident(const qn_cuda_resident_task *tasks, int n_tasks, uint *barrier, int shared_bytes)
{
    extern __shared__ __align__(16) char shared[];
    int prefetched = -1;
    PROFILE_BEGIN();
    for (int i = 0; i < n_tasks; i++) {
        const qn_cuda_resident_task *t = tasks + i;
        int next = t->next_product;
        if (next >= 0 && next != prefetched) {
            prefetch(tasks + next);
            prefetched = next;
        }
        if (t->barrier) wait_for_all(barrier);
        PROFILE_START(t);
        if (t->kernel != QN_GPU_N_KERNELS + QN_CUDA_product) {
            run_groups(t, shared);
            PROFILE_END();
            continue;
        }
        qn_product_buffers b = buffers_of(t);
        qn_product_run(&b, *(const qn_cuda_product_args *)t->args, shared, shared_bytes, MAX_UNITS, 0, blockIdx.x,
                       gridDim.x);
        __syncthreads();
        PROFILE_END();
    }
    PROFILE_REPORT(n_tasks);
}
