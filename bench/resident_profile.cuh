// Where the resident kernel's time goes: nvcc -DQN_PROFILE -Ibench … src/backend/cuda/resident.cu. The 50th launch of a list of
// more than 100 tasks prints, by kind of task, how long the first group waited in front of it and worked on it. Products are told
// apart: 90 plain, 91 with a norm, 92 with a merge, 95 gated.
enum { PROFILE_KINDS = 100 };
static __device__ int profile_launches;
static __device__ long long profile_waits[PROFILE_KINDS], profile_works[PROFILE_KINDS];
static __device__ int profile_counts[PROFILE_KINDS];

#define PROFILE_BEGIN()                                                                                                \
    int profile_kind = 0;                                                                                              \
    bool profile_on = blockIdx.x == 0 && threadIdx.x == 0;                                                             \
    for (int i = 0; profile_on && i < PROFILE_KINDS; i++)                                                              \
        profile_waits[i] = profile_works[i] = profile_counts[i] = 0;                                                   \
    long long profile_from = clock64()
#define PROFILE_START(t)                                                                                               \
    profile_kind = (t)->kernel;                                                                                        \
    if (profile_kind == QN_GPU_N_KERNELS + QN_CUDA_product)                                                            \
        profile_kind = 90 + ((const qn_cuda_product_args *)(t)->args)->source +                                        \
                       4 * ((const qn_cuda_product_args *)(t)->args)->gated;                                           \
    if (profile_on) profile_waits[profile_kind] += clock64() - profile_from, profile_counts[profile_kind]++;           \
    profile_from = clock64()
#define PROFILE_END()                                                                                                  \
    if (profile_on) profile_works[profile_kind] += clock64() - profile_from;                                           \
    profile_from = clock64()
#define PROFILE_REPORT(n_tasks)                                                                                        \
    for (int i = 0, now = profile_on && (n_tasks) > 100 && profile_launches++ == 50; now && i < PROFILE_KINDS; i++)    \
        if (profile_counts[i])                                                                                         \
    printf("task %d x %d: waited %.1f, worked %.1f kcycles\n", i, profile_counts[i], profile_waits[i] * 1e-3,          \
           profile_works[i] * 1e-3)
