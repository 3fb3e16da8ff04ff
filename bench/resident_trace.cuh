// When each warp of the resident kernel was where: nvcc -DQN_PROFILE -Ibench … src/backend/cuda/resident.cu. Launch TRACE_LAUNCH of a
// list of more than 100 tasks prints, for tasks TRACE_FROM … of every group and warp, the cycles at which it passed the places below;
// bench/resident_trace.py makes a table of them. Clocks of groups are set against each other by the card's timer.
#ifndef TRACE_LAUNCH
#define TRACE_LAUNCH 40
#endif
#ifndef TRACE_FROM
#define TRACE_FROM 61 // < 0: so many before the list's end
#endif
#define TRACE_FIRST_TASK (TRACE_FROM < 0 ? n_tasks + TRACE_FROM : TRACE_FROM)
enum {
    TRACE_TASKS = 6,
    TRACE_TASK = 0, // the task before is over
    TRACE_BEGUN,    // all is done that needs no other group
    TRACE_START,    // the epoch has begun
    TRACE_FIRST,    // a product: the norms' inverses; attention: entered
    TRACE_STAGED,   // the rows of x
    TRACE_UNITS,    // all units multiplied
    TRACE_FOLDED,
    TRACE_END,     // of the task, for the whole group
    TRACE_STARVED, // cycles spent waiting for weights
    TRACE_PLACES
};
static __device__ unsigned trace_times[132][TRACE_TASKS][8][TRACE_PLACES];
static __shared__ int trace_row;
static __shared__ unsigned trace_starved[8];
static __shared__ long long trace_base, trace_timer;

FN long long trace_now(void)
{
    long long t;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
    return t;
}
#define PROFILE_AT(place)                                                                                              \
    do {                                                                                                               \
        if (trace_row >= 0 && (threadIdx.x & 31) == 0)                                                                 \
            trace_times[blockIdx.x][trace_row][threadIdx.x >> 5][place] = (unsigned)(clock64() - trace_base);          \
    } while (0)
#define PROFILE_STARVING() unsigned trace_since = (unsigned)clock64()
#define PROFILE_STARVED()                                                                                              \
    if ((threadIdx.x & 31) == 0) trace_starved[threadIdx.x >> 5] += (unsigned)clock64() - trace_since
#define PROFILE_BEGIN(launch, n_tasks)                                                                                 \
    bool trace_on = (launch) == TRACE_LAUNCH && (n_tasks) > 100;                                                       \
    if (threadIdx.x < 8) trace_starved[threadIdx.x] = 0;                                                               \
    if (threadIdx.x == 0) {                                                                                            \
        trace_row = -1;                                                                                                \
        if (trace_on) {                                                                                                \
            long long t = trace_now();                                                                                 \
            while ((trace_timer = trace_now()) == t) {                                                                 \
            }                                                                                                          \
            trace_base = clock64();                                                                                    \
        }                                                                                                              \
    }                                                                                                                  \
    if ((launch) >= TRACE_LAUNCH - 3 && (launch) <= TRACE_LAUNCH && (n_tasks) > 100 && blockIdx.x == 0 && threadIdx.x == 0)                  \
        printf("begins %u %lld\n", (launch), trace_now());                                                            \
    BARRIER()
#define PROFILE_TASK(i)                                                                                                \
    if (trace_on) BARRIER(); /* all are done with the row before */                                                    \
    if (threadIdx.x < 8) trace_starved[threadIdx.x] = 0;                                                               \
    if (threadIdx.x == 0) trace_row = trace_on && (i) >= TRACE_FIRST_TASK && (i) < TRACE_FIRST_TASK + TRACE_TASKS ? (i)-TRACE_FIRST_TASK : -1; \
    if (trace_on) BARRIER();                                                                                           \
    PROFILE_AT(TRACE_TASK)
#define PROFILE_TASK_END()                                                                                             \
    PROFILE_AT(TRACE_END);                                                                                             \
    if (trace_row >= 0 && (threadIdx.x & 31) == 0)                                                                     \
    trace_times[blockIdx.x][trace_row][threadIdx.x >> 5][TRACE_STARVED] = trace_starved[threadIdx.x >> 5]
#define PROFILE_REPORT(tasks)                                                                                          \
    if (launch >= TRACE_LAUNCH - 4 && launch < TRACE_LAUNCH && n_tasks > 100 && blockIdx.x == 0 && threadIdx.x == 0)   \
        printf("ends %u %lld\n", launch, trace_now());                                                                \
    if (trace_on && threadIdx.x == 0) {                                                                                \
        printf("trace %d %lld %d\n", blockIdx.x, trace_timer, (unsigned)(clock64() - trace_base));                     \
        for (int i = 0; i < TRACE_TASKS; i++)                                                                          \
            for (int w = 0; w < 8; w++) {                                                                              \
                unsigned *t = trace_times[blockIdx.x][i][w];                                                           \
                printf("%d %d %d %d %u %u %u %u %u %u %u %u %u\n", blockIdx.x, i, (tasks)[TRACE_FIRST_TASK + i].kernel, w, t[0], t[1], t[2], t[3], \
                       t[4], t[5], t[6], t[7], t[8]);                                                                       \
            }                                                                                                          \
    }
