// JSON documents of a model directory, as jansson trees, after our own checks. Any thread; a tree stays in the one that made it.
// Knows files and fields; never what a field means.
#ifndef QN_FORMATS_JSON_H
#define QN_FORMATS_JSON_H
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { QN_FORMATS_JSON_DEPTH = 64 };

// Parses the n bytes at text. Refused: nesting beyond QN_FORMATS_JSON_DEPTH (before a parser recurses), bad UTF-8, duplicate
// keys, numbers out of range, a root that is no object. `file` names the document in messages.
int qn_formats_json_parse(const char *text, size_t n, const char *file, json_t **out,
                          quern_error *e);
// Reads and parses a regular file of at most max_bytes. The caller json_decref's *out.
int qn_formats_json_load(const char *path, size_t max_bytes, json_t **out, quern_error *e);

// Readers of one field. An absent key leaves *out alone and is no error; a value of another type or outside the range is
// QUERN_E_FORMAT with "file: field: expected …, found …". `object` may be NULL (an absent object).
typedef struct {
    const char *file;
    const char *prefix; // "rope_scaling." for the fields of an inner object, else ""
    quern_error *e;
} qn_formats_field;
// The refusal itself, for what the readers do not cover; returns code.
int qn_formats_json_refuse(const qn_formats_field *f, int code, const char *key,
                           const char *expected, const json_t *value);
int qn_formats_json_int(const qn_formats_field *f, const json_t *object, const char *key,
                        const int64_t range[2], int64_t *out);
int qn_formats_json_real(const qn_formats_field *f, const json_t *object, const char *key,
                         double *out);
int qn_formats_json_bool(const qn_formats_field *f, const json_t *object, const char *key,
                         bool *out);
// "an array", "the string \"abc\"", "nothing": what a message says was found.
const char *qn_formats_json_found(const json_t *value, char *text, size_t n);

#endif
