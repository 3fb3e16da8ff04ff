// See listen.h.
#include "server/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024, MAX_DESCRIPTORS = 65536, KEEP_IDLE_S = 15, KEEP_PROBES = 3 };

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
}

static int port_of(int fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n)) return 0;
    return ntohs(a.ss_family == AF_INET ? ((struct sockaddr_in *)&a)->sin_port
                                        : ((struct sockaddr_in6 *)&a)->sin6_port);
}

// A listening socket, or -1 with errno.
static int try_address(const struct addrinfo *a)
{
    int one = 1;
    int fd = socket(a->ai_family, SOCK_STREAM, 0);
    if (fd < 0) return -1;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (!bind(fd, a->ai_addr, a->ai_addrlen) && !listen(fd, BACKLOG) &&
        !fcntl(fd, F_SETFL, O_NONBLOCK))
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

int qn_listen_open(const char *host, int port, qn_listener *out, quern_error *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *all = NULL;
    char service[12];
    snprintf(service, sizeof service, "%d", port);
    int rc = getaddrinfo(host, service, &hints, &all);
    if (rc) return qn_error_set(e, QUERN_E_IO, "cannot listen on %s: %s", host, gai_strerror(rc));
    out->fd = -1;
    for (struct addrinfo *a = all; a && out->fd < 0; a = a->ai_next) {
        out->fd = try_address(a);
        if (out->fd >= 0) out->loopback = is_loopback(a->ai_addr);
    }
    int why = errno;
    freeaddrinfo(all);
    if (out->fd < 0)
        return qn_error_set(e, QUERN_E_IO, "cannot listen on %s:%d: %s", host, port, strerror(why));
    out->port = port_of(out->fd);
    return 0;
}

int qn_listen_adopt(int fd, qn_listener *out, quern_error *e)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a, n_flag = sizeof(int);
    int listens = 0;
    bool is = !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n_flag) && listens &&
              !getsockname(fd, (struct sockaddr *)&a, &n) &&
              (a.ss_family == AF_INET || a.ss_family == AF_INET6);
    if (!is || fcntl(fd, F_SETFD, FD_CLOEXEC) || fcntl(fd, F_SETFL, O_NONBLOCK))
        return qn_error_set(e, QUERN_E_ARGUMENT,
                            "descriptor %d: expected a listening TCP socket to take over", fd);
    *out = (qn_listener){fd, port_of(fd), is_loopback((const struct sockaddr *)&a)};
    return 0;
}

void qn_listen_tune(int fd)
{
    int one = 1, idle = KEEP_IDLE_S, between = KEEP_IDLE_S / 3, probes = KEEP_PROBES;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
#ifdef TCP_KEEPIDLE
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
#elif defined(TCP_KEEPALIVE)
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPALIVE, &idle, sizeof idle);
#endif
#ifdef TCP_KEEPINTVL
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof between);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
#endif
#ifdef TCP_USER_TIMEOUT
    int unacknowledged_ms = 1000 * (KEEP_IDLE_S + probes * between);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof unacknowledged_ms);
#endif
#ifdef SO_NOSIGPIPE
    setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &one, sizeof one);
#endif
}

int qn_listen_raise_limit(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l)) return 256;
    rlim_t want = l.rlim_max < MAX_DESCRIPTORS ? l.rlim_max : MAX_DESCRIPTORS;
    if (l.rlim_cur < want) {
        rlim_t had = l.rlim_cur;
        l.rlim_cur = want;
        // macOS names no highest limit, and refuses what is above its own.
        while (l.rlim_cur > had && setrlimit(RLIMIT_NOFILE, &l))
            l.rlim_cur /= 2;
        if (l.rlim_cur < had) l.rlim_cur = had;
    }
    return l.rlim_cur < MAX_DESCRIPTORS ? (int)l.rlim_cur : MAX_DESCRIPTORS;
}
