// Route: one row of the endpoint table. The table itself is app/routes.c; the handlers are in server/api/.
#ifndef QN_SERVER_ROUTE_H
#define QN_SERVER_ROUTE_H
#include <stdbool.h>

// One HTTP request being answered (server/call.h).
typedef struct qn_call qn_call;

// Called once, when the whole request is read and has passed the rules that hold for all. On the I/O thread or, for
// long bodies, on a worker: must not block. Answers, starts a generation, or upgrades, before it returns.
typedef void (*qn_handler)(qn_call *call);

typedef struct {
    const char *method, *path; // exact
    qn_handler handler;
    bool public; // needs no key (once there are keys)
    bool alone;  // answers without models: at once, also while they are loaded
    bool
        generates; // uses the models: refused while the server drains, and to pages of foreign origins
} qn_route_row;

#endif
