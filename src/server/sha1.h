// SHA-1 (RFC 3174) of a short text, for the WebSocket handshake alone, where it protects nothing.
#ifndef QN_SERVER_SHA1_H
#define QN_SERVER_SHA1_H
#include <stddef.h>

// n ≤ 119.
void qn_sha1_short(const char *text, size_t n, unsigned char out[20]);

#endif
