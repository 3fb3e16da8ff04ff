// Listen: sockets as the server wants them. Stateless.
#ifndef QN_SERVER_LISTEN_H
#define QN_SERVER_LISTEN_H
#include <stdbool.h>

#include "base/error.h"

typedef struct {
    int fd, port;
    bool loopback; // only this machine can connect
} qn_listener;

// A listening socket on host (a name or an address) and port (0: any free one). QUERN_E_IO names an address in use.
int qn_listen_open(const char *host, int port, qn_listener *out, quern_error *e);
// A listening TCP socket that another process has opened. QUERN_E_ARGUMENT where fd is none.
int qn_listen_adopt(int fd, qn_listener *out, quern_error *e);
// An accepted socket: no Nagle, and a peer that has vanished is noticed within a minute.
void qn_listen_tune(int fd);
// As many descriptors as the system allows, up to 65,536; returns how many there are.
int qn_listen_raise_limit(void);

#endif
