// The server's life: open, run with its signals and timers, drain, close. See server.h.
#include "server/server.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/call_state.h"
#include "server/connections.h"
#include "server/generation.h"
#include "server/http.h"
#include "server/listen.h"
#include "server/socket.h"

enum {
    SWEEP_MS = 250,
    DRAIN_SWEEP_MS = 20,
    FAIL_MS = 3000,     // for the errors of requests on a device that has failed
    FAREWELL_MS = 2000, // for answers on their way, after the last request was ended
    CUT_MS = 500,       // for libmicrohttpd to let go of connections that are cut
    RESERVED_DESCRIPTORS = 64
};

static int or_default(int value, int otherwise)
{
    return value > 0 ? value : otherwise;
}

static void fill_defaults(qn_server_options *o, int n_descriptors)
{
    qn_server_limits *l = &o->limits;
    // A connection with a request at work has two: its own and the watcher's.
    int n_most = n_descriptors > 2 * RESERVED_DESCRIPTORS
                     ? (n_descriptors - RESERVED_DESCRIPTORS) / 2
                     : RESERVED_DESCRIPTORS / 2;
    if (!o->host) o->host = "127.0.0.1";
    o->drain_ms = or_default(o->drain_ms, 30000);
    o->cancel_ms = or_default(o->cancel_ms, 120000); // a step of a large model on few cores is long
    l->header_ms = or_default(l->header_ms, 10000);
    l->body_ms = or_default(l->body_ms, 60000);
    l->idle_ms = or_default(l->idle_ms, 30000);
    l->ping_ms = or_default(l->ping_ms, 15000);
    l->pong_ms = or_default(l->pong_ms, 30000);
    l->n_connections = or_default(l->n_connections, n_most);
    l->n_connections_per_ip = or_default(l->n_connections_per_ip, 1024);
    l->n_requests_per_socket = or_default(l->n_requests_per_socket, 64);
    if (!l->body_bytes) l->body_bytes = 16u << 20;
    if (!l->stream_bytes) l->stream_bytes = 1u << 20;
}

static uint64_t random_bits(void)
{
    uint64_t bits = 0;
    if (uv_random(NULL, NULL, &bits, sizeof bits, 0, NULL))
        bits = qn_clock_ns() ^ (uint64_t)getpid() << 32; // ids only have to differ
    return bits;
}

/* ---- the drain ---- */

// The loop is where all of this runs.
static void begin_drain(qn_server *s, int ms)
{
    atomic_store(&s->draining, true);
    s->drain_until_ns = qn_clock_ns() + (uint64_t)ms * 1000000u;
    if (s->options.fleet) qn_fleet_drain(s->options.fleet);
    uv_timer_set_repeat(&s->sweep, DRAIN_SWEEP_MS);
    uv_timer_again(&s->sweep);
}

static void begin_shutdown(qn_server *s)
{
    qn_log_write(s->options.log, QUERN_LOG_INFO,
                 "shutting down: %d requests run and have %d s; a second signal stops at once",
                 atomic_load(&s->n_generations), s->options.drain_ms / 1000);
    begin_drain(s, s->options.drain_ms);
}

// What was cancelled does not end: a step that never does, on a device that hangs. Neither would closing.
static void give_up(qn_server *s)
{
    qn_log_write(
        s->options.log, QUERN_LOG_ERROR,
        "%d requests do not end though they are cancelled: the device hangs; stopping without it",
        atomic_load(&s->n_generations));
    s->result = QUERN_E_CANCELLED;
    uv_stop(&s->loop.uv);
}

static void go_on_draining(qn_server *s, uint64_t now_ns)
{
    bool idle = !atomic_load(&s->n_generations) && !atomic_load(&s->n_workers);
    bool answered = !atomic_load(&s->n_answering) && !atomic_load(&s->n_sockets);
    uint64_t farewell_ns = (uint64_t)FAREWELL_MS * 1000000u;
    uint64_t cancel_ns = (uint64_t)s->options.cancel_ms * 1000000u;
    if (!idle && now_ns > s->drain_until_ns && !s->rest_cancelled) {
        qn_log_write(s->options.log, QUERN_LOG_WARN, "%d requests did not finish in time",
                     atomic_load(&s->n_generations));
        s->rest_cancelled = true;
        qn_generation_cancel_all(s, QUERN_E_CLOSING);
    }
    if (idle && (answered || now_ns > s->drain_until_ns + farewell_ns)) uv_stop(&s->loop.uv);
    if (atomic_load(&s->n_generations) && now_ns > s->drain_until_ns + cancel_ns) give_up(s);
}

static void on_wake(void *user)
{
    qn_server *s = user;
    int n = atomic_load(&s->n_shutdowns);
    if (n > 1) {
        s->result = QUERN_E_CANCELLED;
        uv_stop(&s->loop.uv);
    } else if (atomic_load(&s->draining)) {
        return;
    } else if (atomic_load(&s->failed)) {
        begin_drain(s, FAIL_MS);
    } else if (n == 1) {
        begin_shutdown(s);
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    qn_server_shutdown(handle->data, false);
}

// Collected first: nothing of libmicrohttpd may be called under the server's lock.
static void ping_calls(qn_server *s, uint64_t now_ns)
{
    enum { A_ROUND = 64 };
    qn_call *some[A_ROUND];
    uint64_t quiet_ns = (uint64_t)s->options.limits.ping_ms * 1000000u;
    int n = 0;
    pthread_mutex_lock(&s->lock);
    for (qn_call *call = s->calls; call && n < A_ROUND; call = call->next)
        if (qn_call_is_quiet(call, now_ns, quiet_ns)) some[n++] = qn_call_hold(call);
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < n; i++) {
        qn_call_ping(some[i]);
        qn_call_release(some[i]);
    }
}

static void on_sweep(uv_timer_t *timer)
{
    qn_server *s = timer->data;
    uint64_t now_ns = qn_clock_ns();
    qn_connections_sweep(s, now_ns);
    qn_socket_sweep(s, now_ns);
    ping_calls(s, now_ns);
    if (s->options.fleet && qn_fleet_has_failed(s->options.fleet)) qn_server_fail(s);
    if (atomic_load(&s->draining)) go_on_draining(s, now_ns);
}

/* ---- open, run, close ---- */

static void do_nothing(uv_work_t *work)
{
    (void)work;
}

static int open_loop(qn_server *s, quern_error *e)
{
    int rc = qn_loop_open(&s->loop, on_wake, s);
    if (rc) return qn_error_set(e, QUERN_E_IO, "no event loop: %s", uv_strerror(rc));
    uv_timer_init(&s->loop.uv, &s->sweep);
    uv_signal_init(&s->loop.uv, &s->on_interrupt);
    uv_signal_init(&s->loop.uv, &s->on_terminate);
    s->sweep.data = s->on_interrupt.data = s->on_terminate.data = s;
    // libuv starts its workers with the first work, and aborts where it cannot: now, not when a long body comes and others run.
    uv_queue_work(&s->loop.uv, &s->first_work, do_nothing, NULL);
    return 0;
}

static void close_loop(qn_server *s)
{
    uv_close((uv_handle_t *)&s->sweep, NULL);
    uv_close((uv_handle_t *)&s->on_interrupt, NULL);
    uv_close((uv_handle_t *)&s->on_terminate, NULL);
    qn_loop_close(&s->loop);
}

static void name_instance(qn_server *s)
{
    const char *given = s->options.instance_id;
    s->id_seed = random_bits();
    if (given && *given)
        snprintf(s->instance, sizeof s->instance, "%s", given);
    else
        snprintf(s->instance, sizeof s->instance, "%012" PRIx64, s->id_seed >> 16);
}

int qn_server_open(const qn_server_options *options, qn_server **out, quern_error *e)
{
    qn_listener listener;
    *out = NULL;
    signal(SIGPIPE, SIG_IGN);
    qn_server *s = calloc(1, sizeof *s);
    if (!s) return qn_error_set(e, QUERN_E_MEMORY, "the server: out of memory");
    s->options = *options;
    fill_defaults(&s->options, qn_listen_raise_limit());
    name_instance(s);
    s->opened_ns = qn_clock_ns();
    s->opened_at = (int64_t)time(NULL);
    s->loaded = options->fleet != NULL;
    s->listen_fd = -1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->fail_lock, NULL);
    int rc = open_loop(s, e);
    if (rc) {
        free(s);
        return rc;
    }
    rc = options->listen_fd > 0 ? qn_listen_adopt(options->listen_fd, &listener, e)
                                : qn_listen_open(s->options.host, s->options.port, &listener, e);
    if (!rc) {
        s->port = listener.port;
        s->loopback = listener.loopback;
        rc = qn_http_start(s, listener.fd, e);
    }
    if (!rc) s->listen_fd = listener.fd;
    if (rc)
        qn_server_close(s);
    else
        *out = s;
    return rc;
}

static void watch_signals(qn_server *s)
{
    uv_signal_start(&s->on_interrupt, on_signal, SIGINT);
    uv_signal_start(&s->on_terminate, on_signal, SIGTERM);
}

void qn_server_set_fleet(qn_server *s, qn_fleet *fleet)
{
    watch_signals(s); // first: no request may be taken that a signal does not drain
    s->options.fleet = fleet;
    atomic_store(&s->loaded, true);
}

void qn_server_fail(qn_server *s)
{
    pthread_mutex_lock(&s->fail_lock);
    bool first = !atomic_load(&s->failed);
    if (first) qn_http_quiesce(s);
    atomic_store(&s->failed, true);
    pthread_mutex_unlock(&s->fail_lock);
    if (first) qn_loop_wake(&s->loop);
}

int qn_server_take_listener(qn_server *s)
{
    int fd = s->listen_fd;
    s->listen_fd = -1;
    return fd;
}

int qn_server_port(const qn_server *s)
{
    return s->port;
}

bool qn_server_is_loopback(const qn_server *s)
{
    return s->loopback;
}

void qn_server_shutdown(qn_server *s, bool force)
{
    atomic_fetch_add(&s->n_shutdowns, force ? 2 : 1);
    qn_loop_wake(&s->loop);
}

int qn_server_run(qn_server *s)
{
    uv_timer_start(&s->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    watch_signals(s);
    uv_run(&s->loop.uv, UV_RUN_DEFAULT);
    uv_timer_stop(&s->sweep);
    uv_signal_stop(&s->on_interrupt);
    uv_signal_stop(&s->on_terminate);
    bool failed = atomic_load(&s->failed) && !atomic_load(&s->n_shutdowns);
    return failed ? QUERN_E_DEVICE : s->result;
}

// Frees what waits, so that no connection is left suspended; how many there were, at most one round.
static int let_some_go(qn_server *s)
{
    enum { A_ROUND = 64 };
    qn_call *some[A_ROUND];
    int n = 0;
    pthread_mutex_lock(&s->lock);
    for (qn_call *call = s->calls; call && n < A_ROUND; call = call->next) {
        pthread_mutex_lock(&call->lock);
        if (!call->gone && !call->upgrade) some[n++] = qn_call_hold(call);
        pthread_mutex_unlock(&call->lock);
    }
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < n; i++) {
        qn_call_gone(some[i]);
        qn_call_release(some[i]);
    }
    return n;
}

// libmicrohttpd 0.9.75 crashes where a head that it refuses by itself (too long, say) comes while it stops: nothing may be left to read.
static void stop_http(qn_server *s)
{
    if (!atomic_load(&s->failed)) qn_http_quiesce(s);
    for (int ms = 0; atomic_load(&s->n_connections) && ms < CUT_MS; ms++) {
        qn_connections_cut(s);
        uv_sleep(1);
    }
    qn_http_stop(s);
}

void qn_server_close(qn_server *s)
{
    if (!s) return;
    atomic_store(&s->draining, true);
    atomic_store(&s->stopping, true);
    // From here on no call is parked. Those that are, upgraded sockets and workers end before the daemon can stop.
    while (let_some_go(s) || atomic_load(&s->n_generations) || atomic_load(&s->n_sockets) ||
           atomic_load(&s->n_workers)) {
        qn_generation_cancel_all(s, QUERN_E_CLOSING);
        qn_socket_cut_all(s);
        qn_loop_turn(&s->loop);
        uv_sleep(1);
    }
    stop_http(s);
    close_loop(s);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->fail_lock);
    free(s);
}
