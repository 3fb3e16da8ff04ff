// expect: pointer arguments to kernel functions must reside in
#include <metal_stdlib>
using namespace metal;

struct A {
    int n;
};

struct P { float x; };
kernel void k(constant P* &p [[buffer(0)]], device float *y [[buffer(1)]],
              uint3 q_tg [[threadgroup_position_in_grid]], uint3 q_tt [[thread_position_in_threadgroup]],
              ushort q_ln [[thread_index_in_simdgroup]], ushort q_sg [[simdgroup_index_in_threadgroup]])
{
    y[0] = p[0].x;
}
