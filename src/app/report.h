// Results as JSON documents and small parsers that several commands share.
#ifndef QN_APP_REPORT_H
#define QN_APP_REPORT_H
#include <jansson.h>

#include "quern.h"

// {text, tokens, finish_reason, seed, usage, timings[, beams]}; the caller owns it.
json_t *qn_report_result(const quern_result *r);
// {id, token, bytes, logprob, top[]} of a token for which logprobs were asked; the caller owns it.
json_t *qn_report_logprob(const quern_token *t);
// n bytes as a JSON string (U+FFFD for what is no UTF-8).
json_t *qn_report_text(const char *text, size_t n);
json_t *qn_report_ids(const int32_t *ids, size_t n);
// "1 2 3", "[1,2,3]" → ids; *out is malloc'd.
int qn_app_parse_ids(const char *text, int32_t **out, size_t *n_out, quern_error *e);
// A whole file, or stdin for NULL or "-"; *out is malloc'd with a NUL behind it.
int qn_app_read_input(const char *path, char **out, size_t *n, quern_error *e);

#endif
