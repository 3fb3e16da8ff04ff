// Products of many rows on sm_90a: bits against a plain kernel of mma.sync in products.h's order, and rates of the 7B's shapes beside
// cuBLAS, where its library is found; then weights in blocks, multiplied as they lie, against those that become F16 first. TILE=128 (or another
// form) in the environment: that form for all; PARTS=1: chains of 1,024 for 16-bit weights (longer where K is more than 8,192); SUMS=1: no form of one part. Weights that fit the L2 cache
// (q, k, v; the output) come from there in cuBLAS's runs, which repeat one product; ours ask for them to leave it first.
//   nvcc -O2 -fmad=false -std=c++17 -gencode=arch=compute_90a,code=sm_90a -Isrc -o cuda_gemm bench/cuda_gemm.cu -ldl
//   ./cuda_gemm [rows …]        BLOCKS=1: blocks alone, FORMAT=10: of one type; ONLY=1: none. LD_LIBRARY_PATH names the folder of libcublas.so
#define QN_CUDA 1
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
#include "backend/cuda/blocks_pack.cuh"
#include "backend/cuda/gemm_kernels.cuh"
#include "backend/cuda/product.cuh"

#define CHECK(call)                                                                                                                \
    do {                                                                                                                           \
        cudaError_t rc = (call);                                                                                                   \
        if (rc != cudaSuccess) {                                                                                                   \
            fprintf(stderr, "cuda_gemm: %s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(rc));                                 \
            exit(1);                                                                                                               \
        }                                                                                                                          \
    } while (0)

// ---- what it is compared with ----

// A warp: strip blockIdx.x of packed w, rows of x from blockIdx.y · 8 on. y[row][n].
template <int TYPE> __global__ void plain(const uint4 *w, const float *x, float *y, int n_n, int n_k, int n_rows, int n_part)
{
    int lane = threadIdx.x, row = blockIdx.y * 8 + lane / 4;
    float sum[4] = {-0.0f, -0.0f, -0.0f, -0.0f};
    int n_parts = (n_k + n_part - 1) / n_part;
    for (int part = 0; part < n_parts; part++) {
        float c[4] = {0, 0, 0, 0};
        for (int step = part * n_part / 16; step < (part + 1) * n_part / 16 && step * 16 < n_k; step++) {
            uint2 b = make_uint2(0, 0);
            const float *at = x + (ulong)row * n_k + step * 16 + lane % 4 * 2;
            if (row < n_rows) b = make_uint2(qn_pack2<TYPE>(at[0], at[1]), qn_pack2<TYPE>(at[8], at[9]));
            qn_mma<TYPE>(c, w[((ulong)blockIdx.x * (n_k / 16) + step) * 32 + lane], b);
        }
        for (int i = 0; i < 4; i++)
            sum[i] += c[i];
    }
    for (int i = 0; i < 4; i++) {
        int r = blockIdx.y * 8 + lane % 4 * 2 + i % 2, n = blockIdx.x * 16 + lane / 4 + (i & 2) * 4;
        if (r < n_rows && n < n_n) y[(ulong)r * n_n + n] = sum[i];
    }
}

__global__ void gate(const float *g, const float *u, float *y, ulong n)
{
    ulong i = (ulong)blockIdx.x * 256 + threadIdx.x;
    if (i < n) y[i] = qn_silu(g[i]) * u[i];
}

__global__ void fill16(ushort *to, ulong n, int type, float scale, uint seed)
{
    for (ulong i = (ulong)blockIdx.x * 256 + threadIdx.x; i < n; i += (ulong)gridDim.x * 256) {
        uint h = (uint)(i * 2654435761u) ^ seed;
        float v = 0;
        for (int j = 0; j < 3; j++) {
            h = (h ^ h >> 15) * 2246822519u + 374761393u, h ^= h >> 13;
            v += (float)(h & 0xffff) / 65536.0f - 0.5f;
        }
        qn_store(to, type, i, v * scale);
    }
}
// As blocks of any format: no scale among them is large, or none.
__global__ void fill_blocks(ushort *to, ulong n)
{
    for (ulong i = (ulong)blockIdx.x * 256 + threadIdx.x; i < n; i += (ulong)gridDim.x * 256) {
        uint h = (uint)(i * 2654435761u) ^ (uint)(i >> 32);
        h = (h ^ h >> 15) * 2246822519u + 374761393u, h ^= h >> 13;
        to[i] = (ushort)(h & 0x9fff);
    }
}
__global__ void widen16(const ushort *from, float *to, ulong n, int type)
{
    ulong i = (ulong)blockIdx.x * 256 + threadIdx.x;
    if (i < n) to[i] = qn_load(from, type, i);
}
// Differences between y and what was expected; of tiles, as they lie.
__global__ void differ(const float *y, const float *want, ulong n, uint *count)
{
    ulong i = (ulong)blockIdx.x * 256 + threadIdx.x;
    if (i < n && __float_as_uint(y[i]) != __float_as_uint(want[i])) atomicAdd(count, 1);
}
__global__ void differ_tiled(const ushort *y, const float *want, int n_rows, int n_n, int tile, int type, uint *count)
{
    ulong i = (ulong)blockIdx.x * 256 + threadIdx.x;
    if (i >= (ulong)n_rows * n_n) return;
    int r = (int)(i / n_n), k = (int)(i % n_n);
    ushort w = type == 1 ? (ushort)(qn_pack_f16(want[i], 0) & 0xffff) : (ushort)(qn_pack_bf16(want[i], 0) & 0xffff);
    if (y[qn_gemm_tiled(tile, n_n, r, k)] != w) atomicAdd(count, 1);
}

// Between two products' tiles, of the rows that there are.
__global__ void differ_tiles(const ushort *y, const ushort *want, int n_rows, int n_n, int tile, uint *count)
{
    ulong i = (ulong)blockIdx.x * 256 + threadIdx.x;
    if (i >= (ulong)n_rows * n_n) return;
    ulong at = qn_gemm_tiled(tile, n_n, (int)(i / n_n), (int)(i % n_n));
    if (y[at] != want[at]) atomicAdd(count, 1);
}

static cudaStream_t stream;

// ---- cuBLAS ----

typedef int (*create_fn)(void **);
typedef int (*gemm_fn)(void *, int, int, int, int, int, const void *, const void *, int, int, const void *, int, int, const void *,
                       void *, int, int, int, int);
static void *blas;
static gemm_fn blas_gemm;

static void find_blas(void)
{
    const char *names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"};
    for (int i = 0; i < 3 && !blas_gemm; i++) {
        void *h = dlopen(names[i], RTLD_NOW);
        if (!h) continue;
        create_fn create = (create_fn)dlsym(h, "cublasCreate_v2");
        blas_gemm = (gemm_fn)dlsym(h, "cublasGemmEx");
        if (!create || create(&blas)) blas_gemm = NULL;
        int (*use)(void *, cudaStream_t) = (int (*)(void *, cudaStream_t))dlsym(h, "cublasSetStream_v2");
        if (blas_gemm && use) use(blas, stream);
    }
    if (!blas_gemm) printf("no cuBLAS: %s\n", dlerror());
}

// ---- ours ----

typedef void (*kernel_fn)(float *, float *, float *, const char *, const char *, const char *, const char *, const void *, const void *,
                          const void *, const qn_step_counts *, float *, char *, const qn_cuda_gemm_args);
typedef struct {
    int rows, cluster, n_bytes;
    kernel_fn f16, bf16, packed;
} form;
static const form forms[] = {
    {16, 1, qn_gemm_form<16, 1>::n_bytes, gemm_f16_16, gemm_bf16_16, gemm_packed_16},
    {32, 1, qn_gemm_form<32, 1>::n_bytes, gemm_f16_32, gemm_bf16_32, gemm_packed_32},
    {64, 1, qn_gemm_form<64, 1>::n_bytes, gemm_f16_64, gemm_bf16_64, gemm_packed_64},
    {128, 2, qn_gemm_form<128, 2>::n_bytes, gemm_f16_128, gemm_bf16_128, NULL},
    {256, 2, qn_gemm_form<256, 2>::n_bytes, gemm_f16_256, gemm_bf16_256, NULL},
    {256, 2, qn_gemm_form<256, 2, 0>::n_bytes, gemm_f16_chain, gemm_bf16_chain, NULL}, // all of K in one part
};

typedef struct {
    const char *name;
    int n[3], k, n_matrices, gated, accumulate;
    int part; // numbers of K of a chain of 16-bit weights; 0: QN_CUDA_PART
} shape;

static int of_blocks; // the comparison of blocks is on: their chains are shorter

static int part_of(const shape *s)
{
    int n_strips = 0;
    for (int i = 0; i < (s->gated ? 1 : s->n_matrices); i++)
        n_strips += (s->n[i] + 15) / 16;
    int n_tiles = (n_strips + (s->gated ? 3 : 7)) / (s->gated ? 4 : 8), n = 264 / n_tiles, least = (s->k + 2047) / 2048 * 256;
    if (n > QN_CUDA_MOST_PARTS) n = QN_CUDA_MOST_PARTS;
    if (of_blocks && s->part) return n > 1 ? (s->k + n * 256 - 1) / (n * 256) * 256 : s->k;
    return !s->part || getenv("PARTS") ? (least > QN_CUDA_PART ? least : QN_CUDA_PART) : s->part;
}

static int n_processors;
static qn_step_counts *counts;
static char *handed;
static float *partials;
static ushort *weights;
static char *blocks; // packed weights in `format`; 0: 16-bit ones, at `weights`
static int format;
static float *x, *y, *want, *other;
static ushort *x16, *tiles, *tiles_out;
static uint *count;

static const ulong MOST_W = 152064ul * 3584, MOST_X = 4096ul * 18944, MOST_Y = 4096ul * 37888, MOST_PARTIALS = 80ul << 20;

static void allocate(void)
{
    CHECK(cudaMalloc(&counts, sizeof *counts));
    CHECK(cudaMalloc(&handed, QN_CUDA_GEMM_FLAG_BYTES + 2 * 132ul * 128 * 256 * 4));
    CHECK(cudaMemset(handed, 0, QN_CUDA_GEMM_FLAG_BYTES));
    CHECK(cudaMalloc(&partials, MOST_PARTIALS * 4));
    CHECK(cudaMalloc(&weights, MOST_W * 2));
    CHECK(cudaMalloc(&blocks, MOST_W * 2));
    CHECK(cudaMalloc(&x, MOST_X * 4));
    CHECK(cudaMalloc(&x16, MOST_X * 2));
    CHECK(cudaMalloc(&tiles, MOST_X * 2));
    CHECK(cudaMalloc(&tiles_out, MOST_X * 2));
    CHECK(cudaMalloc(&y, MOST_Y * 4));
    CHECK(cudaMalloc(&want, MOST_Y * 4));
    CHECK(cudaMalloc(&other, MOST_Y * 4));
    CHECK(cudaMalloc(&count, 4));
}

static void set_rows(int n)
{
    qn_step_counts c;
    memset(&c, 0, sizeof c);
    c.n_rows = n;
    CHECK(cudaMemcpy(counts, &c, sizeof c, cudaMemcpyHostToDevice));
}

static const form *form_of(const shape *s, int n_rows)
{
    const char *tile = getenv("TILE"); // of x, for all
    for (const form &f : forms)
        if (f.rows < 256 && (tile ? atoi(tile) == f.rows : n_rows <= f.rows)) return &f;
    return &forms[part_of(s) >= s->k && !getenv("SUMS") ? 5 : 4];
}

// As the backend launches them: each may begin before the one before it is over, and waits by itself.
template <typename... P, typename... A> static void start(void (*kernel)(P...), dim3 grid, int n_threads, int shared, A... a)
{
    cudaLaunchConfig_t c;
    cudaLaunchAttribute early;
    memset(&c, 0, sizeof c);
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    c.gridDim = grid, c.blockDim = dim3(n_threads), c.dynamicSmemBytes = shared, c.stream = stream, c.attrs = &early, c.numAttrs = 1;
    CHECK(cudaLaunchKernelEx(&c, kernel, P(a)...));
}

// Bytes of the i-th matrix.
static ulong matrix_bytes(const shape *s, int i, int of)
{
    return (ulong)((s->n[i] + 15) / 16) * (s->k / 16) * QN_CUDA_STEP_BYTES(of);
}

// early: the weights were there before the kernel in front.
static void run(const shape *s, int type, int n_rows, const form *f, int with_rows, int early = 1)
{
    qn_cuda_gemm_args a;
    memset(&a, 0, sizeof a);
    a.padded_k = s->k, a.part = part_of(s), a.n_matrices = s->n_matrices, a.type = type, a.accumulate = s->accumulate, a.gated = s->gated, a.early = early;
    int each = format ? QN_CUDA_GEMM_PACKED_GROUPS(f->rows) : 1;
    a.tile_rows = f->rows, a.cluster = f->cluster, a.n_clusters = n_processors * each / f->cluster;
    const char *w[3] = {format ? blocks : (char *)weights, NULL, NULL};
    float *ys[3] = {s->gated ? (float *)tiles_out : y, NULL, NULL};
    int n_all = 0, most = 0;
    for (int i = 0; i < 3; i++) {
        a.n_n[i] = s->n[i], a.bias[i] = -1, a.w_type[i] = format;
        if (i < s->n_matrices) n_all += (s->n[i] + 15) / 16 * 16;
        if (i) w[i] = w[i - 1] + matrix_bytes(s, i - 1, format), ys[i] = ys[i - 1] + (ulong)s->n[i - 1] * n_rows;
    }
    most = s->gated ? s->n[0] : n_all;
    int n_down = (most / 16 + (s->gated ? 4 : 8) * f->cluster - 1) / ((s->gated ? 4 : 8) * f->cluster), n_parts = (s->k + a.part - 1) / a.part;
    a.split_rows = n_parts == 1 ? -1 : a.n_clusters / 2 / n_down * f->rows;
    if (with_rows) {
        qn_cuda_gemm_rows_args r = {s->k, s->k, type, f->rows, 0, 0, 0, 0};
        start(gemm_rows, dim3((s->k + 2047) / 2048, (n_rows + 7) / 8), 256, 0, (char *)tiles, x, (void *)NULL, counts, r);
    }
    kernel_fn k = format ? f->packed : type == 1 ? f->f16 : f->bf16;
    int n_bytes = !format ? f->n_bytes : each == 2 ? QN_CUDA_GEMM_HALF_SHARED : QN_CUDA_GEMM_SHARED;
    CHECK(cudaFuncSetAttribute(k, cudaFuncAttributeMaxDynamicSharedMemorySize, n_bytes));
    start(k, dim3(a.n_clusters * f->cluster), QN_GEMM_THREADS, n_bytes, ys[0], ys[1], ys[2], (char *)tiles, w[0], w[1], w[2],
          (void *)NULL, (void *)NULL, (void *)NULL, counts, partials, handed, a);
    if (s->k > a.part && n_rows <= 1024)
        start(gemm_fold, dim3((most + 1023) / 1024, n_rows < 64 ? n_rows : 64), 256, 0, ys[0], ys[1], ys[2], (void *)NULL, (void *)NULL, (void *)NULL, counts,
              partials, a);
    CHECK(cudaGetLastError());
}

// Through F16 in memory.
static void run_unpacked(const shape *s, int n_rows, const form *f)
{
    int blocks_of = format;
    const char *from = blocks, *to = (char *)weights;
    for (int i = 0; i < s->n_matrices; i++) {
        qn_cuda_blocks_args a = {s->n[i], s->k, s->k, format, 0};
        ulong n_warps = (ulong)((s->n[i] + 15) / 16) * (s->k / 16 / QN_CUDA_GROUP_STEPS(format));
        unpack_blocks<<<(unsigned)((n_warps + 7) / 8), 256, 0, stream>>>((uint4 *)to, from, counts, a);
        from += matrix_bytes(s, i, format), to += matrix_bytes(s, i, 1);
    }
    format = 0;
    run(s, 1, n_rows, f, 1, 0);
    format = blocks_of;
}

static int n_all(const shape *s)
{
    int n = 0;
    for (int i = 0; i < s->n_matrices; i++)
        n += s->n[i];
    return n;
}

static int check(const shape *s, int type, int n_rows, const form *f)
{
    ulong done = 0, padded = 0;
    uint bad = 0;
    set_rows(n_rows);
    float *outs = s->gated ? other : want;
    for (int i = 0; i < s->n_matrices; i++) {
        dim3 grid((s->n[i] + 15) / 16, (n_rows + 7) / 8);
        if (type == 1)
            plain<1><<<grid, 32>>>((uint4 *)(weights + padded * s->k), x, outs + done * n_rows, s->n[i], s->k, n_rows, part_of(s));
        else
            plain<2><<<grid, 32>>>((uint4 *)(weights + padded * s->k), x, outs + done * n_rows, s->n[i], s->k, n_rows, part_of(s));
        done += s->n[i], padded += (s->n[i] + 15) / 16 * 16;
    }
    ulong n = (ulong)n_rows * (s->gated ? s->n[0] : done);
    if (s->gated) gate<<<(n + 255) / 256, 256>>>(other, other + n, want, n);
    CHECK(cudaMemset(y, 0xff, n * 4)); // NaN
    CHECK(cudaMemset(tiles_out, 0xff, n * 2));
    CHECK(cudaMemset(count, 0, 4));
    run(s, type, n_rows, f, 1);
    if (s->gated)
        differ_tiled<<<(n + 255) / 256, 256>>>(tiles_out, want, n_rows, s->n[0], f->rows, type, count);
    else
        differ<<<(n + 255) / 256, 256>>>(y, want, n, count);
    CHECK(cudaMemcpy(&bad, count, 4, cudaMemcpyDeviceToHost));
    if (bad)
        printf("FAIL %s %s rows %d tile %d: %u of %lu differ\n", s->name, type == 1 ? "f16" : "bf16", n_rows, f->rows, bad, n);
    return bad;
}

// Blocks as they lie against blocks through F16: the same bits, of tiles too.
static int check_packed(const shape *s, int n_rows, const form *f)
{
    uint bad = 0;
    set_rows(n_rows);
    ulong n_columns = s->gated ? s->n[0] : n_all(s), n_results = n_columns * n_rows, n = n_results;
    float *got = s->gated ? (float *)tiles_out : y;
    if (s->gated) n = (ulong)((n_rows + f->rows - 1) / f->rows * f->rows) * n_columns / 2;
    CHECK(cudaMemset(got, 0xff, n * 4));
    run_unpacked(s, n_rows, f);
    CHECK(cudaMemcpyAsync(want, got, n * 4, cudaMemcpyDeviceToDevice, stream));
    CHECK(cudaMemsetAsync(got, 0xff, n * 4, stream));
    CHECK(cudaMemsetAsync(count, 0, 4, stream));
    run(s, 1, n_rows, f, 1);
    if (s->gated)
        differ_tiles<<<(n_results + 255) / 256, 256, 0, stream>>>(tiles_out, (const ushort *)want, n_rows, s->n[0], f->rows, count);
    else
        differ<<<(n + 255) / 256, 256, 0, stream>>>(got, want, n, count);
    CHECK(cudaMemcpyAsync(&bad, count, 4, cudaMemcpyDeviceToHost, stream));
    CHECK(cudaStreamSynchronize(stream));
    if (bad) printf("FAIL %s format %d rows %d tile %d: %u of %lu differ\n", s->name, format, n_rows, f->rows, bad, n);
    return bad > 0;
}

// Seconds a run. mode 0: cuBLAS, 1: ours with x made first, 2: ours alone, 3: blocks through F16.
static double seconds(const shape *s, int type, int n_rows, const form *f, int mode)
{
    cudaEvent_t from, to;
    CHECK(cudaEventCreate(&from));
    CHECK(cudaEventCreate(&to));
    float one = 1, zero = 0, ms = 0;
    double flops = 2.0 * n_rows * n_all(s) * s->k;
    int n = (int)(2e13 / flops) + 1;
    if (n > 40) n = 40;
    if (n < 5) n = 5;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < n; i++)
        if (mode == 0)
            blas_gemm(blas, 1, 0, n_all(s), n_rows, s->k, &one, weights, type == 1 ? 2 : 14, s->k, x16, type == 1 ? 2 : 14, s->k, &zero, other,
                      type == 1 ? 2 : 14, n_all(s), 68, -1);
        else if (mode == 3)
            run_unpacked(s, n_rows, f);
        else
            run(s, type, n_rows, f, mode == 1);
    CHECK(cudaStreamEndCapture(stream, &graph));
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    for (int i = 0; i < 2; i++) { // the second is timed
        CHECK(cudaEventRecord(from, stream));
        CHECK(cudaGraphLaunch(exec, stream));
        CHECK(cudaEventRecord(to, stream));
        CHECK(cudaEventSynchronize(to));
    }
    CHECK(cudaEventElapsedTime(&ms, from, to));
    CHECK(cudaGraphExecDestroy(exec));
    CHECK(cudaGraphDestroy(graph));
    return ms * 1e-3 / n;
}

static int compare_packed(const shape *small, int n_small, const shape *shapes, int n_shapes)
{
    static const int formats[] = {
#define VALUE(value) value,
        QN_PACKED_FORMATS(VALUE)
#undef VALUE
    };
    int bad = 0;
    of_blocks = 1;
    fill16<<<4096, 256>>>(x16, MOST_X, 1, 1.0f, 77);
    widen16<<<(MOST_X + 255) / 256, 256>>>(x16, x, MOST_X, 1);
    fill_blocks<<<4096, 256>>>((ushort *)blocks, MOST_W);
    CHECK(cudaDeviceSynchronize());
    printf("blocks: format shape rows | us as they lie, through F16 | GB/s as they lie\n");
    for (int of : formats) {
        if (getenv("FORMAT") && atoi(getenv("FORMAT")) != of) continue;
        format = of;
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < n_small; j++)
                for (int rows : {1, 9, 40, 128})
                    if (small[j].k % (QN_CUDA_GROUP_STEPS(of) * 16) == 0) bad += check_packed(&small[j], rows, &forms[i]);
        for (int rows : {16, 32, 64, 128})
            for (int j = 0; j < n_shapes; j++) {
                const form *f = form_of(&shapes[j], rows), *packed = rows > 64 ? &forms[2] : f;
                set_rows(rows);
                double t = seconds(&shapes[j], 1, rows, packed, 1), through = seconds(&shapes[j], 1, rows, f, 3), bytes = 0;
                for (int i = 0; i < shapes[j].n_matrices; i++)
                    bytes += matrix_bytes(&shapes[j], i, of);
                printf("%2d %-8s %4d | %8.1f %8.1f | %5.0f\n", of, shapes[j].name, rows, t * 1e6, through * 1e6, bytes * 1e-9 / t);
                fflush(stdout);
            }
    }
    format = 0;
    printf("blocks: %d checks failed\n", bad);
    return bad;
}

int main(int argc, char **argv)
{
    static const shape shapes[] = {
        {"gate+up", {18944, 18944}, 3584, 2, 1, 0, 3584}, {"down", {3584}, 18944, 1, 0, 0, 4736}, {"qkv", {3584, 512, 512}, 3584, 3, 0, 0, 1280},
        {"out", {3584}, 3584, 1, 0, 0, 896},              {"head", {152064}, 3584, 1, 0, 0, 3584},
    };
    static const shape small[] = {{"small", {200, 56}, 1152, 2, 0, 0}, {"odd", {1000}, 640, 1, 0, 0}, {"gated", {384, 384}, 2176, 2, 1, 0},
                                  {"long", {4096}, 11008, 1, 0, 0}, {"gated long", {4096, 4096}, 6144, 2, 1, 0},
                                  {"gated cut", {13824, 13824}, 5120, 2, 1, 0}, {"chain", {4096}, 3328, 1, 0, 0, 3328},
                                  {"gated chain", {18944, 18944}, 3584, 2, 1, 0, 3584}, {"long chains", {9000}, 11008, 1, 0, 0, 2816}};
    int default_rows[] = {16, 32, 64, 128, 256, 2048, 4096}, bad = 0;
    cudaDeviceProp prop;
    CHECK(cudaGetDeviceProperties(&prop, 0));
    n_processors = prop.multiProcessorCount;
    printf("%s, %d processors\n", prop.name, n_processors);
    CHECK(cudaStreamCreate(&stream)); // ordered with the default stream
    find_blas();
    allocate();
    if (getenv("BLOCKS")) return compare_packed(small, sizeof small / sizeof *small, shapes, 4) > 0;
    for (int type = 1; type <= 2; type++) {
        fill16<<<4096, 256>>>(weights, MOST_W, type, 0.06f, 1);
        fill16<<<4096, 256>>>(x16, MOST_X, type, 1.0f, 77);
        widen16<<<(MOST_X + 255) / 256, 256>>>(x16, x, MOST_X, type);
        CHECK(cudaDeviceSynchronize());
        for (const form &f : forms)
            for (const shape &s : small)
                for (int rows : {1, 9, 16, 100, 256, 700})
                    if (&f != &forms[5] || part_of(&s) >= s.k) bad += check(&s, type, rows, &f);
        for (int rows : {16, 33, 64, 128, 256, 500, 2048})
            for (int i = 0; i < 4; i++)
                bad += check(&shapes[i], type, rows, form_of(&shapes[i], rows));
        printf("%s: %d checks failed\n", type == 1 ? "f16" : "bf16", bad);
    }
    fflush(stdout);
    printf("bf16\nshape rows | us cuBLAS, ours, with x | TFLOP/s cuBLAS ours with x | GB/s ours\n");
    for (int r = 0; r < (argc > 1 ? argc - 1 : 7); r++) {
        int rows = argc > 1 ? atoi(argv[r + 1]) : default_rows[r];
        set_rows(rows);
        for (const shape &s : shapes) {
            if (s.n[0] > 100000 && rows > 256) continue;
            const form *f = form_of(&s, rows);
            double t[3] = {0, seconds(&s, 2, rows, f, 1), seconds(&s, 2, rows, f, 2)};
            if (blas_gemm) t[0] = seconds(&s, 2, rows, f, 0);
            double flops = 2.0 * rows * n_all(&s) * s.k * 1e-12, bytes = 2.0 * n_all(&s) * s.k * 1e-9;
            printf("%-8s %4d | %8.1f %8.1f %8.1f | %5.0f %5.0f %5.0f | %5.0f\n", s.name, rows, t[0] * 1e6, t[2] * 1e6, t[1] * 1e6,
                   t[0] > 0 ? flops / t[0] : 0, flops / t[2], flops / t[1], bytes / t[2]);
            fflush(stdout);
        }
    }
    if (!getenv("ONLY")) bad += compare_packed(small, sizeof small / sizeof *small, shapes, 4);
    return bad > 0;
}
