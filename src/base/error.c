// Formatting of errors; see error.h.
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// A message is one line: a control character that a file or a client brought is shown as '?'.
static void keep_one_line(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = '?';
}

int qn_error_set(quern_error *e, int code, const char *format, ...)
{
    if (!e) return code;
    va_list args;
    va_start(args, format);
    vsnprintf(e->message, sizeof e->message, format, args);
    va_end(args);
    keep_one_line(e->message);
    e->code = code;
    return code;
}

int qn_error_prefix(quern_error *e, const char *format, ...)
{
    if (!e) return 0;
    char old[sizeof e->message];
    memcpy(old, e->message, sizeof old);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(e->message, sizeof e->message, format, args);
    va_end(args);
    if (n < 0) n = 0;
    if ((size_t)n < sizeof e->message)
        snprintf(e->message + n, sizeof e->message - (size_t)n, ": %s", old);
    keep_one_line(e->message);
    return e->code;
}
