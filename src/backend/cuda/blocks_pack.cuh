// Packing of weights in blocks (blocks_packed.cuh), what is read of them one by one, and their strips as F16 for gemm.cuh.
#ifndef QN_BACKEND_CUDA_BLOCKS_PACK_CUH
#define QN_BACKEND_CUDA_BLOCKS_PACK_CUH
#include "backend/cuda/blocks_packed.cuh"

// ---- the file's blocks ----

FN uint qn_file_half(const uchar *p)
{
    return (uint)p[0] | (uint)p[1] << 8;
}
FN float qn_file_float(const uchar *p)
{
    return __uint_as_float(qn_file_half(p) | qn_file_half(p + 2) << 16);
}
// The lower four bits of number e, whose upper 16 (of 32, or as K formats have them) are upper halves of bytes; bit number i of a field.
FN uint qn_file_nibble(const uchar *q, int e, bool k)
{
    return k ? (uint)q[(e >> 6) * 32 + (e & 31)] >> (e >> 5 & 1) * 4 & 15u : (uint)q[e & 15] >> (e & 16) / 4 & 15u;
}
FN uint qn_file_bit(const uchar *bits, int i)
{
    return (uint)bits[i / 8] >> i % 8 & 1u;
}
// Number e of a stream of numbers of so many bits.
FN uint qn_file_bits(const uchar *q, int e, int bits)
{
    int at = e * bits % 8;
    const uchar *p = q + e * bits / 8;
    return (at + bits > 8 ? qn_file_half(p) : (uint)p[0]) >> at & ((1u << bits) - 1);
}
// The two bits of number e of Q2_K and Q3_K.
FN uint qn_file_two_bits(const uchar *q, int e)
{
    return (uint)q[(e >> 7) * 32 + (e & 31)] >> (e >> 5 & 3) * 2 & 3u;
}
// Quants as they are packed: of Q8_0 and with 128 added.
FN uint qn_file_quant(int type, const uchar *block, int e)
{
    if (qn_affine_bits(type)) return qn_file_bits(block + 8, e, qn_affine_bits(type));
    switch (type) {
    case QN_Q8_0:
        return (uint)block[2 + e] ^ 128u;
    case QN_Q4_0:
        return qn_file_nibble(block + 2, e, false);
    case QN_Q4_1:
        return qn_file_nibble(block + 4, e, false);
    case QN_Q5_0:
        return qn_file_nibble(block + 6, e, false) | qn_file_bit(block + 2, e) << 4;
    case QN_Q5_1:
        return qn_file_nibble(block + 8, e, false) | qn_file_bit(block + 4, e) << 4;
    case QN_Q4_K:
        return qn_file_nibble(block + 16, e, true);
    case QN_Q5_K:
        return qn_file_nibble(block + 48, e, true) | ((uint)block[16 + (e & 31)] >> (e >> 5) & 1u) << 4;
    case QN_Q2_K:
        return qn_file_two_bits(block + 16, e);
    case QN_Q3_K:
        return qn_file_two_bits(block + 32, e) | ((uint)block[e & 31] >> (e >> 5) & 1u) << 2;
    case QN_IQ4_NL:
        return qn_file_nibble(block + 2, e, false);
    case QN_IQ4_XS:
        return qn_file_nibble(block + 8 + e / 32 * 16, e & 31, false);
    case QN_FP8_128:
        return (uint)block[4 + e];
    }
    uint low = (uint)block[(e >> 7) * 64 + (e & 63)] >> (e >> 6 & 1) * 4 & 15u;
    return low | qn_file_two_bits(block + 128, e) << 4;
}
// Scale j of a block of Q3_K and IQ4_XS, which is 32 more than what it stands for.
FN uint qn_file_q3_k_scale(const uchar *block, int j)
{
    const uchar *p = block + 96;
    return ((uint)p[j % 8] >> j / 8 * 4 & 15u) | ((uint)p[8 + j % 4] >> j / 4 * 2 & 3u) << 4;
}
FN uint qn_file_iq4_xs_scale(const uchar *block, int j)
{
    return ((uint)block[4 + j / 2] >> j % 2 * 4 & 15u) | (qn_file_half(block + 2) >> 2 * j & 3u) << 4;
}
// Scale and minimum j of a block of Q4_K and Q5_K.
FN uint2 qn_file_q4_k_scale(const uchar *block, int j)
{
    const uchar *p = block + 4;
    if (j < 4) return make_uint2((uint)p[j] & 63u, (uint)p[j + 4] & 63u);
    return make_uint2(((uint)p[j + 4] & 15u) | (uint)p[j - 4] >> 6 << 4, (uint)p[j + 4] >> 4 | (uint)p[j] >> 6 << 4);
}

FN int qn_file_elements(int type)
{
    if (type == QN_FP8_128) return 128;
    if (qn_affine_bits(type)) return 32 << type % 3;
    return QN_CUDA_GROUP_STEPS(type) == 8 ? 32 : 256;
}
FN int qn_file_bytes(int type)
{
    int elements = qn_file_elements(type), bits = qn_affine_bits(type);
    if (type == QN_FP8_128) return 4 + elements;
    return bits ? 8 + elements * bits / 8 : QN_CUDA_STEP_BYTES(type) * elements / 256;
}

// A group of a strip in the making.
typedef struct {
    const uchar *from;
    uchar *to;
    int type, n_n, n_k;
    int row0, k0; // first of the strip and of the group
} qn_group_place;

// The block with row `row` of the strip and number k of the group; NULL beyond the matrix.
FN const uchar *qn_file_block(const qn_group_place *p, int row, int k)
{
    int n = p->row0 + row, elements = qn_file_elements(p->type), bytes = qn_file_bytes(p->type);
    if (n >= p->n_n || p->k0 + k >= p->n_k) return NULL;
    return p->from + ((ulong)n * (ulong)(p->n_k / elements) + (ulong)((p->k0 + k) / elements)) * (ulong)bytes;
}

// Quant number i of 8 of the lane's fragment of a step: registers, two numbers each.
FN uint qn_group_quant(const qn_group_place *p, int lane, int step, int i)
{
    int reg = i / 2, row = (lane >> 2) + (reg & 1) * 8, k = step * 16 + (lane & 3) * 2 + (reg >> 1) * 8 + i % 2;
    const uchar *block = qn_file_block(p, row, k);
    if (!block) return p->type == QN_Q8_0 ? 128u : 0u;
    return qn_file_quant(p->type, block, (p->k0 + k) % qn_file_elements(p->type));
}

// Of an affine block, A and B.
FN uint qn_affine_pair(const uchar *block, int bits)
{
    float scale = qn_file_float(block), bias = qn_file_float(block + 4) + (float)(1 << (bits - 1)) * scale;
    return (uint)__half_as_ushort(__float2half_rn(scale)) | (uint)__half_as_ushort(__float2half_rn(bias)) << 16;
}
// [row][pairs] d, or d and m.
FN void qn_pack_scales(const qn_group_place *p, int lane, uchar *to, bool sum, int pairs)
{
    int bits = qn_affine_bits(p->type);
    for (int i = lane; i < 16 * pairs; i += 32) {
        const uchar *block = qn_file_block(p, i / pairs, i % pairs * (128 / pairs));
        if (sum)
            ((uint *)to)[i] = !block ? 0 : bits ? qn_affine_pair(block, bits) : qn_file_half(block) | qn_file_half(block + 2) << 16;
        else
            ((ushort *)to)[i] = block ? (ushort)qn_file_half(block) : 0;
    }
}

template <int TYPE> FN void qn_pack_bytes(const qn_group_place *p, int lane)
{
    typedef qn_group_form<TYPE> form;
    for (int step = 0; step < 8; step++)
        for (int i = 0; i < 8; i++)
            p->to[step / 2 * 512 + lane * 16 + step % 2 * 8 + i] = (uchar)qn_group_quant(p, lane, step, i);
    if constexpr (TYPE == QN_FP8_128) {
        if (lane >= 16) return;
        const uchar *block = qn_file_block(p, lane, 0);
        ((ushort *)(p->to + form::scales))[lane] = block ? __half_as_ushort(__float2half_rn(256.0f * qn_file_float(block))) : 0;
    } else if constexpr (TYPE == QN_Q8_0)
        qn_pack_scales(p, lane, p->to + form::scales, false, 4);
    else
        qn_pack_scales(p, lane, p->to + form::scales, true, form::pairs);
}

// Lower four bits: number i of 8 at bits 4 · (register) + 16 · (which of two); those of IQ4 in order.
FN void qn_pack_lower(const qn_group_place *p, int lane)
{
    bool in_order = p->type == QN_IQ4_NL || p->type == QN_IQ4_XS;
    for (int step = 0; step < QN_CUDA_GROUP_STEPS(p->type); step++) {
        uint word = 0;
        for (int i = 0; i < 8; i++)
            word |= (qn_group_quant(p, lane, step, i) & 15u) << (in_order ? 4 * i : i / 2 * 4 + i % 2 * 16);
        ((uint *)p->to)[step / 4 * 128 + lane * 4 + step % 4] = word;
    }
}
FN void qn_pack_fifth(const qn_group_place *p, int lane, uchar *to)
{
    for (int four = 0; four < QN_CUDA_GROUP_STEPS(p->type) / 4; four++) {
        uint word = 0;
        for (int i = 0; i < 32; i++)
            word |= (qn_group_quant(p, lane, 4 * four + i / 8, i % 8) >> 4) << qn_fifth_at(i / 8, i % 8);
        ((uint *)to)[four * 32 + lane] = word;
    }
}
// Fifth and sixth bits.
FN void qn_pack_upper(const qn_group_place *p, int lane, uchar *to)
{
    for (int pair = 0; pair < QN_CUDA_GROUP_STEPS(p->type) / 2; pair++) {
        uint word = 0;
        for (int i = 0; i < 16; i++)
            word |= qn_group_quant(p, lane, 2 * pair + i / 8, i % 8) >> 4 << qn_upper_at(i / 8, i % 8);
        ((uint *)to)[pair / 2 * 64 + lane * 2 + pair % 2] = word;
    }
}

FN void qn_pack_headers(const qn_group_place *p, int lane, uchar *to)
{
    if (lane >= 16) return;
    const uchar *block = qn_file_block(p, lane, 0);
    uint4 header = make_uint4(0, 0, 0, 0);
    for (int j = 0; block && j < 8; j++) {
        uint2 s = qn_file_q4_k_scale(block, j);
        int four = j / 2 * 4 + j % 2 * 16, two = j / 2 * 2 + j % 2 * 16;
        header.y |= (s.x & 15u) << four;
        header.z |= (s.y & 15u) << four;
        header.w |= s.x >> 4 << two | s.y >> 4 << (8 + two);
    }
    if (block) header.x = qn_file_half(block) | qn_file_half(block + 2) << 16;
    ((uint4 *)to)[lane] = header;
}

template <int TYPE> FN void qn_pack_nibbles(const qn_group_place *p, int lane)
{
    typedef qn_group_form<TYPE> form;
    qn_pack_lower(p, lane);
    if constexpr (qn_affine_bits(TYPE) == 6)
        qn_pack_upper(p, lane, p->to + form::upper);
    else if (form::fifth)
        qn_pack_fifth(p, lane, p->to + form::fifth);
    if constexpr (form::steps == 16)
        qn_pack_headers(p, lane, p->to + form::scales);
    else
        qn_pack_scales(p, lane, p->to + form::scales, form::sum, form::pairs);
}

FN void qn_pack_q6_k(const qn_group_place *p, int lane)
{
    typedef qn_group_form<QN_Q6_K> form;
    qn_pack_lower(p, lane);
    qn_pack_upper(p, lane, p->to + form::upper);
    if (lane >= 16) return;
    const uchar *block = qn_file_block(p, lane, 0);
    for (int j = 0; j < 16; j++)
        p->to[form::scales + lane * 16 + j] = block ? (uchar)(block[192 + j] ^ 128) : 128;
    ((ushort *)(p->to + form::d))[lane] = block ? (ushort)qn_file_half(block + 208) : 0;
}

FN void qn_pack_q2_k(const qn_group_place *p, int lane)
{
    typedef qn_group_form<QN_Q2_K> form;
    for (int i = 0; i < 8; i++) {
        uint word = 0;
        for (int j = 0; j < 16; j++)
            word |= qn_group_quant(p, lane, 2 * i + j / 8, j % 8) << (j / 2 * 2 + j % 2 * 16);
        ((uint *)p->to)[i / 4 * 128 + lane * 4 + i % 4] = word;
    }
    if (lane >= 16) return;
    const uchar *block = qn_file_block(p, lane, 0);
    uint *header = (uint *)(p->to + form::scales) + lane * 4;
    for (int i = 0; i < 4; i++)
        header[i] = 0;
    for (int j = 0; block && j < 16; j++) {
        header[j / 8] |= ((uint)block[j] & 15u) << qn_four_bits_at(j);
        header[2 + j / 8] |= (uint)block[j] >> 4 << qn_four_bits_at(j);
    }
    ((uint *)(p->to + form::d))[lane] = block ? qn_file_half(block + 80) | qn_file_half(block + 82) << 16 : 0;
}

// Quants of three bits.
FN void qn_pack_threes(const qn_group_place *p, int lane)
{
    int n_words = QN_CUDA_GROUP_STEPS(p->type) * 3 / 4;
    for (int i = 0; i < n_words; i++)
        ((uint *)p->to)[qn_three_word_at(n_words, i, lane)] = 0;
    for (int i = 0; i < QN_CUDA_GROUP_STEPS(p->type) * 8; i++) {
        uint q = qn_group_quant(p, lane, i / 8, i % 8);
        for (int bit = 0; bit < 3; bit++) {
            int2 place = qn_three_bits_at(n_words, i / 2, i % 2, bit);
            ((uint *)p->to)[qn_three_word_at(n_words, place.x, lane)] |= (q >> bit & 1u) << place.y;
        }
    }
}

FN void qn_pack_q3_k(const qn_group_place *p, int lane)
{
    typedef qn_group_form<QN_Q3_K> form;
    qn_pack_threes(p, lane);
    if (lane >= 16) return;
    const uchar *block = qn_file_block(p, lane, 0);
    uint *lower = (uint *)(p->to + form::scales) + lane * 2, upper = 0;
    lower[0] = lower[1] = 0;
    for (int j = 0; block && j < 16; j++) {
        uint scale = qn_file_q3_k_scale(block, j);
        lower[j / 8] |= (scale & 15u) << qn_four_bits_at(j);
        upper |= scale >> 4 << qn_two_bits_at(j);
    }
    ((uint *)(p->to + form::upper_scales))[lane] = upper;
    ((ushort *)(p->to + form::d))[lane] = block ? (ushort)qn_file_half(block + 108) : 0;
}

FN void qn_pack_iq4_xs(const qn_group_place *p, int lane)
{
    qn_pack_lower(p, lane);
    if (lane >= 16) return;
    const uchar *block = qn_file_block(p, lane, 0);
    uint2 header = make_uint2(block ? qn_file_half(block) : 0, 0);
    for (int j = 0; block && j < 8; j++) {
        uint scale = qn_file_iq4_xs_scale(block, j);
        header.x |= scale >> 4 << (16 + j / 2 * 2 + j % 2 * 8);
        header.y |= (scale & 15u) << qn_four_bits_at(j);
    }
    ((uint2 *)(p->to + qn_group_form<QN_IQ4_XS>::scales))[lane] = header;
}

template <int TYPE> FN void qn_pack_group(const qn_group_place *p, int lane)
{
    if constexpr (TYPE == QN_Q8_0 || TYPE >= QN_AFFINE8_32)
        qn_pack_bytes<TYPE>(p, lane);
    else if constexpr (TYPE == QN_Q6_K)
        qn_pack_q6_k(p, lane);
    else if constexpr (TYPE == QN_Q2_K)
        qn_pack_q2_k(p, lane);
    else if constexpr (TYPE == QN_Q3_K)
        qn_pack_q3_k(p, lane);
    else if constexpr (TYPE == QN_IQ4_XS)
        qn_pack_iq4_xs(p, lane);
    else if constexpr (qn_affine_bits(TYPE) == 3) {
        qn_pack_threes(p, lane);
        qn_pack_scales(p, lane, p->to + qn_group_form<TYPE>::scales, true, qn_group_form<TYPE>::pairs);
    } else
        qn_pack_nibbles<TYPE>(p, lane);
}

// ---- kernels ----

// Which group a warp of the grid has; false: none.
FN bool qn_group_of_warp(const qn_cuda_blocks_args &a, ulong *strip, int *group)
{
    int n_groups = a.padded_k / 16 / QN_CUDA_GROUP_STEPS(a.type);
    ulong i = ((ulong)blockIdx.x * QN_GPU_THREADS + threadIdx.x) / 32;
    *strip = i / (ulong)n_groups;
    *group = (int)(i % (ulong)n_groups);
    return *strip < (ulong)(a.n_n + 15) / 16;
}
FN ulong qn_group_offset(const qn_cuda_blocks_args &a, ulong strip, int group)
{
    ulong step = strip * (ulong)(a.padded_k / 16) + (ulong)(group * QN_CUDA_GROUP_STEPS(a.type));
    return step * (ulong)QN_CUDA_STEP_BYTES(a.type);
}
template <typename TAKE> FN void qn_steps_of_type(int type, const char *at, TAKE take)
{
    switch (type) {
#define CASE(value)                                                                                                    \
    case value:                                                                                                        \
        qn_group_steps<value>(qn_in_memory{at}, take);                                                                 \
        break;
        QN_PACKED_FORMATS(CASE)
#undef CASE
    }
}

FN bool qn_pair_is_finite(uint u)
{
    return (u & 0x7c00u) != 0x7c00u && (u & 0x7c000000u) != 0x7c000000u;
}
// Whether a factor that was a float32 is a normal number in F16, with all of its places: beside one such the denormal ones of a matrix,
// off by 2^-25 at most, count for less than that one's last place. TYPE has such factors, or all are F16 in the file.
template <int TYPE> FN bool qn_group_is_normal(const qn_group_place *p, int lane)
{
    typedef qn_group_form<TYPE> form;
    bool normal = TYPE < QN_AFFINE3_32;
    if constexpr (TYPE == QN_FP8_128) {
        normal = lane < 16 && (((const ushort *)(p->to + form::scales))[lane] & 0x7c00u) != 0;
    } else if constexpr (qn_affine_bits(TYPE) != 0) {
        for (int i = lane; i < 16 * form::pairs; i += 32)
            normal = normal || (((const uint *)(p->to + form::scales))[i] & 0x7c00u) != 0;
    }
    return normal;
}
// FP8's NaN would be a number in F16.
template <int TYPE> FN bool qn_group_has_nan(const qn_group_place *p, int lane)
{
    bool found = false;
    if constexpr (TYPE == QN_FP8_128)
        for (int i = lane; i < 2048; i += 32)
            found = found || (p->to[i] & 127u) == 127u;
    return found;
}

// A group: bit 0 of the result where a number is none in F16, bit 1 where a factor is a normal one. Apart, so that a format more is but
// one function more for the compiler.
template <int TYPE> static __device__ __noinline__ int qn_pack_checked(const uchar *from, uchar *to, int n_n, int n_k, int row0, int k0)
{
    int lane = threadIdx.x & 31;
    qn_group_place p = {from, to, TYPE, n_n, n_k, row0, k0};
    qn_pack_group<TYPE>(&p, lane);
    __syncwarp();
    bool fine = !qn_group_has_nan<TYPE>(&p, lane);
    qn_group_steps<TYPE>(qn_in_memory{(const char *)to}, [&](int, uint4 w) {
        fine = fine && qn_pair_is_finite(w.x) && qn_pair_is_finite(w.y) && qn_pair_is_finite(w.z) && qn_pair_is_finite(w.w);
    });
    return (fine ? 0 : 1) | (qn_group_is_normal<TYPE>(&p, lane) ? 2 : 0);
}

// A group a warp. found, two numbers: the first becomes 1 where a number is none in F16, the second where a factor is a normal one.
extern "C" __global__ void __launch_bounds__(QN_GPU_THREADS)
    pack_blocks(const uchar *from, uchar *to, uint *found, const qn_cuda_blocks_args a)
{
    ulong strip;
    int group, of_group = 2;
    if (!qn_group_of_warp(a, &strip, &group)) return;
    uchar *at = to + qn_group_offset(a, strip, group);
    switch (a.type) {
#define CASE(value)                                                                                                    \
    case value:                                                                                                        \
        of_group = qn_pack_checked<value>(from, at, a.n_n, a.n_k, (int)strip * 16, group * QN_CUDA_GROUP_STEPS(value) * 16); \
        break;
        QN_PACKED_FORMATS(CASE)
#undef CASE
    }
    if (of_group & 1) found[0] = 1;
    if (of_group & 2) found[1] = 1;
}

// Packed blocks to packed F16, a group a warp; nothing where the step has no rows for them.
extern "C" __global__ void __launch_bounds__(QN_GPU_THREADS)
    unpack_blocks(uint4 *to, const char *from, const qn_step_counts *counts, const qn_cuda_blocks_args a)
{
    ulong strip;
    int group;
    if ((a.over_outputs ? counts->n_outputs : counts->n_rows) == 0 || !qn_group_of_warp(a, &strip, &group)) return;
    uint4 *at = to + (strip * (ulong)(a.padded_k / 16) + (ulong)(group * QN_CUDA_GROUP_STEPS(a.type))) * 32 + (threadIdx.x & 31);
    qn_steps_of_type(a.type, from + qn_group_offset(a, strip, group), [&](int step, uint4 w) { at[step * 32] = w; });
}

#endif
