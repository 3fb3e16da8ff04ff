// Kernels of test_emulator.c: right ones, and ones with one planted fault each, which the emulator must catch.
#include <metal_stdlib>
using namespace metal;

struct selftest_args {
    uint n;
    uint mode;
};

#define IDS                                                                                        \
    uint3 q_tg [[threadgroup_position_in_grid]], uint3 q_tt [[thread_position_in_threadgroup]],    \
        ushort q_ln [[thread_index_in_simdgroup]], ushort q_sg [[simdgroup_index_in_threadgroup]]

// Writes its index to y: threadgroup (x, y, z), thread, lane, simdgroup.
kernel void ids(device uint *y [[buffer(0)]], constant selftest_args &a [[buffer(1)]], IDS)
{
    uint group = (q_tg.z * a.n + q_tg.y) * a.n + q_tg.x;
    y[group * 256 + q_tt.x] = group << 16 | uint(q_sg) << 8 | uint(q_ln);
}

// Reverses 256 values through threadgroup memory. mode: 0 right, 1 no barrier, 2 a simdgroup_barrier, 3 orders nothing.
kernel void reverse(device const float *x [[buffer(0)]], device float *y [[buffer(1)]],
                    constant selftest_args &a [[buffer(2)]], IDS)
{
    threadgroup float part[256];
    part[q_tt.x] = x[q_tg.x * 256 + q_tt.x];
    if (a.mode == 0) {
        threadgroup_barrier(mem_flags::mem_threadgroup);
    } else if (a.mode == 2) {
        simdgroup_barrier(mem_flags::mem_threadgroup);
    } else if (a.mode == 3) {
        threadgroup_barrier(mem_flags::mem_none);
    }
    y[q_tg.x * 256 + q_tt.x] = part[255 - q_tt.x];
}

// Sums across the threadgroup, twice through the same array. mode 1: without the barrier at the loop's end.
kernel void sum_twice(device const float *x [[buffer(0)]], device float *y [[buffer(1)]],
                      constant selftest_args &a [[buffer(2)]], IDS)
{
    threadgroup float part[8];
    for (uint turn = 0; turn < 2; turn++) {
        float s = simd_sum(x[q_tt.x] * float(turn + 1));
        if (q_ln == 0) part[q_sg] = s;
        threadgroup_barrier(mem_flags::mem_threadgroup);
        s = 0.0f;
        for (uint i = 0; i < 8; i++)
            s += part[i];
        y[turn * 256 + q_tt.x] = s;
        if (a.mode == 0) threadgroup_barrier(mem_flags::mem_threadgroup);
    }
}

// Legal: simdgroup k does k + 1 reductions.
kernel void own_pace(device float *y [[buffer(0)]], constant selftest_args &a [[buffer(1)]], IDS)
{
    float s = 1.0f;
    for (uint i = 0; i <= uint(q_sg); i++)
        s = simd_sum(s) / 16.0f;
    y[q_tt.x] = s + float(a.n);
}

// Lane 5 of simdgroup 1 leaves early. mode 0: before a simd_sum, 1: before a barrier, 2: its simdgroup leaves before one.
kernel void leaves(device float *y [[buffer(0)]], constant selftest_args &a [[buffer(1)]], IDS)
{
    if (q_sg == 1 && (q_ln == 5 || a.mode == 2)) return;
    float s = 1.0f;
    if (a.mode == 0) s = simd_sum(s);
    if (a.mode != 0) threadgroup_barrier(mem_flags::mem_threadgroup);
    y[q_tt.x] = s;
}

// mode 0: the halves of a simdgroup in different operations, 1: simdgroups at different barriers.
kernel void apart(device float *y [[buffer(0)]], constant selftest_args &a [[buffer(1)]], IDS)
{
    float s = float(q_ln);
    if (a.mode == 0) {
        if (q_ln < 16) {
            s = simd_sum(s);
        } else {
            s = simd_max(s);
        }
    } else if (q_sg < 4) {
        threadgroup_barrier(mem_flags::mem_threadgroup);
        s += 1.0f;
    } else {
        threadgroup_barrier(mem_flags::mem_threadgroup);
        s += 2.0f;
    }
    y[q_tt.x] = s;
}

// Touches element a.n of y. mode 0: stores, 1: loads, 2: divides by (a.n - 9).
kernel void touches(device int *y [[buffer(0)]], constant selftest_args &a [[buffer(1)]], IDS)
{
    if (q_tt.x != 7 || q_tg.x != 1) return;
    if (a.mode == 0) y[a.n] = 1;
    if (a.mode == 1) y[0] = y[a.n];
    if (a.mode == 2) y[0] = 5 / (int(a.n) - 9);
}

// Needs more stack than there is.
kernel void overflows(device int *y [[buffer(0)]], constant selftest_args &a [[buffer(1)]], IDS)
{
    int deep[20000];
    for (int i = 19999; i >= 0; i--)
        deep[(i * 7) % 20000] = i + y[0];
    y[q_tt.x] = deep[y[1] + int(a.n)];
}

// y[i] = x[i] + 1: two of them over the same bytes need a barrier between.
kernel void increment(device const float *x [[buffer(0)]], device float *y [[buffer(1)]],
                      constant selftest_args &a [[buffer(2)]], IDS)
{
    uint i = q_tg.x * 256 + q_tt.x;
    if (i < a.n) y[i] = x[i] + 1.0f;
}

// Every collective, against what test_emulator.c computes. 16 results a lane.
kernel void collectives(device const int *x [[buffer(0)]], device int *y [[buffer(1)]], IDS)
{
    int v = x[q_tt.x];
    uint u = as_type<uint>(v);
    float f = float(v);
    device int *r = y + q_tt.x * 16;
    r[0] = simd_sum(v);
    r[1] = simd_max(v);
    r[2] = simd_min(v);
    r[3] = int(simd_max(u));
    r[4] = simd_prefix_exclusive_sum(v);
    r[5] = simd_shuffle_xor(v, 5);
    r[6] = simd_shuffle(v, ushort((q_ln * 7 + 3) % 32));
    r[7] = simd_shuffle_down(v, 3);
    r[8] = simd_broadcast(v, 9);
    r[9] = int(simd_any(v == 17)) + 2 * int(simd_all(v < 1000));
    r[10] = int(simd_sum(f));
    r[11] = int(simd_max(half(q_ln)));
    r[12] = int(simd_shuffle_xor(float2(f, -f), 1).y);
    r[13] = as_type<int>(simd_min(f));
    r[14] = int(popcount(u)) + int(clz(u)) * 100;
    r[15] = simd_shuffle_up(v, 2);
}

// A histogram in threadgroup memory, added to one in device memory.
kernel void histogram(device const uint *x [[buffer(0)]], device atomic_uint *h [[buffer(1)]],
                      device atomic_int *most [[buffer(2)]], IDS)
{
    threadgroup atomic_uint part[16];
    if (q_tt.x < 16) atomic_store_explicit(&part[q_tt.x], 0u, memory_order_relaxed);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    uint v = x[q_tg.x * 256 + q_tt.x];
    atomic_fetch_add_explicit(&part[v % 16], 1u, memory_order_relaxed);
    atomic_fetch_max_explicit(most, int(v), memory_order_relaxed);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (q_tt.x < 16) {
        uint n = atomic_load_explicit(&part[q_tt.x], memory_order_relaxed);
        atomic_fetch_add_explicit(&h[q_tt.x], n, memory_order_relaxed);
    }
}

// c = a b, 16x16 by 8x8 matrices through threadgroup memory: simdgroup s makes block (s / 2, s % 2). b is transposed.
kernel void matrices(device const half *a [[buffer(0)]], device const half *b [[buffer(1)]],
                     device float *c [[buffer(2)]], IDS)
{
    threadgroup half left[256];
    threadgroup half right[256];
    left[q_tt.x] = a[q_tt.x];
    right[q_tt.x] = b[q_tt.x];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (q_sg < 4) {
        simdgroup_half8x8 x, y;
        simdgroup_float8x8 sum = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
        int row = q_sg / 2 * 8, column = q_sg % 2 * 8;
        for (int k = 0; k < 16; k += 8) {
            simdgroup_load(x, left + row * 16 + k, 16);
            simdgroup_load(y, right + column * 16 + k, 16, ulong2(0), true);
            simdgroup_multiply_accumulate(sum, x, y, sum);
        }
        simdgroup_store(sum, c + row * 16 + column, 16);
    }
}

// Reads every second of 32 sectors of x, and writes one.
kernel void sparse(device const float *x [[buffer(0)]], device float *y [[buffer(1)]],
                   constant selftest_args &a [[buffer(2)]], IDS)
{
    float s = simd_sum(x[uint(q_ln) * 16 * a.n]);
    if (q_tt.x == 0) y[0] = s;
}

// Denormals: y = x * 1, which is 0 where they are flushed.
kernel void denormals(device const float *x [[buffer(0)]], device float *y [[buffer(1)]], IDS)
{
    y[q_tt.x] = x[q_tt.x] * 0.5f;
}

// Uses threadgroup memory that nobody stored: NaN.
kernel void unset(device float *y [[buffer(0)]], IDS)
{
    threadgroup float part[256];
    if (q_tg.x == 1000) part[q_tt.x] = 1.0f;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    y[q_tt.x] = part[255 - q_tt.x];
}

// Speed: a.n reductions.
kernel void many_sums(device float *y [[buffer(0)]], constant selftest_args &a [[buffer(1)]], IDS)
{
    float s = float(q_ln);
    for (uint i = 0; i < a.n; i++)
        s = simd_sum(s) * 0.03125f;
    y[q_tg.x * 256 + q_tt.x] = s;
}
