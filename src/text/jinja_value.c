// Values: their types, truth, iteration, and how they come from JSON. See jinja_value.h.
#include <stdio.h>
#include <string.h>

#include "text/jinja_eval.h"

// ---- undefined ----

static int undefined_value(qn_jinja_run *r, qn_jinja_undefined about, qn_jinja_value *out)
{
    qn_jinja_undefined *u = qn_jinja_take(r, 1, sizeof *u);
    if (!u) return r->code;
    *u = about;
    *out = (qn_jinja_value){.kind = QN_JINJA_UNDEFINED, .undefined = u};
    return 0;
}

int qn_jinja_undefined_hint(qn_jinja_run *r, const char *hint, qn_jinja_value *out)
{
    return undefined_value(r, (qn_jinja_undefined){.hint = hint}, out);
}

int qn_jinja_undefined_of(qn_jinja_run *r, qn_jinja_value object, qn_jinja_value name, bool unsafe,
                          qn_jinja_value *out)
{
    return undefined_value(
        r, (qn_jinja_undefined){.object = object, .name = name, .unsafe = unsafe}, out);
}

// How Jinja2 names the object of a missing attribute.
static const char *object_name(const qn_jinja_value *v, char out[64])
{
    if (v->kind == QN_JINJA_NONE) return "None";
    snprintf(out, 64, "%s object", qn_jinja_type(v));
    return out;
}

int qn_jinja_fail_undefined(qn_jinja_run *r, const qn_jinja_value *v)
{
    const qn_jinja_undefined *u = v->undefined;
    if (u->hint) return qn_jinja_fail(r, "UndefinedError", "%s", u->hint);
    qn_jinja_builder b = {.run = r};
    qn_jinja_value text;
    qn_jinja_add_repr(&b, &u->name);
    if (qn_jinja_build(&b, &text)) return r->code;
    int n = qn_jinja_at_most(text.string->n, 200);
    const char *name = text.string->data;
    char object[64];
    if (u->object.kind == QN_JINJA_ABSENT) {
        return qn_jinja_fail(r, "UndefinedError", "%.*s is undefined", n, name);
    }
    if (u->unsafe) {
        return qn_jinja_fail(r, "SecurityError",
                             "access to attribute %.*s of '%s' object is unsafe.", n, name,
                             qn_jinja_type(&u->object));
    }
    if (u->name.kind == QN_JINJA_STRING) {
        return qn_jinja_fail(r, "UndefinedError", "'%s' has no attribute %.*s",
                             object_name(&u->object, object), n, name);
    }
    return qn_jinja_fail(r, "UndefinedError", "%s has no element %.*s",
                         object_name(&u->object, object), n, name);
}

// ---- what a value is ----

const char *qn_jinja_type(const qn_jinja_value *v)
{
    static const char *const lists[] = {
        [QN_JINJA_PLAIN_LIST] = "list",  [QN_JINJA_TUPLE] = "tuple",
        [QN_JINJA_RANGE] = "range",      [QN_JINJA_ITERATOR] = "generator",
        [QN_JINJA_KEYS] = "dict_keys",   [QN_JINJA_VALUES] = "dict_values",
        [QN_JINJA_ITEMS] = "dict_items",
    };
    static const char *const kinds[] = {
        [QN_JINJA_ABSENT] = "NoneType",
        [QN_JINJA_UNDEFINED] = "Undefined",
        [QN_JINJA_NONE] = "NoneType",
        [QN_JINJA_BOOL] = "bool",
        [QN_JINJA_INT] = "int",
        [QN_JINJA_FLOAT] = "float",
        [QN_JINJA_STRING] = "str",
        [QN_JINJA_DICT] = "dict",
        [QN_JINJA_NAMESPACE] = "Namespace",
        [QN_JINJA_LOOP] = "LoopContext",
        [QN_JINJA_MACRO] = "Macro",
        [QN_JINJA_METHOD] = "builtin_function_or_method",
        [QN_JINJA_FUNCTION] = "function",
    };
    return v->kind == QN_JINJA_LIST ? lists[v->list->flavour] : kinds[v->kind];
}

bool qn_jinja_truth(const qn_jinja_value *v)
{
    switch (v->kind) {
    case QN_JINJA_ABSENT:
    case QN_JINJA_UNDEFINED:
    case QN_JINJA_NONE:
        return false;
    case QN_JINJA_BOOL:
        return v->boolean;
    case QN_JINJA_INT:
        return v->integer != 0;
    case QN_JINJA_FLOAT:
        return v->real != 0;
    case QN_JINJA_STRING:
        return v->string->n > 0;
    case QN_JINJA_LIST:
        return v->list->n > 0 || v->list->flavour == QN_JINJA_ITERATOR;
    case QN_JINJA_DICT:
        return v->dict->n > 0;
    default:
        return true;
    }
}

bool qn_jinja_as_int(const qn_jinja_value *v, int64_t *out)
{
    if (v->kind == QN_JINJA_BOOL) return *out = v->boolean, true;
    if (v->kind == QN_JINJA_INT) return *out = v->integer, true;
    return false;
}

bool qn_jinja_as_real(const qn_jinja_value *v, double *out)
{
    int64_t i;
    if (v->kind == QN_JINJA_FLOAT) return *out = v->real, true;
    if (qn_jinja_as_int(v, &i)) return *out = (double)i, true;
    return false;
}

bool qn_jinja_length(const qn_jinja_value *v, size_t *n)
{
    switch (v->kind) {
    case QN_JINJA_UNDEFINED:
        return *n = 0, true;
    case QN_JINJA_STRING:
        return *n = qn_jinja_count(v->string), true;
    case QN_JINJA_LIST:
        return *n = v->list->n, v->list->flavour != QN_JINJA_ITERATOR;
    case QN_JINJA_DICT:
        return *n = v->dict->n, true;
    case QN_JINJA_LOOP:
        return *n = v->loop->n, true;
    default:
        return false;
    }
}

// ---- lists and iteration ----

int qn_jinja_new_list(qn_jinja_run *r, size_t n, qn_jinja_flavour flavour, qn_jinja_value *out)
{
    qn_jinja_list *list = qn_jinja_take(r, 1, sizeof *list);
    if (!list) return r->code;
    list->items = qn_jinja_take(r, n, sizeof *list->items);
    if (!list->items) return r->code;
    list->n = n;
    list->flavour = flavour;
    *out = (qn_jinja_value){.kind = QN_JINJA_LIST, .list = list};
    return 0;
}

bool qn_jinja_iterable(const qn_jinja_value *v)
{
    return v->kind == QN_JINJA_UNDEFINED || v->kind == QN_JINJA_STRING ||
           v->kind == QN_JINJA_LIST || v->kind == QN_JINJA_DICT || v->kind == QN_JINJA_LOOP;
}

static int characters(qn_jinja_run *r, const qn_jinja_string *s, qn_jinja_value **items, size_t *n)
{
    *n = qn_jinja_count(s);
    if (qn_jinja_charge(r, *n)) return r->code;
    qn_jinja_string *strings = qn_jinja_take(r, *n, sizeof *strings);
    *items = strings ? qn_jinja_take(r, *n, sizeof **items) : NULL;
    if (!*items) return r->code;
    size_t at = 0;
    for (size_t i = 0; i < *n; i++) {
        uint32_t code;
        size_t length = qn_jinja_character(s, at, &code);
        strings[i] = qn_jinja_view(s, at, at + length);
        (*items)[i] = (qn_jinja_value){.kind = QN_JINJA_STRING, .string = &strings[i]};
        at += length;
    }
    return 0;
}

static int keys(qn_jinja_run *r, const qn_jinja_dict *d, qn_jinja_value **items, size_t *n)
{
    *n = d->n;
    *items = qn_jinja_take(r, d->n, sizeof **items);
    if (!*items) return r->code;
    for (size_t i = 0; i < d->n; i++)
        (*items)[i] = d->entries[i].key;
    return 0;
}

int qn_jinja_iterate(qn_jinja_run *r, const qn_jinja_value *v, qn_jinja_value **items, size_t *n)
{
    *items = NULL;
    *n = 0;
    switch (v->kind) {
    case QN_JINJA_UNDEFINED:
        return 0;
    case QN_JINJA_STRING:
        return characters(r, v->string, items, n);
    case QN_JINJA_DICT:
        return keys(r, v->dict, items, n);
    case QN_JINJA_LIST: {
        qn_jinja_list *list = v->list;
        size_t first = list->flavour == QN_JINJA_ITERATOR ? list->next : 0;
        *items = list->items + first;
        *n = list->n - first;
        list->next = list->n;
        return 0;
    }
    default:
        return qn_jinja_fail(r, "TypeError", "'%s' object is not iterable", qn_jinja_type(v));
    }
}

// ---- from JSON ----

typedef struct {
    qn_jinja_run *run;
    bool trusted;
    int depth;
} reading;

static int from_json(reading *in, const json_t *json, qn_jinja_value *out);

static int array_from_json(reading *in, const json_t *json, qn_jinja_value *out)
{
    size_t n = json_array_size(json);
    if (qn_jinja_new_list(in->run, n, QN_JINJA_PLAIN_LIST, out)) return in->run->code;
    for (size_t i = 0; i < n; i++) {
        int code = from_json(in, json_array_get(json, i), &out->list->items[i]);
        if (code) return code;
    }
    return 0;
}

static int string_from_json(reading *in, const char *data, size_t n, qn_jinja_value *out)
{
    qn_jinja_string s = {data, NULL, n, in->trusted, false};
    return qn_jinja_string_value(in->run, &s, out);
}

static int object_from_json(reading *in, const json_t *json, qn_jinja_value *out)
{
    qn_jinja_run *r = in->run;
    if (qn_jinja_new_dict(r, json_object_size(json), out)) return r->code;
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)json, key, member)
    {
        qn_jinja_entry *entry = &out->dict->entries[out->dict->n];
        if (string_from_json(in, key, strlen(key), &entry->key)) return r->code;
        if (from_json(in, member, &entry->value)) return r->code;
        out->dict->n++;
    }
    return 0;
}

static int from_json(reading *in, const json_t *json, qn_jinja_value *out)
{
    if (++in->depth > QN_JINJA_MAX_DATA_DEPTH) {
        return qn_jinja_limit(in->run, "its limit of 128 levels of nested data");
    }
    int code = 0;
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        code = object_from_json(in, json, out);
        break;
    case JSON_ARRAY:
        code = array_from_json(in, json, out);
        break;
    case JSON_STRING:
        code = string_from_json(in, json_string_value(json), json_string_length(json), out);
        break;
    case JSON_INTEGER:
        *out = qn_jinja_int(json_integer_value(json));
        break;
    case JSON_REAL:
        *out = qn_jinja_float(json_real_value(json));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = qn_jinja_bool(json_is_true(json));
        break;
    default:
        *out = qn_jinja_none();
    }
    in->depth--;
    return code;
}

int qn_jinja_from_json(qn_jinja_run *r, const json_t *json, bool trusted, qn_jinja_value *out)
{
    reading in = {r, trusted, 0};
    return from_json(&in, json, out);
}
