// See report.h.
#include "app/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"

enum { MAX_INPUT_BYTES = 1 << 30 };

json_t *qn_report_text(const char *text, size_t n)
{
    json_t *j = json_stringn(text, n);
    return j ? j : json_string("\xef\xbf\xbd");
}

json_t *qn_report_ids(const int32_t *ids, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_integer(ids[i]));
    return list;
}

static json_t *logprob_of(const quern_logprob *l)
{
    json_t *bytes = json_array();
    for (size_t i = 0; i < l->n_bytes; i++)
        json_array_append_new(bytes, json_integer((unsigned char)l->bytes[i]));
    return json_pack("{s:i,s:o,s:o,s:f}", "id", (int)l->id, "token",
                     qn_report_text(l->bytes ? l->bytes : "", l->n_bytes), "bytes", bytes,
                     "logprob", (double)l->logprob);
}

json_t *qn_report_logprob(const quern_token *t)
{
    json_t *j = logprob_of(&t->chosen), *top = json_array();
    for (int i = 0; i < t->n_top; i++)
        json_array_append_new(top, logprob_of(&t->top[i]));
    json_object_set_new(j, "top", top);
    return j;
}

static json_t *beams_of(const quern_result *r)
{
    json_t *list = json_array();
    for (int i = 0; i < r->n_beams; i++) {
        const quern_beam *b = &r->beams[i];
        json_array_append_new(list, json_pack("{s:o,s:o,s:f}", "text",
                                              qn_report_text(b->text, b->n_text), "tokens",
                                              qn_report_ids(b->ids, b->n_ids), "score", b->score));
    }
    return list;
}

json_t *qn_report_result(const quern_result *r)
{
    json_t *j = json_pack("{s:o,s:o,s:s,s:I}", "text", qn_report_text(r->text, r->n_text), "tokens",
                          qn_report_ids(r->ids, r->n_ids), "finish_reason",
                          quern_finish_name(r->finish), "seed", (json_int_t)r->seed);
    json_object_set_new(j, "usage",
                        json_pack("{s:i,s:i,s:i}", "prompt_tokens", r->prompt_tokens,
                                  "completion_tokens", r->completion_tokens, "cached_tokens",
                                  r->cached_tokens));
    json_object_set_new(
        j, "timings",
        json_pack("{s:f,s:f,s:f,s:f,s:f,s:f}", "queue_ms", r->queue_ms, "prefill_ms", r->prefill_ms,
                  "decode_ms", r->decode_ms, "total_ms", r->total_ms, "prefill_tokens_per_second",
                  r->prefill_tokens_per_second, "tokens_per_second", r->tokens_per_second));
    if (r->n_beams) json_object_set_new(j, "beams", beams_of(r));
    return j;
}

int qn_app_read_input(const char *path, char **out, size_t *n, quern_error *e)
{
    if (path && strcmp(path, "-") != 0) return qn_file_read(path, MAX_INPUT_BYTES, out, n, e);
    qn_buffer b = QN_BUFFER_INIT;
    char piece[65536];
    for (size_t got; (got = fread(piece, 1, sizeof piece, stdin)) > 0;)
        if (b.length > MAX_INPUT_BYTES || !qn_buffer_append(&b, piece, got) || ferror(stdin)) break;
    if (b.length > MAX_INPUT_BYTES || ferror(stdin)) {
        bool large = b.length > MAX_INPUT_BYTES;
        qn_buffer_free(&b);
        return large ? qn_error_set(e, QUERN_E_LIMIT, "standard input: expected at most %d bytes",
                                    MAX_INPUT_BYTES)
                     : qn_error_set(e, QUERN_E_IO, "standard input: cannot read: %s",
                                    strerror(errno));
    }
    *n = b.length;
    *out = qn_buffer_take(&b);
    return *out ? 0 : qn_error_set(e, QUERN_E_MEMORY, "no memory");
}
