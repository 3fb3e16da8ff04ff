// Attention on sm_90a: the bits of flash_wide and flash_tiles against flash_rows with every row alone, and the times of all for the 7B's and
// the 3B's heads, over F16, BF16 and Q8_0 caches. A cache in shuffled blocks; what no row sees is NaN.
//   nvcc -O2 -fmad=false -std=c++17 -gencode=arch=compute_90a,code=sm_90a -Isrc -o cuda_flash bench/cuda_flash.cu
//   ./cuda_flash [times | rows]        leaves the checks out; rows: and prompts' times
#define QN_CUDA 1
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

#include "backend/gpu/args.h"
#include "backend/gpu/dialect.h"
#include "backend/step_layout.h"

#include "backend/gpu/kernels/elements.h"
#include "backend/gpu/kernels/norm.h"
// The dialect's own attention stays out: templates that nobody makes.
#undef KERNEL
#define KERNEL(name, ...) template <int> static __device__ void name(__VA_ARGS__)
#include "backend/gpu/kernels/attention.h"
#undef KERNEL
#define KERNEL(name, ...) extern "C" __global__ void __launch_bounds__(QN_GPU_THREADS) name(__VA_ARGS__)

#include "backend/cuda/args.h"
#include "backend/cuda/product.cuh"

#include "backend/cuda/attention.cuh"

#define CHECK(call)                                                                                                                \
    do {                                                                                                                           \
        cudaError_t rc = (call);                                                                                                   \
        if (rc != cudaSuccess) {                                                                                                   \
            fprintf(stderr, "cuda_flash: %s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(rc));                                \
            exit(1);                                                                                                               \
        }                                                                                                                          \
    } while (0)

typedef void (*kernel_fn)(float *, const float *, const void *, const void *, const qn_step_counts *, const qn_row *, const int *,
                          const qn_gpu_attention_args);
// A kernel of this form for a type and a head dim: rows of its products (0: a row a group), threads, shared memory.
typedef struct {
    const char *name;
    int rows, n_threads, n_bytes[2], power; // power: windows are powers of two
    int agrees;                             // with flash_rows about what a run is
    kernel_fn kernels[3][2];                // [type: f16, bf16, q8_0][64, 128]
} form;

// Of flash_rows over 16-bit caches (attention_warps.cuh).
enum { ROW_THREADS = QN_WARPS * 32, ROW_BYTES_64 = QN_CUDA_FLASH_WARPS_SHARED_64, ROW_BYTES_128 = QN_CUDA_FLASH_WARPS_SHARED_128 };
static const form rows_form = {"rows", 0, 256, {QN_FLASH_SHARED(64), QN_FLASH_SHARED(128)}, 0, 1,
                               {{flash_rows_f16_64, flash_rows_f16_128}, {flash_rows_bf16_64, flash_rows_bf16_128}, {flash_rows_q8_0_64, flash_rows_q8_0_128}}};
static const form forms[] = {
    {"tiles", 128, 256, {QN_FLASH_SHARED(64), QN_FLASH_SHARED(128)}, 1, 0,
     {{flash_tiles_f16_64, flash_tiles_f16_128}, {flash_tiles_bf16_64, flash_tiles_bf16_128}, {flash_tiles_q8_0_64, flash_tiles_q8_0_128}}},
    {"wide", QN_WIDE_ROWS, QN_CUDA_WIDE_THREADS, {QN_CUDA_WIDE_SHARED_64, QN_CUDA_WIDE_SHARED_128}, 0, 1,
     {{flash_wide_f16_64, flash_wide_f16_128}, {flash_wide_bf16_64, flash_wide_bf16_128}, {flash_wide_q8_0_64, flash_wide_q8_0_128}}},
};

enum { MOST_ROWS = 4096, MOST_HEADS = 40, MOST_POSITIONS = 4096, FEW_SLOTS = 8, SLOTS = 256, BLOCKS_A_SLOT = MOST_POSITIONS / 16, MOST_KV = 8 };

static qn_step_counts *counts;
static qn_row *rows, *reversed;
static int *table;
static float *q, *q_reversed, *y, *want;
static ushort *k, *v;
static uint *n_bad;
static int n_processors;
static std::vector<int> host_table;

// type: 0 F32, 1 F16, 2 BF16.
__global__ void fill(void *to, ulong n, int type, float scale, uint seed)
{
    for (ulong i = (ulong)blockIdx.x * 256 + threadIdx.x; i < n; i += (ulong)gridDim.x * 256) {
        uint h = (uint)(i * 2654435761u) ^ seed;
        float x = 0;
        for (int j = 0; j < 3; j++) {
            h = (h ^ h >> 15) * 2246822519u + 374761393u, h ^= h >> 13;
            x += (float)(h & 0xffff) / 65536.0f - 0.5f;
        }
        qn_store(to, type, i, x * scale);
    }
}
// Blocks of Q8_0: d up to 1 / 64.
__global__ void fill_blocks(uchar *to, ulong n, uint seed)
{
    for (ulong i = (ulong)blockIdx.x * 256 + threadIdx.x; i < n; i += (ulong)gridDim.x * 256) {
        uint h = ((uint)(i * 2654435761u) ^ seed) * 2246822519u;
        h ^= h >> 13;
        uchar *block = to + i / 34 * 34;
        if (i % 34 == 0)
            *(ushort *)block = (ushort)(0x1c00 + (h >> 8 & 0x7ff));
        else if (i % 34 > 1)
            to[i] = (uchar)(min((int)(h >> 8 & 0xff), 254) - 127);
    }
}
// NaN, or in blocks the largest d, at the positions of a slot before `first` and behind `last`. Grid: positions; threads: dims.
__global__ void poison(ushort *to, const int *blocks, int first, int last, int n_kv, int dim, int type)
{
    int p = blockIdx.x;
    if (p >= first && p <= last) return;
    for (int h = 0; h < n_kv; h++) {
        ulong at = (((ulong)blocks[p / 16] * n_kv + h) * 16 + p % 16) * dim + threadIdx.x;
        if (type < 3)
            to[at] = 0x7fff;
        else if (at % 32 == 0)
            to[at / 32 * 17] = 0x7fff;
    }
}
// Row i of `to` is row n − 1 − i of `from`.
__global__ void reverse(const float *from, float *to, int n, int width)
{
    for (int d = threadIdx.x; d < width; d += 256)
        to[(ulong)blockIdx.x * width + d] = from[(ulong)(n - 1 - blockIdx.x) * width + d];
}
// Numbers that differ, or come of what no row sees: NaN, and in blocks, whose d is kept within F16's range, large ones.
__global__ void differ(const float *a, const float *reversed, int n, int width, uint *count)
{
    for (int d = threadIdx.x; d < width; d += 256)
        if (__float_as_uint(a[(ulong)blockIdx.x * width + d]) != __float_as_uint(reversed[(ulong)(n - 1 - blockIdx.x) * width + d]) ||
            !(fabsf(a[(ulong)blockIdx.x * width + d]) < 100.0f))
            atomicAdd(count, 1);
}

static void allocate(void)
{
    const ulong n_cache = (ulong)SLOTS * BLOCKS_A_SLOT * 16 * MOST_KV * 128, n_q = (ulong)MOST_ROWS * MOST_HEADS * 128;
    CHECK(cudaMalloc(&counts, sizeof *counts));
    CHECK(cudaMalloc(&rows, MOST_ROWS * sizeof *rows));
    CHECK(cudaMalloc(&reversed, MOST_ROWS * sizeof *rows));
    CHECK(cudaMalloc(&table, SLOTS * BLOCKS_A_SLOT * 4));
    CHECK(cudaMalloc(&q, n_q * 4));
    CHECK(cudaMalloc(&q_reversed, n_q * 4));
    CHECK(cudaMalloc(&y, n_q * 4));
    CHECK(cudaMalloc(&want, n_q * 4));
    CHECK(cudaMalloc(&k, n_cache * 2));
    CHECK(cudaMalloc(&v, n_cache * 2));
    CHECK(cudaMalloc(&n_bad, 4));
    for (int i = 0; i < SLOTS * BLOCKS_A_SLOT; i++)
        host_table.push_back(i);
    // The first slots' blocks lie in the first part of the cache, so that the checks need not fill all of it.
    for (int i = SLOTS * BLOCKS_A_SLOT - 1; i > 0; i--) {
        int from = i < FEW_SLOTS * BLOCKS_A_SLOT ? 0 : FEW_SLOTS * BLOCKS_A_SLOT;
        int j = from + (int)((ulong)rand() % (ulong)(i - from + 1)), t = host_table[i];
        host_table[i] = host_table[j], host_table[j] = t;
    }
    CHECK(cudaMemcpy(table, host_table.data(), host_table.size() * 4, cudaMemcpyHostToDevice));
    fill<<<4096, 256>>>(q, n_q, 0, 4.0f, 5);
}

// A step: stretches of rows, each of a slot of its own. Slot s has `n[s]` rows from position `from[s]` on.
typedef struct {
    int n_heads, n_kv, dim, type, window, n_splits;
    std::vector<int> n, from;
} step;

static qn_gpu_attention_args args_of(const step *s)
{
    qn_gpu_attention_args a;
    memset(&a, 0, sizeof a);
    a.n_heads = s->n_heads, a.n_kv_heads = s->n_kv, a.head_dim = s->dim, a.window = s->window, a.n_splits = s->n_splits, a.piece = QN_CUDA_PIECE;
    a.scale = 1.0f / sqrtf((float)s->dim), a.n_parts = (s->n_heads / s->n_kv + 7) / 8, a.whole = 1, a.max_blocks = BLOCKS_A_SLOT;
    a.wide_k = a.wide_v = 1, a.q_norm_type = a.k_norm_type = -1, a.cache_type = s->type;
    return a;
}

static int set_rows(const step *s)
{
    std::vector<qn_row> list;
    for (int slot = 0; slot < (int)s->n.size(); slot++)
        for (int i = 0; i < s->n[slot]; i++)
            list.push_back((qn_row){slot, s->from[slot] + i, -1});
    int n = (int)list.size();
    CHECK(cudaMemcpy(rows, list.data(), n * sizeof *rows, cudaMemcpyHostToDevice));
    std::vector<qn_row> back(list.rbegin(), list.rend());
    CHECK(cudaMemcpy(reversed, back.data(), n * sizeof *rows, cudaMemcpyHostToDevice));
    qn_step_counts c;
    memset(&c, 0, sizeof c);
    c.n_rows = n;
    CHECK(cudaMemcpy(counts, &c, sizeof c, cudaMemcpyHostToDevice));
    return n;
}

static void set_cache(const step *s)
{
    ulong n = (ulong)(s->n.size() > FEW_SLOTS ? SLOTS : FEW_SLOTS) * BLOCKS_A_SLOT * 16 * s->n_kv * s->dim;
    for (ushort *to : {k, v}) {
        uint seed = to == k ? 1 : 99;
        if (s->type < 3)
            fill<<<4096, 256>>>(to, n, s->type, 1.0f, seed);
        else
            fill_blocks<<<4096, 256>>>((uchar *)to, n / 32 * 34, seed);
    }
    for (int slot = 0; slot < (int)s->n.size() && slot < FEW_SLOTS; slot++) {
        int last = s->from[slot] + s->n[slot] - 1, first = s->window && s->from[slot] >= s->window ? s->from[slot] - s->window + 1 : 0;
        for (ushort *to : {k, v})
            poison<<<MOST_POSITIONS, s->dim>>>(to, table + slot * BLOCKS_A_SLOT, first, last, s->n_kv, s->dim, s->type);
    }
}

// grid: groups of flash_wide, at most; 0: one a multiprocessor.
static void launch(const form *f, const step *s, int n_rows, int backwards, float *out, int grid)
{
    qn_gpu_attention_args a = args_of(s);
    int group = s->n_heads / s->n_kv, window = f->rows / group, wide = s->dim == 128, plain = s->type < 3;
    dim3 groups, threads(f->n_threads);
    int n_bytes = f->n_bytes[wide];
    for (int i = 1; f->power && i * 2 * group <= f->rows; i *= 2)
        window = i * 2;
    if (!window) window = 1;
    groups = dim3(s->n_kv, (n_rows + window - 1) / window);
    if (!f->rows) {
        groups = dim3(s->n_kv * a.n_parts, n_rows);
        int most = 2 * n_processors / (int)groups.x;
        if (plain) groups.y = n_rows < most ? n_rows : most;
        if (plain) threads = dim3(ROW_THREADS), n_bytes = wide ? ROW_BYTES_128 : ROW_BYTES_64;
    } else if (!f->power) {
        int most = grid ? grid : n_processors, all = (int)(groups.x * groups.y);
        groups = dim3(all < most ? all : most);
    }
    f->kernels[s->type - 1][wide]<<<groups, threads, n_bytes>>>(out, backwards ? q_reversed : q, k, v, counts, backwards ? reversed : rows, table, a);
    CHECK(cudaGetLastError());
}

// Compares y with what was wanted.
static int compare(const char *name, const step *s, int n_rows)
{
    int width = s->n_heads * s->dim;
    uint bad = 0;
    CHECK(cudaMemset(n_bad, 0, 4));
    differ<<<n_rows, 256>>>(y, want, n_rows, width, n_bad);
    CHECK(cudaMemcpy(&bad, n_bad, 4, cudaMemcpyDeviceToHost));
    if (bad)
        printf("FAIL %s: %d/%d heads of %d, type %d, window %d, splits %d, %d rows in %d slots, the first from %d: %u of %d differ\n", name,
               s->n_heads, s->n_kv, s->dim, s->type, s->window, s->n_splits, n_rows, (int)s->n.size(), s->from[0], bad, n_rows * width);
    return bad > 0;
}

static int check(const step *s)
{
    int n_rows = set_rows(s), width = s->n_heads * s->dim, failed = 0;
    set_cache(s);
    reverse<<<n_rows, 256>>>(q, q_reversed, n_rows, width);
    CHECK(cudaMemset(want, 0xff, (ulong)n_rows * width * 4));
    launch(&rows_form, s, n_rows, 1, want, 0);
    for (const form &f : forms) {
        if (!f.kernels[s->type - 1][s->dim == 128]) continue;
        if (f.agrees) {
            CHECK(cudaMemset(y, 0xff, (ulong)n_rows * width * 4));
            launch(&rows_form, s, n_rows, 0, y, 0);
        } else
            reverse<<<n_rows, 256>>>(want, y, n_rows, width);
        launch(&f, s, n_rows, 0, y, 0);
        failed += compare(f.name, s, n_rows);
    }
    return failed;
}

static int check_all(void)
{
    static const int heads[][2] = {{28, 4}, {16, 2}, {40, 8}, {4, 4}}, counts_of[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 64, 100, 700, 2048};
    int failed = 0, n = 0;
    for (int type = 1; type <= 3; type++)
        for (int dim = 64; dim <= 128; dim += 64)
            for (const int *h : heads)
                for (int window : {0, 50, 1000})
                    for (int splits : {1, 4, 16}) {
                        for (int from : {0, 37, 2048})
                            for (int rows_of : counts_of) {
                                if (rows_of > 100 && (window == 50 || splits == 4) && h[1] != 4) continue;
                                step s = {h[0], h[1], dim, type, window, splits, {rows_of}, {from}};
                                failed += check(&s), n++;
                            }
                        step mixed = {h[0], h[1], dim, type, window, splits, {1, 5, 3, 40, 1, 17, 100, 4}, {}};
                        mixed.from = {700, 3, 64, 250, 0, 1111, 90, 2000};
                        failed += check(&mixed), n++;
                    }
    printf("%d steps checked, %d differences\n", n, failed);
    return failed;
}

// Seconds a layer.
static double seconds(const form *f, const step *s, int n_rows, int grid)
{
    cudaEvent_t a, b;
    const int n = 20;
    float ms = 0;
    CHECK(cudaEventCreate(&a));
    CHECK(cudaEventCreate(&b));
    for (int i = 0; i < n + 3; i++) {
        if (i == 3) CHECK(cudaEventRecord(a));
        launch(f, s, n_rows, 0, y, grid);
    }
    CHECK(cudaEventRecord(b));
    CHECK(cudaEventSynchronize(b));
    CHECK(cudaEventElapsedTime(&ms, a, b));
    return ms * 1e-3 / n;
}

// Steps of one row a sequence, each of so many positions.
static void row_times(void)
{
    static const int heads[][2] = {{28, 4}, {16, 2}}, counts_of[] = {8, 32, 64, 128, 256};
    for (int type : {1, 3})
        for (const int *h : heads)
            for (int length : {192, 1000, 4000})
                for (int n : counts_of) {
                    step s = {h[0], h[1], 128, type, 0, 16, std::vector<int>(n, 1), std::vector<int>(n, length - 1)};
                    int n_rows = set_rows(&s);
                    double bytes = 2.0 * 2 * n * h[1] * 128 * length * (type < 3 ? 1 : 34.0 / 64);
                    set_cache(&s);
                    printf("%s, %d/%d heads, %d rows of %d positions:", type == 1 ? "f16" : "q8_0", h[0], h[1], n, length);
                    double t = seconds(&rows_form, &s, n_rows, 0);
                    printf("  %.1f us, %.0f GB/s", t * 1e6, bytes / t * 1e-9);
                    printf("\n");
                }
}

static void times(void)
{
    static const int heads[][2] = {{28, 4}, {16, 2}}, steps[][2] = {{2048, 0}, {2048, 2048}, {512, 0}};
    for (int type : {2, 1, 3})
        for (const int *h : heads)
            for (const int *at : steps) {
                step s = {h[0], h[1], 128, type, 0, 16, {at[0]}, {at[1]}};
                int n_rows = set_rows(&s);
                double flops = 4.0 * 128 * h[0] * ((double)at[0] * at[1] + 0.5 * at[0] * (at[0] + 1.0));
                set_cache(&s);
                printf("%s, %d/%d heads, %d rows from %d:", type == 1 ? "f16" : type == 2 ? "bf16" : "q8_0", h[0], h[1], at[0], at[1]);
                for (const form &f : forms) {
                    double t = seconds(&f, &s, n_rows, 0);
                    printf("  %s %.1f us, %.0f TFLOP/s", f.name, t * 1e6, flops / t * 1e-12);
                    if (f.power) continue;
                    t = seconds(&f, &s, n_rows, 1 << 20);
                    printf(" (a group a window: %.1f, %.0f)", t * 1e6, flops / t * 1e-12);
                }
                printf("\n");
                fflush(stdout);
            }
}

int main(int argc, char **argv)
{
    cudaDeviceProp prop;
    CHECK(cudaGetDeviceProperties(&prop, 0));
    n_processors = prop.multiProcessorCount;
    printf("%s, %d processors\n", prop.name, n_processors);
    for (int i = -1; i < (int)(sizeof forms / sizeof *forms); i++) {
        const form *f = i < 0 ? &rows_form : &forms[i];
        for (int j = 0; j < 6; j++)
            if (f->kernels[j / 2][j % 2])
                CHECK(cudaFuncSetAttribute(f->kernels[j / 2][j % 2], cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           i >= 0 || j / 2 == 2 ? f->n_bytes[j % 2] : j % 2 ? ROW_BYTES_128 : ROW_BYTES_64));
    }
    allocate();
    int failed = argc > 1 ? 0 : check_all();
    fflush(stdout);
    row_times();
    if (argc < 2 || strcmp(argv[1], "rows")) times();
    return failed > 0;
}
