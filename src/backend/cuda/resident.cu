// The resident kernel: one launch a step of few rows. A group a multiprocessor walks the step's task list; the weights of its products
// come by a ring of shared memory that runs on over all waits (ring.cuh).
// Tasks are parted into epochs; a task may touch what an earlier epoch's wrote, never what its own wrote. Who has done its share of a
// task says so in the epoch's counter, and the next epoch begins where the counter is complete. Counters run on from launch to launch, and
// wrap; so do the marks of sums: one that was left unwritten for 2^32 tasks could be taken for a new one.
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

#ifdef QN_PROFILE
#include <resident_trace.cuh> // bench/: when each warp was where
#else
#define PROFILE_BEGIN(launch, n_tasks)
#define PROFILE_TASK(i)
#define PROFILE_AT(place)
#define PROFILE_STARVING()
#define PROFILE_STARVED()
#define PROFILE_TASK_END()
#define PROFILE_REPORT(tasks)
#endif

#include "backend/cuda/resident_product.cuh"

#include "backend/cuda/attention_join.cuh"

// ---- waiting for each other ----

// Until the epoch before is over. `progress`: its counter.
FN void wait_for_epoch(const uint *progress, uint expected)
{
    if (threadIdx.x == 0) {
        uint spins = 0;
        while ((int)(qn_load_acquire(progress) - expected) < 0)
            if (++spins > QN_SPINS_MOST) __trap();
    }
    BARRIER();
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
        __trap(); // resident.c lets none through that has no case
    }
}

// How many groups of the task's grid this one did. A function of its own, so that its registers are none of the main loop's.
static __device__ __noinline__ int run_groups(const qn_cuda_resident_task *t, char *work)
{
    int nx = t->n_groups[0], ny = t->n_groups[1], n = nx * ny * t->n_groups[2], n_done = 0;
    for (int g = blockIdx.x; g < n; g += gridDim.x) {
        run_body(t, make_int3(g % nx, g / nx % ny, g / nx / ny), work);
        BARRIER(); // the next group's threadgroup memory is the same
        n_done++;
    }
    return n_done;
}

// What a task can begin with before its epoch does. Attention's part is one call, so that the products' registers are left alone.
static __device__ __noinline__ void begin_attend(const qn_cuda_resident_task *t, char *shared, int n_rows)
{
    switch (t->kernel - QN_GPU_N_KERNELS) {
    case QN_CUDA_flash_attend_q8_0_64:
        return qn_flash_begin<64, true>(t, shared, n_rows);
    case QN_CUDA_flash_attend_q8_0_128:
        return qn_flash_begin<128, true>(t, shared, n_rows);
    case QN_CUDA_flash_attend_f16_64:
    case QN_CUDA_flash_attend_bf16_64:
        return qn_flash_begin<64, false>(t, shared, n_rows);
    default:
        return qn_flash_begin<128, false>(t, shared, n_rows);
    }
}

// ---- the list ----

// A task starts to come to shared memory; qn_share_come of the same threads, then a barrier.
FN void fetch_task(qn_cuda_resident_task *to, const qn_cuda_resident_task *from)
{
    if (threadIdx.x >= sizeof *to / 16) return;
    qn_copy16((uint4 *)to + threadIdx.x, (const uint4 *)from + threadIdx.x, 1);
    qn_copy_commit();
}

static_assert(sizeof(qn_cuda_resident_task) % 16 == 0 && sizeof(qn_cuda_resident_task) / 16 <= QN_GPU_THREADS, "sixteen bytes a thread");
static_assert(QN_CUDA_RESIDENT_WARPS == QN_GPU_SIMDS && sizeof(qn_cuda_share) == sizeof(int4), "args.h");
static_assert((QN_GPU_SIMDS + QN_FILLERS + QN_FINISHERS) * 32 == QN_CUDA_RESIDENT_THREADS, "args.h");
static_assert(QN_FLASH_SHARED(128) <= QN_CUDA_RESIDENT_WORK, "args.h");
static_assert(QN_CUDA_RESIDENT_SHARED <= QN_CUDA_GEMM_SHARED, "all that a group may have");
static_assert(QN_TASKS_AT % 16 == 0 && QN_PRODUCT_AT % 16 == 0 && QN_FINISH_AT % 16 == 0 && QN_SLOTS_AT % 128 == 0 &&
                  QN_FINISH_AT + sizeof(qn_cuda_resident_task) <= QN_SLOTS_AT,
              "args.h");

// shares: qn_cuda_share, a group of the grid each, for every stream. progress: a counter an epoch, QN_CUDA_PROGRESS_WORDS apart. launch: how often
// the program has been launched, with this one. slot_bytes: of the ring; a multiple of 128, and no slot of a product has more.
extern "C" __global__ void __launch_bounds__(QN_CUDA_RESIDENT_THREADS, 1)
    resident(const qn_cuda_resident_task *tasks, int n_tasks, const qn_cuda_stream *streams, const int4 *shares, uint *progress, uint launch,
             const qn_step_counts *staged, uint slot_bytes)
{
    char *shared = qn_resident_memory;
    qn_cuda_resident_task *room = (qn_cuda_resident_task *)(shared + QN_TASKS_AT);
    int2 *rows = (int2 *)(room + 2);
    int warp = threadIdx.x >> 5;
    fetch_task(room, tasks);
    if (threadIdx.x == 0) qn_flash_early_of(shared)->known = qn_flash_early_of(shared)->armed = 0;
    if (threadIdx.x == 0) *rows = make_int2(staged->n_rows, staged->n_outputs);
    if (warp == QN_GPU_SIMDS) qn_ring_init(slot_bytes);
    qn_fetch_share(shares, 0);
    qn_share_come();
    __syncthreads();
    qn_resident_product *product = qn_product_of_group();
    if (warp >= QN_GPU_SIMDS + QN_FILLERS) {
        qn_finish_all(product, shared + QN_FINISH_AT, warp - QN_GPU_SIMDS - QN_FILLERS);
        return;
    }
    if (warp >= QN_GPU_SIMDS) {
        if (qn_lane_is_first()) qn_ring_fill(streams, shares, *rows, (uint)(warp - QN_GPU_SIMDS));
        return;
    }
    int n_products = 0;
    uint turn = 0; // of the ring's next slot
    PROFILE_BEGIN(launch, n_tasks);
    for (int i = 0; i < n_tasks; i++) {
        const qn_cuda_resident_task *t = room + i % 2;
        PROFILE_TASK(i);
        if (i + 1 < n_tasks) fetch_task(room + (i + 1) % 2, tasks + i + 1);
        uint *counter = progress + t->epoch * QN_CUDA_PROGRESS_WORDS;
        bool is_product = t->kernel == QN_GPU_N_KERNELS + QN_CUDA_product;
        qn_flash_early *early = qn_flash_early_of(shared);
        uint mark = launch * (uint)n_tasks + (uint)i;
        if (threadIdx.x == 0) early->partials = t->joins ? (ulong *)t->buffers[12] : NULL, early->mark = mark;
        if (is_product) {
            qn_resident_product_begin(product, t, n_products, shared, *rows, mark, counter, &turn);
            qn_fetch_share(shares, ++n_products);
        }
        if (t->early) {
            begin_attend(t, shared, rows->x);
            BARRIER();
        }
        PROFILE_AT(TRACE_BEGUN);
        if (t->waits)
            wait_for_epoch(counter - QN_CUDA_PROGRESS_WORDS, launch * (uint)t->expected);
        else if (is_product || t->joins)
            BARRIER(); // what was written above
        PROFILE_AT(TRACE_START);
        int done = 1;
        if (is_product) {
            done = !qn_finishers_do(product->n_rows);
            QN_FINISH_BEGINS(QN_BAR_ARRIVE);
            qn_resident_product_run(product, shared);
            qn_share_come();
            QN_FINISH_MULTIPLIED();
            if (!done) {
                PROFILE_AT(TRACE_FOLDED); // by others
            }
        } else {
            done = run_groups(t, shared);
            if (t->joins) qn_flash_join(t, early, rows->x), done = 1; // with a place in the grid or without
            qn_share_come();
            BARRIER(); // also: the tasks' memory is free again
        }
        if (threadIdx.x == 0 && done) qn_add_release(counter, done);
        PROFILE_TASK_END();
    }
    if (threadIdx.x == 0) product->t = NULL;
    BARRIER();
    QN_FINISH_BEGINS(QN_BAR_ARRIVE);
    PROFILE_REPORT(tasks);
}
