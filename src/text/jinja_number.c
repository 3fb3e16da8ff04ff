// Numbers from text, as Python's int() and float() read them. See jinja_eval.h.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_eval.h"

// Copies the number without white space around it and single underscores inside. False where it cannot be one.
static bool plain_text(const qn_jinja_string *s, char out[400])
{
    qn_jinja_string t = qn_jinja_trim(s, NULL, true, true);
    size_t n = 0;
    if (!t.n || t.data[0] == '_' || t.data[t.n - 1] == '_') return false;
    for (size_t i = 0; i < t.n; i++) {
        if ((unsigned char)t.data[i] >= 0x80 || !t.data[i] || n + 1 == 400) return false;
        if (t.data[i] != '_') {
            out[n++] = t.data[i];
        } else if (t.data[i + 1] == '_' || strchr("+-.", t.data[i - 1])) {
            return false;
        }
    }
    out[n] = 0;
    return true;
}

bool qn_jinja_parse_int(const qn_jinja_string *s, int64_t base, int64_t *out)
{
    char text[400];
    if ((base && (base < 2 || base > 36)) || !plain_text(s, text)) return false;
    char *digits = text + (*text == '-' || *text == '+');
    char letter = *digits == '0' ? digits[1] | 32 : 0;
    int prefix = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    if (prefix && (base == 0 || base == prefix)) {
        memmove(digits, digits + 2, strlen(digits + 2) + 1);
        base = prefix;
    } else if (!base) {
        base = 10;
    }
    size_t n = 0;
    for (; digits[n]; n++) {
        int c = digits[n] | 32;
        int value = digits[n] >= '0' && digits[n] <= '9' ? digits[n] - '0'
                    : c >= 'a' && c <= 'z'               ? c - 'a' + 10
                                                         : 36;
        if (value >= base) return false;
    }
    errno = 0;
    *out = strtoll(text, NULL, (int)base);
    return n > 0 && errno == 0;
}

bool qn_jinja_parse_real(const qn_jinja_string *s, double *out)
{
    char text[400], *end;
    if (!plain_text(s, text)) return false;
    const char *p = text + (*text == '-' || *text == '+');
    if (strpbrk(p, "xXpP()")) return false; // what strtod reads and Python does not
    *out = strtod(text, &end);
    return end != text && !*end;
}

int qn_jinja_real_to_int(qn_jinja_run *r, double d, qn_jinja_value *out)
{
    if (isnan(d)) return qn_jinja_fail(r, "ValueError", "cannot convert float NaN to integer");
    if (isinf(d)) {
        return qn_jinja_fail(r, "OverflowError", "cannot convert float infinity to integer");
    }
    if (fabs(d) >= 9223372036854775808.0) return qn_jinja_limit(r, "64-bit integers");
    *out = qn_jinja_int((int64_t)d);
    return 0;
}
