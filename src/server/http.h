// HTTP: libmicrohttpd's callbacks: a request's way through the rules to its handler, and its answer's way out.
#ifndef QN_SERVER_HTTP_H
#define QN_SERVER_HTTP_H
#include "server/state.h"

// Starts libmicrohttpd on a listening socket, which it takes over.
int qn_http_start(qn_server *s, int listen_fd, quern_error *e);
// Accepts no more connections, but leaves the listening socket open, until qn_http_stop. Any thread, once.
void qn_http_quiesce(qn_server *s);
// Ends all connections; no call may be left waiting.
void qn_http_stop(qn_server *s);

#endif
