// Server: HTTP and WebSocket in front of a fleet. Owns the listening socket, the I/O threads (libmicrohttpd's one and
// libuv's loop, which is the thread of qn_server_run) and all connections. Knows JSON, never a tensor.
#ifndef QN_SERVER_SERVER_H
#define QN_SERVER_SERVER_H
#include "base/log.h"
#include "fleet/fleet.h"
#include "server/route.h"

// 0 in any field: the default that stands beside it.
typedef struct {
    int header_ms; // 10,000: from accept (or the first byte after an answer) to the end of the headers
    int body_ms;       // 60,000: from there to the end of the body
    int idle_ms;       // 30,000: between requests, and for a reader that takes nothing
    int ping_ms;       // 15,000: SSE comment and WebSocket ping
    int pong_ms;       // 30,000: a silent WebSocket is closed
    size_t body_bytes; // 16 MiB: body of a request, message of a WebSocket
    size_t
        stream_bytes; // 1 MiB: what a stream may hold for a slow reader before its request is cancelled
    int n_connections;         // from RLIMIT_NOFILE
    int n_connections_per_ip;  // 1,024; a loopback bind has none
    int n_requests_per_socket; // 64: running at once on one WebSocket
} qn_server_limits;

typedef struct {
    const char *host;        // NULL: 127.0.0.1
    int port;                // 0: any free one
    int listen_fd;           // > 0: a listening socket to take over, instead of host and port
    const char *instance_id; // NULL or "": made at random; shown where `horizontal`
    bool monitoring;         // false: /performance and /metrics are 404
    bool horizontal;         // answers carry the instance id
    int drain_ms;            // 0: 30,000
    int cancel_ms; // 0: 120,000: for a request cancelled at the drain's end; past it the device hangs
    qn_server_limits limits;
    const qn_route_row *routes; // borrowed until close
    size_t n_routes;
    qn_fleet *fleet;   // open; borrowed until close. NULL: qn_server_set_fleet brings it
    const qn_log *log; // may be NULL; borrowed until close
} qn_server_options;

typedef struct qn_server qn_server;

// Binds, listens and answers at once; without a fleet what needs models waits for it, and /ready says "loading". QUERN_E_IO names
// an address in use. Sets SIGPIPE to ignored.
int qn_server_open(const qn_server_options *options, qn_server **out, quern_error *e);
// The models are loaded: what waits for them goes on once qn_server_run runs, and signals are watched. Once, before it.
void qn_server_set_fleet(qn_server *s, qn_fleet *fleet);
// The device has failed for good: no connection is accepted any more, but the socket goes on listening, so that clients wait for
// the process that takes it over. The server notices a failed fleet by itself; this is for one that cannot be loaded. Any thread.
void qn_server_fail(qn_server *s);
// The listening socket of a server that has failed; the caller's from now on.
int qn_server_take_listener(qn_server *s);
// The port bound.
int qn_server_port(const qn_server *s);
// True where only this machine can connect (the app warns otherwise).
bool qn_server_is_loopback(const qn_server *s);
// Runs the loop, watching SIGINT and SIGTERM (first: drain; second: stop at once), until drained: 0. Stopped at once, or a request
// does not end though it is cancelled: QUERN_E_CANCELLED; requests may still run then, and the caller should _exit without closing anything. The device has failed
// and all requests have had their errors (or cancel_ms have passed): QUERN_E_DEVICE; a fleet may then not be closable.
int qn_server_run(qn_server *s);
// What the signals do; from any thread or a signal handler. First call: new requests get 503, running ones finish
// within drain_ms, then qn_server_run returns 0. `force`, or a second call: qn_server_run returns at once.
void qn_server_shutdown(qn_server *s, bool force);
// After qn_server_run (or without it). Cancels what still runs and waits for its end; close it before the fleet. Takes NULL.
void qn_server_close(qn_server *s);

#endif
