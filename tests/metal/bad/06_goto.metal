// expect: goto: Metal has none
#include <metal_stdlib>
using namespace metal;

struct A {
    int n;
};

kernel void k(device float *y [[buffer(0)]], constant A &a [[buffer(1)]],
              uint3 q_tg [[threadgroup_position_in_grid]], uint3 q_tt [[thread_position_in_threadgroup]],
              ushort q_ln [[thread_index_in_simdgroup]], ushort q_sg [[simdgroup_index_in_threadgroup]])
{
    int i = 0;
    again: if (i++ < 3) goto again;
    y[0] = i;
}
