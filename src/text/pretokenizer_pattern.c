// See pretokenizer_pattern.h. A list of what is let through, because what differs is long: \w and \b (marks), \h (hexadecimal
// there, blank here), {n}+ (twice repeated there, possessive here), nested classes and &&, the flags m, s and x.
#include "text/pretokenizer_pattern.h"

#include <stdbool.h>
#include <string.h>

typedef struct {
    const char *where, *pattern;
    size_t n, at;
    quern_error *e;
} scan;

static bool starts(const scan *s, const char *with)
{
    size_t n = strlen(with);
    return s->n - s->at >= n && memcmp(s->pattern + s->at, with, n) == 0;
}

static int refuse(const scan *s, const char *what)
{
    return qn_error_set(s->e, QUERN_E_UNSUPPORTED,
                        "%s: the pattern: %s at offset %zu is not supported", s->where, what,
                        s->at);
}

// A backslash and what belongs to it.
static int escape(scan *s)
{
    char c = s->at + 1 < s->n ? s->pattern[s->at + 1] : 0;
    if (!c || !strchr("sSdDpPrntf", c)) {
        bool punctuation = c > 0x20 && c < 0x7f && !strchr("<>", c) && !(c >= '0' && c <= '9') &&
                           !((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!punctuation) return refuse(s, "this escape");
    }
    s->at += 2;
    if (c != 'p' && c != 'P') return 0;
    const char *close = memchr(s->pattern + s->at, '}', s->n - s->at);
    if (s->at >= s->n || s->pattern[s->at] != '{' || !close) return refuse(s, "\\p without braces");
    s->at = (size_t)(close - s->pattern) + 1;
    return 0;
}

static int class(scan *s)
{
    s->at += starts(s, "[^") ? 2 : 1;
    if (starts(s, "]")) return refuse(s, "a class that begins with ]");
    while (s->at < s->n && s->pattern[s->at] != ']') {
        if (starts(s, "[")) return refuse(s, "a class in a class");
        if (starts(s, "&&")) return refuse(s, "&& in a class");
        int rc = starts(s, "\\") ? escape(s) : (s->at++, 0);
        if (rc) return rc;
    }
    s->at++; // PCRE2 itself misses the bracket where there is none
    return 0;
}

static int group(scan *s)
{
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (starts(s, known[i])) {
            s->at += strlen(known[i]);
            return 0;
        }
    if (starts(s, "(?") || starts(s, "(*")) return refuse(s, "this kind of group");
    s->at++;
    return 0;
}

static int repeat(scan *s)
{
    const char *close = memchr(s->pattern + s->at, '}', s->n - s->at);
    size_t i = s->at + 1, end = close ? (size_t)(close - s->pattern) : s->n;
    while (i < end && ((s->pattern[i] >= '0' && s->pattern[i] <= '9') || s->pattern[i] == ','))
        i++;
    if (!close || i != end || end == s->at + 1 || s->pattern[s->at + 1] == ',')
        return refuse(s, "this use of {");
    if (end + 1 < s->n && s->pattern[end + 1] == '+') return refuse(s, "{}+");
    s->at = end + 1;
    return 0;
}

int qn_pretokenizer_pattern_check(const char *where, const char *pattern, size_t n, quern_error *e)
{
    scan s = {where, pattern, n, 0, e};
    int rc = 0;
    while (!rc && s.at < n) {
        switch (pattern[s.at]) {
        case '\\':
            rc = escape(&s);
            break;
        case '[':
            rc = class(&s);
            break;
        case '(':
            rc = group(&s);
            break;
        case '{':
            rc = repeat(&s);
            break;
        default:
            s.at++;
        }
    }
    return rc;
}
