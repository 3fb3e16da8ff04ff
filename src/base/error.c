// Formatting of errors; see error.h.
#include "base/error.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

// Bytes of the character at s if it changes how a terminal shows what follows without being seen itself, else 0: controls,
// U+0080 to U+009F, U+200B to U+200F, U+2028 to U+202E, U+2060 to U+206F, U+FEFF.
static int unseen(const unsigned char *s)
{
    if (s[0] < 0x20 || s[0] == 0x7f) return 1;
    if (s[0] == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0) return 2;
    if (s[0] == 0xef && s[1] == 0xbb && s[2] == 0xbf) return 3;
    if (s[0] != 0xe2 || (s[1] != 0x80 && s[1] != 0x81)) return 0;
    unsigned last = s[1] << 8 | s[2];
    bool is = (last >= 0x808b && last <= 0x808f) || (last >= 0x80a8 && last <= 0x80ae) ||
              (last >= 0x81a0 && last <= 0x81af);
    return is ? 3 : 0;
}

// A message is one line: what a file or a client brought and nobody would see is shown as '?'.
static void keep_one_line(char *s)
{
    while (*s) {
        int n = unseen((const unsigned char *)s);
        if (n) memset(s, '?', (size_t)n);
        s += n ? n : 1;
    }
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
