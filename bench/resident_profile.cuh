// Where the resident kernel's time goes: nvcc -DQN_PROFILE -Ibench … src/backend/cuda/resident.cu. The 51st launch of a list of
// more than 100 tasks prints, by kind of task, how long the first group waited in front of it and worked on it, and a product's
// phases. Kinds are the kernels' numbers; products stand behind them: plain, with a norm, with a merge; + 4: gated.
enum { PROFILE_PRODUCTS = QN_GPU_N_KERNELS + QN_CUDA_N_KERNELS, PROFILE_KINDS = PROFILE_PRODUCTS + 8 };
static __device__ int profile_launches;
static __device__ long long profile_waits[PROFILE_KINDS], profile_works[PROFILE_KINDS];
static __device__ int profile_counts[PROFILE_KINDS];
enum { PROFILE_PHASES = 5 };
static __device__ long long profile_phases[PROFILE_KINDS][PROFILE_PHASES], profile_phase_from;
// A product's phases by the first group's first warp: the end of number n (0 the norms' inverses, 1 the rows of x, 2 its units, 3 the
// strips that it finishes, 4 the release).
#define PROFILE_PHASE(a, n)                                                                                            \
    if (blockIdx.x == 0 && threadIdx.x == 0) {                                                                         \
        long long now = clock64();                                                                                     \
        profile_phases[PROFILE_PRODUCTS + (a).source + 4 * (a).gated][n] += now - profile_phase_from;                                \
        profile_phase_from = now;                                                                                      \
    }
#define PROFILE_PHASES_FROM()                                                                                          \
    if (blockIdx.x == 0 && threadIdx.x == 0) profile_phase_from = clock64()

#define PROFILE_BEGIN()                                                                                                \
    int profile_kind = 0;                                                                                              \
    bool profile_on = blockIdx.x == 0 && threadIdx.x == 0;                                                             \
    for (int i = 0; profile_on && i < PROFILE_KINDS; i++)                                                              \
        profile_waits[i] = profile_works[i] = profile_counts[i] = profile_phases[i][0] = profile_phases[i][1] =        \
            profile_phases[i][2] = profile_phases[i][3] = profile_phases[i][4] = 0;                                    \
    long long profile_from = clock64()
#define PROFILE_START(t)                                                                                               \
    profile_kind = (t)->kernel;                                                                                        \
    if (profile_kind == QN_GPU_N_KERNELS + QN_CUDA_product)                                                            \
        profile_kind = PROFILE_PRODUCTS + ((const qn_cuda_product_args *)(t)->args)->source +                          \
                       4 * ((const qn_cuda_product_args *)(t)->args)->gated;                                           \
    if (profile_on) profile_waits[profile_kind] += clock64() - profile_from, profile_counts[profile_kind]++;           \
    profile_from = clock64()
#define PROFILE_END()                                                                                                  \
    if (profile_on) profile_works[profile_kind] += clock64() - profile_from;                                           \
    profile_from = clock64()
#define PROFILE_REPORT(n_tasks)                                                                                        \
    for (int i = 0, now = profile_on && (n_tasks) > 100 && profile_launches++ == 50; now && i < PROFILE_KINDS; i++)    \
        if (profile_counts[i])                                                                                         \
    printf("task %d x %d: waited %.1f, worked %.1f kcycles (%.1f, %.1f, %.1f, %.1f, %.1f)\n", i, profile_counts[i],     \
           profile_waits[i] * 1e-3, profile_works[i] * 1e-3, profile_phases[i][0] * 1e-3, profile_phases[i][1] * 1e-3, \
           profile_phases[i][2] * 1e-3, profile_phases[i][3] * 1e-3, profile_phases[i][4] * 1e-3)
