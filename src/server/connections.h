// Connections: the open TCP connections and the time by which each must have shown its next request. A trickle of
// bytes resets libmicrohttpd's own timeout, so the deadline is ours. I/O threads, under the server's lock.
#ifndef QN_SERVER_CONNECTIONS_H
#define QN_SERVER_CONNECTIONS_H
#include "server/state.h"

// What a connection waits for.
typedef enum {
    QN_WAIT_HEAD, // the headers of the first request
    QN_WAIT_BODY,
    QN_WAIT_NOTHING, // the server is at work, or the socket belongs to a WebSocket
    QN_WAIT_NEXT     // the next request, idle time before it included
} qn_wait;

// libmicrohttpd's callback of opened and closed connections; cls is the server.
void qn_connections_notify(void *cls, struct MHD_Connection *connection, void **socket_context,
                           enum MHD_ConnectionNotificationCode code);
void qn_connections_expect(qn_server *s, struct MHD_Connection *connection, qn_wait what);
// Cuts all: libmicrohttpd then closes them, soon.
void qn_connections_cut(qn_server *s);
// Cuts those whose deadline has passed.
void qn_connections_sweep(qn_server *s, uint64_t now_ns);

#endif
