// The resident kernel with nothing but the products of a model's layers, of one and of more rows: how near it comes to what its stream of weights could be
// read at: nvcc -fmad=false -std=c++17 -gencode=arch=compute_90a,code=sm_90a -Isrc -Xptxas -dlcm=cg -o cuda_resident bench/cuda_resident.cu
// && ./cuda_resident [TYPE]     TYPE: of the weights, as args.h numbers them: 1 F16, 3 Q8_0, 4 Q4_0, 10 Q4_K, 12 Q6_K …
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "backend/gpu/kernels.h"
#undef QN_GPU_KERNELS
#define QN_GPU_KERNELS(X)
#include "backend/cuda/resident.cu"
#include "backend/cuda/shares.c"

struct shape {
    const char *name;
    int n_layers, width, kv, mid;
};
static const shape shapes[] = {{"7B", 28, 3584, 512, 18944}, {"3B", 36, 2048, 256, 11008}};
enum { LAUNCHES = 12, MAX_K = 18944 };
static int w_type = 1; // args.h; of blocks any bytes do: what they hold costs nothing

struct list {
    std::vector<qn_cuda_resident_task> tasks;
    std::vector<qn_cuda_stream> streams;
    std::vector<qn_cuda_share> shares;
    char *weights;
    size_t at = 0, sums = 0;
    int epoch = -1, before = 0, arrivals = 0, n_groups;
};

static void add(list *l, int n_k, int n_matrices, const int *n_n, int source, bool gated, bool accumulate, float *x, float *y, void *norm, void *sums)
{
    qn_cuda_product_args a = {};
    a.n_k = a.padded_k = n_k;
    a.section = QN_CUDA_SECTION((n_k + QN_CUDA_PART - 1) / QN_CUDA_PART);
    a.n_matrices = n_matrices;
    a.type = 1;
    a.gated = gated, a.accumulate = accumulate, a.source = source, a.norm_type = 1, a.eps = 1e-6f;
    a.by_each = 2, a.packs = gated, a.packed = n_k > 4096; // of these shapes, down alone
    qn_cuda_stream s = {};
    s.n_full = n_k / QN_CUDA_PART, s.rest_steps = n_k % QN_CUDA_PART / 16;
    qn_cuda_resident_task t = {};
    float *to = y;
    for (int i = 0; i < n_matrices; i++) {
        a.n_n[i] = n_n[i], a.w_type[i] = w_type, a.bias[i] = -1;
        s.w[i] = (unsigned long long)(l->weights + l->at);
        s.strips[i] = n_n[i] / 16, s.n_strips += s.strips[i], s.step_bytes[i] = QN_CUDA_STEP_BYTES(w_type);
        l->at += (size_t)n_n[i] / 16 * (n_k / 16) * QN_CUDA_STEP_BYTES(w_type);
        t.buffers[i] = (unsigned long long)to;
        to += 8 * n_n[i];
    }
    size_t first = l->shares.size();
    l->shares.resize(first + (size_t)l->n_groups);
    qn_cuda_cut_units(&s);
    qn_cuda_make_shares(&s, l->n_groups, &l->shares[first]);
    t.kernel = QN_GPU_N_KERNELS + QN_CUDA_product;
    l->before = l->arrivals;
    l->arrivals = l->n_groups;
    t.epoch = ++l->epoch, t.waits = l->epoch > 0, t.expected = l->before;
    t.buffers[3] = (unsigned long long)x, t.buffers[4] = (unsigned long long)norm, t.buffers[12] = (unsigned long long)sums;
    memcpy(t.args, &a, sizeof a);
    t.stream = s;
    if (source == QN_CUDA_NORM && !l->tasks.empty()) l->tasks.back().ahead[0] = t.buffers[4], l->tasks.back().ahead_bytes[0] = n_k * 2;
    l->tasks.push_back(t), l->streams.push_back(s);
}

static double run(const list *l, unsigned *progress, const qn_step_counts *counts, bool cooperative = true)
{
    qn_cuda_resident_task *tasks;
    qn_cuda_stream *streams;
    qn_cuda_share *shares;
    cudaMalloc(&shares, l->shares.size() * sizeof *shares);
    cudaMemcpy(shares, l->shares.data(), l->shares.size() * sizeof *shares, cudaMemcpyHostToDevice);
    cudaMalloc(&tasks, l->tasks.size() * sizeof *tasks), cudaMalloc(&streams, l->streams.size() * sizeof *streams);
    cudaMemcpy(tasks, l->tasks.data(), l->tasks.size() * sizeof *tasks, cudaMemcpyHostToDevice);
    cudaMemcpy(streams, l->streams.data(), l->streams.size() * sizeof *streams, cudaMemcpyHostToDevice);
    cudaMemset(progress, 0, (l->epoch + 2) * QN_CUDA_PROGRESS_WORDS * 4);
    cudaFuncSetAttribute(resident, cudaFuncAttributeMaxDynamicSharedMemorySize, QN_CUDA_RESIDENT_SHARED);
    cudaEvent_t a, b;
    cudaEventCreate(&a), cudaEventCreate(&b);
    int n_tasks = (int)l->tasks.size();
    for (unsigned launch = 1; launch <= LAUNCHES; launch++) {
        if (launch == 3) cudaEventRecord(a);
        uint slot_bytes = QN_CUDA_SLOT_BYTES(QN_CUDA_STEP_BYTES(w_type));
        void *args[] = {&tasks, &n_tasks, &streams, &shares, &progress, &launch, &counts, &slot_bytes};
        if (cooperative)
            cudaLaunchCooperativeKernel((void *)resident, l->n_groups, QN_CUDA_RESIDENT_THREADS, args, QN_CUDA_RESIDENT_SHARED, 0);
        else
            cudaLaunchKernel((void *)resident, l->n_groups, QN_CUDA_RESIDENT_THREADS, args, QN_CUDA_RESIDENT_SHARED, 0);
    }
    cudaEventRecord(b);
    cudaEventSynchronize(b);
    float ms = 0;
    cudaEventElapsedTime(&ms, a, b);
    cudaError_t rc = cudaGetLastError();
    if (rc) printf("%s\n", cudaGetErrorString(rc));
    cudaFree(tasks), cudaFree(streams), cudaFree(shares);
    return ms / (LAUNCHES - 2);
}

static __global__ void read_all(const uint4 *from, size_t n, uint4 *to)
{
    uint4 sum = make_uint4(0, 0, 0, 0);
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += 16ull * gridDim.x * blockDim.x) {
        uint4 v[16];
#pragma unroll
        for (int j = 0; j < 16; j++)
            v[j] = __ldcs(from + (i + j * (size_t)gridDim.x * blockDim.x < n ? i + j * (size_t)gridDim.x * blockDim.x : i));
#pragma unroll
        for (int j = 0; j < 16; j++)
            sum.x ^= v[j].x, sum.y ^= v[j].y, sum.z ^= v[j].z, sum.w ^= v[j].w;
    }
    if (sum.x == 0x12345678) *to = sum;
}

// Weights as models have them, not zeros, in case bits that change cost power, and so speed; rows of x are zeros.
static __global__ void make_weights(uint *to, size_t n)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
        uint v = (uint)i * 2654435761u;
        v = (v ^ v >> 15) * 2246822519u;
        v = (v ^ v >> 13) * 3266489917u;
        to[i] = ((v ^ v >> 16) & 0x8fff8fffu) | 0x20002000u; // F16: 2^-7 to 2^-3
    }
}

// The card's timer in nanoseconds, and the cycles of the multiprocessor that has the one group: an idle card's first.
static __global__ void clock_now(long long *out)
{
    long long t, c = clock64();
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
    out[0] = t, out[1] = c;
}

int main(int argc, char **argv)
{
    if (argc > 1) w_type = atoi(argv[1]);
    cudaDeviceProp prop;
    cudaGetDeviceProperties(&prop, 0);
    const size_t most = 14ull << 30;
    char *weights;
    float *x;
    unsigned *progress;
    void *sums, *norm;
    qn_step_counts *counts, host = {};
    host.n_rows = host.n_outputs = 1;
    if (cudaMalloc(&weights, most)) return printf("no memory\n"), 1;
    cudaMalloc(&x, 24 * MAX_K * 4), cudaMalloc(&progress, 1 << 20), cudaMalloc(&sums, 64 << 20), cudaMalloc(&norm, MAX_K * 2), cudaMalloc(&counts, sizeof host);
    cudaMemset(weights, 0, most);
    if (!getenv("ZEROS")) make_weights<<<prop.multiProcessorCount * 8, 256>>>((uint *)weights, most / 4);
    cudaMemset(x, 0, 24 * MAX_K * 4), cudaMemset(norm, 0, MAX_K * 2), cudaMemset(sums, 0, 64 << 20);
    cudaMemcpy(counts, &host, sizeof host, cudaMemcpyHostToDevice);
    cudaEvent_t a, b;
    cudaEventCreate(&a), cudaEventCreate(&b);
    for (int i = 0; i < 4; i++) {
        if (i == 1) cudaEventRecord(a);
        read_all<<<prop.multiProcessorCount * 2, 1024>>>((const uint4 *)weights, most / 16, (uint4 *)x);
    }
    cudaEventRecord(b), cudaEventSynchronize(b);
    float ms;
    cudaEventElapsedTime(&ms, a, b);
    long long *clocks;
    cudaMallocManaged(&clocks, 4 * sizeof *clocks);
    double ceiling = 3.0 * most / ms * 1e-6;
    printf("%s reads %.0f GB/s\n", prop.name, ceiling);
    list small;
    small.weights = weights, small.n_groups = prop.multiProcessorCount;
    int n_small[1] = {16};
    add(&small, 128, 1, n_small, QN_CUDA_PLAIN, false, false, x, x + MAX_K, norm, sums);
    small.streams.push_back(qn_cuda_stream{});
    small.streams.back().end = 1;
    small.shares.resize(small.shares.size() + (size_t)small.n_groups);
    printf("a launch of next to nothing: %.1f us, not cooperative %.1f us\n", run(&small, progress, counts) * 1e3,
           run(&small, progress, counts, false) * 1e3);
    for (const shape &m : shapes)
    for (int n_rows = 1; n_rows <= QN_CUDA_RESIDENT_ROWS; n_rows *= 2) {
        host.n_rows = host.n_outputs = n_rows;
        cudaMemcpy(counts, &host, sizeof host, cudaMemcpyHostToDevice);
        list l;
        l.weights = weights, l.n_groups = prop.multiProcessorCount;
        float *hidden = x, *qkv = x + 8 * MAX_K, *mid = x + 16 * MAX_K;
        for (int i = 0; i < m.n_layers; i++) {
            int n_qkv[3] = {m.width, m.kv, m.kv}, n_mid[2] = {m.mid, m.mid};
            size_t half = 16 << 20;
            add(&l, m.width, 3, n_qkv, QN_CUDA_NORM, false, false, hidden, qkv, norm, sums);
            add(&l, m.width, 1, n_qkv, QN_CUDA_PLAIN, false, true, qkv, hidden, norm, (char *)sums + half);
            add(&l, m.width, 2, n_mid, QN_CUDA_NORM, true, false, hidden, mid, norm, (char *)sums + 2 * half);
            add(&l, m.mid, 1, n_qkv, QN_CUDA_PLAIN, false, true, mid, hidden, norm, (char *)sums + 3 * half);
        }
        qn_cuda_stream end = {};
        end.end = 1;
        l.streams.push_back(end);
        l.shares.resize(l.shares.size() + (size_t)l.n_groups);
        clock_now<<<1, 1>>>(clocks);
        double t = run(&l, progress, counts);
        clock_now<<<1, 1>>>(clocks + 2);
        cudaDeviceSynchronize();
        printf("%s, rows %d: %.3f ms at %.2f GHz, %.0f GB/s, %.0f %% of the ceiling, %.2f us a product lost\n", m.name, n_rows, t, (double)(clocks[3] - clocks[1]) / (double)(clocks[2] - clocks[0]), l.at / t * 1e-6,
               100 * l.at / t * 1e-6 / ceiling, (t - l.at / ceiling * 1e-6) * 1e3 / l.tasks.size());
    }
    return 0;
}
