// The state of one rendering: failures, limits, memory. See jinja_value.h.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/utf8.h"
#include "text/jinja_ast.h"

void qn_jinja_mend_message(quern_error *e)
{
    if (!e) return;
    size_t n = strlen(e->message), at;
    while ((at = qn_utf8_check(e->message, n)) < n)
        e->message[at] = '?';
}

int qn_jinja_fail(qn_jinja_run *r, const char *error_class, const char *format, ...)
{
    if (r->code) return r->code;
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->code = qn_error_set(r->error, QUERN_E_ARGUMENT, "%s:%d: %s: %s", r->program->name, r->line,
                           error_class, text);
    qn_jinja_mend_message(r->error);
    return r->code;
}

int qn_jinja_limit(qn_jinja_run *r, const char *what)
{
    if (!r->code) {
        r->code = qn_error_set(r->error, QUERN_E_LIMIT, "%s:%d: the template exceeds %s",
                               r->program->name, r->line, what);
        qn_jinja_mend_message(r->error);
    }
    return r->code;
}

int qn_jinja_charge(qn_jinja_run *r, uint64_t n_steps)
{
    if (n_steps > QN_JINJA_MAX_STEPS - r->steps) {
        r->steps = QN_JINJA_MAX_STEPS;
        return qn_jinja_limit(r, "its limit of 1000000 steps");
    }
    r->steps += n_steps;
    return 0;
}

int qn_jinja_charge_bytes(qn_jinja_run *r, uint64_t n_bytes)
{
    return qn_jinja_charge(r, n_bytes / QN_JINJA_BYTES_A_STEP);
}

void *qn_jinja_take(qn_jinja_run *r, size_t n, size_t size)
{
    uint64_t bytes;
    void *p = NULL;
    bool fits = qn_checked_mul(n, size, &bytes) && bytes < QN_JINJA_MAX_MEMORY_BYTES &&
                r->arena.used_bytes < QN_JINJA_MAX_MEMORY_BYTES - bytes;
    if (fits) p = qn_arena_take(&r->arena, bytes ? (size_t)bytes : 1);
    if (p || r->code) return p;
    if (!fits) {
        qn_jinja_limit(r, "its limit of 128 MiB of memory");
    } else {
        r->code = qn_error_set(r->error, QUERN_E_MEMORY, "%s: no memory to render the template",
                               r->program->name);
    }
    return NULL;
}
