// See connections.h.
#include "server/connections.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "server/listen.h"

struct qn_connection {
    qn_connection *prev, *next;
    int fd;
    uint64_t deadline_ns; // 0: none
};

static uint64_t deadline(const qn_server *s, qn_wait what)
{
    const qn_server_limits *l = &s->options.limits;
    int ms = what == QN_WAIT_HEAD   ? l->header_ms
             : what == QN_WAIT_BODY ? l->body_ms
             : what == QN_WAIT_NEXT ? l->idle_ms + l->header_ms
                                    : 0;
    return ms ? qn_clock_ns() + (uint64_t)ms * 1000000u : 0;
}

static void add(qn_server *s, struct MHD_Connection *connection, void **socket_context)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    qn_connection *c = info ? calloc(1, sizeof *c) : NULL;
    *socket_context = c;
    if (!c) return; // without its deadline, but served
    c->fd = info->connect_fd;
    qn_listen_tune(c->fd);
    c->deadline_ns = deadline(s, QN_WAIT_HEAD);
    pthread_mutex_lock(&s->lock);
    c->next = s->connections;
    if (c->next) c->next->prev = c;
    s->connections = c;
    pthread_mutex_unlock(&s->lock);
    atomic_fetch_add(&s->n_connections, 1);
}

// Runs before libmicrohttpd closes the descriptor, so that the sweep never cuts somebody else's.
static void drop(qn_server *s, qn_connection *c)
{
    if (!c) return;
    pthread_mutex_lock(&s->lock);
    if (c->prev)
        c->prev->next = c->next;
    else
        s->connections = c->next;
    if (c->next) c->next->prev = c->prev;
    pthread_mutex_unlock(&s->lock);
    atomic_fetch_sub(&s->n_connections, 1);
    free(c);
}

void qn_connections_notify(void *cls, struct MHD_Connection *connection, void **socket_context,
                           enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        add(cls, connection, socket_context);
    else
        drop(cls, *socket_context);
}

void qn_connections_expect(qn_server *s, struct MHD_Connection *connection, qn_wait what)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    qn_connection *c = info ? info->socket_context : NULL;
    if (!c) return;
    pthread_mutex_lock(&s->lock);
    c->deadline_ns = deadline(s, what);
    pthread_mutex_unlock(&s->lock);
}

void qn_connections_sweep(qn_server *s, uint64_t now_ns)
{
    pthread_mutex_lock(&s->lock);
    for (qn_connection *c = s->connections; c; c = c->next)
        if (c->deadline_ns && now_ns > c->deadline_ns) {
            c->deadline_ns = 0;
            shutdown(c->fd, SHUT_RDWR);
            atomic_fetch_add(&s->counters.deadlines_missed, 1);
        }
    pthread_mutex_unlock(&s->lock);
}

void qn_connections_cut(qn_server *s)
{
    pthread_mutex_lock(&s->lock);
    for (const qn_connection *c = s->connections; c; c = c->next)
        shutdown(c->fd, SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
}
