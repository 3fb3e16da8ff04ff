// Watch: notices that the client of a parked call has gone (libmicrohttpd does not look at suspended connections) and
// tells the call. Watches a dup() of the descriptor, so that no reuse of its number can be mistaken for it.
#ifndef QN_SERVER_WATCH_H
#define QN_SERVER_WATCH_H
#include "server/call_state.h"

// From any thread, with the call's connection open. A negative code where the system has no descriptor left.
int qn_watch_start(qn_call *call);
// Once, if it was started; the watch may still be at work when this returns, with its own reference to the call.
void qn_watch_stop(qn_watch *w);

#endif
