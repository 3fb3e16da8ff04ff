// See watch.h. Everything but start and stop runs on the loop's thread.
#include "server/watch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

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

// Whatever comes means that the client is gone: FIN shows as UV_DISCONNECT, a reset as an error.
static void on_gone(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    qn_watch *w = poll->data;
    uv_poll_stop(poll);
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
    if (uv_poll_start(&w->poll, UV_DISCONNECT, on_gone)) qn_call_gone(w->call);
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

int qn_watch_start(qn_call *call)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(call->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    qn_watch *w = info ? calloc(1, sizeof *w) : NULL;
    if (!w) return QUERN_E_MEMORY;
    w->fd = fcntl(info->connect_fd, F_DUPFD_CLOEXEC, 0);
    if (w->fd < 0) {
        free(w);
        return QUERN_E_MEMORY;
    }
    w->call = qn_call_hold(call);
    w->start.run = start;
    w->stop.run = stop;
    call->watch = w;
    qn_loop_post(&call->server->loop, &w->start);
    return 0;
}

void qn_watch_stop(qn_watch *w)
{
    if (w) qn_loop_post(&w->call->server->loop, &w->stop);
}
