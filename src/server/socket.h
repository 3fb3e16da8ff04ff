// Socket: one WebSocket after its handshake: reads messages, writes frames, pings, closes. Lives on the loop's thread;
// qn_socket_send may be called by any thread. Counted references. Knows frames, not what the messages mean.
#ifndef QN_SERVER_SOCKET_H
#define QN_SERVER_SOCKET_H
#include "server/state.h"

typedef struct qn_socket_handler {
    // What the socket's user is; NULL: refused. The loop's thread.
    void *(*open)(qn_socket *s);
    // One message at a time, on the loop's thread or, where it is long, on a worker.
    void (*message)(qn_socket *s, void *user, const char *text, size_t n);
    // The client has gone. The loop's thread; sends fail from here on.
    void (*closed)(void *user);
    // With the last reference. Any thread.
    void (*free)(void *user);
} qn_socket_handler;

// Takes over an upgraded connection; `early` is what the client sent behind its handshake. libmicrohttpd's thread.
void qn_socket_open(qn_server *server, const qn_socket_handler *handler, int fd,
                    struct MHD_UpgradeResponseHandle *handle, const char *early, size_t n_early);

qn_server *qn_socket_server(const qn_socket *s);
// Sends a text message. QUERN_E_CANCELLED where the client has gone or closed, QUERN_E_LIMIT where it reads too slowly for any but
// `last` messages.
int qn_socket_send(qn_socket *s, const char *text, size_t n, bool last);
// How many requests run on it: while any does, a drain waits. Any thread.
void qn_socket_count(qn_socket *s, int change);

qn_socket *qn_socket_hold(qn_socket *s);
void qn_socket_release(qn_socket *s);

// Pings, timeouts, and the farewell of a drain, for all sockets. The loop's thread.
void qn_socket_sweep(qn_server *server, uint64_t now_ns);
// Cuts all. The loop's thread.
void qn_socket_cut_all(qn_server *server);

#endif
