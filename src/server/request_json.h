// Request JSON: untrusted JSON → what quern_submit and the router need, driven by quern_fields(). Shared by REST,
// WebSocket and OpenAI's API. Any thread; a document stays in one thread (jansson counts references without locks).
#ifndef QN_SERVER_REQUEST_JSON_H
#define QN_SERVER_REQUEST_JSON_H
#include <jansson.h>

#include "base/error.h"
#include "fleet/fleet.h"

enum { QN_JSON_DEPTH = 64, QN_MAX_TOOLS = 128 };

// Parses an object, refusing what is ambiguous or hostile: nesting beyond 64, duplicate keys, invalid UTF-8, NUL, NaN,
// numbers beyond their types. NULL with *e filled.
json_t *qn_request_load(const char *text, size_t n, quern_error *e);

typedef struct {
    quern_params params;  // its pointers lead into document, chat_json and stops
    const char *model;    // NULL: auto
    qn_priority priority; // balanced where not given
    bool stream;
    json_t *document; // owned
    char *chat_json;  // owned
    const char *stops[QUERN_MAX_STOPS];
} qn_request_input;

// Takes over `document` (also on failure). Unknown fields are errors that name the nearest known one.
// `parts`: message content may be an array of {"type":"text","text":…}, as OpenAI has it; null fields are absent.
int qn_request_input_read(json_t *document, bool parts, qn_request_input *out, quern_error *e);
void qn_request_input_free(qn_request_input *in);
// Whether a row of quern_fields() was given.
bool qn_request_has(const qn_request_input *in, const char *field);

// Checks `messages` and makes the variables of the chat template from them; *out is malloc'd.
int qn_messages_read(const json_t *messages, json_t *tools, bool parts, char **out, quern_error *e);

// Fills *e with QUERN_E_ARGUMENT, the field's name and "name: message".
int qn_request_refuse(quern_error *e, const char *field, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
