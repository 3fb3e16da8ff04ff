// Filters of text. What is no string is made one first, as Jinja2 does. See jinja_eval.h.
#include <string.h>

#include <utf8proc.h>

#include "text/jinja_eval.h"

static int change_case(qn_jinja_run *r, const qn_jinja_call *c, qn_jinja_case how,
                       qn_jinja_value *out)
{
    qn_jinja_string s;
    if (qn_jinja_to_string(r, &c->self, &s)) return r->code;
    return qn_jinja_change_case(r, &s, how, out);
}

static int filter_upper(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return change_case(r, c, QN_JINJA_UPPER, out);
}

static int filter_lower(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return change_case(r, c, QN_JINJA_LOWER, out);
}

static int filter_title(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return change_case(r, c, QN_JINJA_TITLE_FILTER, out);
}

static int filter_capitalize(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    return change_case(r, c, QN_JINJA_CAPITALIZE, out);
}

static int filter_trim(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_string s;
    if (qn_jinja_to_string(r, &c->self, &s)) return r->code;
    return qn_jinja_strip(r, &s, &c->slot[0], (bool[]){true, true}, out);
}

static int filter_replace(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_replacement how;
    qn_jinja_string s;
    if (qn_jinja_to_string(r, &c->self, &s)) return r->code;
    s.markup = false;
    if (qn_jinja_to_string(r, &c->slot[0], &how.old)) return r->code;
    if (qn_jinja_to_string(r, &c->slot[1], &how.new)) return r->code;
    if (qn_jinja_int_argument(r, &c->slot[2], -1, &how.count)) return r->code;
    return qn_jinja_replace(r, &s, &how, out);
}

// ---- indent ----

static int read_indention(qn_jinja_run *r, const qn_jinja_value *width, qn_jinja_string *out)
{
    const qn_jinja_string nothing = qn_jinja_literal("", true), space = qn_jinja_literal(" ", true);
    int64_t n;
    qn_jinja_value v;
    if (width->kind == QN_JINJA_STRING) return *out = *width->string, 0;
    if (qn_jinja_int_argument(r, width, 4, &n)) return r->code;
    if (qn_jinja_pad(r, &nothing, n, &space, (bool[]){true, false}, &v)) return r->code;
    *out = *v.string;
    return 0;
}

static int filter_indent(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    const qn_jinja_string newline = qn_jinja_literal("\n", true);
    qn_jinja_string indention;
    qn_jinja_value text, lines;
    bool first = qn_jinja_truth(&c->slot[1]), blank = qn_jinja_truth(&c->slot[2]);
    if (c->self.kind == QN_JINJA_UNDEFINED) return qn_jinja_fail_undefined(r, &c->self);
    if (c->self.kind != QN_JINJA_STRING) {
        return qn_jinja_fail(r, "TypeError", "unsupported operand type(s) for +=: '%s' and 'str'",
                             qn_jinja_type(&c->self));
    }
    if (read_indention(r, &c->slot[0], &indention)) return r->code;
    // Jinja2 adds a newline, so that a last empty line counts.
    if (qn_jinja_concat(r, c->self.string, &newline, &text)) return r->code;
    if (qn_jinja_split_lines(r, text.string, false, &lines)) return r->code;
    qn_jinja_builder b = {.run = r};
    for (size_t i = 0; i < lines.list->n; i++) {
        const qn_jinja_string *line = lines.list->items[i].string;
        if (i) qn_jinja_add(&b, &newline);
        if (i ? blank || line->n : first) qn_jinja_add(&b, &indention);
        qn_jinja_add(&b, line);
    }
    return qn_jinja_build(&b, out);
}

// ---- words, markup, layout ----

static bool is_word(uint32_t code)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)code);
    return code == '_' || (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) ||
           k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

static int filter_wordcount(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_string s;
    int64_t n = 0;
    bool inside = false;
    if (qn_jinja_to_string(r, &c->self, &s) || qn_jinja_charge(r, s.n / 32)) return r->code;
    for (size_t i = 0; i < s.n;) {
        uint32_t code;
        i += qn_jinja_character(&s, i, &code);
        bool word = is_word(code);
        n += word && !inside;
        inside = word;
    }
    *out = qn_jinja_int(n);
    return 0;
}

static int filter_escape(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_string s;
    if (qn_jinja_to_string(r, &c->self, &s)) return r->code;
    return qn_jinja_escape(r, &s, out);
}

static int filter_forceescape(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    qn_jinja_string s;
    if (qn_jinja_to_string(r, &c->self, &s)) return r->code;
    s.markup = false;
    return qn_jinja_escape(r, &s, out);
}

static int filter_center(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    const qn_jinja_string space = qn_jinja_literal(" ", true);
    qn_jinja_string s;
    int64_t width;
    if (qn_jinja_to_string(r, &c->self, &s)) return r->code;
    if (qn_jinja_int_argument(r, &c->slot[0], 80, &width)) return r->code;
    return qn_jinja_pad(r, &s, width, &space, (bool[]){true, true}, out);
}

static int filter_format(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out)
{
    const qn_jinja_args *args = &c->args;
    qn_jinja_string s;
    qn_jinja_value values;
    if (qn_jinja_to_string(r, &c->self, &s)) return r->code;
    if (args->n && args->n_named) {
        return qn_jinja_fail(r, "FilterArgumentError",
                             "can't handle positional and keyword arguments at the same time");
    }
    if (args->n_named) {
        if (qn_jinja_new_dict(r, args->n_named, &values)) return r->code;
        for (size_t i = 0; i < args->n_named; i++) {
            const qn_jinja_value key = {.kind = QN_JINJA_STRING, .string = args->names[i]};
            if (qn_jinja_dict_set(r, values.dict, key, args->named[i])) return r->code;
        }
    } else {
        if (qn_jinja_new_list(r, args->n, QN_JINJA_TUPLE, &values)) return r->code;
        for (size_t i = 0; i < args->n; i++)
            values.list->items[i] = args->positional[i];
    }
    return qn_jinja_percent(r, &s, &values, out);
}

static const qn_jinja_builtin rows[] = {
    {"upper", filter_upper, "", 0},
    {"lower", filter_lower, "", 0},
    {"title", filter_title, "", 0},
    {"capitalize", filter_capitalize, "", 0},
    {"trim", filter_trim, "chars", 0},
    {"replace", filter_replace, "old new count", 2},
    {"indent", filter_indent, "width first blank", 0},
    {"wordcount", filter_wordcount, "", 0},
    {"escape", filter_escape, "", 0},
    {"e", filter_escape, "", 0},
    {"forceescape", filter_forceescape, "", 0},
    {"center", filter_center, "width", 0},
    {"format", filter_format, "*", 0},
};
const qn_jinja_table qn_jinja_text_filters = {rows, sizeof rows / sizeof *rows};
