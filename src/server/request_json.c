// One JSON object → one qn_request_input. See request_json.h.
#include "server/request_json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The fields that are no rows of quern_fields().
static const char *const OTHERS[] = {"prompt",   "messages", "tools", "model",
                                     "priority", "stream",   "stop"};
enum { N_OTHERS = sizeof OTHERS / sizeof *OTHERS, NEAR = 3, MAX_NAME = 40 };

int qn_request_refuse(quern_error *e, const char *field, const char *format, ...)
{
    char message[400];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (e) snprintf(e->param, sizeof e->param, "%s", field);
    return qn_error_set(e, QUERN_E_ARGUMENT, "%s: %s", field, message);
}

static const quern_field *field_by_name(const char *name)
{
    size_t n;
    const quern_field *fields = quern_fields(&n);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(fields[i].name, name)) return &fields[i];
    return NULL;
}

// Edit distance of two short names.
static int distance(const char *a, const char *b)
{
    int row[MAX_NAME + 1];
    int n = (int)strlen(b);
    for (int i = 0; i <= n; i++)
        row[i] = i;
    for (int i = 1; a[i - 1]; i++) {
        int corner = row[0];
        row[0] = i;
        for (int k = 1; k <= n; k++) {
            int best = corner + (a[i - 1] != b[k - 1]);
            corner = row[k];
            if (row[k] + 1 < best) best = row[k] + 1;
            if (row[k - 1] + 1 < best) best = row[k - 1] + 1;
            row[k] = best;
        }
    }
    return row[n];
}

static const char *nearest(const char *name)
{
    size_t n;
    const quern_field *fields = quern_fields(&n);
    const char *best = NULL;
    int least = NEAR + 1;
    for (size_t i = 0; i < n + N_OTHERS; i++) {
        const char *known = i < n ? fields[i].name : OTHERS[i - n];
        int d = strlen(known) <= MAX_NAME ? distance(name, known) : least;
        if (d < least) {
            least = d;
            best = known;
        }
    }
    return best;
}

static int refuse_unknown(const char *name, quern_error *e)
{
    char shown[32];
    snprintf(shown, sizeof shown, "%s", name);
    const char *near = strlen(name) <= MAX_NAME ? nearest(name) : NULL;
    if (near)
        return qn_request_refuse(e, shown, "is no field of a request; the nearest is %s", near);
    return qn_request_refuse(e, shown, "is no field of a request");
}

bool qn_request_has(const qn_request_input *in, const char *field)
{
    size_t n;
    const quern_field *f = field_by_name(field);
    return f && in->params.given >> (f - quern_fields(&n)) & 1u;
}

static int read_choice(const quern_field *f, const json_t *value, double *out, quern_error *e)
{
    const char *text = json_string_value(value);
    bool spoken = text && strcmp(text, "true") && strcmp(text, "false");
    if (json_is_boolean(value)) text = json_is_true(value) ? "true" : "false";
    for (int i = 0; text && (spoken || json_is_boolean(value)) && f->choices[i]; i++)
        if (!strcmp(text, f->choices[i])) {
            *out = i;
            return 0;
        }
    char list[160] = "";
    for (int i = 0; f->choices[i]; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "",
                 f->choices[i]);
    return qn_request_refuse(e, f->name, "must be one of %s", list);
}

static int read_seed(const quern_field *f, const json_t *value, quern_params *p, quern_error *e)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return qn_request_refuse(e, f->name, "must be a whole number from 0 to 2^63-1");
    quern_params_set_seed(p, (uint64_t)json_integer_value(value));
    return 0;
}

static int read_field(const quern_field *f, const json_t *value, quern_params *p, quern_error *e)
{
    double v = 0;
    int rc = 0;
    switch (f->kind) {
    case QUERN_FIELD_SEED:
        return read_seed(f, value, p, e);
    case QUERN_FIELD_CHOICE:
        rc = read_choice(f, value, &v, e);
        break;
    case QUERN_FIELD_BOOL:
        if (!json_is_boolean(value)) return qn_request_refuse(e, f->name, "must be true or false");
        v = json_is_true(value);
        break;
    case QUERN_FIELD_INT:
        if (!json_is_integer(value)) return qn_request_refuse(e, f->name, "must be a whole number");
        v = (double)json_integer_value(value);
        break;
    case QUERN_FIELD_FLOAT:
        if (!json_is_number(value)) return qn_request_refuse(e, f->name, "must be a number");
        v = json_number_value(value);
    }
    return rc ? rc : quern_params_set(p, f, v, e);
}

static int add_stop(const json_t *value, qn_request_input *out, quern_error *e)
{
    if (!json_is_string(value) || !json_string_length(value))
        return qn_request_refuse(e, "stop", "must be a string or an array of strings, none empty");
    if (out->params.n_stop == QUERN_MAX_STOPS)
        return qn_request_refuse(e, "stop", "more than %d strings", QUERN_MAX_STOPS);
    out->stops[out->params.n_stop++] = json_string_value(value);
    return 0;
}

static int read_stop(const json_t *value, qn_request_input *out, quern_error *e)
{
    size_t i;
    json_t *one;
    int rc = 0;
    if (!json_is_array(value)) return add_stop(value, out, e);
    json_array_foreach(value, i, one)
    {
        if (!rc) rc = add_stop(one, out, e);
    }
    return rc;
}

static int read_priority(const json_t *value, qn_request_input *out, quern_error *e)
{
    int p = json_is_string(value) ? qn_priority_by_name(json_string_value(value)) : -1;
    if (p < 0) return qn_request_refuse(e, "priority", "must be speed, balanced or quality");
    out->priority = (qn_priority)p;
    return 0;
}

static int read_other(const char *key, const json_t *value, qn_request_input *out, quern_error *e)
{
    if (!strcmp(key, "model")) {
        if (!json_is_string(value) || !json_string_length(value))
            return qn_request_refuse(e, key, "must be \"auto\" or the name of a model");
        out->model = json_string_value(value);
        return 0;
    }
    if (!strcmp(key, "stream")) {
        out->stream = json_is_true(value);
        return json_is_boolean(value) ? 0 : qn_request_refuse(e, key, "must be true or false");
    }
    if (!strcmp(key, "priority")) return read_priority(value, out, e);
    if (!strcmp(key, "stop")) return read_stop(value, out, e);
    if (!strcmp(key, "prompt") || !strcmp(key, "messages") || !strcmp(key, "tools"))
        return 0; // read_prompt
    return refuse_unknown(key, e);
}

static int read_prompt(json_t *document, bool parts, qn_request_input *out, quern_error *e)
{
    const json_t *prompt = json_object_get(document, "prompt");
    const json_t *messages = json_object_get(document, "messages");
    json_t *tools = json_object_get(document, "tools");
    if (prompt && messages)
        return qn_request_refuse(e, "prompt", "give either prompt or messages, not both");
    if (!prompt && !messages) return qn_request_refuse(e, "prompt", "is missing (or messages)");
    if (messages) {
        int rc = qn_messages_read(messages, tools, parts, &out->chat_json, e);
        out->params.chat_json = out->chat_json;
        out->params.n_chat_bytes = rc ? 0 : strlen(out->chat_json);
        return rc;
    }
    if (tools) return qn_request_refuse(e, "tools", "needs messages");
    if (!json_is_string(prompt)) return qn_request_refuse(e, "prompt", "must be a string");
    if (!json_string_length(prompt)) return qn_request_refuse(e, "prompt", "is empty");
    out->params.prompt = json_string_value(prompt);
    out->params.n_prompt_bytes = json_string_length(prompt);
    return 0;
}

// OpenAI's clients send null for what they leave open.
static void drop_nulls(json_t *document)
{
    void *i = json_object_iter(document);
    while (i) {
        void *next = json_object_iter_next(document, i);
        if (json_is_null(json_object_iter_value(i)))
            json_object_del(document, json_object_iter_key(i));
        i = next;
    }
}

int qn_request_input_read(json_t *document, bool parts, qn_request_input *out, quern_error *e)
{
    *out = (qn_request_input){.document = document, .priority = QN_PRIORITY_BALANCED};
    quern_params_init(&out->params);
    if (e) e->param[0] = 0;
    if (parts) drop_nulls(document);
    const char *key;
    json_t *value;
    int rc = 0;
    json_object_foreach(document, key, value)
    {
        const quern_field *f = field_by_name(key);
        rc = f ? read_field(f, value, &out->params, e) : read_other(key, value, out, e);
        if (rc) break;
    }
    if (!rc) rc = read_prompt(document, parts, out, e);
    out->params.stop = out->stops;
    if (rc) qn_request_input_free(out);
    return rc;
}

void qn_request_input_free(qn_request_input *in)
{
    if (!in) return;
    json_decref(in->document);
    free(in->chat_json);
    *in = (qn_request_input){0};
}
