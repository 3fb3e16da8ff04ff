// State: what the files of the server share about one server. Private to src/server.
// Lock order: qn_server.lock → a call's, socket's or generation's lock; a call's lock → libmicrohttpd's own. Nothing of
// libmicrohttpd is called under qn_server.lock.
#ifndef QN_SERVER_STATE_H
#define QN_SERVER_STATE_H
#include <microhttpd.h>
#include <stdatomic.h>

#include "server/loop.h"
#include "server/server.h"

typedef struct qn_connection qn_connection;
typedef struct qn_generation qn_generation;
typedef struct qn_socket qn_socket;

// Since the server was opened. The ledger: accepted = complete + cancelled + failed + those that run.
typedef struct {
    atomic_ullong answers[6]; // by status / 100
    atomic_ullong accepted, complete, cancelled, failed;
    atomic_ullong clients_gone, slow_clients, deadlines_missed;
    atomic_llong body_bytes; // held now
} qn_counters;

struct qn_server {
    qn_server_options options; // defaults filled in
    char instance[40];
    uint64_t id_seed;
    atomic_ullong n_ids;
    int port, listen_fd;
    bool loopback;
    struct MHD_Daemon *daemon;
    qn_loop loop;
    uv_timer_t sweep;
    uv_signal_t on_interrupt, on_terminate;
    uv_work_t first_work;
    pthread_mutex_t lock; // the lists of connections, calls and generations
    qn_connection *connections;
    qn_call *calls;
    qn_generation *generations;
    qn_socket *sockets; // the loop's thread
    atomic_int n_connections, n_answering, n_workers, n_generations, n_sockets;
    atomic_int n_shutdowns;
    atomic_bool draining, stopping; // stopping: no call may wait any more
    atomic_bool loaded;             // options.fleet is there
    pthread_mutex_t fail_lock;      // held while listening ends
    atomic_bool failed; // the device has: a new process will take the listening socket over
    bool quiesced;      // libmicrohttpd has given the listening socket back
    int result;         // of qn_server_run
    uint64_t drain_until_ns, opened_ns;
    int64_t opened_at; // seconds since 1970
    bool rest_cancelled;
    qn_counters counters;
};

#endif
