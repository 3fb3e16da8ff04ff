// See reader.h.
#include "reader.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void reader_fail(reader *r, const char *format, ...)
{
    char what[160];
    va_list list;
    va_start(list, format);
    vsnprintf(what, sizeof what, format, list);
    va_end(list);
    snprintf(r->m->error, 256, "line %d of the PTX: %s", r->line, what);
    longjmp(r->failed, 1);
}

/* ---- words ---- */

void reader_skip(reader *r)
{
    for (;; r->at++) {
        if (r->at[0] == '/' && r->at[1] == '/') r->at += strcspn(r->at, "\n");
        if (*r->at == '\n') r->line++;
        if (!isspace((unsigned char)*r->at)) return;
    }
}

bool reader_takes(reader *r, char c)
{
    reader_skip(r);
    if (*r->at != c) return false;
    r->at++;
    return true;
}

void reader_expect(reader *r, char c)
{
    if (!reader_takes(r, c)) reader_fail(r, "expected '%c', found '%.20s'", c, r->at);
}

int reader_word(const char *at)
{
    int n = 0;
    while (isalnum((unsigned char)at[n]) || strchr("_$%.:", at[n]) != NULL) {
        if (!at[n]) break;
        if (at[n] == ':' && at[n + 1] != ':' && !(n && at[n - 1] == ':')) break; // a label's end
        n++;
    }
    return n;
}

int reader_next_word(reader *r)
{
    reader_skip(r);
    int n = reader_word(r->at);
    if (!n) reader_fail(r, "expected a name, found '%.20s'", r->at);
    return n;
}

bool reader_is(const char *at, int n, const char *what)
{
    return (int)strlen(what) == n && !memcmp(at, what, (size_t)n);
}

/* ---- constants ---- */

ptx_operand reader_constant(reader *r, uint64_t value, int width)
{
    ptx_module *m = r->m;
    unsigned at =
        (unsigned)((value + (unsigned)width) * 0x9e3779b97f4a7c15u >> 40) % (4 * MAX_CONSTANTS);
    while (m->seen[at].at && (m->seen[at].value != value || m->seen[at].width != width))
        at = (at + 1) % (4 * MAX_CONSTANTS);
    if (!m->seen[at].at) {
        if (m->n_constants == MAX_CONSTANTS) reader_fail(r, "too many constants");
        char *to = m->constants + (size_t)m->n_constants * CONSTANT_BYTES;
        for (int l = 0; l < PTX_LANES; l++)
            memcpy(to + l * width, &value, (size_t)width);
        m->seen[at].value = value;
        m->seen[at].width = width;
        m->seen[at].at = ++m->n_constants;
    }
    return (PTX_IN_CONSTANTS << PTX_BASE_SHIFT) | (m->seen[at].at - 1) * CONSTANT_BYTES;
}

ptx_operand reader_number(reader *r, int width)
{
    bool negative = reader_takes(r, '-');
    uint64_t v;
    char *end;
    if (r->at[0] == '0' && (r->at[1] == 'f' || r->at[1] == 'd'))
        v = strtoull(r->at + 2, &end, 16); // its bits
    else
        v = strtoull(r->at, &end, 0);
    if (end == r->at) reader_fail(r, "expected a number, found '%.20s'", r->at);
    if (*end == '.')
        v = 0, end += strspn(end, ".0123456789"); // a fraction, of createpolicy: not looked at
    r->at = end;
    if (*r->at == 'U') r->at++;
    if (negative) v = 0 - v;
    if (!width) v = v ? UINT32_MAX : 0;
    return reader_constant(r, v, width == 8 ? 8 : 4);
}

/* ---- names ---- */

int reader_take_room(reader *r, int bytes, int alignment)
{
    int at = (r->f->frame_bytes + alignment - 1) / alignment * alignment;
    r->f->frame_bytes = at + bytes;
    if (r->f->frame_bytes >= 1 << PTX_BASE_SHIFT) reader_fail(r, "too many registers");
    return at;
}

name *reader_add_name(reader *r, const char *text, int n)
{
    if (r->n_names == MAX_NAMES || n >= NAME_BYTES)
        reader_fail(r, "too many names, or one too long");
    name *new = &r->names[r->n_names++];
    *new = (name){.length = n};
    memcpy(new->name, text, (size_t)n);
    return new;
}

const name *reader_find_in(const name *names, int n_names, const char *text, int n)
{
    for (int i = n_names - 1; i >= 0; i--)
        if (names[i].length == n && !memcmp(names[i].name, text, (size_t)n)) return &names[i];
    return NULL;
}

const name *reader_find_name(const reader *r, const char *text, int n)
{
    const name *found = reader_find_in(r->names, r->n_names, text, n);
    return found ? found : reader_find_in(r->m->variables, r->m->n_variables, text, n);
}

bool reader_find_register(const reader *r, const char *text, int n, found_register *out)
{
    int letters = 0, index = 0;
    while (letters < n && !isdigit((unsigned char)text[letters]))
        letters++;
    for (int i = letters; i < n; i++)
        index = isdigit((unsigned char)text[i]) ? index * 10 + text[i] - '0' : -1;
    for (int i = 0; i < r->n_classes && letters < n; i++) {
        const register_class *c = &r->classes[i];
        if (c->length != letters || memcmp(c->prefix, text, (size_t)letters) || index < 0 ||
            index >= c->n)
            continue;
        *out = (found_register){c->at + index * c->bytes, c->width};
        return true;
    }
    const name *named = reader_find_in(r->names, r->n_names, text, n);
    if (!named || named->space != PTX_ANYWHERE) return false;
    *out = (found_register){named->at, named->width};
    return true;
}

static const struct {
    const char *name;
    int at;
} specials[] = {
    {"%tid.x", 0},    {"%tid.y", 1},     {"%tid.z", 2},
    {"%ntid.x", 3},   {"%ntid.y", 4},    {"%ntid.z", 5},
    {"%ctaid.x", 6},  {"%ctaid.y", 7},   {"%ctaid.z", 8},
    {"%nctaid.x", 9}, {"%nctaid.y", 10}, {"%nctaid.z", 11},
    {"%laneid", 12},  {"%warpid", 13},   {"%cluster_ctarank", 14},
    {"%clock", 15},   {"%clock64", 16},
};

bool reader_find_special(const char *text, int n, found_register *out)
{
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        if (!reader_is(text, n, specials[i].name)) continue;
        int at = specials[i].at * PTX_LANES * 8;
        *out = (found_register){(PTX_IN_SPECIALS << PTX_BASE_SHIFT) | at,
                                specials[i].at == 16 ? 8 : 4};
        return true;
    }
    return false;
}

static int width_of(const char *type, int n)
{
    if (reader_is(type, n, ".pred")) return 0;
    return n > 2 && type[n - 2] == '6' && type[n - 1] == '4' ? 8 : 4;
}

/* ---- declarations ---- */

void reader_declare_registers(reader *r)
{
    int n = reader_next_word(r), width = width_of(r->at, n);
    int bytes = width ? width * PTX_LANES : 8;
    r->at += n;
    do {
        n = reader_next_word(r);
        const char *text = r->at;
        r->at += n;
        if (reader_takes(r, '<')) {
            int many = (int)strtol(r->at, (char **)&r->at, 10);
            reader_expect(r, '>');
            if (r->n_classes == MAX_CLASSES || n >= (int)sizeof r->classes->prefix)
                reader_fail(r, "too many kinds of registers");
            register_class *c = &r->classes[r->n_classes++];
            *c = (register_class){.length = n, .n = many, .width = width, .bytes = bytes};
            memcpy(c->prefix, text, (size_t)n);
            c->at = reader_take_room(r, many * bytes, 64);
        } else {
            name *new = reader_add_name(r, text, n);
            new->width = width;
            new->at = reader_take_room(r, bytes, 64);
        }
    } while (reader_takes(r, ','));
    reader_expect(r, ';');
}

declared reader_declaration(reader *r)
{
    declared d = {.alignment = 0};
    int n = reader_next_word(r);
    if (reader_is(r->at, n, ".align")) {
        r->at += n;
        reader_skip(r);
        d.alignment = (int)strtol(r->at, (char **)&r->at, 10);
        n = reader_next_word(r);
    }
    int element = r->at[n - 1] == '8' ? 1 : r->at[n - 1] == '6' ? 2 : r->at[n - 1] == '2' ? 4 : 8;
    r->at += n;
    d.length = reader_next_word(r);
    d.name = r->at;
    r->at += d.length;
    d.n_bytes = element;
    if (reader_takes(r, '[')) {
        reader_skip(r);
        d.n_bytes = (int)strtol(r->at, (char **)&r->at, 10) * element;
        reader_expect(r, ']');
    }
    if (!d.alignment) d.alignment = element;
    return d;
}

name *reader_declare_in_frame(reader *r, ptx_space space)
{
    declared d = reader_declaration(r);
    name *new = reader_add_name(r, d.name, d.length);
    new->space = space;
    new->stride = (d.n_bytes + 15) / 16 * 16;
    new->at = reader_take_room(r, new->stride *PTX_LANES, 64);
    new->width = d.n_bytes;
    return new;
}
