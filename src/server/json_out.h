// JSON out: writes one JSON text into a buffer, commas and escapes included. One thread at a time.
// Memory that runs out shows in the buffer's `failed`.
#ifndef QN_SERVER_JSON_OUT_H
#define QN_SERVER_JSON_OUT_H
#include <stdint.h>

#include "base/buffer.h"

typedef struct {
    qn_buffer *to;
    bool comma; // a value was written in this object or array
} qn_json;

static inline qn_json qn_json_to(qn_buffer *to)
{
    return (qn_json){to, false};
}

// '{' or '[' as a value; '}' or ']'.
void qn_json_open(qn_json *j, char bracket);
void qn_json_close(qn_json *j, char bracket);
void qn_json_key(qn_json *j, const char *key);

// Values. Invalid UTF-8 is written as U+FFFD; a number that is not finite as null.
void qn_json_text_n(qn_json *j, const char *s, size_t n);
void qn_json_text(qn_json *j, const char *s);
void qn_json_int(qn_json *j, int64_t v);
void qn_json_uint(qn_json *j, uint64_t v);
void qn_json_double(qn_json *j, double v);
void qn_json_bool(qn_json *j, bool v);
void qn_json_null(qn_json *j);
// A value that is JSON already.
void qn_json_raw(qn_json *j, const char *json, size_t n);

// Key and value.
void qn_json_put_text(qn_json *j, const char *key, const char *s);
void qn_json_put_int(qn_json *j, const char *key, int64_t v);
void qn_json_put_uint(qn_json *j, const char *key, uint64_t v);
void qn_json_put_double(qn_json *j, const char *key, double v);
void qn_json_put_bool(qn_json *j, const char *key, bool v);

#endif
