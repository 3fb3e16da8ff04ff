// Answer: the JSON of what comes back: results, events, errors, exactly as DESIGN.md §4 names them. Any thread.
#ifndef QN_SERVER_ANSWER_H
#define QN_SERVER_ANSWER_H
#include "server/generation.h"
#include "server/json_out.h"

// The HTTP status of an error code: bad input is 4xx, never 5xx. A missed deadline is 408: the client set it, so it is
// no fault of the server (504 would be), and 408 is what clients know as "took too long".
int qn_answer_status(int code);

// "error":{type, code, message, param} in the open object; param may be NULL.
void qn_answer_error(qn_json *j, int status, const char *code, const char *param,
                     const char *message);

// One object {id, token, bytes, logprob, top[]}.
void qn_answer_logprob(qn_json *j, const quern_token *token);
// "route":{…}, "usage":{…}, "timings":{…}, "beams":[…] in the open object.
void qn_answer_route(qn_json *j, const qn_generation *g);
void qn_answer_usage(qn_json *j, const quern_result *r);
void qn_answer_timings(qn_json *j, const quern_result *r);
void qn_answer_beams(qn_json *j, const quern_result *r);
// "ready", "loading" (the models), "restarting" (the device has failed) or "draining"; static.
const char *qn_answer_state(const qn_server *s);
// "instance":"…", in replica mode.
void qn_answer_instance(qn_json *j, const qn_server *s);

// A whole answer of POST /generate; g->pieces holds the log-probabilities.
void qn_answer_result(qn_buffer *to, const qn_generation *g, const quern_result *r);

// The event of SSE and WebSocket as one JSON object. `id`: the id as JSON. A token event that says nothing (no text,
// no log-probabilities) writes nothing.
void qn_answer_event(qn_buffer *to, const qn_generation *g, const char *id,
                     const quern_event *event);

#endif
