// See ws_accept.h. SHA-1 (RFC 3174) of a short text lives here since it protects nothing and nothing else needs it.
#include "server/ws_accept.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static uint32_t turn(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static void round_of(uint32_t state[5], uint32_t f, uint32_t k, uint32_t w)
{
    uint32_t next = turn(state[0], 5) + f + state[4] + k + w;
    state[4] = state[3];
    state[3] = state[2];
    state[2] = turn(state[1], 30);
    state[1] = state[0];
    state[0] = next;
}

static void take_block(uint32_t h[5], const unsigned char *block)
{
    uint32_t w[80], s[5];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = turn(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    memcpy(s, h, sizeof s);
    for (int i = 0; i < 80; i++) {
        uint32_t b = s[1], c = s[2], d = s[3];
        if (i < 20)
            round_of(s, (b & c) | (~b & d), 0x5a827999u, w[i]);
        else if (i < 40)
            round_of(s, b ^ c ^ d, 0x6ed9eba1u, w[i]);
        else if (i < 60)
            round_of(s, (b & c) | (b & d) | (c & d), 0x8f1bbcdcu, w[i]);
        else
            round_of(s, b ^ c ^ d, 0xca62c1d6u, w[i]);
    }
    for (int i = 0; i < 5; i++)
        h[i] += s[i];
}

// n ≤ 119.
static void sha1(const char *text, size_t n, unsigned char out[20])
{
    uint32_t h[5] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u, 0xc3d2e1f0u};
    unsigned char padded[128] = {0};
    size_t total = n < 56 ? 64 : 128;
    memcpy(padded, text, n);
    padded[n] = 0x80;
    padded[total - 1] = (unsigned char)(n * 8);
    padded[total - 2] = (unsigned char)(n * 8 >> 8);
    for (size_t at = 0; at < total; at += 64)
        take_block(h, padded + at);
    for (int i = 0; i < 20; i++)
        out[i] = (unsigned char)(h[i / 4] >> (24 - 8 * (i % 4)));
}

void qn_ws_accept(const char *key, char out[QN_WS_ACCEPT_BYTES])
{
    char text[24 + 37];
    unsigned char hash[21] = {0};
    int n = snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    sha1(text, (size_t)n, hash);
    for (int i = 0; i < 28; i++) {
        int bit = i * 6, at = bit / 8;
        unsigned two = (unsigned)hash[at] << 8 | (at < 19 ? hash[at + 1] : 0);
        out[i] = BASE64[two >> (10 - bit % 8) & 63];
    }
    out[27] = '=';
    out[28] = 0;
}
