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

// As much of text as there is room for.
static void append(quern_error *e, const char *text)
{
    size_t at = strlen(e->message), room = sizeof e->message - 1 - at, n = strlen(text);
    if (n > room) n = room;
    memcpy(e->message + at, text, n);
    e->message[at + n] = 0;
}

int qn_error_prefix(quern_error *e, const char *format, ...)
{
    if (!e) return 0;
    char old[sizeof e->message];
    memcpy(old, e->message, sizeof old);
    va_list args;
    va_start(args, format);
    vsnprintf(e->message, sizeof e->message, format, args);
    va_end(args);
    append(e, ": ");
    append(e, old);
    keep_one_line(e->message);
    return e->code;
}
