// The endpoint table: method, path, handler, rules. A new endpoint is a file in server/api/ and a row in routes.c.
#ifndef QN_APP_ROUTES_H
#define QN_APP_ROUTES_H
#include <stddef.h>

#include "server/route.h"

// Static.
const qn_route_row *qn_routes(size_t *n);

#endif
