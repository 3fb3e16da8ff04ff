// A call's inside, for call.c, http.c and watch.c.
#ifndef QN_SERVER_CALL_STATE_H
#define QN_SERVER_CALL_STATE_H
#include "server/call.h"
#include "server/rules.h"

enum { QN_CALL_HEADERS = 6 };

typedef struct qn_watch qn_watch;

struct qn_call {
    qn_server *server;
    // Until the request is completed. A worker, which a server that closes does not wait for, may only look at it under the lock,
    // and while the call is not gone.
    struct MHD_Connection *connection;
    const qn_route_row *row;
    qn_call *prev, *next; // server->calls
    atomic_int refs;
    // libmicrohttpd's thread (and the worker that runs the handler):
    qn_buffer body;
    size_t n_body_seen; // of a refused body
    qn_refusal refusal;
    bool is_old;     // HTTP/1.0
    bool dispatched; // the handler was called, or the call refused
    uv_work_t work;
    qn_task work_task;
    pthread_mutex_t lock; // all below
    qn_watch *watch;
    bool answered; // what the answer is has been decided
    bool suspended, gone, streaming, ended;
    int status;
    char content_type[48];
    struct {
        char name[24], value[400];
    } headers[QN_CALL_HEADERS];
    int n_headers;
    qn_buffer out; // the body of the answer, or what the stream has not yet taken
    size_t n_taken;
    const void *fixed; // instead of out
    size_t n_fixed;
    uint64_t pushed_ns;
    qn_generation *generation;
    const struct qn_socket_handler *upgrade; // the answer is 101: who serves the WebSocket
};

qn_call *qn_call_new(qn_server *s, struct MHD_Connection *connection);
// Off the server's list; the connection is not to be used any more.
void qn_call_complete(qn_call *call);
// The stream's next bytes: how many, 0 where the call was suspended, -1 at its end, -2 when the client has gone.
int64_t qn_call_take(qn_call *call, char *to, size_t max);
// A stream that has said nothing for a while, and a comment that keeps it alive. The sweep.
bool qn_call_is_quiet(qn_call *call, uint64_t now_ns, uint64_t quiet_ns);
void qn_call_ping(qn_call *call);

#endif
