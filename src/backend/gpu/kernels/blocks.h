// Weights in blocks (tensor/quant/<format>.c says how they are laid), eight numbers at a time: those from element i on, i a multiple
// of 8 that counts through all rows, which are of whole blocks. Blocks start at multiples of qn_format_alignment.
// Values are the formats' own, bit for bit: every product here is exact, so that no contraction changes one; of those with a float32
// scale nothing is added to the product, or it is a fused multiply-add.
#ifndef QN_BACKEND_GPU_KERNELS_BLOCKS_H
#define QN_BACKEND_GPU_KERNELS_BLOCKS_H

FN GLOBAL const uchar *qn_block_at(GLOBAL const void *p, ulong index, uint n_bytes)
{
    return (GLOBAL const uchar *)p + index * (ulong)n_bytes;
}
FN float qn_half_at(GLOBAL const uchar *p)
{
    return qn_h(*(GLOBAL const f16s *)p);
}
// Eight bytes at a multiple of 2, of 4 and of 8.
FN void qn_eight_by_2(GLOBAL const uchar *p, PRIV uint *low, PRIV uint *high)
{
    GLOBAL const ushort *h = (GLOBAL const ushort *)p;
    *low = (uint)h[0] | (uint)h[1] << 16;
    *high = (uint)h[2] | (uint)h[3] << 16;
}
FN void qn_eight_by_4(GLOBAL const uchar *p, PRIV uint *low, PRIV uint *high)
{
    *low = ((GLOBAL const uint *)p)[0];
    *high = ((GLOBAL const uint *)p)[1];
}
FN void qn_eight_by_8(GLOBAL const uchar *p, PRIV uint *low, PRIV uint *high)
{
    uint2 both = *(GLOBAL const uint2 *)p;
    *low = both.x;
    *high = both.y;
}
// d · (byte - minus) of the four bytes of u.
FN float4 qn_scaled4(uint u, int minus, float d)
{
    return F4(d * (float)((int)(u & 255u) - minus), d * (float)((int)(u >> 8 & 255u) - minus),
              d * (float)((int)(u >> 16 & 255u) - minus), d * (float)((int)(u >> 24) - minus));
}
// d · byte + m.
FN float4 qn_sum4(uint u, float d, float m)
{
    return F4(FMA(d, (float)(u & 255u), m), FMA(d, (float)(u >> 8 & 255u), m),
              FMA(d, (float)(u >> 16 & 255u), m), FMA(d, (float)(u >> 24), m));
}
// The lower four bits of x as the lowest of four bytes.
FN uint qn_spread4(uint x)
{
    return (x & 15u) * 0x00204081u & 0x01010101u;
}
// The values of iq4_nl plus 128, for the four indices in the bytes of u.
FN uint qn_iq4_byte(uint index)
{
    uint four = index < 8u ? (index < 4u ? 0x3f2d1801u : 0x766a5d4fu)
                           : (index < 12u ? 0xa6998d81u : 0xf1d9c5b5u);
    return four >> 8u * (index & 3u) & 255u;
}
FN uint qn_iq4_bytes(uint u)
{
    return qn_iq4_byte(u & 15u) | qn_iq4_byte(u >> 8 & 15u) << 8 |
           qn_iq4_byte(u >> 16 & 15u) << 16 | qn_iq4_byte(u >> 24 & 15u) << 24;
}

// ---- blocks of 32: e is the element's place in the block; the second 16 are the upper halves of the bytes ----

FN void qn_load8_q8_0(GLOBAL const void *p, ulong i, int aligned, PRIV float4 *a, PRIV float4 *b)
{
    GLOBAL const uchar *block = qn_block_at(p, i >> 5, 34);
    float d = qn_half_at(block);
    uint low, high;
    qn_eight_by_2(block + 2 + (uint)(i & 31), &low, &high);
    *a = qn_scaled4(low ^ 0x80808080u, 128, d); // signed bytes
    *b = qn_scaled4(high ^ 0x80808080u, 128, d);
}
FN void qn_load8_q4_0(GLOBAL const void *p, ulong i, int aligned, PRIV float4 *a, PRIV float4 *b)
{
    GLOBAL const uchar *block = qn_block_at(p, i >> 5, 18);
    uint e = (uint)(i & 31), low, high;
    float d = qn_half_at(block);
    qn_eight_by_2(block + 2 + (e & 15u), &low, &high);
    *a = qn_scaled4(low >> (e & 16u) / 4u & 0x0f0f0f0fu, 8, d);
    *b = qn_scaled4(high >> (e & 16u) / 4u & 0x0f0f0f0fu, 8, d);
}
FN void qn_load8_q4_1(GLOBAL const void *p, ulong i, int aligned, PRIV float4 *a, PRIV float4 *b)
{
    GLOBAL const uchar *block = qn_block_at(p, i >> 5, 20);
    uint e = (uint)(i & 31), low, high;
    float d = qn_half_at(block), m = qn_half_at(block + 2);
    qn_eight_by_4(block + 4 + (e & 15u), &low, &high);
    *a = qn_sum4(low >> (e & 16u) / 4u & 0x0f0f0f0fu, d, m);
    *b = qn_sum4(high >> (e & 16u) / 4u & 0x0f0f0f0fu, d, m);
}
FN void qn_load8_q5_0(GLOBAL const void *p, ulong i, int aligned, PRIV float4 *a, PRIV float4 *b)
{
    GLOBAL const uchar *block = qn_block_at(p, i >> 5, 22);
    uint e = (uint)(i & 31), fifth = (uint)block[2u + e / 8u], low, high;
    float d = qn_half_at(block);
    qn_eight_by_2(block + 6 + (e & 15u), &low, &high);
    low = (low >> (e & 16u) / 4u & 0x0f0f0f0fu) | qn_spread4(fifth) << 4;
    high = (high >> (e & 16u) / 4u & 0x0f0f0f0fu) | qn_spread4(fifth >> 4) << 4;
    *a = qn_scaled4(low, 16, d);
    *b = qn_scaled4(high, 16, d);
}
FN void qn_load8_q5_1(GLOBAL const void *p, ulong i, int aligned, PRIV float4 *a, PRIV float4 *b)
{
    GLOBAL const uchar *block = qn_block_at(p, i >> 5, 24);
    uint e = (uint)(i & 31), fifth = (uint)block[4u + e / 8u], low, high;
    float d = qn_half_at(block), m = qn_half_at(block + 2);
    qn_eight_by_8(block + 8 + (e & 15u), &low, &high);
    low = (low >> (e & 16u) / 4u & 0x0f0f0f0fu) | qn_spread4(fifth) << 4;
    high = (high >> (e & 16u) / 4u & 0x0f0f0f0fu) | qn_spread4(fifth >> 4) << 4;
    *a = qn_sum4(low, d, m);
    *b = qn_sum4(high, d, m);
}
FN void qn_load8_iq4_nl(GLOBAL const void *p, ulong i, int aligned, PRIV float4 *a, PRIV float4 *b)
{
    GLOBAL const uchar *block = qn_block_at(p, i >> 5, 18);
    uint e = (uint)(i & 31), low, high;
    float d = qn_half_at(block);
    qn_eight_by_2(block + 2 + (e & 15u), &low, &high);
    *a = qn_scaled4(qn_iq4_bytes(low >> (e & 16u) / 4u), 128, d);
    *b = qn_scaled4(qn_iq4_bytes(high >> (e & 16u) / 4u), 128, d);
}

// ---- blocks of 256 ----

FN void qn_load8_q2_k(GLOBAL const void *p, ulong i, int aligned, PRIV float4 *a, PRIV float4 *b)
{
    GLOBAL const uchar *block = qn_block_at(p, i >> 8, 84);
    uint e = (uint)(i & 255), shift = (e >> 5 & 3u) * 2u, scales = (uint)block[e >> 4], low, high;
    float d = qn_half_at(block + 80) * (float)(scales & 15u);
    float m = -(qn_half_at(block + 82) * (float)(scales >> 4));
    qn_eight_by_4(block + 16 + (e >> 7) * 32u + (e & 31u), &low, &high);
    *a = qn_sum4(low >> shift & 0x03030303u, d, m);
    *b = qn_sum4(high >> shift & 0x03030303u, d, m);
}
FN void qn_load8_q3_k(GLOBAL const void *p, ulong i, int aligned, PRIV float4 *a, PRIV float4 *b)
{
    GLOBAL const uchar *block = qn_block_at(p, i >> 8, 110);
    uint e = (uint)(i & 255), shift = (e >> 5 & 3u) * 2u, j = e >> 4, low, high, third, third_high;
    uint scale = ((uint)block[96u + (j & 7u)] >> (j >> 3) * 4u & 15u) |
                 ((uint)block[104u + (j & 3u)] >> (j >> 2) * 2u & 3u) << 4;
    float d = qn_half_at(block + 108) * (float)((int)scale - 32);
    qn_eight_by_2(block + 32 + (e >> 7) * 32u + (e & 31u), &low, &high);
    qn_eight_by_2(block + (e & 31u), &third, &third_high);
    low = (low >> shift & 0x03030303u) | (third >> (e >> 5) & 0x01010101u) << 2;
    high = (high >> shift & 0x03030303u) | (third_high >> (e >> 5) & 0x01010101u) << 2;
    *a = qn_scaled4(low, 4, d);
    *b = qn_scaled4(high, 4, d);
}
// Scale and minimum j of 8 of q4_k and q5_k, times d and -dmin.
FN float2 qn_k_scale(GLOBAL const uchar *block, uint j)
{
    GLOBAL const uchar *packed = block + 4;
    uint scale, minimum;
    if (j < 4u) {
        scale = (uint)packed[j] & 63u;
        minimum = (uint)packed[j + 4u] & 63u;
    } else {
        uint lower = (uint)packed[j + 4u];
        scale = (lower & 15u) | (uint)packed[j - 4u] >> 6 << 4;
        minimum = lower >> 4 | (uint)packed[j] >> 6 << 4;
    }
    return F2(qn_half_at(block) * (float)scale, -(qn_half_at(block + 2) * (float)minimum));
}
FN void qn_load8_q4_k(GLOBAL const void *p, ulong i, int aligned, PRIV float4 *a, PRIV float4 *b)
{
    GLOBAL const uchar *block = qn_block_at(p, i >> 8, 144);
    uint e = (uint)(i & 255), shift = (e >> 5 & 1u) * 4u, low, high;
    float2 by = qn_k_scale(block, e >> 5);
    qn_eight_by_8(block + 16 + (e >> 6) * 32u + (e & 31u), &low, &high);
    *a = qn_sum4(low >> shift & 0x0f0f0f0fu, by.x, by.y);
    *b = qn_sum4(high >> shift & 0x0f0f0f0fu, by.x, by.y);
}
FN void qn_load8_q5_k(GLOBAL const void *p, ulong i, int aligned, PRIV float4 *a, PRIV float4 *b)
{
    GLOBAL const uchar *block = qn_block_at(p, i >> 8, 176);
    uint e = (uint)(i & 255), shift = (e >> 5 & 1u) * 4u, low, high, fifth, fifth_high;
    float2 by = qn_k_scale(block, e >> 5);
    qn_eight_by_8(block + 48 + (e >> 6) * 32u + (e & 31u), &low, &high);
    qn_eight_by_8(block + 16 + (e & 31u), &fifth, &fifth_high);
    low = (low >> shift & 0x0f0f0f0fu) | (fifth >> (e >> 5) & 0x01010101u) << 4;
    high = (high >> shift & 0x0f0f0f0fu) | (fifth_high >> (e >> 5) & 0x01010101u) << 4;
    *a = qn_sum4(low, by.x, by.y);
    *b = qn_sum4(high, by.x, by.y);
}
FN void qn_load8_q6_k(GLOBAL const void *p, ulong i, int aligned, PRIV float4 *a, PRIV float4 *b)
{
    GLOBAL const uchar *block = qn_block_at(p, i >> 8, 210);
    uint e = (uint)(i & 255), shift = (e >> 6 & 1u) * 4u, by = (e >> 5 & 3u) * 2u;
    uint low, high, upper, upper_high;
    int scale = (int)(((uint)block[192u + (e >> 4)] ^ 128u)) - 128; // a signed byte
    float d = qn_half_at(block + 208) * (float)scale;
    qn_eight_by_2(block + (e >> 7) * 64u + (e & 63u), &low, &high);
    qn_eight_by_2(block + 128 + (e >> 7) * 32u + (e & 31u), &upper, &upper_high);
    low = (low >> shift & 0x0f0f0f0fu) | (upper >> by & 0x03030303u) << 4;
    high = (high >> shift & 0x0f0f0f0fu) | (upper_high >> by & 0x03030303u) << 4;
    *a = qn_scaled4(low, 32, d);
    *b = qn_scaled4(high, 32, d);
}
FN void qn_load8_iq4_xs(GLOBAL const void *p, ulong i, int aligned, PRIV float4 *a, PRIV float4 *b)
{
    GLOBAL const uchar *block = qn_block_at(p, i >> 8, 136);
    uint e = (uint)(i & 255), j = e >> 5, shift = (e & 16u) / 4u, low, high;
    uint upper = (uint) * (GLOBAL const ushort *)(block + 2);
    uint scale = ((uint)block[4u + j / 2u] >> (j & 1u) * 4u & 15u) | (upper >> 2u * j & 3u) << 4;
    float d = qn_half_at(block) * (float)((int)scale - 32);
    qn_eight_by_8(block + 8 + j * 16u + (e & 15u), &low, &high);
    *a = qn_scaled4(qn_iq4_bytes(low >> shift), 128, d);
    *b = qn_scaled4(qn_iq4_bytes(high >> shift), 128, d);
}

// ---- blocks of float32 scales ----

// scale · number of the four bytes of u; a byte's bits, one place lower, are a half of the number over 256, but for NaN.
FN float4 qn_fp8x4(uint u, float scale)
{
    float2 v[2];
    for (int j = 0; j < 2; j++, u >>= 16) {
        uint pair = (u & 255u) | (u & 0xff00u) << 8, size = pair & 0x007f007fu;
        uint nan = ((size + 0x00010001u) & 0x00800080u) * 0xf8u;
        v[j] = qn_h2((pair & 0x00800080u) << 8 | size << 7 | nan);
    }
    return F4(scale * (v[0].x * 256.0f), scale * (v[0].y * 256.0f), scale * (v[1].x * 256.0f),
              scale * (v[1].y * 256.0f));
}
FN void qn_load8_fp8_128(GLOBAL const void *p, ulong i, int aligned, PRIV float4 *a, PRIV float4 *b)
{
    GLOBAL const uchar *block = qn_block_at(p, i >> 7, 132);
    float scale = *(GLOBAL const float *)block;
    uint low, high;
    qn_eight_by_4(block + 4 + (uint)(i & 127), &low, &high);
    *a = qn_fp8x4(low, scale);
    *b = qn_fp8x4(high, scale);
}

// Where the eight of affine weights from element i on begin, their scale and their bias. type: 15 … 29.
FN GLOBAL const uchar *qn_affine_at(GLOBAL const void *p, ulong i, int type, uint bits,
                                    PRIV float2 *by)
{
    uint shift = 5u + (uint)(type - 15) % 3u; // of the group
    GLOBAL const uchar *block = qn_block_at(p, i >> shift, 8u + (bits << (shift - 3u)));
    *by = F2(((GLOBAL const float *)block)[0], ((GLOBAL const float *)block)[1]);
    return block + 8 + ((uint)i & ((1u << shift) - 1u)) / 8u * bits;
}
// Four numbers from the lowest bits of u on.
FN float4 qn_affine4(uint u, uint bits, float scale, float bias)
{
    uint mask = (1u << bits) - 1u;
    return F4(FMA(scale, (float)(u & mask), bias), FMA(scale, (float)(u >> bits & mask), bias),
              FMA(scale, (float)(u >> 2u * bits & mask), bias),
              FMA(scale, (float)(u >> 3u * bits & mask), bias));
}
FN uint qn_affine_bytes3(GLOBAL const uchar *q)
{
    return (uint)q[0] | (uint)q[1] << 8 | (uint)q[2] << 16;
}
// low, high: words whose lowest bits are the first and the second four, made of the bytes at q.
#define AFFINE(BITS, WORDS)                                                                        \
    FN void qn_load8_affine##BITS(GLOBAL const void *p, ulong i, int type, PRIV float4 *a,         \
                                  PRIV float4 *b)                                                  \
    {                                                                                              \
        float2 by;                                                                                 \
        GLOBAL const uchar *q = qn_affine_at(p, i, type, BITS, &by);                               \
        uint low, high;                                                                            \
        WORDS;                                                                                     \
        *a = qn_affine4(low, BITS, by.x, by.y);                                                    \
        *b = qn_affine4(high, BITS, by.x, by.y);                                                   \
    }
AFFINE(3, low = qn_affine_bytes3(q); high = low >> 12)
AFFINE(4, low = *(GLOBAL const uint *)q; high = low >> 16)
AFFINE(5, low = qn_affine_bytes3(q); high = qn_affine_bytes3(q + 2) >> 4)
AFFINE(6, GLOBAL const ushort *h = (GLOBAL const ushort *)q; low = (uint)h[0] | (uint)h[1] << 16;
       high = (uint)h[1] >> 8 | (uint)h[2] << 8)
AFFINE(8, qn_eight_by_4(q, &low, &high))
#undef AFFINE

// Element i of weights in blocks of any format, for tables of which few rows are read.
FN float qn_load_block(GLOBAL const void *p, int type, ulong i)
{
    float4 a = F4(0.0f, 0.0f, 0.0f, 0.0f), b = a;
    ulong eight = i & ~(ulong)7;
    switch (type) {
#define FORMAT(value, name)                                                                        \
    case value:                                                                                    \
        qn_load8_##name(p, eight, 0, &a, &b);                                                      \
        break;
        QN_GPU_BLOCK_FORMATS(FORMAT)
#undef FORMAT
#define FORMAT(value, bits)                                                                        \
    case value:                                                                                    \
    case value + 1:                                                                                \
    case value + 2:                                                                                \
        qn_load8_affine##bits(p, eight, type, &a, &b);                                             \
        break;
        QN_GPU_AFFINE_FORMATS(FORMAT)
#undef FORMAT
    }
    uint e = (uint)(i & 7);
    if (e >= 4u) a = b;
    e &= 3u;
    return e < 2u ? (e == 0u ? a.x : a.y) : (e == 2u ? a.z : a.w);
}

#endif
