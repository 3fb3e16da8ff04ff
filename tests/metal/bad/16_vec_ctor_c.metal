// expect: a C vector cast
#include <metal_stdlib>
using namespace metal;

struct A {
    int n;
};

kernel void k(device float *y [[buffer(0)]], constant A &a [[buffer(1)]],
              uint3 q_tg [[threadgroup_position_in_grid]], uint3 q_tt [[thread_position_in_threadgroup]],
              ushort q_ln [[thread_index_in_simdgroup]], ushort q_sg [[simdgroup_index_in_threadgroup]])
{
    float4 f = (float4)(1,2,3,4);
    y[0] = f.x;
}
