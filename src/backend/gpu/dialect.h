// The dialect: one kernel text for Metal and CUDA. Exactly one of QN_MSL and QN_CUDA is defined by whoever includes this.
// docs/gpu.md has the rules that macros cannot hide: whole simdgroups at every SG_ operation, all 256 threads at every BARRIER,
// an address space (GLOBAL, LOCAL, PRIV) on every pointer of a helper, no double, no goto, no recursion, float literals with f.
#ifndef QN_BACKEND_GPU_DIALECT_H
#define QN_BACKEND_GPU_DIALECT_H
#define QN_DIALECT 1

#define QN_GPU_THREADS 256 // of every threadgroup
#define QN_GPU_SIMDS 8     // simdgroups a threadgroup

#if defined(QN_MSL)
#include <metal_stdlib>
using namespace metal;
#define GLOBAL device
#define LOCAL threadgroup
#define PRIV thread
#define FN static inline
#define SHARED(T, name, n) threadgroup T name[n]
#define BUF(i, T, name) device T *name [[buffer(i)]]
#define ARGS(i, T, name) constant T &name [[buffer(i)]]
#define ARGS_OF(T, name) constant T &name
#define KERNEL(name, ...)                                                                          \
    kernel void name(__VA_ARGS__, uint3 q_tg [[threadgroup_position_in_grid]],                     \
                     uint3 q_tt [[thread_position_in_threadgroup]],                                \
                     ushort q_ln [[thread_index_in_simdgroup]],                                    \
                     ushort q_sg [[simdgroup_index_in_threadgroup]])
#define TG_X ((int)q_tg.x)
#define TG_Y ((int)q_tg.y)
#define TG_Z ((int)q_tg.z)
#define TID ((int)q_tt.x)
#define LANE ((int)q_ln)
#define SG ((int)q_sg)
#define BARRIER() threadgroup_barrier(mem_flags::mem_threadgroup)
#define BARRIER_DEVICE() threadgroup_barrier(mem_flags::mem_device | mem_flags::mem_threadgroup)
#define SG_BARRIER() simdgroup_barrier(mem_flags::mem_threadgroup)
#define SG_SUM(x) simd_sum(x)
#define SG_MAX(x) simd_max(x)
#define SG_MIN(x) simd_min(x)
#define SG_XOR(x, m) simd_shuffle_xor(x, (ushort)(m))
#define SG_GET(x, lane) simd_shuffle(x, (ushort)(lane))
#define EXP(x) exp(x)
#define SILU(x) ((x) / (1.0f + EXP(-(x))))
#define LOG(x) log(x)
#define SQRT(x) sqrt(x)
#define RSQRT(x) rsqrt(x)
#define SIN(x) sin(x)
#define COS(x) cos(x)
#define FMA(a, b, c) fma(a, b, c)
#define F2(a, b) float2(a, b)
#define F4(a, b, c, d) float4(a, b, c, d)
#define U4(a, b, c, d) uint4(a, b, c, d)
#define AS_FLOAT(u) as_type<float>(u)
#define AS_UINT(f) as_type<uint>(f)
#define AS_INT(f) as_type<int>(f)
#define MULHI(a, b) mulhi(a, b)
#define POPCOUNT(x) popcount(x)
typedef half f16s;    // storage of an F16 element
typedef ushort bf16s; // storage of a BF16 element
FN float qn_h(f16s h)
{
    return (float)h;
}
FN f16s qn_to_h(float f)
{
    return (f16s)f;
}
FN float2 qn_h2(uint u)
{
    return float2(as_type<half2>(u));
}
#define ATOMIC_UINT atomic_uint
#define ATOMIC_ADD(p, v) atomic_fetch_add_explicit(p, v, memory_order_relaxed)
#define ATOMIC_GET(p) atomic_load_explicit(p, memory_order_relaxed)
#define ATOMIC_SET(p, v) atomic_store_explicit(p, v, memory_order_relaxed)

#elif defined(QN_CUDA)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>
typedef unsigned int uint;
typedef unsigned short ushort;
typedef unsigned long ulong;
typedef unsigned char uchar;
#define GLOBAL
#define LOCAL
#define PRIV
#define FN static __device__ __forceinline__
#define BUF(i, T, name) T *name
#define ARGS(i, T, name) const T name
#define ARGS_OF(T, name) const T &name
#define SHARED(T, name, n) __shared__ __align__(16) T name[n]
#define KERNEL(name, ...)                                                                          \
    extern "C" __global__ void __launch_bounds__(QN_GPU_THREADS) name(__VA_ARGS__)
#define TG_X ((int)blockIdx.x)
#define TG_Y ((int)blockIdx.y)
#define TG_Z ((int)blockIdx.z)
#define TID ((int)threadIdx.x)
#define LANE ((int)(threadIdx.x & 31))
#define SG ((int)(threadIdx.x >> 5))
#define BARRIER() asm volatile("bar.sync 1, 256;" ::: "memory")
#define BARRIER_DEVICE() BARRIER()
#define SG_BARRIER() __syncwarp()
#define SG_SUM(x) qn_sg_sum(x)
#define SG_MAX(x) qn_sg_max(x)
#define SG_MIN(x) qn_sg_min(x)
#define SG_XOR(x, m) __shfl_xor_sync(~0u, x, m)
#define SG_GET(x, lane) __shfl_sync(~0u, x, lane)
#define EXP(x) expf(x)
#define SILU(x) qn_silu_near(x)
#define LOG(x) logf(x)
#define SQRT(x) sqrtf(x)
#define RSQRT(x) rsqrtf(x)
#define SIN(x) sinf(x)
#define COS(x) cosf(x)
#define FMA(a, b, c) fmaf(a, b, c)
#define F2(a, b) make_float2(a, b)
#define F4(a, b, c, d) make_float4(a, b, c, d)
#define U4(a, b, c, d) make_uint4(a, b, c, d)
#define AS_FLOAT(u) __uint_as_float(u)
#define AS_UINT(f) __float_as_uint(f)
#define AS_INT(f) __float_as_int(f)
#define MULHI(a, b) __umulhi(a, b)
#define POPCOUNT(x) __popc(x)
// By the units for such functions, without a division: 1 / (1 + 2^(−x · log2 e)) is within some (4 + |x|) · 2^−23 of itself. Where x is below −88 it is 0.
FN float qn_silu_near(float x)
{
    float e, sigmoid;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(x * -1.44269504f));
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(sigmoid) : "f"(1.0f + e));
    return x * sigmoid;
}
typedef __half f16s;
typedef unsigned short bf16s;
template <typename T> FN T qn_sg_sum(T v)
{
    for (int m = 16; m; m >>= 1)
        v += __shfl_xor_sync(~0u, v, m);
    return v;
}
template <typename T> FN T qn_sg_max(T v)
{
    for (int m = 16; m; m >>= 1) {
        T o = __shfl_xor_sync(~0u, v, m);
        v = o > v ? o : v;
    }
    return v;
}
template <typename T> FN T qn_sg_min(T v)
{
    for (int m = 16; m; m >>= 1) {
        T o = __shfl_xor_sync(~0u, v, m);
        v = o < v ? o : v;
    }
    return v;
}
FN float qn_h(f16s h)
{
    return __half2float(h);
}
FN f16s qn_to_h(float f)
{
    return __float2half_rn(f);
}
FN float2 qn_h2(uint u)
{
    return __half22float2(*(__half2 *)&u);
}
#define ATOMIC_UINT uint
#define ATOMIC_ADD(p, v) atomicAdd(p, v)
#define ATOMIC_GET(p) (*(volatile uint *)(p))
#define ATOMIC_SET(p, v) (*(volatile uint *)(p) = (v))
#else
#error "QN_MSL or QN_CUDA"
#endif

// ---- elements of the models' types; `type` is a qn_dtype: 0 F32, 1 F16, 2 BF16 ----

FN float qn_b(bf16s b)
{
    return AS_FLOAT((uint)b << 16);
}
// Round to nearest even; NaN made quiet.
FN bf16s qn_to_b(float f)
{
    uint u = AS_UINT(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (bf16s)((u >> 16) | 0x40u);
    return (bf16s)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
// Element i of an array of the given type: for parameters that are read rarely (norm weights, biases).
FN float qn_load(GLOBAL const void *p, int type, ulong i)
{
    if (type == 0) return ((GLOBAL const float *)p)[i];
    if (type == 1) return qn_h(((GLOBAL const f16s *)p)[i]);
    return qn_b(((GLOBAL const bf16s *)p)[i]);
}
FN void qn_store(GLOBAL void *p, int type, ulong i, float f)
{
    if (type == 0)
        ((GLOBAL float *)p)[i] = f;
    else if (type == 1)
        ((GLOBAL f16s *)p)[i] = qn_to_h(f);
    else
        ((GLOBAL bf16s *)p)[i] = qn_to_b(f);
}
// Eight numbers of a format, what a lane takes of a row at once, as two float4.
FN void qn_f16x8(uint4 u, PRIV float4 *a, PRIV float4 *b)
{
    float2 p = qn_h2(u.x), q = qn_h2(u.y), r = qn_h2(u.z), s = qn_h2(u.w);
    *a = F4(p.x, p.y, q.x, q.y);
    *b = F4(r.x, r.y, s.x, s.y);
}
FN void qn_bf16x8(uint4 u, PRIV float4 *a, PRIV float4 *b)
{
    *a = F4(AS_FLOAT(u.x << 16), AS_FLOAT(u.x & 0xffff0000u), AS_FLOAT(u.y << 16),
            AS_FLOAT(u.y & 0xffff0000u));
    *b = F4(AS_FLOAT(u.z << 16), AS_FLOAT(u.z & 0xffff0000u), AS_FLOAT(u.w << 16),
            AS_FLOAT(u.w & 0xffff0000u));
}
// sum + x · w, one fused multiply-add after another.
FN float qn_dot4(float4 x, float4 w, float sum)
{
    sum = FMA(x.x, w.x, sum);
    sum = FMA(x.y, w.y, sum);
    sum = FMA(x.z, w.z, sum);
    return FMA(x.w, w.w, sum);
}
#endif
