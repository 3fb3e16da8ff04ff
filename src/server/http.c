// See http.h. All on libmicrohttpd's thread, but for handlers of long bodies, which a worker of libuv runs.
#include "server/http.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif

#include "server/call_state.h"
#include "server/connections.h"
#include "server/socket.h"
#include "server/watch.h"

enum {
    HEAD_BYTES = 16384,        // of a connection's memory: the limit of headers too
    LONG_BODY_BYTES = 1 << 18, // parsed on a worker, so that streams go on meanwhile
    SWALLOW_BYTES = 65536,     // of a refused body, to keep the connection
    EXCESS_BODIES = 4,         // bodies' worth of bytes that a refused chunked body may go on for
    ALL_BODIES = 16            // bodies' worth of memory that all requests together may hold
};

static const qn_refusal TOO_LONG = {413, "limit", NULL, "the body is longer than the server takes",
                                    true};
static const qn_refusal CLOSING = {503, "closing", NULL, "the server is shutting down", false};
// The connection is closed: the client's next one is for the process to come.
static const qn_refusal STARTS_AFRESH = {503, "closing", NULL,
                                         "the device has failed: the server starts afresh", true};
static const qn_refusal TOO_MANY_BODIES = {503, "memory", NULL, "too many long requests at once",
                                           true};

/* ---- rules ---- */

static enum MHD_Result add_header(void *head, enum MHD_ValueKind kind, const char *name,
                                  size_t n_name, const char *value, size_t n_value)
{
    (void)kind;
    qn_head_add(head, name, n_name, value ? value : "", value ? n_value : 0);
    return MHD_YES;
}

// The row of the path and method; in *allow the methods that the path has.
static const qn_route_row *find_row(const qn_server *s, const char *path, const char *method,
                                    char *allow, size_t n_allow)
{
    *allow = 0;
    for (size_t i = 0; i < s->options.n_routes; i++) {
        const qn_route_row *row = &s->options.routes[i];
        if (strcmp(row->path, path)) continue;
        if (!strcmp(row->method, method)) return row;
        size_t n = strlen(allow);
        snprintf(allow + n, n_allow - n, "%s%s", n ? ", " : "", row->method);
    }
    return NULL;
}

static qn_refusal route(qn_call *call, const qn_head *h)
{
    char allow[64];
    call->row = find_row(call->server, h->target, h->method, allow, sizeof allow);
    if (call->row) return (qn_refusal){0};
    if (!*allow) return (qn_refusal){404, "not_found", NULL, "no such endpoint", false};
    qn_call_header(call, "Allow", allow);
    return (qn_refusal){405, "method", NULL, "the endpoint has other methods: see Allow", false};
}

static qn_refusal check(qn_call *call, const qn_head *h)
{
    qn_server *s = call->server;
    qn_refusal r = qn_rules_framing(h);
    if (!r.status && s->loopback) r = qn_rules_host(h);
    if (!r.status) r = route(call, h);
    if (r.status) return r;
    if (s->loopback && call->row->generates) r = qn_rules_origin(h);
    if (!r.status && !strcmp(h->method, "POST")) r = qn_rules_content_type(h);
    if (!r.status && qn_rules_length(h) > s->options.limits.body_bytes) r = TOO_LONG;
    if (!r.status && atomic_load(&s->draining) && call->row->generates) {
        bool failed = atomic_load(&s->failed);
        qn_call_header(call, "Retry-After", failed ? "1" : "5");
        r = failed ? STARTS_AFRESH : CLOSING;
    }
    return r;
}

/* ---- answers ---- */

static ssize_t next_piece(void *cls, uint64_t at, char *to, size_t max)
{
    (void)at;
    int64_t n = qn_call_take(cls, to, max);
    return n == -1   ? MHD_CONTENT_READER_END_OF_STREAM
           : n == -2 ? MHD_CONTENT_READER_END_WITH_ERROR
                     : (ssize_t)n;
}

static void release(void *call)
{
    qn_call_release(call);
}

static void on_upgrade(void *cls, struct MHD_Connection *connection, void *con_cls,
                       const char *early, size_t n_early, MHD_socket fd,
                       struct MHD_UpgradeResponseHandle *handle)
{
    (void)con_cls;
    qn_call *call = cls;
    qn_connections_expect(call->server, connection, QN_WAIT_NOTHING);
    qn_socket_open(call->server, call->upgrade, fd, handle, early, n_early);
}

static struct MHD_Response *make_response(qn_call *call)
{
    if (call->upgrade) return MHD_create_response_for_upgrade(on_upgrade, call);
    if (call->streaming) {
        struct MHD_Response *r = MHD_create_response_from_callback(
            MHD_SIZE_UNKNOWN, HEAD_BYTES / 2, next_piece, qn_call_hold(call), release);
        if (!r) qn_call_release(call);
        return r;
    }
    if (call->fixed)
        return MHD_create_response_from_buffer(call->n_fixed, (void *)(uintptr_t)call->fixed,
                                               MHD_RESPMEM_PERSISTENT);
    size_t n = call->out.length;
    char *body = qn_buffer_take(&call->out);
    return body ? MHD_create_response_from_buffer(n, body, MHD_RESPMEM_MUST_FREE) : NULL;
}

static void add_headers(const qn_call *call, struct MHD_Response *r)
{
    const qn_server *s = call->server;
    for (int i = 0; i < call->n_headers; i++)
        MHD_add_response_header(r, call->headers[i].name, call->headers[i].value);
    if (call->upgrade) return;
    MHD_add_response_header(r, "Content-Type", call->content_type);
    MHD_add_response_header(r, "Cache-Control", "no-store");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (call->streaming) MHD_add_response_header(r, "X-Accel-Buffering", "no");
    if (s->options.horizontal) MHD_add_response_header(r, "X-Quern-Instance", s->instance);
    if ((call->refusal.status && call->refusal.close) || atomic_load(&s->failed))
        MHD_add_response_header(r, "Connection", "close");
}

static enum MHD_Result send_answer(qn_call *call)
{
    struct MHD_Response *r = make_response(call);
    if (!r) return MHD_NO;
    add_headers(call, r);
    enum MHD_Result done = MHD_queue_response(call->connection, (unsigned)call->status, r);
    MHD_destroy_response(r);
    return done;
}

// Sends what has been decided, or parks the connection until it is.
static enum MHD_Result answer_or_wait(qn_call *call)
{
    bool ready = false, gone = false;
    pthread_mutex_lock(&call->lock);
    gone = call->gone || atomic_load(&call->server->stopping);
    ready = call->answered;
    if (!ready && !gone) {
        call->suspended = true;
        MHD_suspend_connection(call->connection);
    }
    pthread_mutex_unlock(&call->lock);
    return gone ? MHD_NO : ready ? send_answer(call) : MHD_YES;
}

/* ---- the request ---- */

static void forget_body(qn_call *call)
{
    atomic_fetch_sub(&call->server->counters.body_bytes, (long long)call->body.length);
    qn_buffer_free(&call->body);
}

static bool waits_for_models(const qn_call *call)
{
    return !call->row->alone && !atomic_load(&call->server->loaded);
}

// What has waited for models that cannot be loaded is refused.
static void handle(qn_call *call)
{
    const qn_refusal *r = &STARTS_AFRESH;
    if (waits_for_models(call)) {
        qn_call_header(call, "Retry-After", "1");
        qn_call_refuse(call, r->status, r->code, NULL, r->message);
    } else {
        call->row->handler(call);
    }
    forget_body(call);
}

static void on_work(uv_work_t *work)
{
    handle(work->data);
}

static void on_worked(uv_work_t *work, int status)
{
    (void)status;
    qn_call *call = work->data;
    atomic_fetch_sub(&call->server->n_workers, 1);
    qn_call_release(call);
}

static void start_work(qn_task *task)
{
    qn_call *call = QN_TASK_OF(task, qn_call, work_task);
    call->work.data = call;
    if (uv_queue_work(&call->server->loop.uv, &call->work, on_work, on_worked)) {
        qn_call_refuse(call, 503, "memory", NULL, "no worker");
        on_worked(&call->work, 0);
    }
}

static void decided(qn_call *call)
{
    call->dispatched = true;
    atomic_fetch_add(&call->server->n_answering, 1);
}

static enum MHD_Result dispatch(qn_call *call)
{
    decided(call);
    qn_connections_expect(call->server, call->connection, QN_WAIT_NOTHING);
    // The loop runs once the models are loaded: what is posted waits for it.
    if (call->body.length > LONG_BODY_BYTES || waits_for_models(call)) {
        call->work_task.run = start_work;
        qn_call_hold(call);
        atomic_fetch_add(&call->server->n_workers, 1);
        qn_loop_post(&call->server->loop, &call->work_task);
    } else {
        handle(call);
    }
    return answer_or_wait(call);
}

static enum MHD_Result refuse(qn_call *call)
{
    decided(call);
    const qn_refusal *r = &call->refusal;
    forget_body(call);
    qn_call_refuse(call, r->status, r->code, r->param, r->message);
    return send_answer(call);
}

static enum MHD_Result begin(qn_server *s, struct MHD_Connection *connection, const qn_head *head,
                             void **con_cls)
{
    if (atomic_load(&s->stopping)) return MHD_NO;
    qn_call *call = qn_call_new(s, connection);
    if (!call) return MHD_NO;
    *con_cls = call;
    qn_connections_expect(s, connection, QN_WAIT_BODY);
    call->is_old = !strcmp(head->version, "HTTP/1.0");
    call->refusal = check(call, head);
    const qn_refusal *r = &call->refusal;
    // A short body is read before it is refused: the connection can then be used again.
    bool at_once = r->close || head->n_expect || qn_rules_length(head) > SWALLOW_BYTES;
    return r->status && at_once ? refuse(call) : MHD_YES;
}

static enum MHD_Result take_body(qn_call *call, const char *bytes, size_t n)
{
    qn_server *s = call->server;
    size_t most = s->options.limits.body_bytes;
    if (call->refusal.status) {
        call->n_body_seen += n;
        return call->n_body_seen > EXCESS_BODIES * most ? MHD_NO : MHD_YES;
    }
    long long held = atomic_fetch_add(&s->counters.body_bytes, (long long)n) + (long long)n;
    bool too_long = call->body.length + n > most;
    bool too_many = held > (long long)(ALL_BODIES * most);
    if (!too_long && !too_many && qn_buffer_append(&call->body, bytes, n)) return MHD_YES;
    atomic_fetch_sub(&s->counters.body_bytes, (long long)n);
    forget_body(call);
    call->refusal = too_long ? TOO_LONG : TOO_MANY_BODIES;
    if (!too_long) qn_call_header(call, "Retry-After", "5");
    return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *bytes,
                                  size_t *n_bytes, void **con_cls)
{
    qn_call *call = *con_cls;
    if (!call) {
        qn_head head = {.method = method, .target = url, .version = version};
        MHD_get_connection_values_n(connection, MHD_HEADER_KIND, add_header, &head);
        return begin(cls, connection, &head, con_cls);
    }
    if (call->dispatched) return answer_or_wait(call);
    if (!*n_bytes) return call->refusal.status ? refuse(call) : dispatch(call);
    enum MHD_Result taken = take_body(call, bytes, *n_bytes);
    *n_bytes = 0;
    return taken;
}

static void finish(qn_call *call)
{
    qn_call_complete(call);
    qn_call_release(call);
}

static void finish_upgraded(qn_task *task)
{
    finish(QN_TASK_OF(task, qn_call, work_task));
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
    (void)code;
    qn_call *call = *con_cls;
    if (!call) return;
    *con_cls = NULL;
    if (call->upgrade) {
        // Of an upgraded connection libmicrohttpd tells under its own lock: ours must not be taken here.
        call->work_task.run = finish_upgraded;
        qn_loop_post(&call->server->loop, &call->work_task);
        return;
    }
    qn_connections_expect(cls, connection, QN_WAIT_NEXT);
    if (!call->dispatched) forget_body(call);
    qn_call_complete(call);
    qn_watch_stop(call->watch); // once the call is gone: no worker may start one any more
    qn_call_release(call);
}

/* ---- the daemon ---- */

static void on_log(void *cls, const char *format, va_list args)
{
    const qn_server *s = cls;
    char line[300];
    vsnprintf(line, sizeof line, format, args);
    qn_log_write(s->options.log, QUERN_LOG_DEBUG, "http: %s", line);
}

// Paths and names are compared as they came; the rules refuse bad escapes.
static size_t keep_escapes(void *cls, struct MHD_Connection *connection, char *text)
{
    (void)cls;
    (void)connection;
    return strlen(text);
}

int qn_http_start(qn_server *s, int listen_fd, quern_error *e)
{
    const qn_server_limits *l = &s->options.limits;
    unsigned idle_s = l->idle_ms < 1000 ? 1 : (unsigned)l->idle_ms / 1000;
    s->daemon = MHD_start_daemon(
        MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME |
            MHD_ALLOW_UPGRADE | MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_log, s,
        MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)l->n_connections, MHD_OPTION_CONNECTION_TIMEOUT, idle_s,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEAD_BYTES, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        s->loopback ? 0u : (unsigned)l->n_connections_per_ip, MHD_OPTION_UNESCAPE_CALLBACK,
        keep_escapes, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
        MHD_OPTION_NOTIFY_CONNECTION, qn_connections_notify, s, MHD_OPTION_END);
    if (s->daemon) return 0;
    int why = errno;
    close(listen_fd); // unless libmicrohttpd did
    return qn_error_set(e, QUERN_E_IO, "the HTTP server cannot start: %s", strerror(why));
}

// MHD_quiesce_daemon takes the socket out of the daemon's set; where the daemon's thread does so too, at that moment, libmicrohttpd
// 0.9.75 aborts the process. A socket that stays there and reports nothing is accepted from as little.
static bool silence(const qn_server *s)
{
#ifdef __linux__
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    struct epoll_event nothing = {.data.ptr = s->daemon};
    return info && info->epoll_fd >= 0 &&
           !epoll_ctl(info->epoll_fd, EPOLL_CTL_MOD, s->listen_fd, &nothing);
#else
    (void)s;
    return false;
#endif
}

void qn_http_quiesce(qn_server *s)
{
    if (!s->daemon || silence(s)) return;
    s->quiesced = MHD_quiesce_daemon(s->daemon) != MHD_INVALID_SOCKET;
}

void qn_http_stop(qn_server *s)
{
    if (!s->daemon) return;
    MHD_stop_daemon(s->daemon); // closes the listening socket, unless quiesced
    s->daemon = NULL;
    if (s->quiesced) close(s->listen_fd);
}
