// `messages` of a request, checked, as the variables of the chat template. See request_json.h.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/request_json.h"

// What a message may hold besides role and content; passed on to the template as it is.
static const char *const EXTRA[] = {"name", "tool_calls", "tool_call_id", "reasoning_content"};

typedef struct {
    size_t index;
    bool parts;
    quern_error *e;
} place;

static int refuse(const place *at, const char *key, const char *message)
{
    char field[64];
    snprintf(field, sizeof field, "messages[%zu]%s%s", at->index, *key ? "." : "", key);
    return qn_request_refuse(at->e, field, "%s", message);
}

// [{"type":"text","text":…}, …] as one string; NULL where it is anything else.
static json_t *join_parts(const json_t *parts)
{
    size_t i, n_total = 0;
    json_t *part;
    char *joined;
    json_array_foreach(parts, i, part)
    {
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *text = json_object_get(part, "text");
        if (!type || strcmp(type, "text") || !json_is_string(text)) return NULL;
        n_total += json_string_length(text);
    }
    if (!json_array_size(parts) || !(joined = malloc(n_total + 1))) return NULL;
    n_total = 0;
    json_array_foreach(parts, i, part)
    {
        const json_t *text = json_object_get(part, "text");
        memcpy(joined + n_total, json_string_value(text), json_string_length(text));
        n_total += json_string_length(text);
    }
    json_t *out = json_stringn(joined, n_total);
    free(joined);
    return out;
}

static int read_content(const json_t *m, const char *role, json_t *to, const place *at)
{
    const json_t *content = json_object_get(m, "content");
    json_t *made = NULL;
    if (json_is_string(content))
        made = json_stringn(json_string_value(content), json_string_length(content));
    else if (at->parts && json_is_array(content))
        made = join_parts(content);
    else if (!strcmp(role, "assistant") && (!content || json_is_null(content)) &&
             json_is_array(json_object_get(m, "tool_calls")))
        made = json_string("");
    if (!made)
        return refuse(at, "content",
                      at->parts ? "must be a string or an array of parts of type text"
                                : "must be a string");
    return json_object_set_new(to, "content", made) ? refuse(at, "", "out of memory") : 0;
}

static int check_tool_calls(const json_t *calls, const place *at)
{
    size_t i;
    json_t *call;
    if (!json_is_array(calls)) return refuse(at, "tool_calls", "must be an array");
    json_array_foreach(calls, i, call)
    {
        const json_t *f = json_object_get(call, "function");
        const json_t *arguments = json_object_get(f, "arguments");
        if (!json_is_string(json_object_get(f, "name")) ||
            !(json_is_string(arguments) || json_is_object(arguments)))
            return refuse(at, "tool_calls", "each must have a function with name and arguments");
    }
    return 0;
}

// OpenAI's clients give arguments as a string of JSON; templates want the object that it holds.
static int open_arguments(json_t *calls)
{
    size_t i;
    json_t *call;
    json_array_foreach(calls, i, call)
    {
        json_t *f = json_object_get(call, "function");
        const json_t *text = json_object_get(f, "arguments");
        if (!json_is_string(text)) continue;
        quern_error ignored;
        json_t *opened =
            qn_request_load(json_string_value(text), json_string_length(text), &ignored);
        if (opened && json_object_set_new(f, "arguments", opened)) return -1;
    }
    return 0;
}

static int read_extra(const char *key, json_t *value, json_t *to, const place *at)
{
    size_t i = 0, n = sizeof EXTRA / sizeof *EXTRA;
    while (i < n && strcmp(key, EXTRA[i]))
        i++;
    if (i == n) {
        if (at->parts && json_is_null(value)) return 0;
        char field[24];
        snprintf(field, sizeof field, "%.20s", key);
        return refuse(at, field, "is no field of a message");
    }
    bool calls = !strcmp(key, "tool_calls");
    int rc = 0;
    if (calls)
        rc = check_tool_calls(value, at);
    else if (!json_is_string(value))
        rc = refuse(at, key, "must be a string");
    if (rc) return rc;
    json_t *copy = json_deep_copy(value);
    if (!copy || (calls && open_arguments(copy)) || json_object_set(to, key, copy))
        rc = refuse(at, "", "out of memory");
    json_decref(copy);
    return rc;
}

static int read_message(json_t *m, json_t *to, const place *at)
{
    static const char *const ROLES[] = {"system", "user", "assistant", "tool"};
    if (!json_is_object(m)) return refuse(at, "", "must be an object with role and content");
    const char *role = json_string_value(json_object_get(m, "role"));
    size_t i = 0;
    while (i < 4 && !(role && !strcmp(role, ROLES[i])))
        i++;
    if (i == 4) return refuse(at, "role", "must be system, user, assistant or tool");
    if (json_object_set_new(to, "role", json_string(role))) return refuse(at, "", "out of memory");
    int rc = read_content(m, role, to, at);
    const char *key;
    json_t *value;
    json_object_foreach(m, key, value)
    {
        if (rc) break;
        if (strcmp(key, "role") && strcmp(key, "content")) rc = read_extra(key, value, to, at);
    }
    return rc;
}

static int check_tools(const json_t *tools, quern_error *e)
{
    size_t i;
    json_t *tool;
    if (!json_is_array(tools) || !json_array_size(tools) || json_array_size(tools) > QN_MAX_TOOLS)
        return qn_request_refuse(e, "tools", "must be an array of 1 to %d objects", QN_MAX_TOOLS);
    json_array_foreach(tools, i, tool)
    {
        if (!json_is_object(tool))
            return qn_request_refuse(e, "tools", "must be an array of 1 to %d objects",
                                     QN_MAX_TOOLS);
    }
    return 0;
}

int qn_messages_read(const json_t *messages, json_t *tools, bool parts, char **out, quern_error *e)
{
    if (!json_is_array(messages) || !json_array_size(messages))
        return qn_request_refuse(e, "messages", "must be an array of at least one message");
    int rc = tools ? check_tools(tools, e) : 0;
    json_t *all = json_array();
    place at = {0, parts, e};
    for (; !rc && at.index < json_array_size(messages); at.index++) {
        json_t *m = json_object();
        rc = read_message(json_array_get(messages, at.index), m, &at);
        if (json_array_append_new(all, m) && !rc) rc = refuse(&at, "", "out of memory");
    }
    json_t *top = json_pack("{s:O, s:b}", "messages", all, "add_generation_prompt", 1);
    if (!rc && tools && json_object_set(top, "tools", tools))
        rc = qn_request_refuse(e, "tools", "out of memory");
    if (!rc && !(*out = json_dumps(top, JSON_COMPACT)))
        rc = qn_error_set(e, QUERN_E_MEMORY, "messages: out of memory");
    json_decref(top);
    json_decref(all);
    return rc;
}
