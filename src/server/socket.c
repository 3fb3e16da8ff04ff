// See socket.h.
#include "server/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "server/listen.h"
#include "server/ws_frames.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 // macOS: SO_NOSIGPIPE, set by qn_listen_tune
#endif

enum {
    READ_BYTES = 16384,
    READS_A_TURN = 8,
    LONG_MESSAGE_BYTES = 1 << 18, // handled on a worker
    FAREWELL_MS = 2000            // for the client's part of the closing handshake
};

// A message that came while a long one was at work.
typedef struct pending {
    struct pending *next;
    size_t n;
    char text[];
} pending;

struct qn_socket {
    qn_server *server;
    qn_socket *prev, *next; // server->sockets
    atomic_int refs, n_running;
    atomic_size_t n_unsent;
    const qn_socket_handler *handler;
    void *user;
    struct MHD_UpgradeResponseHandle *handle;
    int fd;
    uv_poll_t poll;
    qn_ws_frames *frames;
    qn_task open_task, flush_task;
    uv_work_t work;
    qn_buffer early;
    uint64_t heard_ns, pinged_ns, wrote_ns, closing_ns;
    bool closing; // our close frame is among what is to be sent: what comes in is ignored
    bool dead, busy;
    pending *first, **last;
    pending *at_work;
    qn_buffer writing;
    size_t n_written;
    pthread_mutex_t lock; // below
    qn_buffer out;
    bool posted, shut; // shut: nothing may be added to out
};

static void take_message(qn_socket *s, const char *text, size_t n);
static void on_poll(uv_poll_t *poll, int status, int events);

qn_server *qn_socket_server(const qn_socket *s)
{
    return s->server;
}

qn_socket *qn_socket_hold(qn_socket *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

static void drop_pending(qn_socket *s)
{
    while (s->first) {
        pending *p = s->first;
        s->first = p->next;
        free(p);
    }
    s->last = &s->first;
}

void qn_socket_release(qn_socket *s)
{
    if (atomic_fetch_sub(&s->refs, 1) != 1) return;
    if (s->user) s->handler->free(s->user);
    qn_ws_frames_free(s->frames);
    qn_buffer_free(&s->early);
    qn_buffer_free(&s->writing);
    qn_buffer_free(&s->out);
    drop_pending(s);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void qn_socket_count(qn_socket *s, int change)
{
    atomic_fetch_add(&s->n_running, change);
}

/* ---- the end ---- */

static void hand_back(qn_socket *s)
{
    qn_server *server = s->server;
    // A daemon that has stopped meanwhile has closed it, and the handle is gone.
    if (server->daemon) MHD_upgrade_action(s->handle, MHD_UPGRADE_ACTION_CLOSE);
    qn_socket_release(s);
    atomic_fetch_sub(&server->n_sockets, 1);
}

static void on_closed(uv_handle_t *poll)
{
    hand_back(poll->data);
}

static void destroy(qn_socket *s)
{
    if (s->dead) return;
    s->dead = true;
    pthread_mutex_lock(&s->lock);
    s->shut = true;
    pthread_mutex_unlock(&s->lock);
    drop_pending(s);
    if (s->prev)
        s->prev->next = s->next;
    else
        s->server->sockets = s->next;
    if (s->next) s->next->prev = s->prev;
    s->handler->closed(s->user);
    uv_close((uv_handle_t *)&s->poll, on_closed);
}

/* ---- out ---- */

static void flush_task(qn_task *task);

int qn_socket_send(qn_socket *s, const char *text, size_t n, bool last)
{
    bool post = false;
    int rc = QUERN_E_LIMIT;
    size_t most = s->server->options.limits.stream_bytes;
    pthread_mutex_lock(&s->lock);
    if (s->shut) {
        rc = QUERN_E_CANCELLED;
    } else if (last || atomic_load(&s->n_unsent) + n <= most) {
        size_t before = s->out.length;
        qn_ws_frame_write(&s->out, QN_WS_TEXT, text, n);
        atomic_fetch_add(&s->n_unsent, s->out.length - before);
        if (s->out.length > before) rc = 0;
        post = !s->posted;
        s->posted = true;
    }
    pthread_mutex_unlock(&s->lock);
    if (post) {
        qn_socket_hold(s);
        qn_loop_post(&s->server->loop, &s->flush_task);
    }
    return rc;
}

// Frames of the protocol itself; the loop's thread, which flushes next.
static void add_frames(qn_socket *s, const qn_buffer *frames, bool shut)
{
    pthread_mutex_lock(&s->lock);
    if (!s->shut) {
        qn_buffer_append(&s->out, frames->data, frames->length);
        atomic_fetch_add(&s->n_unsent, frames->length);
        s->shut = shut;
    }
    pthread_mutex_unlock(&s->lock);
}

static void watch(qn_socket *s)
{
    if (s->dead) return;
    bool read = !s->busy && atomic_load(&s->n_unsent) <= s->server->options.limits.stream_bytes;
    bool write = s->n_written < s->writing.length;
    int events = UV_DISCONNECT | (read ? UV_READABLE : 0) | (write ? UV_WRITABLE : 0);
    if (uv_poll_start(&s->poll, events, on_poll)) destroy(s);
}

// True where there is something to write.
static bool fill(qn_socket *s)
{
    if (s->n_written < s->writing.length) return true;
    qn_buffer_clear(&s->writing);
    s->n_written = 0;
    pthread_mutex_lock(&s->lock);
    qn_buffer swap = s->writing;
    s->writing = s->out;
    s->out = swap;
    pthread_mutex_unlock(&s->lock);
    return s->writing.length > 0;
}

static void flush(qn_socket *s)
{
    while (!s->dead && fill(s)) {
        ssize_t n = send(s->fd, s->writing.data + s->n_written, s->writing.length - s->n_written,
                         MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
        if (n <= 0) {
            destroy(s);
            return;
        }
        s->n_written += (size_t)n;
        atomic_fetch_sub(&s->n_unsent, (size_t)n);
        s->wrote_ns = qn_clock_ns();
    }
    if (s->dead) return;
    // All is said: the client reads our end, and closes.
    if (s->closing && s->n_written == s->writing.length) shutdown(s->fd, SHUT_WR);
    watch(s);
}

static void flush_task(qn_task *task)
{
    qn_socket *s = QN_TASK_OF(task, qn_socket, flush_task);
    pthread_mutex_lock(&s->lock);
    s->posted = false;
    pthread_mutex_unlock(&s->lock);
    if (!s->dead) flush(s);
    qn_socket_release(s);
}

static void start_closing(qn_socket *s)
{
    s->closing = true;
    s->closing_ns = qn_clock_ns();
    flush(s);
}

static void close_with(qn_socket *s, int code, const char *reason)
{
    qn_buffer frame = QN_BUFFER_INIT;
    qn_ws_frame_write_close(&frame, code, reason);
    add_frames(s, &frame, true);
    qn_buffer_free(&frame);
    start_closing(s);
}

/* ---- in ---- */

static void on_work(uv_work_t *work)
{
    qn_socket *s = work->data;
    s->handler->message(s, s->user, s->at_work->text, s->at_work->n);
}

static void on_worked(uv_work_t *work, int status)
{
    (void)status;
    qn_socket *s = work->data;
    free(s->at_work);
    s->at_work = NULL;
    s->busy = false;
    while (!s->dead && !s->busy && s->first) {
        pending *p = s->first;
        s->first = p->next;
        if (!s->first) s->last = &s->first;
        take_message(s, p->text, p->n);
        free(p);
    }
    watch(s);
    qn_socket_release(s);
}

static pending *keep(const char *text, size_t n)
{
    pending *p = malloc(sizeof *p + n);
    if (!p) return NULL;
    p->next = NULL;
    p->n = n;
    memcpy(p->text, text, n);
    return p;
}

static void take_message(qn_socket *s, const char *text, size_t n)
{
    if (n <= LONG_MESSAGE_BYTES) {
        s->handler->message(s, s->user, text, n);
        return;
    }
    s->at_work = keep(text, n);
    s->work.data = s;
    if (!s->at_work || uv_queue_work(&s->server->loop.uv, &s->work, on_work, on_worked)) {
        free(s->at_work);
        s->at_work = NULL;
        close_with(s, QN_WS_TOO_BIG, "out of memory");
        return;
    }
    s->busy = true;
    qn_socket_hold(s);
}

static void on_text(void *user, const char *text, size_t n)
{
    qn_socket *s = user;
    if (s->dead || s->closing) return;
    if (!s->busy) {
        take_message(s, text, n);
        return;
    }
    pending *p = keep(text, n);
    if (!p) return;
    *s->last = p;
    s->last = &p->next;
}

static void feed(qn_socket *s, const char *bytes, size_t n)
{
    qn_buffer control = QN_BUFFER_INIT;
    s->heard_ns = qn_clock_ns();
    if (s->closing) return;
    qn_ws_frames_feed(s->frames, bytes, n, &control);
    bool over = qn_ws_frames_is_over(s->frames);
    if (control.length || over) add_frames(s, &control, over);
    qn_buffer_free(&control);
    if (over && !s->closing)
        start_closing(s);
    else
        flush(s);
}

static void read_some(qn_socket *s)
{
    char bytes[READ_BYTES];
    for (int i = 0; i < READS_A_TURN && !s->dead && !s->busy; i++) {
        ssize_t n = recv(s->fd, bytes, sizeof bytes, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (n <= 0) {
            destroy(s);
            return;
        }
        feed(s, bytes, (size_t)n);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    qn_socket *s = poll->data;
    if (status < 0) {
        destroy(s);
        return;
    }
    // What was sent before the end is read first, unless reading is paused.
    if (events & UV_READABLE)
        read_some(s);
    else if (events & UV_DISCONNECT)
        destroy(s);
    if (!s->dead && events & UV_WRITABLE) flush(s);
    if (!s->dead) watch(s);
}

/* ---- the beginning ---- */

static void begin(qn_task *task)
{
    qn_socket *s = QN_TASK_OF(task, qn_socket, open_task);
    qn_server *server = s->server;
    s->frames = qn_ws_frames_new(server->options.limits.body_bytes, on_text, s);
    s->user = s->frames ? s->handler->open(s) : NULL;
    if (!s->user || atomic_load(&server->stopping) ||
        uv_poll_init(&server->loop.uv, &s->poll, s->fd)) {
        hand_back(s);
        return;
    }
    s->poll.data = s;
    s->next = server->sockets;
    if (s->next) s->next->prev = s;
    server->sockets = s;
    s->heard_ns = s->pinged_ns = s->wrote_ns = qn_clock_ns();
    feed(s, s->early.data, s->early.length);
    qn_buffer_free(&s->early);
}

void qn_socket_open(qn_server *server, const qn_socket_handler *handler, int fd,
                    struct MHD_UpgradeResponseHandle *handle, const char *early, size_t n_early)
{
    qn_socket *s = calloc(1, sizeof *s);
    if (!s || !qn_buffer_append(&s->early, early, n_early)) {
        free(s);
        MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
        return;
    }
    s->server = server;
    s->handler = handler;
    s->fd = fd;
    s->handle = handle;
    s->last = &s->first;
    s->open_task.run = begin;
    s->flush_task.run = flush_task;
    atomic_init(&s->refs, 1);
    pthread_mutex_init(&s->lock, NULL);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    qn_listen_tune(fd);
    atomic_fetch_add(&server->n_sockets, 1);
    qn_loop_post(&server->loop, &s->open_task);
}

/* ---- time ---- */

static bool passed(uint64_t now_ns, uint64_t since_ns, int ms)
{
    return now_ns > since_ns && now_ns - since_ns > (uint64_t)ms * 1000000u;
}

static void check_time(qn_socket *s, uint64_t now_ns)
{
    const qn_server *server = s->server;
    const qn_server_limits *l = &server->options.limits;
    // A slow reader that takes bytes is alive, though our pings wait behind them.
    bool reads_on = atomic_load(&s->n_unsent) && s->wrote_ns > s->heard_ns;
    uint64_t alive_ns = reads_on ? s->wrote_ns : s->heard_ns;
    if (s->closing) {
        if (passed(now_ns, s->closing_ns, FAREWELL_MS)) destroy(s);
    } else if (passed(now_ns, alive_ns, l->pong_ms)) {
        destroy(s);
    } else if (atomic_load(&server->draining) && !s->busy && !s->first &&
               !atomic_load(&s->n_running)) {
        close_with(s, QN_WS_GOING_AWAY, "the server is shutting down");
    } else if (passed(now_ns, s->heard_ns, l->ping_ms) &&
               passed(now_ns, s->pinged_ns, l->ping_ms)) {
        qn_buffer frame = QN_BUFFER_INIT;
        qn_ws_frame_write(&frame, QN_WS_PING, "", 0);
        add_frames(s, &frame, false);
        qn_buffer_free(&frame);
        s->pinged_ns = now_ns;
        flush(s);
    }
}

void qn_socket_sweep(qn_server *server, uint64_t now_ns)
{
    for (qn_socket *s = server->sockets, *next; s; s = next) {
        next = s->next;
        check_time(s, now_ns);
    }
}

void qn_socket_cut_all(qn_server *server)
{
    for (qn_socket *s = server->sockets, *next; s; s = next) {
        next = s->next;
        destroy(s);
    }
}
