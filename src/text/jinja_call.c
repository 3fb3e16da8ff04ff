// Frames of variables, arguments, and calls of macros and built-ins. See jinja_eval.h.
#include <stdio.h>
#include <string.h>

#include "text/jinja_eval.h"

// ---- variables ----

int qn_jinja_frame_new(qn_jinja_run *r, qn_jinja_frame *parent, qn_jinja_frame **out)
{
    *out = qn_jinja_take(r, 1, sizeof **out);
    if (!*out) return r->code;
    (*out)->parent = parent;
    return 0;
}

int qn_jinja_frame_set(qn_jinja_run *r, qn_jinja_frame *f, uint32_t name, qn_jinja_value v)
{
    if (qn_jinja_charge(r, f->n / 32)) return r->code;
    for (uint32_t i = 0; i < f->n; i++) {
        if (f->variables[i].name == name) return f->variables[i].value = v, 0;
    }
    if (f->n == f->capacity) {
        uint32_t capacity = f->capacity ? f->capacity * 2 : 4;
        qn_jinja_variable *more = qn_jinja_take(r, capacity, sizeof *more);
        if (!more) return r->code;
        if (f->n) memcpy(more, f->variables, f->n * sizeof *more);
        f->variables = more;
        f->capacity = capacity;
    }
    f->variables[f->n++] = (qn_jinja_variable){name, v};
    return 0;
}

// What Hugging Face always passes, where the caller did not.
static bool default_variable(const qn_jinja_string *name, qn_jinja_value *out)
{
    *out = qn_jinja_none();
    if (qn_jinja_is(name, "tools") || qn_jinja_is(name, "documents")) return true;
    *out = qn_jinja_bool(false);
    return qn_jinja_is(name, "add_generation_prompt");
}

// A name that no frame has: a variable of the caller, a token of the model, or a function.
static int find_global(qn_jinja_run *r, uint32_t name, qn_jinja_value *out)
{
    const qn_jinja_string *s = r->program->names[name];
    char key[256];
    const json_t *variable = NULL, *token = NULL;
    if (s->n < sizeof key) { // no caller uses longer names
        memcpy(key, s->data, s->n);
        key[s->n] = 0;
        variable = json_object_get(r->variables, key);
        token = json_object_get(r->tokens, key);
    }
    if (variable) {
        if (qn_jinja_from_json(r, variable, false, out)) return r->code;
        return strcmp(key, "messages") ? 0 : qn_jinja_alias_reasoning(r, out);
    }
    if (token) return qn_jinja_from_json(r, token, true, out);
    if (default_variable(s, out)) return 0;
    const qn_jinja_builtin *function = qn_jinja_find_global(s->data, s->n);
    if (function) {
        *out = (qn_jinja_value){.kind = QN_JINJA_FUNCTION, .function = function};
        return 0;
    }
    const qn_jinja_value text = {.kind = QN_JINJA_STRING, .string = s};
    return qn_jinja_undefined_of(r, (qn_jinja_value){QN_JINJA_ABSENT, {0}}, text, false, out);
}

int qn_jinja_frame_get(qn_jinja_run *r, const qn_jinja_frame *f, uint32_t name, qn_jinja_value *out)
{
    for (; f; f = f->parent) {
        if (qn_jinja_charge(r, f->n / 32)) return r->code;
        for (uint32_t i = 0; i < f->n; i++) {
            if (f->variables[i].name == name) return *out = f->variables[i].value, 0;
        }
    }
    qn_jinja_value *global = &r->globals[name];
    if (global->kind == QN_JINJA_ABSENT && find_global(r, name, global)) return r->code;
    *out = *global;
    return 0;
}

// ---- arguments ----

int qn_jinja_evaluate_args(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_arguments *in,
                           qn_jinja_args *out)
{
    uint32_t n = in->positional.n, n_named = in->named.n;
    *out = (qn_jinja_args){.n = n, .n_named = n_named, .names = in->names};
    if (!n && !n_named) return 0;
    qn_jinja_value *values = qn_jinja_take(r, (size_t)n + n_named, sizeof *values);
    if (!values) return r->code;
    for (uint32_t i = 0; i < n; i++) {
        if (qn_jinja_evaluate(r, f, in->positional.items[i], &values[i])) return r->code;
    }
    for (uint32_t i = 0; i < n_named; i++) {
        if (qn_jinja_evaluate(r, f, in->named.items[i], &values[n + i])) return r->code;
    }
    out->positional = values;
    out->named = values + n;
    return 0;
}

static int unexpected_keyword(qn_jinja_run *r, const char *function, const qn_jinja_string *name)
{
    return qn_jinja_fail(r, "TypeError", "%s() got an unexpected keyword argument '%.*s'", function,
                         qn_jinja_at_most(name->n, 100), name->data);
}

// The number of the parameter of that name, or -1.
static int parameter_number(const char *parameters, const qn_jinja_string *name)
{
    int number = 0;
    for (const char *p = parameters; *p; number++) {
        size_t n = strcspn(p, " ");
        if (n == name->n && !memcmp(p, name->data, n)) return number;
        p += n;
        p += *p == ' ';
    }
    return -1;
}

static int count_parameters(const char *parameters)
{
    int n = *parameters != 0;
    for (; *parameters; parameters++)
        n += *parameters == ' ';
    return n;
}

static int bind(qn_jinja_run *r, const qn_jinja_builtin *b, qn_jinja_call *c)
{
    const qn_jinja_args *args = &c->args;
    if (*b->parameters == '*') {
        if ((int)args->n >= b->n_required) return 0;
        return qn_jinja_fail(r, "TypeError", "%s() needs %d argument(s)", b->name, b->n_required);
    }
    int n = count_parameters(b->parameters);
    if (args->n > (size_t)n) {
        return qn_jinja_fail(r, "TypeError", "%s() takes at most %d argument(s) (%zu given)",
                             b->name, n, args->n);
    }
    for (size_t i = 0; i < args->n; i++)
        c->slot[i] = args->positional[i];
    for (size_t i = 0; i < args->n_named; i++) {
        int number = parameter_number(b->parameters, args->names[i]);
        if (number < 0 || c->slot[number].kind != QN_JINJA_ABSENT) {
            return unexpected_keyword(r, b->name, args->names[i]);
        }
        c->slot[number] = args->named[i];
    }
    for (int i = 0; i < b->n_required; i++) {
        if (c->slot[i].kind == QN_JINJA_ABSENT) {
            return qn_jinja_fail(r, "TypeError", "%s() misses argument %d", b->name, i + 1);
        }
    }
    return 0;
}

int qn_jinja_invoke_builtin(qn_jinja_run *r, const qn_jinja_builtin *b, const qn_jinja_value *self,
                            const qn_jinja_args *args, qn_jinja_value *out)
{
    // In the arena: filters call filters (map), and the C stack is for expressions.
    qn_jinja_call *c = qn_jinja_take(r, 1, sizeof *c);
    if (!c) return r->code;
    c->self = *self;
    c->args = *args;
    if (bind(r, b, c) || b->function(r, c, out)) return r->code;
    return 0;
}

// ---- macros ----

static bool find_named(const qn_jinja_args *args, const qn_jinja_string *name, size_t *i)
{
    for (*i = 0; *i < args->n_named; ++*i) {
        if (qn_jinja_same(args->names[*i], name)) return true;
    }
    return false;
}

// The value of a parameter: positional or by name. ABSENT where it is not given.
static qn_jinja_value given_value(const qn_jinja_args *args, uint32_t number,
                                  const qn_jinja_string *name, uint64_t *used)
{
    size_t i;
    if (number < args->n) return args->positional[number];
    if (!find_named(args, name, &i)) return (qn_jinja_value){.kind = QN_JINJA_ABSENT};
    *used |= (uint64_t)1 << i;
    return args->named[i];
}

static int default_value(qn_jinja_run *r, const qn_jinja_signature *s, uint32_t number,
                         qn_jinja_frame *f, qn_jinja_value *out)
{
    if (number + s->defaults.n >= s->parameters.n) {
        const qn_jinja_node *node = s->defaults.items[number + s->defaults.n - s->parameters.n];
        return qn_jinja_evaluate(r, f, node, out);
    }
    const qn_jinja_string *name = r->program->names[s->parameters.items[number]->name];
    char hint[160];
    snprintf(hint, sizeof hint, "parameter '%.*s' was not provided", qn_jinja_at_most(name->n, 100),
             name->data);
    const char *kept = qn_arena_text(&r->arena, hint, strlen(hint));
    return qn_jinja_undefined_hint(r, kept ? kept : "a parameter was not provided", out);
}

// Given values first, so that defaults may use any parameter.
static int bind_parameters(qn_jinja_run *r, const qn_jinja_signature *s, const qn_jinja_args *args,
                           qn_jinja_frame *f, uint64_t *used)
{
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < s->parameters.n; i++) {
            uint32_t name = s->parameters.items[i]->name;
            qn_jinja_value v = given_value(args, i, r->program->names[name], used);
            bool given = v.kind != QN_JINJA_ABSENT;
            if (given != (pass == 0)) continue;
            if (!given && default_value(r, s, i, f, &v)) return r->code;
            if (qn_jinja_frame_set(r, f, name, v)) return r->code;
        }
    }
    return 0;
}

// Keyword arguments that no parameter took: caller, kwargs, or an error.
static int bind_rest_named(qn_jinja_run *r, const qn_jinja_macro *m, const qn_jinja_args *args,
                           qn_jinja_frame *f, uint64_t used)
{
    unsigned uses = m->signature->uses;
    qn_jinja_value kwargs;
    if (qn_jinja_new_dict(r, 0, &kwargs)) return r->code;
    for (size_t i = 0; i < args->n_named; i++) {
        const qn_jinja_string *name = args->names[i];
        if (used >> i & 1) continue;
        if (uses & 1u << QN_NAME_CALLER && qn_jinja_is(name, "caller")) {
            if (qn_jinja_frame_set(r, f, QN_NAME_CALLER, args->named[i])) return r->code;
        } else if (uses & 1u << QN_NAME_KWARGS) {
            qn_jinja_value key = {.kind = QN_JINJA_STRING, .string = name};
            if (qn_jinja_dict_set(r, kwargs.dict, key, args->named[i])) return r->code;
        } else {
            return qn_jinja_fail(r, "TypeError", "macro takes no keyword argument '%.*s'",
                                 qn_jinja_at_most(name->n, 100), name->data);
        }
    }
    if (!(uses & 1u << QN_NAME_KWARGS)) return 0;
    return qn_jinja_frame_set(r, f, QN_NAME_KWARGS, kwargs);
}

static int bind_rest(qn_jinja_run *r, const qn_jinja_macro *m, const qn_jinja_args *args,
                     qn_jinja_frame *f)
{
    const qn_jinja_signature *s = m->signature;
    size_t n = s->parameters.n, n_rest = args->n > n ? args->n - n : 0;
    if (!(s->uses & 1u << QN_NAME_VARARGS)) {
        if (!n_rest) return 0;
        return qn_jinja_fail(r, "TypeError", "macro takes not more than %zu argument(s)", n);
    }
    qn_jinja_value rest;
    if (qn_jinja_new_list(r, n_rest, QN_JINJA_TUPLE, &rest)) return r->code;
    for (size_t i = 0; i < n_rest; i++)
        rest.list->items[i] = args->positional[n + i];
    return qn_jinja_frame_set(r, f, QN_NAME_VARARGS, rest);
}

static int bind_macro(qn_jinja_run *r, const qn_jinja_macro *m, const qn_jinja_args *args,
                      qn_jinja_frame *f)
{
    const qn_jinja_signature *s = m->signature;
    uint64_t used = 0;
    if (s->uses & 1u << QN_NAME_CALLER) {
        qn_jinja_value none;
        if (qn_jinja_undefined_hint(r, "No caller defined", &none)) return r->code;
        if (qn_jinja_frame_set(r, f, QN_NAME_CALLER, none)) return r->code;
    }
    if (args->n_named > 64) return qn_jinja_limit(r, "64 keyword arguments");
    if (bind_parameters(r, s, args, f, &used)) return r->code;
    if (bind_rest_named(r, m, args, f, used)) return r->code;
    return bind_rest(r, m, args, f);
}

int qn_jinja_invoke_macro(qn_jinja_run *r, const qn_jinja_macro *m, const qn_jinja_args *args,
                          qn_jinja_value *out)
{
    qn_jinja_frame *f;
    qn_jinja_builder text = {.run = r};
    int line = r->line;
    if (r->call_depth >= QN_JINJA_MAX_CALL_DEPTH) {
        return qn_jinja_limit(r, "its limit of 64 nested macro calls");
    }
    r->call_depth++;
    if (!qn_jinja_frame_new(r, m->frame, &f) && !bind_macro(r, m, args, f)) {
        qn_jinja_execute_body(r, f, &text, &m->signature->body);
    }
    r->call_depth--;
    if (!r->code) r->line = line;
    return qn_jinja_build(&text, out);
}

int qn_jinja_invoke(qn_jinja_run *r, const qn_jinja_value *callee, const qn_jinja_args *args,
                    qn_jinja_value *out)
{
    switch (callee->kind) {
    case QN_JINJA_MACRO:
        return qn_jinja_invoke_macro(r, callee->macro, args, out);
    case QN_JINJA_METHOD:
        return qn_jinja_invoke_builtin(r, callee->method->builtin, &callee->method->self, args,
                                       out);
    case QN_JINJA_FUNCTION:
        return qn_jinja_invoke_builtin(r, callee->function, callee, args, out);
    case QN_JINJA_UNDEFINED:
        return qn_jinja_fail_undefined(r, callee);
    case QN_JINJA_LOOP:
        return qn_jinja_fail(r, "TypeError",
                             "The loop must have the 'recursive' marker to be called recursively.");
    default:
        return qn_jinja_fail(r, "TypeError", "'%s' object is not callable", qn_jinja_type(callee));
    }
}
