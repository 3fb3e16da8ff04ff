// Generation: one request in the engine, seen from the server: routed, submitted, its events handed to a sink that
// makes bytes of them. Lives from submission to its one terminal event; counted references. Any thread.
#ifndef QN_SERVER_GENERATION_H
#define QN_SERVER_GENERATION_H
#include "base/buffer.h"
#include "server/request_json.h"
#include "server/state.h"

// Called for each event, one after the other, on a text thread: must not block. A generation that the server ended
// (drain, slow reader) gets an ERROR instead of DONE. `user` belongs to the sink; after the terminal event `g` is
// only held by others.
typedef void (*qn_sink)(qn_generation *g, void *user, const quern_event *event);

struct qn_generation {
    qn_server *server;
    qn_generation *prev, *next; // server->generations
    atomic_int refs;
    char id[40];
    int64_t created_at; // seconds since 1970
    qn_route route;
    bool wants_logprobs, include_usage; // include_usage: OpenAI's stream_options
    qn_buffer pieces; // JSON of the tokens' log-probabilities so far, for the sink
    qn_sink sink;
    void *user;
    pthread_mutex_t lock; // below
    quern_request *request;
    bool ended, cancel_asked;
    int reason; // why it was cancelled, a quern_code; 0: it was not
};

// A generation named prefix-…, not yet submitted; NULL on lack of memory.
qn_generation *qn_generation_new(qn_server *s, const char *prefix, qn_sink sink, void *user);
// Routes and submits; the params are copied. On 0 events follow (or have come already), else none does.
int qn_generation_submit(qn_generation *g, const qn_request_input *input, quern_error *e);
// It was not submitted, and will not be: there is nothing to cancel.
void qn_generation_refuse(qn_generation *g);
// False where it has ended already, or was cancelled before. QUERN_E_CANCELLED: its client wants it; _CLOSING, _LIMIT: the server does.
bool qn_generation_cancel(qn_generation *g, int reason);
// Seconds after which a refused client may try again, from the queue of the chosen model.
int qn_generation_retry_seconds(const qn_generation *g);
// Cancels all of a server's (the drain's end).
void qn_generation_cancel_all(qn_server *s, int reason);

qn_generation *qn_generation_hold(qn_generation *g);
void qn_generation_release(qn_generation *g);

#endif
