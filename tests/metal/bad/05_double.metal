// expect: use of type 'double'
#include <metal_stdlib>
using namespace metal;

struct A {
    int n;
};

kernel void k(device float *y [[buffer(0)]], constant A &a [[buffer(1)]],
              uint3 q_tg [[threadgroup_position_in_grid]], uint3 q_tt [[thread_position_in_threadgroup]],
              ushort q_ln [[thread_index_in_simdgroup]], ushort q_sg [[simdgroup_index_in_threadgroup]])
{
    double d = y[0];
    y[1] = d;
}
