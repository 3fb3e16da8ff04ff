// expect: non-kernel function variable cannot be declared in local
#include <metal_stdlib>
using namespace metal;

struct A {
    int n;
};

static float f(int i) { threadgroup float s[4]; s[i] = 1; return s[0]; }
kernel void k(device float *y [[buffer(0)]], constant A &a [[buffer(1)]],
              uint3 q_tg [[threadgroup_position_in_grid]], uint3 q_tt [[thread_position_in_threadgroup]],
              ushort q_ln [[thread_index_in_simdgroup]], ushort q_sg [[simdgroup_index_in_threadgroup]])
{
    y[0] = f(1);
}
