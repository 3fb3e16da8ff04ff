// WebSocket handshake (RFC 6455 §4.2).
#ifndef QN_SERVER_WS_HANDSHAKE_H
#define QN_SERVER_WS_HANDSHAKE_H
#include "server/call.h"
#include "server/socket.h"

// Checks the handshake that `call` is and answers it: 101, after which it is a qn_socket with this
// handler, or its refusal (400, 426). libmicrohttpd's thread.
void qn_ws_handshake(qn_call *call, const qn_socket_handler *handler);

#endif
