// Reads PTX: operands, instructions, functions, modules. See ptx.h.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reader.h"

/* ---- operands ---- */

typedef struct {
    ptx_operand operands[PTX_MAX_OPERANDS];
    int n, braces, widest; // braces: which operand was in braces, -1: none
} operands;

static void push(reader *r, operands *o, ptx_operand one)
{
    if (o->n == PTX_MAX_OPERANDS) reader_fail(r, "too many operands");
    o->operands[o->n++] = one;
}

// What a launch asks for lies behind the function's own.
enum { LAUNCHED_SHARED = -1 };
static int64_t address_of(const reader *r, const name *v)
{
    return v->value == LAUNCHED_SHARED ? r->f->shared_bytes : v->value;
}

// A register, a special one or a number.
static ptx_operand value(reader *r, int width, int *found_width)
{
    found_register found = {.width = width};
    reader_skip(r);
    int n = reader_word(r->at);
    if (isdigit((unsigned char)*r->at) || *r->at == '-') return reader_number(r, width);
    if (!reader_find_register(r, r->at, n, &found) && !reader_find_special(r->at, n, &found)) {
        const name *v = reader_find_name(r, r->at, n);
        if (!v || (v->space != PTX_SHARED && v->space != PTX_GLOBAL))
            reader_fail(r, "no register or variable '%.*s'", n, r->at);
        r->at += n;
        return reader_constant(r, (uint64_t)address_of(r, v), width);
    }
    r->at += n;
    *found_width = found.width;
    if (found.width != width && (found.operand >> PTX_BASE_SHIFT) != PTX_IN_SPECIALS && width == 8)
        reader_fail(r, "a register of %d bytes where one of %d belongs", found.width, width);
    return found.operand;
}

static void address(reader *r, ptx_instruction *i, operands *o)
{
    found_register base;
    reader_expect(r, '[');
    reader_skip(r);
    int n = reader_word(r->at);
    const name *v;
    if (isdigit((unsigned char)*r->at)) {
        push(r, o, reader_number(r, 8));
        i->wide_address = 1;
    } else if (reader_find_register(r, r->at, n, &base)) {
        push(r, o, base.operand);
        i->wide_address = base.width == 8;
        r->at += n;
    } else if ((v = reader_find_name(r, r->at, n)) != NULL) {
        r->at += n;
        i->wide_address = 1;
        bool in_frame = v->space == PTX_LOCAL || v->space == PTX_PARAMETER;
        int64_t at = in_frame || v->space == PTX_LAUNCHED ? 0 : address_of(r, v);
        push(r, o, in_frame ? v->at : reader_constant(r, (uint64_t)at, 8));
        i->stride = v->stride;
        i->offset = v->space == PTX_LAUNCHED ? v->value : 0;
        if (in_frame || v->space == PTX_LAUNCHED) i->space = (uint8_t)v->space;
    } else {
        reader_fail(r, "no register or variable '%.*s'", n, r->at);
    }
    if (reader_takes(r, '+')) {
        reader_skip(r);
        i->offset += strtoll(r->at, (char **)&r->at, 0);
    }
    reader_expect(r, ']');
}

static int width_of_letter(char c)
{
    return c == 'q' ? 8 : c == 'p' ? 0 : 4;
}

static void operand(reader *r, ptx_instruction *i, operands *o, char letter, int index)
{
    int width = width_of_letter(letter), found = width;
    reader_skip(r);
    if (letter == 'a') {
        address(r, i, o);
        return;
    }
    if (letter == 'b') { // an address that is a register, one of several
        reader_expect(r, '[');
        operand(r, i, o, 'w', index);
        reader_expect(r, ']');
        return;
    }
    if (letter == '_') {
        r->at += reader_next_word(r);
        return;
    }
    if (reader_takes(r, '{')) {
        o->braces = index;
        do
            push(r, o, value(r, width, &found));
        while (reader_takes(r, ','));
        reader_expect(r, '}');
    } else {
        push(r, o, value(r, width, &found));
    }
    if (found == 8) o->widest = 8;
    if (reader_takes(r, '|')) push(r, o, value(r, 0, &found));
}

/* ---- instructions ---- */

static ptx_instruction *add_instruction(reader *r)
{
    ptx_function *f = r->f;
    if (f->n_code == r->room_for_code) {
        r->room_for_code = r->room_for_code ? 2 * r->room_for_code : 1024;
        f->code = realloc(f->code, (size_t)r->room_for_code * sizeof *f->code);
        if (!f->code) abort();
    }
    f->code[f->n_code] = (ptx_instruction){.guard = PTX_NOWHERE, .line = r->line, .target = -1};
    return &f->code[f->n_code++];
}

static void read_jump(reader *r, ptx_instruction *i)
{
    int n = reader_next_word(r);
    if (n >= 32) reader_fail(r, "a label that is too long");
    r->jumps = realloc(r->jumps, (size_t)(r->n_jumps + 1) * sizeof *r->jumps);
    if (!r->jumps) abort();
    memset(r->jumps[r->n_jumps].name, 0, 32);
    memcpy(r->jumps[r->n_jumps].name, r->at, (size_t)n);
    r->jumps[r->n_jumps++].instruction = (int)(i - r->f->code);
    r->at += n;
}

static int read_call_list(reader *r, ptx_parameter *to, int most)
{
    int n = 0;
    reader_expect(r, '(');
    while (!reader_takes(r, ')')) {
        int length = reader_next_word(r);
        const name *v = reader_find_name(r, r->at, length);
        if (!v || v->space != PTX_PARAMETER || n == most)
            reader_fail(r, "no parameter '%.*s'", length, r->at);
        to[n++] = (ptx_parameter){.at = v->at, .n_bytes = v->width};
        r->at += length;
        reader_takes(r, ',');
    }
    return n;
}

// call.uni [(result),] name [, (arguments)]
static void read_call(reader *r, ptx_instruction *i)
{
    ptx_function *f = r->f;
    f->calls = realloc(f->calls, (size_t)(f->n_calls + 1) * sizeof *f->calls);
    if (!f->calls) abort();
    ptx_call *c = &f->calls[f->n_calls];
    *c = (ptx_call){0};
    i->target = f->n_calls++;
    reader_skip(r);
    if (*r->at == '(') {
        c->n_results = read_call_list(r, c->results, 2);
        reader_expect(r, ',');
    }
    c->name_length = reader_next_word(r);
    c->callee_name = r->at;
    r->at += c->name_length;
    if (reader_takes(r, ',')) c->n_arguments = read_call_list(r, c->arguments, PTX_MAX_PARAMETERS);
}

// mov of a variable's address, of parts, or of a value.
extern ptx_run ptx_move_local, ptx_move_parameter, ptx_pack, ptx_unpack, ptx_clock, ptx_clock64;

static void read_move(reader *r, ptx_instruction *i, operands *o, char letter)
{
    reader_skip(r);
    bool apart = *r->at == '{';
    operand(r, i, o, apart ? 'w' : letter, 0);
    reader_expect(r, ',');
    reader_skip(r);
    int n = reader_word(r->at);
    const name *v = reader_find_in(r->names, r->n_names, r->at, n);
    if (v && v->space != PTX_ANYWHERE) {
        r->at += n;
        i->run = v->space == PTX_LAUNCHED ? ptx_move_parameter : ptx_move_local;
        i->offset = v->value;
        i->stride = v->stride;
        push(r, o, v->at);
    } else if (reader_is(r->at, n, "%clock64") || reader_is(r->at, n, "%clock")) {
        i->run = n == 8 ? ptx_clock64 : ptx_clock;
        r->at += n;
    } else {
        bool parts = *r->at == '{';
        operand(r, i, o, parts ? 'w' : letter, 1);
        if (parts || apart) i->run = parts ? ptx_pack : ptx_unpack;
        i->wide = letter == 'q';
    }
}

static void read_operands(reader *r, ptx_instruction *i, const char *letters)
{
    operands o = {.braces = -1};
    if (i->kind == PTX_BRANCH) {
        read_jump(r, i);
    } else if (i->kind == PTX_CALL) {
        read_call(r, i);
    } else if (letters[0] == 'm') {
        read_move(r, i, &o, letters[1]);
    } else {
        for (int k = 0; letters[k]; k++) {
            if (letters[k] == '?') { // what follows may be left out
                reader_skip(r);
                if (*r->at == ';') break;
                continue;
            }
            if (k) reader_expect(r, ',');
            operand(r, i, &o, letters[k], k);
        }
    }
    reader_expect(r, ';');
    if (i->bytes) i->wide = o.widest == 8;
    i->n_operands = (uint8_t)o.n;
    ptx_operand *kept = malloc((size_t)(o.n + 1) * sizeof *kept);
    if (!kept) abort();
    memcpy(kept, o.operands, (size_t)o.n * sizeof *kept);
    i->operands = kept;
}

static void read_instruction(reader *r)
{
    ptx_operand guard = PTX_NOWHERE;
    bool negated = false;
    if (reader_takes(r, '@')) {
        negated = reader_takes(r, '!');
        found_register p;
        int n = reader_next_word(r);
        if (!reader_find_register(r, r->at, n, &p)) reader_fail(r, "no predicate '%.*s'", n, r->at);
        guard = p.operand;
        r->at += n;
    }
    int n = reader_next_word(r);
    const char *mnemonic = r->at;
    ptx_instruction *i = add_instruction(r);
    i->guard = guard;
    i->negated = negated;
    const char *letters = ptx_instruction_kind(mnemonic, n, i);
    if (!letters) reader_fail(r, "'%.*s' is not known here", n, mnemonic);
    r->at += n;
    read_operands(r, i, letters);
}

/* ---- functions ---- */

static void read_label(reader *r, int n)
{
    if (r->n_labels == MAX_LABELS || n >= 32) reader_fail(r, "too many labels, or one too long");
    label *l = &r->labels[r->n_labels++];
    memset(l->name, 0, sizeof l->name);
    memcpy(l->name, r->at, (size_t)n);
    l->at = r->f->n_code;
    r->at += n + 1;
}

static void read_directive(reader *r, int n)
{
    const char *at = r->at;
    r->at += n;
    if (reader_is(at, n, ".reg")) {
        reader_declare_registers(r);
    } else if (reader_is(at, n, ".pragma")) {
        r->at += strcspn(r->at, ";");
        reader_expect(r, ';');
    } else if (reader_is(at, n, ".shared")) { // a variable of the module: see scan_line
        r->at += strcspn(r->at, ";");
        reader_expect(r, ';');
    } else if (reader_is(at, n, ".local") || reader_is(at, n, ".param")) {
        reader_declare_in_frame(r, at[1] == 'l' ? PTX_LOCAL : PTX_PARAMETER);
        reader_expect(r, ';');
    } else {
        reader_fail(r, "'%.*s' is not known here", n, at);
    }
}

static void read_body(reader *r)
{
    for (int depth = 1; depth;) {
        reader_skip(r);
        if (reader_takes(r, '{')) {
            if (r->n_scopes == 8) reader_fail(r, "scopes too deep");
            r->scopes[r->n_scopes++] = r->n_names;
            depth++;
            continue;
        }
        if (reader_takes(r, '}')) {
            if (--depth) r->n_names = r->scopes[--r->n_scopes];
            continue;
        }
        if (reader_takes(r, ';')) continue;
        if (*r->at == '@') {
            read_instruction(r);
            continue;
        }
        int n = reader_next_word(r);
        if (r->at[n] == ':')
            read_label(r, n);
        else if (*r->at == '.')
            read_directive(r, n);
        else
            read_instruction(r);
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const label *)a)->name, ((const label *)b)->name);
}

static void resolve(reader *r)
{
    qsort(r->labels, (size_t)r->n_labels, sizeof *r->labels, by_name);
    for (int j = 0; j < r->n_jumps; j++) {
        label key;
        memcpy(key.name, r->jumps[j].name, 32);
        const label *found = bsearch(&key, r->labels, (size_t)r->n_labels, sizeof key, by_name);
        if (!found) reader_fail(r, "no label '%s'", key.name);
        r->f->code[r->jumps[j].instruction].target = found->at;
    }
}

// ( .param …, … ): of an entry one after another in what is launched, else in the frame.
static int read_parameters(reader *r, ptx_parameter *to, int most)
{
    int n = 0;
    reader_expect(r, '(');
    while (!reader_takes(r, ')')) {
        int length = reader_next_word(r); // .param
        r->at += length;
        if (n == most) reader_fail(r, "too many parameters");
        ptx_parameter *p = &to[n++];
        if (r->f->is_entry) {
            declared d = reader_declaration(r);
            name *new = reader_add_name(r, d.name, d.length);
            int at = (r->f->parameter_bytes + d.alignment - 1) / d.alignment * d.alignment;
            new->space = PTX_LAUNCHED;
            new->value = at;
            *p = (ptx_parameter){.at = at, .n_bytes = d.n_bytes, .alignment = d.alignment};
            r->f->parameter_bytes = at + d.n_bytes;
        } else {
            const name *new = reader_declare_in_frame(r, PTX_PARAMETER);
            *p = (ptx_parameter){.at = new->at, .n_bytes = new->width};
        }
        reader_takes(r, ',');
    }
    return n;
}

static void read_header(reader *r)
{
    ptx_function *f = r->f;
    reader_skip(r);
    if (*r->at == '(') f->n_results = read_parameters(r, f->results, 2);
    r->at += reader_next_word(r); // its name
    reader_skip(r);
    if (*r->at == '(') f->n_parameters = read_parameters(r, f->parameters, PTX_MAX_PARAMETERS);
    f->cluster = 1;
    while (!reader_takes(r, '{')) {
        int n = reader_next_word(r);
        const char *at = r->at;
        r->at += n;
        reader_skip(r);
        int value = (int)strtol(r->at, NULL, 10);
        r->at += strspn(r->at, "0123456789, ");
        if (reader_is(at, n, ".maxntid")) f->n_threads = value;
        if (reader_is(at, n, ".reqnctapercluster")) f->cluster = value;
    }
}

static int read_function(ptx_module *m, ptx_function *f)
{
    reader *r = calloc(1, sizeof *r);
    label *labels = malloc(MAX_LABELS * sizeof *labels);
    if (!r || !labels) abort();
    *r = (reader){.m = m, .f = f, .at = f->text, .line = f->line, .labels = labels};
    if (setjmp(r->failed)) {
        f->is_unknown = true;
    } else {
        read_header(r);
        read_body(r);
        resolve(r);
        f->is_read = true;
    }
    free(r->jumps);
    free(labels);
    free(r);
    return f->is_read ? 0 : -1;
}

/* ---- modules ---- */

static void add_function(ptx_module *m, const char *at, int line, bool is_entry)
{
    if (m->n_functions % 64 == 0) {
        m->functions = realloc(m->functions, (size_t)(m->n_functions + 64) * sizeof *m->functions);
        if (!m->functions) abort();
    }
    ptx_function *f = &m->functions[m->n_functions++];
    *f = (ptx_function){.text = at, .line = line, .is_entry = is_entry};
    const char *text = at + strspn(at, " \t\n");
    if (*text == '(') text = strchr(text, ')') + 1;
    f->name = text + strspn(text, " \t\n");
    f->name_length = reader_word(f->name);
}

// Of the function that was met last.
static int64_t take_shared(ptx_module *m, const declared *d)
{
    ptx_function *f = &m->functions[m->n_functions - 1];
    int at = (f->shared_bytes + d->alignment - 1) / d->alignment * d->alignment;
    f->shared_bytes = at + d->n_bytes;
    return at;
}

static int64_t make_global(reader *r, const declared *d)
{
    uint8_t *bytes = calloc(1, (size_t)d->n_bytes + 16);
    if (!bytes) abort();
    if (reader_takes(r, '=') && reader_takes(r, '{'))
        for (int i = 0; i < d->n_bytes && !reader_takes(r, '}'); i++, reader_takes(r, ','))
            bytes[i] = (uint8_t)strtol(r->at, (char **)&r->at, 10);
    return (int64_t)(uintptr_t)bytes;
}

// .global .align 4 .b8 name[24] = {65, …}; of a function: .shared .align 4 .b8 name[128]; and .extern .shared .align 16 .b8 name[];
static void add_variable(ptx_module *m, const char *at, int line, char kind)
{
    reader *r = calloc(1, sizeof *r);
    m->variables = realloc(m->variables, (size_t)(m->n_variables + 1) * sizeof *m->variables);
    if (!r || !m->variables) abort();
    *r = (reader){.m = m, .at = at, .line = line};
    name *v = &m->variables[m->n_variables];
    if (!setjmp(r->failed)) {
        declared d = reader_declaration(r);
        if (d.length >= NAME_BYTES) reader_fail(r, "a name that is too long");
        *v = (name){.length = d.length, .space = kind == 'g' ? PTX_GLOBAL : PTX_SHARED};
        memcpy(v->name, d.name, (size_t)d.length);
        v->value = kind == 'g'   ? make_global(r, &d)
                   : kind == 's' ? take_shared(m, &d)
                                 : LAUNCHED_SHARED;
        v->n_bytes = d.n_bytes;
        m->n_variables++;
    }
    free(r);
}

static void scan_line(ptx_module *m, const char *at, int line)
{
    static const char entry[] = ".visible .entry ", func[] = ".func", global[] = ".global ",
                      shared[] = "\t.shared ", launched[] = ".extern .shared ";
    if (!strncmp(at, entry, sizeof entry - 1)) {
        add_function(m, at + sizeof entry - 1, line, true);
    } else if (!strncmp(at, func, sizeof func - 1)) {
        const char *body = strchr(at, '{'), *end = strchr(at, ';');
        if (body && (!end || body < end)) add_function(m, at + sizeof func - 1, line, false);
    } else if (!strncmp(at, global, sizeof global - 1)) {
        add_variable(m, at + sizeof global - 1, line, 'g');
    } else if (!strncmp(at, shared, sizeof shared - 1)) {
        add_variable(m, at + sizeof shared - 1, line, 's');
    } else if (!strncmp(at, launched, sizeof launched - 1)) {
        add_variable(m, at + sizeof launched - 1, line, 'l');
    }
}

// Makes comments of the lines that hold `what`; KERNEL/WHAT: of those of one kernel.
static void leave_out(char *text, const char *what)
{
    const char *slash = strchr(what, '/'), *end = NULL;
    if (slash) {
        char entry[128];
        snprintf(entry, sizeof entry, ".entry %.*s(", (int)(slash - what), what);
        text = strstr(text, entry);
        if (text) end = strstr(text + 1, ".entry ");
        what = slash + 1;
    }
    for (char *at = text ? strstr(text, what) : NULL; at && (!end || at < end);
         at = strstr(at + 1, what)) {
        char *line = at;
        while (line > text && line[-1] != '\n')
            line--;
        memcpy(line, "//", 2);
        at += strcspn(at, "\n") - 1;
    }
}

ptx_module *ptx_module_new(const char *text, const char *omitted, char *error)
{
    *error = 0;
    if (!strstr(text, ".version")) {
        snprintf(error, 256, "not PTX");
        return NULL;
    }
    ptx_module *m = calloc(1, sizeof *m);
    if (m) m->text = strdup(text);
    if (m) m->constants = malloc((size_t)MAX_CONSTANTS * CONSTANT_BYTES);
    if (!m || !m->text || !m->constants) abort();
    m->error = error;
    if (omitted && *omitted) leave_out(m->text, omitted);
    int line = 1;
    for (const char *at = m->text; at; line++) {
        if (*at == '.' || *at == '\t') scan_line(m, at, line);
        at = strchr(at, '\n');
        if (at) at++;
    }
    return m;
}

void ptx_module_free(ptx_module *m)
{
    if (!m) return;
    for (int i = 0; i < m->n_functions; i++) {
        ptx_function *f = &m->functions[i];
        for (int k = 0; k < f->n_code; k++)
            free((void *)(uintptr_t)f->code[k].operands);
        free(f->code);
        free(f->calls);
    }
    for (int i = 0; i < m->n_variables; i++)
        if (m->variables[i].space == PTX_GLOBAL) free((void *)(uintptr_t)m->variables[i].value);
    free(m->functions);
    free(m->variables);
    free(m->constants);
    free(m->text);
    free(m);
}

ptx_function *ptx_module_find(ptx_module *m, const char *called, int length)
{
    for (int i = 0; i < m->n_functions; i++)
        if (m->functions[i].name_length == length &&
            !memcmp(m->functions[i].name, called, (size_t)length))
            return &m->functions[i];
    return NULL;
}

ptx_function *ptx_module_function(ptx_module *m, const char *called, int length, char *error)
{
    ptx_function *f = ptx_module_find(m, called, length);
    m->error = error;
    if (!f) snprintf(error, 256, "no function '%.*s' in the module", length, called);
    if (f && f->is_unknown) snprintf(error, 256, "'%.*s' could not be read", length, called);
    return f && !f->is_unknown && (f->is_read || !read_function(m, f)) ? f : NULL;
}

const char *ptx_module_constants(const ptx_module *m)
{
    return m->constants;
}

bool ptx_module_variable_holds(const ptx_module *m, uint64_t address, int n_bytes)
{
    for (int i = 0; i < m->n_variables; i++) {
        const name *v = &m->variables[i];
        uint64_t at = (uint64_t)v->value;
        if (v->space == PTX_GLOBAL && address >= at &&
            address + (uint64_t)n_bytes <= at + (uint64_t)v->n_bytes)
            return true;
    }
    return false;
}
