// Weights in blocks as products take them (products.h), in strips of 16 rows like 16-bit weights (product.cuh), with no more bytes than
// in the file. Of a strip, groups of 128 numbers of K, or 256 (K formats); of a group, the lanes' quants in the order of
// mma.m16n8k16's A fragments, then the rows' scales. A lane makes F16 fragments of them, the same wherever they are multiplied, with q
// the quant less the format's middle:
//   Q8_0, Q4_0, Q5_0: d · q, rounded once              Q3_K, Q6_K: A · q with A = d · scale in F16
//   Q4_1, Q5_1: d · q + m, rounded once                Q2_K, Q4_K, Q5_K: A · q + B with A = d · scale and B = -dmin · minimum in F16
//   IQ4_NL: d · values[q], rounded once                IQ4_XS: A · values[q] with A = d · scale in F16
//   affine: A · q + B with A = scale and B = bias + middle · scale in F16, so B is 0 where the zero is the middle
//   FP8: A · (q / 256) with A = 256 · scale in F16: q / 256 is q's bits at another place
// What is denormal in F16 loses nothing where d is F16 in the file (all are multiples of its last place), and elsewhere counts for nothing
// beside the matrix's other numbers; what overflows, and a matrix with denormal factors only, is found when it is packed.
#ifndef QN_BACKEND_CUDA_BLOCKS_PACKED_CUH
#define QN_BACKEND_CUDA_BLOCKS_PACKED_CUH
#include "backend/cuda/product_ptx.cuh"

#define QN_Q8_0 3
#define QN_Q4_0 4
#define QN_Q4_1 5
#define QN_Q5_0 6
#define QN_Q5_1 7
#define QN_Q2_K 8
#define QN_Q3_K 9
#define QN_Q4_K 10
#define QN_Q5_K 11
#define QN_Q6_K 12
#define QN_IQ4_NL 13
#define QN_IQ4_XS 14
#define QN_AFFINE3_32 15
#define QN_AFFINE3_64 16
#define QN_AFFINE3_128 17
#define QN_AFFINE4_32 18
#define QN_AFFINE4_64 19
#define QN_AFFINE4_128 20
#define QN_AFFINE5_32 21
#define QN_AFFINE5_64 22
#define QN_AFFINE5_128 23
#define QN_AFFINE6_32 24
#define QN_AFFINE6_64 25
#define QN_AFFINE6_128 26
#define QN_AFFINE8_32 27
#define QN_AFFINE8_64 28
#define QN_AFFINE8_128 29
#define QN_FP8_128 30

// Bits of an affine type's numbers; 0: of another type.
FN constexpr int qn_affine_bits(int type)
{
    return type < QN_AFFINE3_32 || type > QN_AFFINE8_128 ? 0 : type < QN_AFFINE8_32 ? 3 + (type - QN_AFFINE3_32) / 3 : 8;
}

// A group: steps, bytes, and where in it what is beside the quants' lower bits lies. fifth: their fifth bits; upper: fifth and sixth;
// scales: Q8_0, Q4_0, Q5_0: [row][4] d; Q4_1, Q5_1: [row][4] d, m; Q4_K, Q5_K: [row] d, dmin, lower four bits of scales, of minima,
// upper two of both; Q6_K: [row][16] scales + 128, then [row] d; affine: [row][pairs] A, B; FP8: [row] A; Q2_K: [row] four bits of each
// scale, of each minimum, then [row] d, dmin; Q3_K: [row] lower four bits of scales, then [row] upper two, then [row] d; IQ4_NL: as Q4_0;
// IQ4_XS: [row] d, upper two bits of scales, lower four.
template <int TYPE> struct qn_group_form;
template <> struct qn_group_form<QN_Q8_0> {
    static const int steps = 8, bytes = 2176, scales = 2048;
};
template <int MIDDLE, bool SUM, bool FIFTH> struct qn_nibbles_of_32 {
    static const int steps = 8, middle = MIDDLE, pairs = 4, fifth = FIFTH ? 1024 : 0, scales = FIFTH ? 1280 : 1024, bytes = scales + (SUM ? 256 : 128);
    static const bool sum = SUM;
};
template <> struct qn_group_form<QN_Q4_0> : qn_nibbles_of_32<8, false, false> {
};
template <> struct qn_group_form<QN_Q4_1> : qn_nibbles_of_32<0, true, false> {
};
template <> struct qn_group_form<QN_Q5_0> : qn_nibbles_of_32<16, false, true> {
};
template <> struct qn_group_form<QN_Q5_1> : qn_nibbles_of_32<0, true, true> {
};
template <> struct qn_group_form<QN_Q4_K> {
    static const int steps = 16, bytes = 2304, middle = 0, fifth = 0, scales = 2048;
    static const bool sum = true;
};
template <> struct qn_group_form<QN_Q5_K> {
    static const int steps = 16, bytes = 2816, middle = 0, fifth = 2048, scales = 2560;
    static const bool sum = true;
};
template <> struct qn_group_form<QN_Q6_K> {
    static const int steps = 16, bytes = 3360, upper = 2048, scales = 3072, d = 3328;
};
template <> struct qn_group_form<QN_Q2_K> {
    static const int steps = 16, bytes = 1344, scales = 1024, d = 1280;
};
template <> struct qn_group_form<QN_Q3_K> {
    static const int steps = 16, bytes = 1760, scales = 1536, upper_scales = 1664, d = 1728;
};
template <> struct qn_group_form<QN_IQ4_NL> : qn_nibbles_of_32<0, false, false> {
};
template <> struct qn_group_form<QN_IQ4_XS> {
    static const int steps = 16, bytes = 2176, scales = 2048;
};

// Affine: a pair of A and B for each 32, 64 or 128 numbers.
template <int PAIRS> struct qn_affine3_form {
    static const int steps = 8, pairs = PAIRS, scales = 768, bytes = scales + 64 * PAIRS;
    static const bool sum = true;
};
template <int PAIRS> struct qn_affine4_form {
    static const int steps = 8, middle = 8, pairs = PAIRS, fifth = 0, scales = 1024, bytes = scales + 64 * PAIRS;
    static const bool sum = true;
};
template <int PAIRS> struct qn_affine5_form {
    static const int steps = 8, middle = 16, pairs = PAIRS, fifth = 1024, scales = 1280, bytes = scales + 64 * PAIRS;
    static const bool sum = true;
};
template <int PAIRS> struct qn_affine6_form {
    static const int steps = 8, middle = 32, pairs = PAIRS, upper = 1024, scales = 1536, bytes = scales + 64 * PAIRS;
    static const bool sum = true;
};
template <int PAIRS> struct qn_affine8_form {
    static const int steps = 8, pairs = PAIRS, scales = 2048, bytes = scales + 64 * PAIRS;
    static const bool sum = true;
};
template <> struct qn_group_form<QN_AFFINE3_32> : qn_affine3_form<4> {
};
template <> struct qn_group_form<QN_AFFINE3_64> : qn_affine3_form<2> {
};
template <> struct qn_group_form<QN_AFFINE3_128> : qn_affine3_form<1> {
};
template <> struct qn_group_form<QN_AFFINE4_32> : qn_affine4_form<4> {
};
template <> struct qn_group_form<QN_AFFINE4_64> : qn_affine4_form<2> {
};
template <> struct qn_group_form<QN_AFFINE4_128> : qn_affine4_form<1> {
};
template <> struct qn_group_form<QN_AFFINE5_32> : qn_affine5_form<4> {
};
template <> struct qn_group_form<QN_AFFINE5_64> : qn_affine5_form<2> {
};
template <> struct qn_group_form<QN_AFFINE5_128> : qn_affine5_form<1> {
};
template <> struct qn_group_form<QN_AFFINE6_32> : qn_affine6_form<4> {
};
template <> struct qn_group_form<QN_AFFINE6_64> : qn_affine6_form<2> {
};
template <> struct qn_group_form<QN_AFFINE6_128> : qn_affine6_form<1> {
};
template <> struct qn_group_form<QN_AFFINE8_32> : qn_affine8_form<4> {
};
template <> struct qn_group_form<QN_AFFINE8_64> : qn_affine8_form<2> {
};
template <> struct qn_group_form<QN_AFFINE8_128> : qn_affine8_form<1> {
};
template <> struct qn_group_form<QN_FP8_128> {
    static const int steps = 8, bytes = 2080, scales = 2048;
};

// ---- where a group is read ----

#define QN_READ __device__ __forceinline__
struct qn_in_shared {
    uint at;
    QN_READ uint4 four(int i) const { return qn_load_shared4(at + i); }
    QN_READ uint2 two(int i) const { return qn_load_shared(at + i); }
    QN_READ uint one(int i) const { return qn_load_shared1(at + i); }
    QN_READ uint half(int i) const { return qn_load_shared_half(at + i); }
};
struct qn_in_memory {
    const char *at;
    QN_READ uint4 four(int i) const { return __ldcs((const uint4 *)(at + i)); }
    QN_READ uint2 two(int i) const { return __ldcs((const uint2 *)(at + i)); }
    QN_READ uint one(int i) const { return __ldcs((const uint *)(at + i)); }
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
// (u & mask) | other, as one instruction: of two constants the compiler makes two.
FN uint qn_masked_or(uint u, uint mask, uint other)
{
    uint v;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(v) : "r"(u), "r"(mask), "r"(other));
    return v;
}
// One of a pair, twice.
FN uint qn_pair_of(uint u, int which)
{
    __half2 h = qn_pair(u);
    return qn_pair_bits(which ? __high2half2(h) : __low2half2(h));
}
FN float qn_half_value(uint bits)
{
    return __half2float(__ushort_as_half((ushort)bits));
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

// ---- quants of four and five bits ----

// F16's 1,024 + n, and -(64 + n), for the middles that there are.
#define QN_1024_AND(n) (QN_1024 | (n) * 0x10001u)
#define QN_MINUS_64_AND(n) (0xd400d400u | (n) * 0x100010u)

// The fifth bits of two quants, at bits 4 and 20 (upper: 8 and 24), in 1,024; h: of four steps; i: which half of which of them.
FN uint qn_fifth(uint h, int i, int upper)
{
    if (upper) return qn_masked_or(i < 4 ? h >> i : h << (12 - i), 0x01000100u, QN_1024);
    return qn_masked_or(i < 4 ? h >> i : h >> (i + 4), 0x00100010u, QN_1024);
}

// Quants less their middle, of a word of eight: those at bits 0 and 16, or (upper) at 4 and 20. fifth: 1,024 with what it is called.
template <int MIDDLE> FN uint qn_q4_pair(uint u, uint fifth, int upper)
{
    if (upper) return qn_pair_fma(qn_masked_or(u, 0x00f000f0u, fifth), QN_16TH, QN_MINUS_64_AND(MIDDLE));
    return qn_pair_minus(qn_masked_or(u, 0x000f000fu, fifth), QN_1024_AND(MIDDLE));
}

// A step of a group: word u of quants, a and b of both rows (low: of the first eight).
template <typename FORM> FN uint4 qn_q4_step(uint u, uint fifth, int step, uint a_low, uint b_low, uint a_high, uint b_high)
{
    uint q[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint bits = FORM::fifth ? qn_fifth(fifth, step % 4 * 2 + i / 2, i & 1) : QN_1024;
        uint v = qn_q4_pair<FORM::middle>(i < 2 ? u : u >> 8, bits, i & 1), a = i & 1 ? a_high : a_low, b = i & 1 ? b_high : b_low;
        q[i] = FORM::sum ? qn_pair_fma(v, a, b) : qn_pair_times(v, a);
    }
    return make_uint4(q[0], q[1], q[2], q[3]);
}

// d (which: 0) or m of the i-th 32 numbers of a row.
template <typename FORM, typename FROM> FN uint qn_q4_row_scale(FROM from, int row, int i, int which)
{
    int at = row * FORM::pairs + i * FORM::pairs / 4;
    return from.half(FORM::scales + (FORM::sum ? at * 4 + which * 2 : at * 2)) * 0x10001u;
}

// Blocks of 32.
template <typename FORM, typename FROM, typename TAKE> FN void qn_group_q4(FROM from, TAKE take)
{
    int lane = threadIdx.x & 31, g = lane >> 2;
    uint4 q[2];
    uint fifth[2], a[4][2], b[4][2]; // of the lane's two rows
#pragma unroll
    for (int i = 0; i < 2; i++) {
        q[i] = from.four(i * 512 + lane * 16);
        fifth[i] = FORM::fifth ? from.one(FORM::fifth + i * 128 + lane * 4) : 0;
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        a[i / 2][i % 2] = qn_q4_row_scale<FORM>(from, g + i % 2 * 8, i / 2, 0);
        b[i / 2][i % 2] = FORM::sum ? qn_q4_row_scale<FORM>(from, g + i % 2 * 8, i / 2, 1) : 0;
    }
#pragma unroll
    for (int step = 0; step < 8; step++) {
        int i = step / 2;
        take(step, qn_q4_step<FORM>(qn_word_of(q[step / 4], step % 4), fifth[step / 4], step, a[i][0], b[i][0], a[i][1], b[i][1]));
    }
}

// ---- bytes: affine of 8 bits, FP8 ----

// Bytes 0 and 1 (which: 2 and 3).
FN uint qn_affine8_pair(uint u, int which, uint a, uint b)
{
    return qn_pair_fma(qn_pair_minus(__byte_perm(u, QN_1024, which ? 0x5352 : 0x5150), QN_1152), a, b);
}
FN uint qn_fp8_pair(uint u, int which, uint a)
{
    uint high = __byte_perm(u, 0, which ? 0x3424 : 0x1404);
    return qn_pair_times(qn_masked_or(high, 0x80008000u, high >> 1 & 0x3f803f80u), a);
}

template <typename FORM, typename FROM, typename TAKE> FN void qn_group_affine8(FROM from, TAKE take)
{
    int lane = threadIdx.x & 31, g = lane >> 2;
    uint4 q[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        q[i] = from.four(i * 512 + lane * 16);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint al = qn_q4_row_scale<FORM>(from, g, i, 0), bl = qn_q4_row_scale<FORM>(from, g, i, 1);
        uint ah = qn_q4_row_scale<FORM>(from, g + 8, i, 0), bh = qn_q4_row_scale<FORM>(from, g + 8, i, 1);
        take(2 * i, make_uint4(qn_affine8_pair(q[i].x, 0, al, bl), qn_affine8_pair(q[i].x, 1, ah, bh), qn_affine8_pair(q[i].y, 0, al, bl),
                               qn_affine8_pair(q[i].y, 1, ah, bh)));
        take(2 * i + 1, make_uint4(qn_affine8_pair(q[i].z, 0, al, bl), qn_affine8_pair(q[i].z, 1, ah, bh),
                                   qn_affine8_pair(q[i].w, 0, al, bl), qn_affine8_pair(q[i].w, 1, ah, bh)));
    }
}

template <typename FROM, typename TAKE> FN void qn_group_fp8(FROM from, TAKE take)
{
    typedef qn_group_form<QN_FP8_128> form;
    int lane = threadIdx.x & 31, g = lane >> 2;
    uint l = from.half(form::scales + g * 2) * 0x10001u, h = from.half(form::scales + (g + 8) * 2) * 0x10001u;
    uint4 q[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        q[i] = from.four(i * 512 + lane * 16);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        take(2 * i, make_uint4(qn_fp8_pair(q[i].x, 0, l), qn_fp8_pair(q[i].x, 1, h), qn_fp8_pair(q[i].y, 0, l), qn_fp8_pair(q[i].y, 1, h)));
        take(2 * i + 1,
             make_uint4(qn_fp8_pair(q[i].z, 0, l), qn_fp8_pair(q[i].z, 1, h), qn_fp8_pair(q[i].w, 0, l), qn_fp8_pair(q[i].w, 1, h)));
    }
}

// ---- Q4_K, Q5_K ----

// Of a row's header, A and B of blocks 2r and 2r + 1.
FN void qn_q4_k_scales(uint4 header, int r, uint *a, uint *b)
{
    uint upper = header.w >> 2 * r;
    uint scale = qn_masked_or(header.y >> 4 * r, 0x000f000fu, qn_masked_or(upper << 4, 0x00300030u, QN_1024));
    uint minimum = qn_masked_or(header.z >> 4 * r, 0x000f000fu, qn_masked_or(upper >> 4, 0x00300030u, QN_1024));
    *a = qn_pair_times(qn_pair_minus(scale, QN_1024), qn_pair_of(header.x, 0));
    *b = qn_pair_times(qn_pair_minus(minimum, QN_1024), qn_pair_of(header.x, 1) ^ 0x80008000u);
}

template <typename FORM, typename FROM, typename TAKE> FN void qn_group_q4_k(FROM from, TAKE take)
{
    int lane = threadIdx.x & 31, g = lane >> 2, r = lane & 3;
    uint a_low, b_low, a_high, b_high;
    uint4 low = from.four(FORM::scales + g * 16), high = from.four(FORM::scales + (g + 8) * 16), q[4];
    uint fifth[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        q[i] = from.four(i * 512 + lane * 16);
        fifth[i] = FORM::fifth ? from.one(FORM::fifth + i * 128 + lane * 4) : 0;
    }
    qn_q4_k_scales(low, r, &a_low, &b_low);
    qn_q4_k_scales(high, r, &a_high, &b_high);
#pragma unroll
    for (int i = 0; i < 4; i++) { // blocks 2i and 2i + 1, four steps
        uint al = __shfl_sync(~0u, a_low, i, 4), bl = __shfl_sync(~0u, b_low, i, 4);
        uint ah = __shfl_sync(~0u, a_high, i, 4), bh = __shfl_sync(~0u, b_high, i, 4);
#pragma unroll
        for (int j = 0; j < 4; j++)
            take(4 * i + j, qn_q4_step<FORM>(qn_word_of(q[i], j), fifth[i], j, qn_pair_of(al, j / 2), qn_pair_of(bl, j / 2),
                                             qn_pair_of(ah, j / 2), qn_pair_of(bh, j / 2)));
    }
}

// ---- six bits: Q6_K, affine ----

// Quants less 32. `upper`: the upper two bits at bits 4 and 20 (of the word's upper half: 8 and 24).
FN uint qn_q6_pair(uint u, uint upper, int which)
{
    return which ? qn_pair_fma(qn_masked_or(u, 0x00f000f0u, qn_masked_or(upper, 0x03000300u, QN_1024)), QN_16TH, QN_MINUS_96)
                 : qn_pair_minus(qn_masked_or(u, 0x000f000fu, qn_masked_or(upper, 0x00300030u, QN_1024)), QN_1056);
}
// Of an even step, or (odd) of the one after it; h: upper bits of both.
FN uint4 qn_q6_step(uint u, uint h, int odd)
{
    if (odd) return make_uint4(qn_q6_pair(u, h >> 8, 0), qn_q6_pair(u, h << 8, 1), qn_q6_pair(u >> 8, h >> 10, 0), qn_q6_pair(u >> 8, h << 6, 1));
    return make_uint4(qn_q6_pair(u, h, 0), qn_q6_pair(u, h, 1), qn_q6_pair(u >> 8, h >> 2, 0), qn_q6_pair(u >> 8, h >> 2, 1));
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
    uint4 all[4];
    uint2 uppers[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        all[i] = from.four(i * 512 + lane * 16);
        uppers[i] = from.two(form::upper + i * 256 + lane * 8);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint4 q = all[i];
        uint2 both = uppers[i];
#pragma unroll
        for (int j = 0; j < 2; j++) { // two steps
            uint low = qn_q6_k_scales(scales_low, 2 * i + j, d_low), high = qn_q6_k_scales(scales_high, 2 * i + j, d_high);
#pragma unroll
            for (int odd = 0; odd < 2; odd++) {
                uint l = qn_pair_of(low, odd), h = qn_pair_of(high, odd);
                uint4 v = qn_q6_step(qn_word_of(q, 2 * j + odd), j ? both.y : both.x, odd);
                take(4 * i + 2 * j + odd, make_uint4(qn_pair_times(v.x, l), qn_pair_times(v.y, h), qn_pair_times(v.z, l), qn_pair_times(v.w, h)));
            }
        }
    }
}

template <typename FORM, typename FROM, typename TAKE> FN void qn_group_affine6(FROM from, TAKE take)
{
    int lane = threadIdx.x & 31, g = lane >> 2;
    uint4 q[2] = {from.four(lane * 16), from.four(512 + lane * 16)};
    uint2 uppers[2] = {from.two(FORM::upper + lane * 8), from.two(FORM::upper + 256 + lane * 8)};
#pragma unroll
    for (int step = 0; step < 8; step++) {
        uint al = qn_q4_row_scale<FORM>(from, g, step / 2, 0), bl = qn_q4_row_scale<FORM>(from, g, step / 2, 1);
        uint ah = qn_q4_row_scale<FORM>(from, g + 8, step / 2, 0), bh = qn_q4_row_scale<FORM>(from, g + 8, step / 2, 1);
        uint2 both = uppers[step / 4];
        uint4 v = qn_q6_step(qn_word_of(q[step / 4], step % 4), step % 4 < 2 ? both.x : both.y, step % 2);
        take(step, make_uint4(qn_pair_fma(v.x, al, bl), qn_pair_fma(v.y, ah, bh), qn_pair_fma(v.z, al, bl), qn_pair_fma(v.w, ah, bh)));
    }
}

#include "backend/cuda/blocks_packed_few.cuh"

template <int TYPE, typename FROM, typename TAKE> FN void qn_group_steps(FROM from, TAKE take)
{
    typedef qn_group_form<TYPE> form;
    if constexpr (TYPE == QN_Q8_0)
        qn_group_q8_0(from, take);
    else if constexpr (TYPE == QN_Q6_K)
        qn_group_q6_k(from, take);
    else if constexpr (TYPE == QN_Q2_K)
        qn_group_q2_k(from, take);
    else if constexpr (TYPE == QN_Q3_K)
        qn_group_q3_k(from, take);
    else if constexpr (TYPE == QN_IQ4_NL)
        qn_group_iq4_nl(from, take);
    else if constexpr (TYPE == QN_IQ4_XS)
        qn_group_iq4_xs(from, take);
    else if constexpr (TYPE == QN_Q4_K || TYPE == QN_Q5_K)
        qn_group_q4_k<form>(from, take);
    else if constexpr (TYPE == QN_FP8_128)
        qn_group_fp8(from, take);
    else if constexpr (qn_affine_bits(TYPE) == 3)
        qn_group_affine3<form>(from, take);
    else if constexpr (qn_affine_bits(TYPE) == 6)
        qn_group_affine6<form>(from, take);
    else if constexpr (qn_affine_bits(TYPE) == 8)
        qn_group_affine8<form>(from, take);
    else
        qn_group_q4<form>(from, take);
}

// A switch over the formats.
#define QN_PACKED_AFFINE(X, bits) X(QN_AFFINE##bits##_32) X(QN_AFFINE##bits##_64) X(QN_AFFINE##bits##_128)
#define QN_PACKED_FORMATS(X)                                                                                           \
    X(QN_Q8_0) X(QN_Q4_0) X(QN_Q4_1) X(QN_Q5_0) X(QN_Q5_1) X(QN_Q2_K) X(QN_Q3_K) X(QN_Q4_K) X(QN_Q5_K) X(QN_Q6_K)      \
    X(QN_IQ4_NL) X(QN_IQ4_XS) QN_PACKED_AFFINE(X, 3) QN_PACKED_AFFINE(X, 4) QN_PACKED_AFFINE(X, 5)                     \
    QN_PACKED_AFFINE(X, 6) QN_PACKED_AFFINE(X, 8) X(QN_FP8_128)

// ---- products ----

// The sums of n_steps of a strip that begin at `at`, by the rows at xs (shared memory, `stride` bytes a step); apart, so that the caller keeps
// its registers whatever the formats are.
template <int TYPE> static __device__ __noinline__ float4 qn_multiply_groups(const char *at, int n_steps, uint xs, uint stride)
{
    typedef qn_group_form<TYPE> form;
    float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int i = 0; i < n_steps; i += form::steps, at += form::bytes, xs += form::steps * stride) {
        uint2 x[form::steps];
#pragma unroll
        for (int j = 0; j < form::steps; j++)
            x[j] = qn_load_shared(xs + j * stride);
        qn_group_steps<TYPE>(qn_in_memory{at}, [&](int step, uint4 w) { qn_mma<1>(c, w, x[step]); });
    }
    return make_float4(c[0], c[1], c[2], c[3]);
}
FN float4 qn_multiply_blocks(int type, const char *at, int n_steps, uint xs, uint stride)
{
    switch (type) {
#define CASE(value)                                                                                                    \
    case value:                                                                                                        \
        return qn_multiply_groups<value>(at, n_steps, xs, stride);
        QN_PACKED_FORMATS(CASE)
#undef CASE
    }
    return make_float4(0.0f, 0.0f, 0.0f, 0.0f);
}

// ---- numbers one by one ----

// Where the upper bits of number i of a step's eight begin: of Q6_K in the word that two steps share, of the fifth bits in that of four.
FN int qn_upper_at(int step, int i)
{
    const uint first = 0xa684u, second = 0x2e0cu; // registers 0 … 3, four bits each
    return (int)((step % 2 ? second : first) >> i / 2 * 4 & 15u) + i % 2 * 16;
}
FN int qn_fifth_at(int step, int i)
{
    int c = step % 4 * 2 + i / 4, upper = i / 2 & 1;
    return (upper ? (c < 4 ? 8 + c : c - 4) : (c < 4 ? 4 + c : 8 + c)) + i % 2 * 16;
}

// Scale and minimum of block j of a header of Q4_K and Q5_K, times d and -dmin.
FN float2 qn_header_scale(uint4 h, int j)
{
    int four = j / 2 * 4 + j % 2 * 16, two = j / 2 * 2 + j % 2 * 16;
    uint scale = (h.y >> four & 15u) | (h.w >> two & 3u) << 4, minimum = (h.z >> four & 15u) | (h.w >> (8 + two) & 3u) << 4;
    return make_float2(qn_half_value(h.x) * (float)scale, -(qn_half_value(h.x >> 16) * (float)minimum));
}

// Quants of four to six bits of a group: number i of the lane's eight of a step; the format's own value, but that affine factors are F16.
template <int TYPE> FN float qn_nibble_value(const uchar *at, int row, int lane, int step, int i)
{
    typedef qn_group_form<TYPE> form;
    uint q = ((const uint *)at)[step / 4 * 128 + lane * 4 + step % 4] >> (i / 2 * 4 + i % 2 * 16) & 15u;
    if constexpr (TYPE == QN_Q6_K || qn_affine_bits(TYPE) == 6)
        q |= (((const uint *)(at + form::upper))[step / 4 * 64 + lane * 2 + step % 4 / 2] >> qn_upper_at(step, i) & 3u) << 4;
    else if (form::fifth)
        q |= (((const uint *)(at + form::fifth))[step / 4 * 32 + lane] >> qn_fifth_at(step, i) & 1u) << 4;
    if constexpr (TYPE == QN_Q6_K) {
        float d = qn_half_value(((const ushort *)(at + form::d))[row]) * (float)((int)at[form::scales + row * 16 + step] - 128);
        return d * (float)((int)q - 32);
    } else if constexpr (form::steps == 16) {
        float2 by = qn_header_scale(((const uint4 *)(at + form::scales))[row], step / 2);
        return FMA(by.x, (float)q, by.y);
    } else {
        int i_scale = row * form::pairs + step / 2 * form::pairs / 4;
        const ushort *scales = (const ushort *)(at + form::scales) + i_scale * (form::sum ? 2 : 1);
        float middled = (float)((int)q - form::middle);
        return form::sum ? FMA(qn_half_value(scales[0]), middled, qn_half_value(scales[1])) : qn_half_value(scales[0]) * middled;
    }
}

// The same of bytes.
template <int TYPE> FN float qn_byte_value(const uchar *at, int row, int lane, int step, int i)
{
    typedef qn_group_form<TYPE> form;
    uint q = at[step / 2 * 512 + lane * 16 + step % 2 * 8 + i];
    const ushort *scales = (const ushort *)(at + form::scales);
    if constexpr (TYPE == QN_FP8_128) {
        return qn_half_value(scales[row]) * qn_half_value((q & 128u) << 8 | (q & 127u) << 7);
    } else if constexpr (TYPE == QN_Q8_0) {
        return qn_half_value(scales[row * 4 + step / 2]) * (float)((int)q - 128);
    } else {
        scales += (row * form::pairs + step / 2 * form::pairs / 4) * 2;
        return FMA(qn_half_value(scales[0]), (float)((int)q - 128), qn_half_value(scales[1]));
    }
}

// Number k of row n, as above.
FN float qn_packed_block_value(const uchar *table, int type, int padded_k, int n, int k)
{
    int steps = QN_CUDA_GROUP_STEPS(type), row = n % 16, step = k / 16 % steps, in_step = k % 16;
    int lane = row % 8 * 4 + in_step % 8 / 2, i = (row / 8 + in_step / 8 * 2) * 2 + k % 2;
    const uchar *at = table + ((ulong)(n / 16) * (ulong)(padded_k / 16) + (ulong)(k / 16 / steps * steps)) * (ulong)QN_CUDA_STEP_BYTES(type);
    switch (type) {
#define CASE(of, value)                                                                                                \
    case value:                                                                                                        \
        return of<value>(at, row, lane, step, i);
#define BYTES(value) CASE(qn_byte_value, value)
#define NIBBLES(value) CASE(qn_nibble_value, value)
#define THREE(value) CASE(qn_three_value, value)
        BYTES(QN_Q8_0) QN_PACKED_AFFINE(BYTES, 8) BYTES(QN_FP8_128)
        NIBBLES(QN_Q4_0) NIBBLES(QN_Q4_1) NIBBLES(QN_Q5_0) NIBBLES(QN_Q5_1) NIBBLES(QN_Q4_K) NIBBLES(QN_Q5_K) NIBBLES(QN_Q6_K)
        QN_PACKED_AFFINE(NIBBLES, 4) QN_PACKED_AFFINE(NIBBLES, 5) QN_PACKED_AFFINE(NIBBLES, 6)
        CASE(qn_q2_value, QN_Q2_K) THREE(QN_Q3_K) QN_PACKED_AFFINE(THREE, 3) CASE(qn_iq4_value, QN_IQ4_NL) CASE(qn_iq4_value, QN_IQ4_XS)
#undef THREE
#undef NIBBLES
#undef BYTES
#undef CASE
    }
    return 0.0f;
}

#endif
