// When the kernels of a graph were there, and when the kernel before each was over: nvcc -DQN_PROFILE -Ibench … src/backend/cuda/kernels.cu.
// The first thread of each kernel that may be launched early tells both moments; after every TRACE_EVENTS of them the last ones are
// printed, of which bench/graph_trace.py makes a table.
#ifndef TRACE_EVENTS
#define TRACE_EVENTS 60000
#endif
enum { TRACE_KEPT = 4096, TRACE_PRINTED = 1600 };
enum { TRACE_THERE, TRACE_GOES_ON };
typedef struct {
    unsigned what, threads, x, y;
    long long time;
} trace_event;
static __device__ trace_event trace_events[TRACE_KEPT];
static __device__ unsigned trace_n, trace_next = TRACE_EVENTS;

// Of the last products, the moments of the first thread of each group, where a multiprocessor has two of one; the report of a product is printed with the events.
enum { TRACE_PRODUCTS = 16, TRACE_GROUPS = 132 };
enum { TRACE_BEGUN, TRACE_WAITED, TRACE_FIRST, TRACE_MULTIPLIED, TRACE_OVER, TRACE_MOMENTS, TRACE_PROCESSOR = TRACE_MOMENTS };
static __device__ long long trace_moments[TRACE_PRODUCTS][TRACE_GROUPS][TRACE_MOMENTS + 1]; // and the multiprocessor
static __device__ unsigned trace_products[TRACE_GROUPS];
// Beside the dynamic shared memory of products there is none left.
FN unsigned *trace_product(void)
{
    extern __shared__ __align__(16) char trace_shared[];
    unsigned n_bytes;
    asm volatile("mov.u32 %0, %%dynamic_smem_size;" : "=r"(n_bytes));
    return (unsigned *)(trace_shared + n_bytes - 4);
}
// A moment that a group does not come to stays 0.
#define PROFILE_GROUP(moment)                                                                                          \
    do {                                                                                                               \
        if (threadIdx.x != 0 || blockIdx.x >= TRACE_GROUPS) break;                                                     \
        if ((moment) == TRACE_BEGUN) *trace_product() = atomicAdd(&trace_products[blockIdx.x], 1);                     \
        long long *trace_at = trace_moments[*trace_product() % TRACE_PRODUCTS][blockIdx.x];                            \
        for (int trace_i = 1; (moment) == TRACE_BEGUN && trace_i < TRACE_MOMENTS; trace_i++)                           \
            trace_at[trace_i] = 0;                                                                                     \
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(trace_at[moment]));                                           \
        unsigned trace_processor;                                                                                      \
        asm volatile("mov.u32 %0, %%smid;" : "=r"(trace_processor));                                                   \
        trace_at[TRACE_PROCESSOR] = trace_processor;                                                                   \
    } while (0)

FN void trace_add(unsigned what)
{
    long long t;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
    trace_event e = {what, blockDim.x, gridDim.x, gridDim.y, t};
    trace_events[atomicAdd(&trace_n, 1) % TRACE_KEPT] = e;
}
// In a kernel without wgmma: ptxas would put its products one after another around a call.
static __device__ __noinline__ void trace_print(void)
{
    unsigned n = trace_n;
    if (n < trace_next) return;
    trace_next = n + TRACE_EVENTS;
    for (unsigned i = n - TRACE_PRINTED; i < n; i++) {
        const trace_event *p = &trace_events[i % TRACE_KEPT];
        printf("graph %u %u %u %u %u %lld\n", i, p->what, p->threads, p->x, p->y, p->time);
    }
    for (unsigned i = trace_products[0] - TRACE_PRODUCTS + 2; i != trace_products[0] - 1; i++)
        for (int g = 0; g < TRACE_GROUPS; g++) {
            const long long *m = trace_moments[i % TRACE_PRODUCTS][g];
            printf("product %u %d %lld %lld %lld %lld %lld %lld\n", i, g, m[0], m[1], m[2], m[3], m[4], m[5]);
        }
}
#define PROFILE_GRAPH()                                                                                                \
    do {                                                                                                               \
        if (threadIdx.x == 0 && blockIdx.x == 0) trace_print();                                                        \
    } while (0)
#define PROFILE_GRID(what)                                                                                             \
    do {                                                                                                               \
        if (threadIdx.x == 0 && blockIdx.x == 0 && blockIdx.y == 0 && blockIdx.z == 0) trace_add(what);                \
    } while (0)
