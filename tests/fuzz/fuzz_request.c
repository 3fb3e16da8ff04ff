// JSON → request: any bytes are refused with a one-line reason or give a request within its limits; what a request
// brought can be written as JSON again. The first byte chooses OpenAI's form of content.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "server/json_out.h"
#include "server/request_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

// The fleet's, which this target does without.
int qn_priority_by_name(const char *name)
{
    return !strcmp(name, "speed") ? 0 : !strcmp(name, "balanced") ? 1 : -1;
}

static void demand(int truth)
{
    if (!truth) abort();
}

static void check_error(const quern_error *e)
{
    demand(e->code < 0 && e->message[0] && !strchr(e->message, '\n'));
    demand(memchr(e->message, 0, sizeof e->message) && memchr(e->param, 0, sizeof e->param));
}

static void check_written(const char *text, size_t n)
{
    qn_buffer b = QN_BUFFER_INIT;
    qn_json j = qn_json_to(&b);
    qn_json_open(&j, '[');
    qn_json_text_n(&j, text, n);
    qn_json_close(&j, ']');
    json_t *back = json_loadb(b.data, b.length, JSON_ALLOW_NUL, NULL);
    const json_t *s = json_array_get(back, 0);
    demand(s && json_string_length(s) == n && !memcmp(json_string_value(s), text, n));
    json_decref(back);
    qn_buffer_free(&b);
}

static void check_input(const qn_request_input *in)
{
    const quern_params *p = &in->params;
    demand((p->prompt != NULL) + (p->chat_json != NULL) == 1 && p->n_stop <= QUERN_MAX_STOPS);
    for (size_t i = 0; i < p->n_stop; i++)
        demand(p->stop[i] && p->stop[i][0]);
    if (p->prompt) {
        demand(p->n_prompt_bytes > 0 &&
               qn_utf8_check(p->prompt, p->n_prompt_bytes) == p->n_prompt_bytes);
        check_written(p->prompt, p->n_prompt_bytes);
    } else {
        json_t *back = json_loadb(p->chat_json, p->n_chat_bytes, 0, NULL);
        demand(json_array_size(json_object_get(back, "messages")) > 0);
        json_decref(back);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    quern_error e = {0};
    qn_request_input in;
    if (!n) return 0;
    char *text = malloc(n); // exact, so that ASan sees a byte too many
    memcpy(text, data + 1, n - 1);
    json_t *document = qn_request_load(text, n - 1, &e);
    free(text);
    if (!document || qn_request_input_read(document, data[0] & 1, &in, &e)) {
        check_error(&e);
        return 0;
    }
    check_input(&in);
    qn_request_input_free(&in);
    return 0;
}
