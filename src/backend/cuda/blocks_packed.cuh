// Weights in blocks as products take them (products.h): Q8_0, Q4_K and Q6_K in strips of 16 rows like 16-bit weights (product.cuh),
// with the file's number of bytes. Of a strip, groups of 128 numbers of K (Q8_0) or 256; of a group, the lanes' quants in the order
// of mma.m16n8k16's A fragments, then the rows' scales. A lane makes F16 fragments of them, the same wherever they are multiplied:
//   Q8_0: d · q rounded once;   Q4_K: A · q + B with A = d · scale and B = -dmin · minimum in F16;   Q6_K: A · q with A = d · scale in F16
// so what is denormal in F16 loses nothing (all are multiples of d's last place), and what overflows is found when it is packed.
#ifndef QN_BACKEND_CUDA_BLOCKS_PACKED_CUH
#define QN_BACKEND_CUDA_BLOCKS_PACKED_CUH
#include "backend/cuda/product_ptx.cuh"

#define QN_Q8_0 3
#define QN_Q4_K 10
#define QN_Q6_K 12

// Steps and bytes of a group, and where in it the scales are: Q8_0: [row][4] d. Q4_K: [row] d, dmin, lower four bits of scales, of
// minima, upper two of both. Q6_K: quants' upper two bits before them; [row][16] scales + 128, [row] d.
template <int TYPE> struct qn_group_form;
template <> struct qn_group_form<QN_Q8_0> {
    static const int steps = 8, bytes = 2176, scales = 2048;
};
template <> struct qn_group_form<QN_Q4_K> {
    static const int steps = 16, bytes = 2304, scales = 2048;
};
template <> struct qn_group_form<QN_Q6_K> {
    static const int steps = 16, bytes = 3360, upper = 2048, scales = 3072, d = 3328;
};

// ---- where a group is read ----

#define QN_READ __device__ __forceinline__
struct qn_in_shared {
    uint at;
    QN_READ uint4 four(int i) const { return qn_load_shared4(at + i); }
    QN_READ uint2 two(int i) const { return qn_load_shared(at + i); }
    QN_READ uint half(int i) const { return qn_load_shared_half(at + i); }
};
struct qn_in_memory {
    const char *at;
    QN_READ uint4 four(int i) const { return __ldcs((const uint4 *)(at + i)); }
    QN_READ uint2 two(int i) const { return __ldcs((const uint2 *)(at + i)); }
    QN_READ uint half(int i) const { return __ldcs((const ushort *)(at + i)); }
};

// ---- pairs of F16 ----

FN __half2 qn_pair(uint u)
{
    return *(__half2 *)&u;
}
FN uint qn_pair_bits(__half2 h)
{
    return *(uint *)&h;
}
FN uint qn_pair_minus(uint a, uint b)
{
    return qn_pair_bits(__hsub2(qn_pair(a), qn_pair(b)));
}
FN uint qn_pair_times(uint a, uint b)
{
    return qn_pair_bits(__hmul2(qn_pair(a), qn_pair(b)));
}
FN uint qn_pair_fma(uint a, uint b, uint c)
{
    return qn_pair_bits(__hfma2(qn_pair(a), qn_pair(b), qn_pair(c)));
}
// One of a pair, twice.
FN uint qn_pair_of(uint u, int which)
{
    return __byte_perm(u, 0, which ? 0x3232 : 0x1010);
}
FN uint qn_word_of(uint4 v, int i)
{
    return i < 2 ? (i == 0 ? v.x : v.y) : (i == 2 ? v.z : v.w);
}

// An integer u below 1,024 is the F16 number 0x6400 | u, less 1,024.
#define QN_1024 0x64006400u
#define QN_1056 0x64206420u
#define QN_1152 0x64806480u
#define QN_16TH 0x2c002c00u
#define QN_MINUS_64 0xd400d400u
#define QN_MINUS_96 0xd600d600u

// ---- Q8_0 ----

// Bytes 0 and 1 (which: 2 and 3) of quants + 128.
FN uint qn_q8_pair(uint u, int which, uint d)
{
    return qn_pair_times(qn_pair_minus(__byte_perm(u, QN_1024, which ? 0x5352 : 0x5150), QN_1152), d);
}

// take(step, fragment) of a group's steps in order; all lanes.
template <typename FROM, typename TAKE> FN void qn_group_q8_0(FROM from, TAKE take)
{
    typedef qn_group_form<QN_Q8_0> form;
    int lane = threadIdx.x & 31, g = lane >> 2;
    uint2 low = from.two(form::scales + g * 8), high = from.two(form::scales + (g + 8) * 8);
    uint4 q[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        q[i] = from.four(i * 512 + lane * 16);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint l = qn_pair_of(i < 2 ? low.x : low.y, i & 1), h = qn_pair_of(i < 2 ? high.x : high.y, i & 1);
        take(2 * i, make_uint4(qn_q8_pair(q[i].x, 0, l), qn_q8_pair(q[i].x, 1, h), qn_q8_pair(q[i].y, 0, l), qn_q8_pair(q[i].y, 1, h)));
        take(2 * i + 1,
             make_uint4(qn_q8_pair(q[i].z, 0, l), qn_q8_pair(q[i].z, 1, h), qn_q8_pair(q[i].w, 0, l), qn_q8_pair(q[i].w, 1, h)));
    }
}

// ---- Q4_K ----

// Of a row's header, A and B of blocks 2r and 2r + 1.
FN void qn_q4_k_scales(uint4 header, int r, uint *a, uint *b)
{
    uint upper = header.w >> 2 * r;
    uint scale = (header.y >> 4 * r & 0x000f000fu) | (upper << 4 & 0x00300030u) | QN_1024;
    uint minimum = (header.z >> 4 * r & 0x000f000fu) | (upper >> 4 & 0x00300030u) | QN_1024;
    *a = qn_pair_times(qn_pair_minus(scale, QN_1024), qn_pair_of(header.x, 0));
    *b = qn_pair_times(qn_pair_minus(minimum, QN_1024), qn_pair_of(header.x, 1) ^ 0x80008000u);
}

// Quants 0 … 15 of a word of eight: those at bits 0 and 16, or (upper) at 4 and 20.
FN uint qn_q4_pair(uint u, int upper, uint a, uint b)
{
    uint q = upper ? qn_pair_fma((u & 0x00f000f0u) | QN_1024, QN_16TH, QN_MINUS_64) : qn_pair_minus((u & 0x000f000fu) | QN_1024, QN_1024);
    return qn_pair_fma(q, a, b);
}

template <typename FROM, typename TAKE> FN void qn_group_q4_k(FROM from, TAKE take)
{
    typedef qn_group_form<QN_Q4_K> form;
    int lane = threadIdx.x & 31, g = lane >> 2, r = lane & 3;
    uint a_low, b_low, a_high, b_high;
    qn_q4_k_scales(from.four(form::scales + g * 16), r, &a_low, &b_low);
    qn_q4_k_scales(from.four(form::scales + (g + 8) * 16), r, &a_high, &b_high);
#pragma unroll
    for (int i = 0; i < 4; i++) { // blocks 2i and 2i + 1, four steps
        uint4 q = from.four(i * 512 + lane * 16);
        uint al = __shfl_sync(~0u, a_low, i, 4), bl = __shfl_sync(~0u, b_low, i, 4);
        uint ah = __shfl_sync(~0u, a_high, i, 4), bh = __shfl_sync(~0u, b_high, i, 4);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            uint u = qn_word_of(q, j), v = u >> 8;
            uint a0 = qn_pair_of(al, j / 2), b0 = qn_pair_of(bl, j / 2), a1 = qn_pair_of(ah, j / 2), b1 = qn_pair_of(bh, j / 2);
            take(4 * i + j, make_uint4(qn_q4_pair(u, 0, a0, b0), qn_q4_pair(u, 1, a1, b1), qn_q4_pair(v, 0, a0, b0), qn_q4_pair(v, 1, a1, b1)));
        }
    }
}

// ---- Q6_K ----

// `upper`: the upper two bits at bits 4 and 20 (of the word's upper half: 8 and 24).
FN uint qn_q6_pair(uint u, uint upper, int which, uint a)
{
    uint q = which ? qn_pair_fma((u & 0x00f000f0u) | (upper & 0x03000300u) | QN_1024, QN_16TH, QN_MINUS_96)
                   : qn_pair_minus((u & 0x000f000fu) | (upper & 0x00300030u) | QN_1024, QN_1056);
    return qn_pair_times(q, a);
}

// Scales of steps 2i and 2i + 1 of a row, times d.
FN uint qn_q6_k_scales(uint4 scales, int i, uint d)
{
    uint u = __byte_perm(qn_word_of(scales, i / 2), QN_1024, i & 1 ? 0x5352 : 0x5150);
    return qn_pair_times(qn_pair_minus(u, QN_1152), d);
}

template <typename FROM, typename TAKE> FN void qn_group_q6_k(FROM from, TAKE take)
{
    typedef qn_group_form<QN_Q6_K> form;
    int lane = threadIdx.x & 31, g = lane >> 2;
    uint4 scales_low = from.four(form::scales + g * 16), scales_high = from.four(form::scales + (g + 8) * 16);
    uint d_low = from.half(form::d + g * 2) * 0x10001u, d_high = from.half(form::d + (g + 8) * 2) * 0x10001u;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint4 q = from.four(i * 512 + lane * 16);
        uint2 both = from.two(form::upper + i * 256 + lane * 8);
#pragma unroll
        for (int j = 0; j < 2; j++) { // two steps
            uint low = qn_q6_k_scales(scales_low, 2 * i + j, d_low), high = qn_q6_k_scales(scales_high, 2 * i + j, d_high);
            uint l0 = qn_pair_of(low, 0), h0 = qn_pair_of(high, 0), l1 = qn_pair_of(low, 1), h1 = qn_pair_of(high, 1);
            uint u = j ? q.z : q.x, v = j ? q.w : q.y, h = j ? both.y : both.x;
            take(4 * i + 2 * j, make_uint4(qn_q6_pair(u, h, 0, l0), qn_q6_pair(u, h, 1, h0), qn_q6_pair(u >> 8, h >> 2, 0, l0),
                                           qn_q6_pair(u >> 8, h >> 2, 1, h0)));
            take(4 * i + 2 * j + 1, make_uint4(qn_q6_pair(v, h >> 8, 0, l1), qn_q6_pair(v, h << 8, 1, h1),
                                               qn_q6_pair(v >> 8, h >> 10, 0, l1), qn_q6_pair(v >> 8, h << 6, 1, h1)));
        }
    }
}

template <int TYPE, typename FROM, typename TAKE> FN void qn_group_steps(FROM from, TAKE take)
{
    if (TYPE == QN_Q8_0)
        qn_group_q8_0(from, take);
    else if (TYPE == QN_Q4_K)
        qn_group_q4_k(from, take);
    else
        qn_group_q6_k(from, take);
}

// ---- products ----

// A group's steps by the rows at xs (shared memory, `stride` bytes a step).
template <int TYPE, typename FROM> FN void qn_multiply_group(FROM from, uint xs, uint stride, float c[4])
{
    qn_group_steps<TYPE>(from, [&](int step, uint4 w) { qn_mma<1>(c, w, qn_load_shared(xs + step * stride)); });
}

// n_steps of a strip that begin at `at`.
template <int TYPE> FN void qn_multiply_groups(const char *at, int n_steps, uint xs, uint stride, float c[4])
{
    typedef qn_group_form<TYPE> form;
    for (int i = 0; i < n_steps; i += form::steps, at += form::bytes, xs += form::steps * stride)
        qn_multiply_group<TYPE>(qn_in_memory{at}, xs, stride, c);
}
FN void qn_multiply_blocks(int type, const char *at, int n_steps, uint xs, uint stride, float c[4])
{
    if (type == QN_Q8_0)
        qn_multiply_groups<QN_Q8_0>(at, n_steps, xs, stride, c);
    else if (type == QN_Q4_K)
        qn_multiply_groups<QN_Q4_K>(at, n_steps, xs, stride, c);
    else
        qn_multiply_groups<QN_Q6_K>(at, n_steps, xs, stride, c);
}

// ---- numbers one by one ----

// Where the upper bits of number i of a step's eight begin, in the word that two steps share.
FN int qn_upper_at(int step, int i)
{
    const uint first = 0xa684u, second = 0x2e0cu; // registers 0 … 3, four bits each
    return (int)((step % 2 ? second : first) >> i / 2 * 4 & 15u) + i % 2 * 16;
}

FN float qn_half_value(ushort bits)
{
    return __half2float(__ushort_as_half(bits));
}

// Number k of row n, the format's own value.
FN float qn_packed_block_value(const uchar *table, int type, int padded_k, int n, int k)
{
    int steps = QN_CUDA_GROUP_STEPS(type), row = n % 16, step = k / 16 % steps, in_step = k % 16;
    int lane = row % 8 * 4 + in_step % 8 / 2, i = (row / 8 + in_step / 8 * 2) * 2 + k % 2;
    const uchar *at = table + ((ulong)(n / 16) * (ulong)(padded_k / 16) + (ulong)(k / 16 / steps * steps)) * (ulong)QN_CUDA_STEP_BYTES(type);
    if (type == QN_Q8_0) {
        float d = qn_half_value(((const ushort *)(at + 2048))[row * 4 + step / 2]);
        return d * (float)((int)at[step / 2 * 512 + lane * 16 + step % 2 * 8 + i] - 128);
    }
    uint q = ((const uint *)at)[step / 4 * 128 + lane * 4 + step % 4] >> (i / 2 * 4 + i % 2 * 16) & 15u;
    if (type == QN_Q4_K) {
        uint4 h = ((const uint4 *)(at + 2048))[row];
        int j = step / 2, four = j / 2 * 4 + j % 2 * 16, two = j / 2 * 2 + j % 2 * 16;
        uint scale = (h.y >> four & 15u) | (h.w >> two & 3u) << 4, minimum = (h.z >> four & 15u) | (h.w >> (8 + two) & 3u) << 4;
        return FMA(qn_half_value((ushort)h.x) * (float)scale, (float)q, -(qn_half_value((ushort)(h.x >> 16)) * (float)minimum));
    }
    q |= (((const uint *)(at + 2048))[step / 4 * 64 + lane * 2 + step % 4 / 2] >> qn_upper_at(step, i) & 3u) << 4;
    float d = qn_half_value(((const ushort *)(at + 3328))[row]) * (float)((int)at[3072 + row * 16 + step] - 128);
    return d * (float)((int)q - 32);
}

#endif
