// Quants of two and three bits, and of four that choose one of sixteen values, as blocks_packed.cuh, which includes this, has the others.
#ifndef QN_BACKEND_CUDA_BLOCKS_PACKED_FEW_CUH
#define QN_BACKEND_CUDA_BLOCKS_PACKED_FEW_CUH

// Numbers of BITS bits at bits `at` and 16 + `at` of u, none above bit 9, less their middle.
template <int BITS> FN uint qn_field_pair(uint u, int at, uint middle)
{
    uint v = qn_masked_or(u, (((1u << BITS) - 1) << at) * 0x10001u, QN_1024);
    if (at == 0) return qn_pair_minus(v, QN_1024_AND(middle));
    return qn_pair_fma(v, (0x3c00u - 0x400u * at) * 0x10001u, (0xe400u - 0x400u * at + (middle << at)) * 0x10001u); // v / 2^at − 1024 / 2^at − middle
}

// Where scale (or minimum) j of a row's sixteen begins in their words of four bits each; and in the word of two bits each.
FN int qn_four_bits_at(int j)
{
    return j / 2 % 4 * 4 + j % 2 * 16;
}
FN int qn_two_bits_at(int j)
{
    return j / 2 * 2 + j % 2 * 16;
}

// ---- Q2_K ----

// Pair number i of the eight of a word.
FN uint qn_q2_pair(uint u, int i)
{
    return i < 5 ? qn_field_pair<2>(u, 2 * i, 0) : qn_field_pair<2>(u >> 10, 2 * i - 10, 0);
}
// The lane's pair of a word of scales or minima, times d.
FN uint qn_q2_k_scales(uint four_bits, int r, uint d)
{
    return qn_pair_times(qn_field_pair<4>(four_bits >> 4 * r, 0, 0), d);
}

template <typename FROM, typename TAKE> FN void qn_group_q2_k(FROM from, TAKE take)
{
    typedef qn_group_form<QN_Q2_K> form;
    int lane = threadIdx.x & 31, g = lane >> 2, r = lane & 3;
    uint4 q[2] = {from.four(lane * 16), from.four(512 + lane * 16)};
    uint a[2][2], b[2][2]; // of the lane's two rows, of steps 2r and 2r + 1, and of 2r + 8 and 2r + 9
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint4 scales = from.four(form::scales + (g + i * 8) * 16);
        uint both = from.one(form::d + (g + i * 8) * 4), d = qn_pair_of(both, 0), dmin = qn_pair_of(both, 1) ^ 0x80008000u;
        a[i][0] = qn_q2_k_scales(scales.x, r, d), a[i][1] = qn_q2_k_scales(scales.y, r, d);
        b[i][0] = qn_q2_k_scales(scales.z, r, dmin), b[i][1] = qn_q2_k_scales(scales.w, r, dmin);
    }
#pragma unroll
    for (int i = 0; i < 8; i++) { // two steps
        uint al = __shfl_sync(~0u, a[0][i / 4], i % 4, 4), bl = __shfl_sync(~0u, b[0][i / 4], i % 4, 4);
        uint ah = __shfl_sync(~0u, a[1][i / 4], i % 4, 4), bh = __shfl_sync(~0u, b[1][i / 4], i % 4, 4);
        uint u = qn_word_of(q[i / 4], i % 4);
#pragma unroll
        for (int j = 0; j < 2; j++) {
            uint a_low = qn_pair_of(al, j), b_low = qn_pair_of(bl, j), a_high = qn_pair_of(ah, j), b_high = qn_pair_of(bh, j);
            take(2 * i + j, make_uint4(qn_pair_fma(qn_q2_pair(u, 4 * j), a_low, b_low), qn_pair_fma(qn_q2_pair(u, 4 * j + 1), a_high, b_high),
                                       qn_pair_fma(qn_q2_pair(u, 4 * j + 2), a_low, b_low), qn_pair_fma(qn_q2_pair(u, 4 * j + 3), a_high, b_high)));
        }
    }
}

// ---- three bits: Q3_K, affine ----

// A lane's pairs are five a word, in its lower bits 0 … 14 and upper 16 … 30; one pair more is what is left of three words, bits 15 and 31.
// Number i of pair `pair`: its word of n_words, and where its bit `bit` is.
FN int2 qn_three_bits_at(int n_words, int pair, int i, int bit)
{
    int left = pair - 5 * n_words;
    return left < 0 ? make_int2(pair / 5, pair % 5 * 3 + bit + 16 * i) : make_int2(3 * left + bit, 15 + 16 * i);
}
// Where word i of a lane's n_words lies among the group's: four at a time, and two.
FN int qn_three_word_at(int n_words, int i, int lane)
{
    int four = i / 4, each = four < n_words / 4 ? 4 : n_words % 4;
    return four * 128 + lane * each + i % 4;
}

// Pair number i of the lane's, less 4.
template <int N_WORDS> FN uint qn_three_pair(const uint u[N_WORDS], int i)
{
    if (i < 5 * N_WORDS) return i % 5 < 3 ? qn_field_pair<3>(u[i / 5], i % 5 * 3, 4) : qn_field_pair<3>(u[i / 5] >> 9, i % 5 * 3 - 9, 4);
    const uint *w = u + (i - 5 * N_WORDS) * 3;
    uint v = qn_masked_or(w[0] >> 15, 0x00010001u, QN_1024);
    v = qn_masked_or(w[1] >> 14, 0x00020002u, v);
    return qn_pair_minus(qn_masked_or(w[2] >> 13, 0x00040004u, v), QN_1024_AND(4));
}

// Of a row, A of steps 2r and 2r + 1 (which: 2r + 8 and 2r + 9).
FN uint qn_q3_k_scales(uint2 four_bits, uint two_bits, int r, int which, uint d)
{
    uint upper = qn_masked_or(two_bits >> (2 * r + 8 * which) << 4, 0x00300030u, QN_1024);
    return qn_pair_times(qn_pair_minus(qn_masked_or((which ? four_bits.y : four_bits.x) >> 4 * r, 0x000f000fu, upper), QN_1056), d);
}

template <typename FROM, typename TAKE> FN void qn_group_q3_k(FROM from, TAKE take)
{
    typedef qn_group_form<QN_Q3_K> form;
    int lane = threadIdx.x & 31, g = lane >> 2, r = lane & 3;
    uint u[12], a[2][2]; // as of Q2_K
#pragma unroll
    for (int i = 0; i < 3; i++) {
        uint4 q = from.four(i * 512 + lane * 16);
        u[4 * i] = q.x, u[4 * i + 1] = q.y, u[4 * i + 2] = q.z, u[4 * i + 3] = q.w;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int row = g + i * 8;
        uint2 four_bits = from.two(form::scales + row * 8);
        uint two_bits = from.one(form::upper_scales + row * 4), d = from.half(form::d + row * 2) * 0x10001u;
        a[i][0] = qn_q3_k_scales(four_bits, two_bits, r, 0, d);
        a[i][1] = qn_q3_k_scales(four_bits, two_bits, r, 1, d);
    }
#pragma unroll
    for (int i = 0; i < 8; i++) { // two steps
        uint al = __shfl_sync(~0u, a[0][i / 4], i % 4, 4), ah = __shfl_sync(~0u, a[1][i / 4], i % 4, 4);
#pragma unroll
        for (int j = 0; j < 2; j++) {
            uint low = qn_pair_of(al, j), high = qn_pair_of(ah, j);
            int pair = 8 * i + 4 * j;
            take(2 * i + j, make_uint4(qn_pair_times(qn_three_pair<12>(u, pair), low), qn_pair_times(qn_three_pair<12>(u, pair + 1), high),
                                       qn_pair_times(qn_three_pair<12>(u, pair + 2), low), qn_pair_times(qn_three_pair<12>(u, pair + 3), high)));
        }
    }
}

template <typename FORM, typename FROM, typename TAKE> FN void qn_group_affine3(FROM from, TAKE take)
{
    int lane = threadIdx.x & 31, g = lane >> 2;
    uint4 first = from.four(lane * 16);
    uint2 rest = from.two(512 + lane * 8);
    uint u[6] = {first.x, first.y, first.z, first.w, rest.x, rest.y};
#pragma unroll
    for (int step = 0; step < 8; step++) {
        uint al = qn_q4_row_scale<FORM>(from, g, step / 2, 0), bl = qn_q4_row_scale<FORM>(from, g, step / 2, 1);
        uint ah = qn_q4_row_scale<FORM>(from, g + 8, step / 2, 0), bh = qn_q4_row_scale<FORM>(from, g + 8, step / 2, 1);
        int pair = 4 * step;
        take(step, make_uint4(qn_pair_fma(qn_three_pair<6>(u, pair), al, bl), qn_pair_fma(qn_three_pair<6>(u, pair + 1), ah, bh),
                              qn_pair_fma(qn_three_pair<6>(u, pair + 2), al, bl), qn_pair_fma(qn_three_pair<6>(u, pair + 3), ah, bh)));
    }
}

// ---- IQ4_NL, IQ4_XS ----

// The sixteen values + 128, four a word.
#define QN_IQ4_0 0x3f2d1801u
#define QN_IQ4_1 0x766a5d4fu
#define QN_IQ4_2 0xa6998d81u
#define QN_IQ4_3 0xf1d9c5b5u

FN uint qn_bytes_of(uint low, uint high, uint which)
{
    uint v;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(v) : "r"(low), "r"(high), "r"(which));
    return v;
}
// Of a word's eight quants, in order: each chooses in the lower half of the values and in the upper, and its top bit between the two.
FN uint2 qn_iq4_eight(uint u)
{
    uint in_half = u & 0x77777777u, half = qn_masked_or(u >> 1, 0x44444444u, 0x32103210u);
    uint low = qn_bytes_of(QN_IQ4_0, QN_IQ4_1, in_half), high = qn_bytes_of(QN_IQ4_2, QN_IQ4_3, in_half);
    uint low2 = qn_bytes_of(QN_IQ4_0, QN_IQ4_1, in_half >> 16), high2 = qn_bytes_of(QN_IQ4_2, QN_IQ4_3, in_half >> 16);
    return make_uint2(qn_bytes_of(low, high, half), qn_bytes_of(low2, high2, half >> 16));
}
// A step; a of both rows.
FN uint4 qn_iq4_step(uint u, uint a_low, uint a_high)
{
    uint2 v = qn_iq4_eight(u);
    return make_uint4(qn_q8_pair(v.x, 0, a_low), qn_q8_pair(v.x, 1, a_high), qn_q8_pair(v.y, 0, a_low), qn_q8_pair(v.y, 1, a_high));
}

template <typename FROM, typename TAKE> FN void qn_group_iq4_nl(FROM from, TAKE take)
{
    typedef qn_group_form<QN_IQ4_NL> form;
    int lane = threadIdx.x & 31, g = lane >> 2;
    uint2 low = from.two(form::scales + g * 8), high = from.two(form::scales + (g + 8) * 8);
    uint4 q[2] = {from.four(lane * 16), from.four(512 + lane * 16)};
#pragma unroll
    for (int step = 0; step < 8; step++) {
        int i = step / 2;
        take(step, qn_iq4_step(qn_word_of(q[step / 4], step % 4), qn_pair_of(i < 2 ? low.x : low.y, i & 1),
                               qn_pair_of(i < 2 ? high.x : high.y, i & 1)));
    }
}

// Of a row's header, A of blocks 2r and 2r + 1.
FN uint qn_iq4_xs_scales(uint2 header, int r)
{
    uint upper = qn_masked_or(__byte_perm(header.x, 0, 0x4342) >> 2 * r << 4, 0x00300030u, QN_1024);
    return qn_pair_times(qn_pair_minus(qn_masked_or(header.y >> 4 * r, 0x000f000fu, upper), QN_1056), qn_pair_of(header.x, 0));
}

template <typename FROM, typename TAKE> FN void qn_group_iq4_xs(FROM from, TAKE take)
{
    typedef qn_group_form<QN_IQ4_XS> form;
    int lane = threadIdx.x & 31, g = lane >> 2, r = lane & 3;
    uint4 q[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        q[i] = from.four(i * 512 + lane * 16);
    uint a_low = qn_iq4_xs_scales(from.two(form::scales + g * 8), r), a_high = qn_iq4_xs_scales(from.two(form::scales + (g + 8) * 8), r);
#pragma unroll
    for (int i = 0; i < 4; i++) { // blocks 2i and 2i + 1, four steps
        uint al = __shfl_sync(~0u, a_low, i, 4), ah = __shfl_sync(~0u, a_high, i, 4);
#pragma unroll
        for (int j = 0; j < 4; j++)
            take(4 * i + j, qn_iq4_step(qn_word_of(q[i], j), qn_pair_of(al, j / 2), qn_pair_of(ah, j / 2)));
    }
}

// ---- numbers one by one (qn_packed_block_value) ----

template <int TYPE> FN float qn_q2_value(const uchar *at, int row, int lane, int step, int i)
{
    typedef qn_group_form<TYPE> form;
    uint q = ((const uint *)at)[step / 8 * 128 + lane * 4 + step / 2 % 4] >> (step % 2 * 8 + i / 2 * 2 + i % 2 * 16) & 3u;
    const uint *header = (const uint *)(at + form::scales) + row * 4 + step / 8;
    uint both = ((const uint *)(at + form::d))[row], scale = header[0] >> qn_four_bits_at(step) & 15u, minimum = header[2] >> qn_four_bits_at(step) & 15u;
    return FMA(qn_half_value(both) * (float)scale, (float)q, -(qn_half_value(both >> 16) * (float)minimum));
}

template <int TYPE> FN float qn_three_value(const uchar *at, int row, int lane, int step, int i)
{
    typedef qn_group_form<TYPE> form;
    const int n_words = form::steps * 3 / 4;
    int q = -4;
    for (int bit = 0; bit < 3; bit++) {
        int2 place = qn_three_bits_at(n_words, step * 4 + i / 2, i % 2, bit);
        q += (int)(((const uint *)at)[qn_three_word_at(n_words, place.x, lane)] >> place.y & 1u) << bit;
    }
    if constexpr (TYPE == QN_Q3_K) {
        uint four_bits = ((const uint *)(at + form::scales))[row * 2 + step / 8], two_bits = ((const uint *)(at + form::upper_scales))[row];
        int scale = (int)((four_bits >> qn_four_bits_at(step) & 15u) | (two_bits >> qn_two_bits_at(step) & 3u) << 4) - 32;
        return qn_half_value(((const ushort *)(at + form::d))[row]) * (float)scale * (float)q;
    } else {
        const ushort *pair = (const ushort *)(at + form::scales) + (row * form::pairs + step / 2 * form::pairs / 4) * 2;
        return FMA(qn_half_value(pair[0]), (float)q, qn_half_value(pair[1]));
    }
}

template <int TYPE> FN float qn_iq4_value(const uchar *at, int row, int lane, int step, int i)
{
    typedef qn_group_form<TYPE> form;
    uint2 bytes = qn_iq4_eight(((const uint *)at)[step / 4 * 128 + lane * 4 + step % 4]);
    float value = (float)((int)((i < 4 ? bytes.x : bytes.y) >> i % 4 * 8 & 255u) - 128), d;
    if constexpr (TYPE == QN_IQ4_XS) {
        uint2 header = ((const uint2 *)(at + form::scales))[row];
        int j = step / 2, upper = (int)(header.x >> (16 + j / 2 * 2 + j % 2 * 8) & 3u) << 4;
        d = qn_half_value(header.x) * (float)((int)(header.y >> qn_four_bits_at(j) & 15u) + upper - 32);
    } else
        d = qn_half_value(((const ushort *)(at + form::scales))[row * 4 + step / 2]);
    return d * value;
}

#endif
