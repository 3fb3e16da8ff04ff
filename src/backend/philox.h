// Philox4x32-10 (Salmon et al., SC 2011): the counter-based generator behind every draw. A pure function of key and counter,
// so a draw depends on (seed, position) alone; all backends use this one text.
#ifndef QN_BACKEND_PHILOX_H
#define QN_BACKEND_PHILOX_H
#include <stdint.h>

static inline void qn_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

// The draw of a position: 24 bits, u ∈ [0, 1), exact in float32.
static inline float qn_philox_uniform(uint32_t seed_low, uint32_t seed_high, uint32_t position)
{
    const uint32_t key[2] = {seed_low, seed_high}, counter[4] = {position, 0, 0, 0};
    uint32_t x[4];
    qn_philox(key, counter, x);
    return (float)(x[0] >> 8) * 0x1p-24f;
}

#endif
