// How fast bulk copies into shared memory stream a matrix of packed weights, by the order of the copies, their
// size and how many are in flight; and what a load, a store with a fence, and an atomic addition cost meanwhile: nvcc -arch=sm_90a -O3 -o cuda_stream bench/cuda_stream.cu && ./cuda_stream [SLOTS]
// SLOTS: how many slots ahead L2 is asked for, 0 if absent.
#include <cstdio>
#include <cstdlib>

typedef unsigned int u32;
typedef unsigned long long u64;

enum { WARPS = 8, UNIT = 32768, RING = 131072 };
enum order { SWEEP, RUNS, PARTS, STRIPS, N_ORDERS };
static const char *const names[] = {"sweep: a slot a warp, in turn", "runs: one run a warp", "units by part, then strip",
                                    "units by strip, then part"};

// Slot i of warp w of n: its offset. The matrix: strips of `strip` bytes, of `parts` units each.
static __device__ u64 place(int order, u64 i, u64 w, u64 n, u64 bytes, u64 slot, u64 strip)
{
    u64 each = bytes / n / UNIT * UNIT;
    if (order == SWEEP) return (i * n + w) * slot;
    if (order == RUNS) return w * each + i * slot;
    u64 unit = (w * each + i * slot) / UNIT, in_unit = i * slot % UNIT, strips = bytes / strip, parts = strip / UNIT;
    if (order == PARTS) return unit % strips * strip + unit / strips * UNIT + in_unit;
    return unit / parts * strip + unit % parts * UNIT + in_unit;
}

// What others' groups see of a group goes through these: dependent loads that hit L2, a store and its fence, an addition.
static __device__ void ping(u32 *at, u64 *cycles)
{
    enum { N = 24 };
    u64 load = 0, fence = 0, add = 0;
    u32 next = 0;
    for (int i = 0; i < N; i++) {
        u64 t0 = clock64();
        asm volatile("ld.relaxed.gpu.u32 %0, [%1];" : "=r"(next) : "l"(at + next + i * 32) : "memory");
        u64 t1 = clock64() + next;
        at[512] = i;
        __threadfence();
        u64 t2 = clock64();
        next += atomicAdd(at + 768, 0);
        u64 t3 = clock64() + next;
        load += t1 - t0, fence += t2 - t1, add += t3 - t2;
        __nanosleep(4000);
    }
    atomicAdd(cycles, load / N), atomicAdd(cycles + 1, fence / N), atomicAdd(cycles + 2, add / N), atomicAdd(cycles + 3, 1);
}

static __global__ void __launch_bounds__((WARPS + 1) * 32, 1)
    stream(const char *from, u64 bytes, int order, int slot, int slots, u64 strip, int ahead, u32 *pings, u64 *cycles)
{
    extern __shared__ __align__(128) char room[];
    __shared__ __align__(8) u64 barriers[WARPS * 64];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    u64 n = (u64)gridDim.x * WARPS, w = blockIdx.x * WARPS + warp, n_slots = bytes / n / UNIT * UNIT / slot;
    if (lane) return;
    if (warp == WARPS) {
        ping(pings + blockIdx.x * 1024, cycles);
        return;
    }
    u32 at = (u32)__cvta_generic_to_shared(room) + warp * slots * slot;
    u32 bar = (u32)__cvta_generic_to_shared(barriers) + warp * 64 * 8;
    for (int i = 0; i < slots; i++)
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(bar + i * 8));
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    for (u64 i = 0; i < n_slots + slots; i++) {
        u32 s = i % slots;
        if (i >= slots) {
            u32 over = 0, phase = (i / slots - 1) & 1;
            while (!over)
                asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                             : "=r"(over)
                             : "r"(bar + s * 8), "r"(phase)
                             : "memory");
        }
        if (i >= n_slots) continue;
        const char *p = from + place(order, i, w, n, bytes, slot, strip);
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar + s * 8), "r"(slot) : "memory");
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                         at + s * slot),
                     "l"(p), "r"(slot), "r"(bar + s * 8)
                     : "memory");
        if (ahead && i + ahead < n_slots)
            asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(
                             from + place(order, i + ahead, w, n, bytes, slot, strip)),
                         "r"(slot)
                         : "memory");
    }
}

int main(int n_args, char **args)
{
    int ahead = n_args > 1 ? atoi(args[1]) : 0;
    int groups, rounds = 7;
    u64 bytes = 4104ull * 19 * UNIT, strip = 19 * UNIT;
    char *from;
    cudaDeviceProp prop;
    cudaGetDeviceProperties(&prop, 0);
    groups = prop.multiProcessorCount;
    if (cudaMalloc(&from, bytes)) return 1;
    cudaMemset(from, 1, bytes);
    cudaFuncSetAttribute(stream, cudaFuncAttributeMaxDynamicSharedMemorySize, RING);
    printf("%s, %d groups\n", prop.name, groups);
    u32 *pings;
    u64 *cycles;
    cudaMalloc(&pings, 4096 * groups), cudaMemset(pings, 0, 4096 * groups);
    cudaMallocManaged(&cycles, 32);
    for (int order = 0; order < N_ORDERS; order++)
        for (int slot = 2048; slot <= 8192; slot *= 2)
            for (int slots = 1; slots * slot <= RING / WARPS; slots++) {
                if (slots > 4 && slots % 4) continue;
                cudaEvent_t a, b;
                cudaEventCreate(&a), cudaEventCreate(&b);
                for (int i = 0; i < 4; i++)
                    cycles[i] = 0;
                for (int i = 0; i < rounds; i++) {
                    if (i == 2) cudaEventRecord(a);
                    stream<<<groups, (WARPS + 1) * 32, RING>>>(from, bytes, order, slot, slots, strip, ahead, pings, cycles);
                }
                cudaEventRecord(b);
                if (cudaEventSynchronize(b)) return printf("%s\n", cudaGetErrorString(cudaGetLastError())), 1;
                float ms;
                cudaEventElapsedTime(&ms, a, b);
                u64 n = cycles[3];
                printf("%-32s %d slots of %d: %.0f GB/s; cycles of a load %llu, a fence %llu, an addition %llu\n", names[order],
                       slots, slot, bytes * (double)(rounds - 2) / ms * 1e-6, cycles[0] / n, cycles[1] / n, cycles[2] / n);
            }
    return 0;
}
