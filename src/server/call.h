// Call: one HTTP request from its first header to the last byte of its answer. A handler (server/api) reads the body
// and decides the answer: whole, or a stream of events; http.c carries it out. Calls are counted references: the
// connection holds one, so may a generation's sink and the watcher. The functions below may be called by any thread
// that holds one.
#ifndef QN_SERVER_CALL_H
#define QN_SERVER_CALL_H
#include "base/buffer.h"
#include "base/error.h"
#include "server/route.h"
#include "server/state.h"

qn_server *qn_call_server(const qn_call *call);
// The body, until the handler returns.
const char *qn_call_body(const qn_call *call, size_t *n);
// An answer's header; name and value are copied. At most six.
void qn_call_header(qn_call *call, const char *name, const char *value);

// Answers; the first of these wins. `body` is taken (emptied).
void qn_call_answer(qn_call *call, int status, const char *content_type, qn_buffer *body);
// The same with bytes that live for ever.
void qn_call_answer_static(qn_call *call, const char *content_type, const void *bytes, size_t n);
// {"error":{…}} with a status; param may be NULL.
void qn_call_refuse(qn_call *call, int status, const char *code, const char *param,
                    const char *message);
// The same from an error of the library: its code gives the status (answer.h).
void qn_call_fail(qn_call *call, const quern_error *e);

// An answer in pieces: begin (status 200), push …, end. A push beyond stream_bytes is dropped and returns false;
// `last` pieces are always taken.
void qn_call_stream_begin(qn_call *call, const char *content_type);
bool qn_call_stream_push(qn_call *call, const char *bytes, size_t n, bool last);
void qn_call_stream_end(qn_call *call);
bool qn_call_is_streaming(qn_call *call);

// Ties a generation to the call: it is cancelled when the client goes. Takes over a reference.
void qn_call_attach(qn_call *call, qn_generation *g);

qn_call *qn_call_hold(qn_call *call);
void qn_call_release(qn_call *call);
// The client has gone: nothing more is sent, the generation is cancelled.
void qn_call_gone(qn_call *call);

#endif
