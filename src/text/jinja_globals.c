// The functions that templates can call: range, dict, namespace, raise_exception, strftime_now. See jinja_eval.h.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "text/jinja_eval.h"

// ---- range ----

static int range_bounds(qn_jinja_run *r, const qn_jinja_args *args, int64_t bounds[3])
{
    bounds[0] = 0;
    bounds[2] = 1;
    if (args->n < 1 || args->n > 3 || args->n_named) {
        return qn_jinja_fail(r, "TypeError", "range expected 1 to 3 arguments, got %zu", args->n);
    }
    for (size_t i = 0; i < args->n; i++) {
        const qn_jinja_value *v = &args->positional[i];
        if (!qn_jinja_as_int(v, &bounds[args->n == 1 ? 1 : i])) {
            if (v->kind == QN_JINJA_UNDEFINED) return qn_jinja_fail_undefined(r, v);
            return qn_jinja_fail(r, "TypeError", "'%s' object cannot be interpreted as an integer",
                                 qn_jinja_type(v));
        }
    }
    if (!bounds[2]) return qn_jinja_fail(r, "ValueError", "range() arg 3 must not be zero");
    return 0;
}

static int make_range(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    int64_t bounds[3];
    if (range_bounds(r, &c->args, bounds)) return r->code;
    bool down = bounds[2] < 0;
    uint64_t distance = down ? (uint64_t)bounds[0] - (uint64_t)bounds[1]
                             : (uint64_t)bounds[1] - (uint64_t)bounds[0];
    bool empty = down ? bounds[0] <= bounds[1] : bounds[0] >= bounds[1];
    uint64_t step = down ? -(uint64_t)bounds[2] : (uint64_t)bounds[2];
    uint64_t n = empty ? 0 : (distance - 1) / step + 1;
    if (n > QN_JINJA_MAX_RANGE) {
        return qn_jinja_fail(r, "OverflowError",
                             "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).",
                             QN_JINJA_MAX_RANGE);
    }
    if (qn_jinja_charge(r, n / 8)) return r->code;
    if (qn_jinja_new_list(r, n, QN_JINJA_RANGE, out)) return r->code;
    memcpy(out->list->bounds, bounds, sizeof bounds);
    for (uint64_t i = 0; i < n; i++) {
        out->list->items[i] =
            qn_jinja_int((int64_t)((uint64_t)bounds[0] + i * (uint64_t)bounds[2]));
    }
    return 0;
}

// ---- dict, namespace ----

static int add_pairs(qn_jinja_run *r, const qn_jinja_value *from, qn_jinja_dict *to)
{
    qn_jinja_value *items;
    size_t n;
    if (qn_jinja_iterate(r, from, &items, &n)) return r->code;
    for (size_t i = 0; i < n; i++) {
        qn_jinja_value *pair;
        size_t n_pair;
        if (qn_jinja_iterate(r, &items[i], &pair, &n_pair)) return r->code;
        if (n_pair != 2) {
            return qn_jinja_fail(
                r, "ValueError",
                "dictionary update sequence element #%zu has length %zu; 2 is required", i, n_pair);
        }
        if (qn_jinja_dict_set(r, to, pair[0], pair[1])) return r->code;
    }
    return 0;
}

static int make_dict(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    const qn_jinja_args *args = &c->args;
    if (args->n > 1) {
        return qn_jinja_fail(r, "TypeError", "dict expected at most 1 argument, got %zu", args->n);
    }
    if (qn_jinja_new_dict(r, args->n_named, out)) return r->code;
    qn_jinja_dict *to = out->dict;
    const qn_jinja_value *from = args->positional;
    if (args->n && (from->kind == QN_JINJA_DICT || from->kind == QN_JINJA_NAMESPACE)) {
        for (size_t i = 0; i < from->dict->n; i++) {
            const qn_jinja_entry *entry = &from->dict->entries[i];
            if (qn_jinja_dict_set(r, to, entry->key, entry->value)) return r->code;
        }
    } else if (args->n && add_pairs(r, from, to)) {
        return r->code;
    }
    for (size_t i = 0; i < args->n_named; i++) {
        const qn_jinja_value key = {.kind = QN_JINJA_STRING, .string = args->names[i]};
        if (qn_jinja_dict_set(r, to, key, args->named[i])) return r->code;
    }
    return 0;
}

static int make_namespace(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    if (make_dict(r, c, out)) return r->code;
    out->kind = QN_JINJA_NAMESPACE;
    for (size_t i = 0; i < out->dict->n; i++) {
        const qn_jinja_value *key = &out->dict->entries[i].key;
        if (key->kind == QN_JINJA_STRING && key->string->n && *key->string->data == '_') {
            return qn_jinja_fail(
                r, "SecurityError",
                "a namespace cannot have attributes that begin with an underscore");
        }
    }
    return 0;
}

// ---- raise_exception, strftime_now ----

static int raise_exception(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_string message;
    (void)out;
    if (qn_jinja_to_string(r, &c->slot[0], &message)) return r->code;
    r->code = qn_error_set(r->error, QUERN_E_ARGUMENT, "%.*s", qn_jinja_at_most(message.n, 470),
                           message.data);
    qn_jinja_mend_message(r->error);
    return r->code;
}

// %f, which strftime does not know, replaced by the microseconds. False where the result does not fit.
static bool expand_microseconds(const qn_jinja_string *format, double now, char out[512])
{
    size_t n = 0;
    int micros = (int)((now - floor(now)) * 1e6);
    for (size_t i = 0; i < format->n; i++) {
        if (n + 8 >= 512) return false;
        bool percent = format->data[i] == '%' && i + 1 < format->n;
        if (percent && format->data[i + 1] == 'f') {
            n += (size_t)snprintf(out + n, 8, "%06d", micros);
            i++;
            continue;
        }
        out[n++] = format->data[i];
        if (percent) out[n++] = format->data[++i];
    }
    out[n] = 0;
    return true;
}

static int strftime_now(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_string format;
    char pattern[512], *text = qn_jinja_take(r, 2048, 1);
    time_t now = (time_t)floor(r->now_unix);
    struct tm local;
    if (!text || qn_jinja_string_argument(r, &c->slot[0], NULL, &format)) return r->code;
    if (!expand_microseconds(&format, r->now_unix, pattern)) {
        return qn_jinja_limit(r, "the length of a time format");
    }
    if (!localtime_r(&now, &local)) return qn_jinja_fail(r, "OverflowError", "no such time");
    size_t n = *pattern ? strftime(text, 2048, pattern, &local) : 0;
    bool trusted = !format.trust && format.trusted;
    qn_jinja_string s = {text, NULL, n, trusted, false};
    return qn_jinja_string_value(r, &s, out);
}

static const qn_jinja_builtin rows[] = {
    {"range", make_range, "*", 0},
    {"dict", make_dict, "*", 0},
    {"namespace", make_namespace, "*", 0},
    {"raise_exception", raise_exception, "message", 1},
    {"strftime_now", strftime_now, "format", 1},
};

const qn_jinja_builtin *qn_jinja_find_global(const char *name, size_t n)
{
    return qn_jinja_row(&(qn_jinja_table){rows, sizeof rows / sizeof *rows}, name, n);
}

// ---- messages ----

static int alias_message(qn_jinja_run *r, qn_jinja_value *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    const qn_jinja_value *found = NULL, *reasoning = NULL;
    for (int i = 0; !reasoning && i < 3; i++) {
        if (qn_jinja_dict_find(r, message->dict, names[i], &found)) return r->code;
        if (found && found->kind != QN_JINJA_NONE) reasoning = found;
    }
    if (!reasoning) return 0;
    const qn_jinja_string thinking = qn_jinja_literal("thinking", false);
    const qn_jinja_string content = qn_jinja_literal("reasoning_content", false);
    const qn_jinja_dict *old = message->dict;
    const qn_jinja_value text = *reasoning;
    qn_jinja_value key, aliased;
    if (qn_jinja_new_dict(r, old->n + 2, &aliased)) return r->code;
    if (qn_jinja_string_value(r, &thinking, &key)) return r->code;
    if (qn_jinja_dict_set(r, aliased.dict, key, text)) return r->code;
    for (size_t i = 0; i < old->n; i++) {
        if (qn_jinja_dict_set(r, aliased.dict, old->entries[i].key, old->entries[i].value)) {
            return r->code;
        }
    }
    if (qn_jinja_string_value(r, &content, &key)) return r->code;
    if (qn_jinja_dict_set(r, aliased.dict, key, text)) return r->code;
    *message = aliased;
    return 0;
}

int qn_jinja_alias_reasoning(qn_jinja_run *r, qn_jinja_value *messages)
{
    if (messages->kind != QN_JINJA_LIST) return 0;
    for (size_t i = 0; i < messages->list->n; i++) {
        qn_jinja_value *message = &messages->list->items[i];
        if (message->kind == QN_JINJA_DICT && alias_message(r, message)) return r->code;
    }
    return 0;
}
