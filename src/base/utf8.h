// UTF-8 (RFC 3629): validation and decoding of untrusted bytes. Any thread.
#ifndef QN_BASE_UTF8_H
#define QN_BASE_UTF8_H
#include <stddef.h>
#include <stdint.h>

// Length of the character at s (1–4) and its code point, or 0 where the n bytes at s begin with no valid character.
int qn_utf8_decode(const char *s, size_t n, uint32_t *code);
// Writes 1–4 bytes; returns how many (0 for a surrogate or a value above 0x10FFFF).
int qn_utf8_encode(uint32_t code, char out[4]);
// Offset of the first invalid byte, or n where all are valid.
size_t qn_utf8_check(const char *s, size_t n);

#endif
