// See watch.h. Everything but start and stop runs on the loop's thread.
#include "server/watch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

// kqueue tells of an end only to those that wait for something to read.
#ifdef __linux__
enum { WATCHED = UV_DISCONNECT };
#else
enum { WATCHED = UV_DISCONNECT | UV_READABLE };
#endif

struct qn_watch {
    uv_poll_t poll;
    qn_task start, stop;
    qn_call *call;
    int fd;
    bool polling;
};

static void on_closed(uv_handle_t *handle)
{
    qn_watch *w = handle->data;
    close(w->fd);
    qn_call_release(w->call);
    free(w);
}

// The client is gone: FIN shows as UV_DISCONNECT, a reset as an error. Bytes alone are its next request, which nobody reads before this
// one is answered: from then on its end is not heard of, where the system tells of both together.
static void on_gone(uv_poll_t *poll, int status, int events)
{
    char byte;
    qn_watch *w = poll->data;
    uv_poll_stop(poll);
    if (!status && !(events & UV_DISCONNECT) && recv(w->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
        return;
    qn_call_gone(w->call);
}

static void start(qn_task *task)
{
    qn_watch *w = QN_TASK_OF(task, qn_watch, start);
    if (uv_poll_init(&w->call->server->loop.uv, &w->poll, w->fd)) {
        qn_call_gone(w->call);
        return;
    }
    w->poll.data = w;
    w->polling = true;
    if (uv_poll_start(&w->poll, WATCHED, on_gone)) qn_call_gone(w->call);
}

static void stop(qn_task *task)
{
    qn_watch *w = QN_TASK_OF(task, qn_watch, stop);
    if (w->polling) {
        uv_close((uv_handle_t *)&w->poll, on_closed);
        return;
    }
    close(w->fd);
    qn_call_release(w->call);
    free(w);
}

// Under the call's lock.
static int duplicate(const qn_call *call)
{
    if (call->gone) return -1;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(call->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? fcntl(info->connect_fd, F_DUPFD_CLOEXEC, 0) : -1;
}

int qn_watch_start(qn_call *call)
{
    qn_watch *w = calloc(1, sizeof *w);
    if (!w) return QUERN_E_MEMORY;
    w->call = qn_call_hold(call);
    w->start.run = start;
    w->stop.run = stop;
    pthread_mutex_lock(&call->lock);
    bool watches = (w->fd = duplicate(call)) >= 0;
    if (watches) {
        call->watch = w;
        qn_loop_post(&call->server->loop, &w->start); // before anybody can stop it
    }
    pthread_mutex_unlock(&call->lock);
    if (watches) return 0;
    qn_call_release(call);
    free(w);
    return QUERN_E_MEMORY;
}

void qn_watch_stop(qn_watch *w)
{
    if (w) qn_loop_post(&w->call->server->loop, &w->stop);
}
