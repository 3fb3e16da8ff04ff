// What the endpoints that generate text over HTTP share. Knows calls and generations; any thread.
#ifndef QN_SERVER_API_GENERATE_H
#define QN_SERVER_API_GENERATE_H
#include "server/call.h"
#include "server/generation.h"

// Starts what `input` asks for (and frees it): the sink's user is the call, of which it holds a reference until the
// terminal event. A failure answers the call. `setup` (may be NULL) may mark the generation before it starts.
void qn_generate_start(qn_call *call, qn_request_input *input, const char *prefix, qn_sink sink,
                       void (*setup)(qn_generation *g, void *arg), void *arg);

// Pushes "data: json\n\n" to the call's stream; at too slow a reader cancels the generation.
void qn_generate_push(qn_generation *g, qn_call *call, const qn_buffer *json, bool last);
// "data: [DONE]" and the stream's end.
void qn_generate_end(qn_call *call);
// The body's JSON object; NULL where the call has been answered with what is wrong with it.
json_t *qn_generate_load(qn_call *call);

#endif
