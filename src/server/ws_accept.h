// The answer to a WebSocket client's key (RFC 6455 §4.2.2). Pure.
#ifndef QN_SERVER_WS_ACCEPT_H
#define QN_SERVER_WS_ACCEPT_H

enum { QN_WS_ACCEPT_BYTES = 29 };

// key: 24 characters of base64.
void qn_ws_accept(const char *key, char out[QN_WS_ACCEPT_BYTES]);

#endif
