// The tojson filter: Python's json.dumps as Hugging Face calls it, key order kept. Strings keep their trust, punctuation
// and numbers are untrusted. See jinja_value.h.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja_eval.h"

typedef struct {
    qn_jinja_builder b;
    const qn_jinja_json_style *style;
    int depth;
} writer;

static void add(writer *w, const char *text)
{
    qn_jinja_add_text(&w->b, text, strlen(text), false);
}

// The escape of a character, or 0 where it stands for itself.
static int escape(uint32_t code, bool ensure_ascii, char out[16])
{
    static const char letters[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (const char *p = letters; *p && code < 0x80; p += 2) {
        if (code == (unsigned char)p[0]) return snprintf(out, 16, "\\%c", p[1]);
    }
    if (code >= 0x20 && (code < 0x80 || !ensure_ascii)) return 0;
    if (code < 0x10000) return snprintf(out, 16, "\\u%04x", code);
    return snprintf(out, 16, "\\u%04x\\u%04x", 0xd800 + ((code - 0x10000) >> 10),
                    0xdc00 + ((code - 0x10000) & 0x3ff));
}

static void write_string(writer *w, const qn_jinja_string *s)
{
    size_t plain = 0;
    char text[16];
    add(w, "\"");
    for (size_t i = 0; i < s->n;) {
        uint32_t code = (unsigned char)s->data[i];
        if (code >= 0x20 && code < 0x80 && code != '"' && code != '\\') {
            i++;
            continue;
        }
        size_t n = code < 0x80 ? 1 : qn_jinja_character(s, i, &code);
        if (escape(code, w->style->ensure_ascii, text)) {
            qn_jinja_string before = qn_jinja_view(s, plain, i);
            qn_jinja_add(&w->b, &before);
            add(w, text);
            plain = i + n;
        }
        i += n;
    }
    qn_jinja_string rest = qn_jinja_view(s, plain, s->n);
    qn_jinja_add(&w->b, &rest);
    add(w, "\"");
}

// Numbers, booleans and null, as values and as keys.
static bool scalar_text(const qn_jinja_value *v, char out[32])
{
    switch (v->kind) {
    case QN_JINJA_NONE:
        return snprintf(out, 32, "null"), true;
    case QN_JINJA_BOOL:
        return snprintf(out, 32, v->boolean ? "true" : "false"), true;
    case QN_JINJA_INT:
        return snprintf(out, 32, "%lld", (long long)v->integer), true;
    case QN_JINJA_FLOAT:
        if (isnan(v->real)) return snprintf(out, 32, "NaN"), true;
        if (isinf(v->real)) return snprintf(out, 32, v->real < 0 ? "-Infinity" : "Infinity"), true;
        return qn_jinja_format_real(v->real, out), true;
    default:
        return false;
    }
}

static void new_line(writer *w)
{
    if (!w->style->indent) return;
    add(w, "\n");
    for (int i = 0; i < w->depth; i++)
        qn_jinja_add(&w->b, w->style->indent);
}

static void write_value(writer *w, const qn_jinja_value *v);

static void write_list(writer *w, const qn_jinja_list *list)
{
    if (!list->n) {
        add(w, "[]");
        return;
    }
    add(w, "[");
    w->depth++;
    for (size_t i = 0; i < list->n && !w->b.run->code; i++) {
        if (i) qn_jinja_add(&w->b, &w->style->item_separator);
        new_line(w);
        write_value(w, &list->items[i]);
    }
    w->depth--;
    new_line(w);
    add(w, "]");
}

static void write_key(writer *w, const qn_jinja_value *key)
{
    char text[32];
    if (key->kind == QN_JINJA_STRING) {
        write_string(w, key->string);
    } else if (scalar_text(key, text)) {
        add(w, "\"");
        add(w, text);
        add(w, "\"");
    } else {
        qn_jinja_fail(w->b.run, "TypeError", "keys must be str, int, float, bool or None, not %s",
                      qn_jinja_type(key));
    }
}

static const qn_jinja_entry *entries_of(writer *w, const qn_jinja_dict *d)
{
    if (!w->style->sort_keys) return d->entries;
    qn_jinja_run *r = w->b.run;
    qn_jinja_value *keys = qn_jinja_take(r, d->n, sizeof *keys);
    qn_jinja_entry *sorted = keys ? qn_jinja_take(r, d->n, sizeof *sorted) : NULL;
    uint32_t *order;
    if (!sorted) return NULL;
    for (size_t i = 0; i < d->n; i++)
        keys[i] = d->entries[i].key;
    if (qn_jinja_sort(r, keys, d->n, false, &order)) return NULL;
    for (size_t i = 0; i < d->n; i++)
        sorted[i] = d->entries[order[i]];
    return sorted;
}

static void write_dict(writer *w, const qn_jinja_dict *d)
{
    if (!d->n) {
        add(w, "{}");
        return;
    }
    const qn_jinja_entry *entries = entries_of(w, d);
    if (!entries) return;
    add(w, "{");
    w->depth++;
    for (size_t i = 0; i < d->n && !w->b.run->code; i++) {
        if (i) qn_jinja_add(&w->b, &w->style->item_separator);
        new_line(w);
        write_key(w, &entries[i].key);
        qn_jinja_add(&w->b, &w->style->key_separator);
        write_value(w, &entries[i].value);
    }
    w->depth--;
    new_line(w);
    add(w, "}");
}

static void write_value(writer *w, const qn_jinja_value *v)
{
    qn_jinja_run *r = w->b.run;
    char text[32];
    if (r->code || qn_jinja_charge(r, 1)) return;
    if (w->depth > QN_JINJA_MAX_DATA_DEPTH) {
        qn_jinja_limit(r, "its limit of 128 levels of nested data");
    } else if (v->kind == QN_JINJA_STRING) {
        write_string(w, v->string);
    } else if (scalar_text(v, text)) {
        add(w, text);
    } else if (v->kind == QN_JINJA_DICT) {
        write_dict(w, v->dict);
    } else if (v->kind == QN_JINJA_LIST &&
               (v->list->flavour == QN_JINJA_PLAIN_LIST || v->list->flavour == QN_JINJA_TUPLE)) {
        write_list(w, v->list);
    } else {
        qn_jinja_fail(r, "TypeError", "Object of type %s is not JSON serializable",
                      qn_jinja_type(v));
    }
}

int qn_jinja_to_json(qn_jinja_run *r, const qn_jinja_value *v, const qn_jinja_json_style *style,
                     qn_jinja_value *out)
{
    writer w = {.b = {.run = r}, .style = style};
    write_value(&w, v);
    return qn_jinja_build(&w.b, out);
}
