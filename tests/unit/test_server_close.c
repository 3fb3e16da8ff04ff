// A server that closes while a worker is at work: the connection that the worker was called for may be gone under it.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif

#include <cmocka.h>

#include "server/call_state.h"
#include "server/watch.h"
#include "server/ws_handshake.h"

enum { BODY_BYTES = 1 << 19, MOST_MS = 20000 };

static int connection_fd; // of the server
static int watch_rc;

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

// On a worker. Somebody else's descriptor has the connection's number by the time at which it is to be watched.
static void watch_late(qn_call *call)
{
    for (int ms = 0; is_open(connection_fd) && ms < MOST_MS; ms++)
        usleep(1000);
    int other = open("/dev/null", O_RDONLY);
    if (other != connection_fd) {
        dup2(other, connection_fd);
        close(other);
    }
    watch_rc = qn_watch_start(call);
    qn_call_refuse(call, 400, "late", NULL, "nobody reads this");
}

// Whoever has the port, once the server is gone, may never answer.
static int patient_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){10, 0}, sizeof(struct timeval));
    return fd;
}

static int connect_to(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = patient_socket();
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static int send_long_body(int port)
{
    char head[200];
    int fd = connect_to(port);
    int n = snprintf(head, sizeof head,
                     "POST /late HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                     "Content-Length: %d\r\n\r\n",
                     BODY_BYTES);
    assert_int_equal(send(fd, head, (size_t)n, 0), n);
    char *body = calloc(1, BODY_BYTES);
    for (int at = 0; at < BODY_BYTES;) {
        ssize_t sent = send(fd, body + at, (size_t)(BODY_BYTES - at), 0);
        assert_true(sent > 0);
        at += (int)sent;
    }
    free(body);
    return fd;
}

static void a_worker_does_not_touch_a_connection_that_is_gone(void **state)
{
    (void)state;
    static const qn_route_row ROUTES[] = {{"POST", "/late", watch_late, 0, 1, 0}};
    quern_error e = {0};
    qn_server *s;
    qn_server_options o = {.routes = ROUTES, .n_routes = 1};
    assert_int_equal(qn_server_open(&o, &s, &e), QUERN_OK);
    int client = send_long_body(qn_server_port(s));
    for (int ms = 0; !atomic_load(&s->n_workers) && ms < MOST_MS; ms++)
        usleep(1000);
    assert_int_equal(atomic_load(&s->n_workers), 1);
    pthread_mutex_lock(&s->lock);
    connection_fd = MHD_get_connection_info(s->calls->connection, MHD_CONNECTION_INFO_CONNECTION_FD)
                        ->connect_fd;
    pthread_mutex_unlock(&s->lock);
    qn_server_close(s); // lets the connection go, and runs what was posted for the worker
    assert_int_not_equal(watch_rc, 0);
    close(connection_fd);
    close(client);
}

static void *close_server(void *server)
{
    qn_server_close(server);
    return NULL;
}

// What a socket's user would be: none may be opened any more.
static void *open_none(qn_socket *socket)
{
    (void)socket;
    return NULL;
}

static void take_socket(qn_call *call)
{
    static const qn_socket_handler HANDLER = {.open = open_none};
    qn_ws_handshake(call, &HANDLER);
}

// The lock lets both threads go at once: the one that hands the socket over, and the one that looks whether there are any.
static void a_handshake_that_ends_while_the_server_closes(void **state)
{
    (void)state;
    enum { ROUNDS = 60 };
    static const qn_route_row ROUTES[] = {{"GET", "/ws", take_socket, 0, 1, 0}};
    static const char HEAD[] = "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                               "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (int i = 0; i < ROUNDS; i++) {
        char answer[16];
        quern_error e = {0};
        qn_server *s;
        qn_server_options o = {.routes = ROUTES, .n_routes = 1};
        assert_int_equal(qn_server_open(&o, &s, &e), QUERN_OK);
        int client = connect_to(qn_server_port(s));
        while (!atomic_load(&s->n_connections))
            usleep(100);
        ssize_t n = (ssize_t)sizeof HEAD - 1;
        assert_int_equal(send(client, HEAD, (size_t)n, 0), n);
        // 101 is sent before the socket is handed over.
        pthread_t closing;
        assert_int_equal(recv(client, answer, 1, 0), 1);
        pthread_mutex_lock(&s->lock);
        pthread_create(&closing, NULL, close_server, s);
        usleep(2000);
        pthread_mutex_unlock(&s->lock);
        pthread_join(closing, NULL);
        close(client);
    }
}

static atomic_bool over;

static void *send_long_heads(void *port)
{
    enum { HEAD_BYTES = 20000 };
    char answer[16], *head = malloc(HEAD_BYTES);
    memset(head, 'x', HEAD_BYTES);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(*(const uint16_t *)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    while (!atomic_load(&over)) {
        int fd = patient_socket();
        if (!connect(fd, (struct sockaddr *)&a, sizeof a) &&
            send(fd, head, HEAD_BYTES, 0) == HEAD_BYTES)
            recv(fd, answer, sizeof answer, 0);
        close(fd);
    }
    free(head);
    return NULL;
}

// libmicrohttpd refuses them by itself.
static void heads_that_are_too_long_while_the_server_closes(void **state)
{
    (void)state;
    enum { ROUNDS = 200, CLIENTS = 3 };
    for (int i = 0; i < ROUNDS; i++) {
        quern_error e = {0};
        qn_server *s;
        qn_server_options o = {0};
        pthread_t clients[CLIENTS];
        assert_int_equal(qn_server_open(&o, &s, &e), QUERN_OK);
        uint16_t port = (uint16_t)qn_server_port(s);
        atomic_store(&over, false);
        for (int k = 0; k < CLIENTS; k++)
            pthread_create(&clients[k], NULL, send_long_heads, &port);
        usleep(5000);
        qn_server_close(s);
        atomic_store(&over, true);
        for (int k = 0; k < CLIENTS; k++)
            pthread_join(clients[k], NULL);
    }
}

// A set that the socket has left makes libmicrohttpd abort where its own thread takes it out at that moment.
static void a_failed_server_accepts_nothing_and_its_socket_stays_in_the_set(void **state)
{
    (void)state;
    quern_error e = {0};
    qn_server *s;
    qn_server_options o = {0};
    assert_int_equal(qn_server_open(&o, &s, &e), QUERN_OK);
    int before = connect_to(qn_server_port(s));
    while (!atomic_load(&s->n_connections))
        usleep(100);
    qn_server_fail(s);
    usleep(20000); // the thread of libmicrohttpd may have been accepting
    int after = connect_to(qn_server_port(s));
    usleep(100000);
    assert_int_equal(atomic_load(&s->n_connections), 1);
#ifdef __linux__
    int set = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    assert_int_equal(epoll_ctl(set, EPOLL_CTL_DEL, s->listen_fd, NULL), 0);
#endif
    qn_server_close(s);
    close(before);
    close(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_does_not_touch_a_connection_that_is_gone),
        cmocka_unit_test(a_handshake_that_ends_while_the_server_closes),
        cmocka_unit_test(heads_that_are_too_long_while_the_server_closes),
        cmocka_unit_test(a_failed_server_accepts_nothing_and_its_socket_stays_in_the_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
