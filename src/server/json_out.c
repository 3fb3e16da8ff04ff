// See json_out.h.
#include "server/json_out.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/utf8.h"

static void before_value(qn_json *j)
{
    if (j->comma) qn_buffer_append(j->to, ",", 1);
    j->comma = true;
}

void qn_json_open(qn_json *j, char bracket)
{
    before_value(j);
    qn_buffer_append(j->to, &bracket, 1);
    j->comma = false;
}

void qn_json_close(qn_json *j, char bracket)
{
    qn_buffer_append(j->to, &bracket, 1);
    j->comma = true;
}

static void escape(qn_buffer *to, unsigned char c)
{
    static const char NAMED[] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    if (c == '"' || c == '\\')
        qn_buffer_printf(to, "\\%c", c);
    else if (c < sizeof NAMED && NAMED[c])
        qn_buffer_printf(to, "\\%c", NAMED[c]);
    else
        qn_buffer_printf(to, "\\u%04x", c);
}

// Length of the run at s that needs no escape.
static size_t plain_run(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        unsigned char c = (unsigned char)s[i];
        if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f) break;
        uint32_t code;
        int length = c < 0x80 ? 1 : qn_utf8_decode(s + i, n - i, &code);
        // U+2028 and 2029 end a line in some readers of event streams.
        if (!length || (length == 3 && (code == 0x2028 || code == 0x2029))) break;
        i += (size_t)length;
    }
    return i;
}

static void write_string(qn_buffer *to, const char *s, size_t n)
{
    qn_buffer_append(to, "\"", 1);
    for (size_t i = 0; i < n;) {
        size_t run = plain_run(s + i, n - i);
        qn_buffer_append(to, s + i, run);
        i += run;
        if (i == n) break;
        uint32_t code;
        int length = qn_utf8_decode(s + i, n - i, &code);
        if (!length)
            qn_buffer_text(to, "\xef\xbf\xbd");
        else if (length > 1)
            qn_buffer_printf(to, "\\u%04x", code);
        else
            escape(to, (unsigned char)s[i]);
        i += length ? (size_t)length : 1;
    }
    qn_buffer_append(to, "\"", 1);
}

void qn_json_key(qn_json *j, const char *key)
{
    before_value(j);
    write_string(j->to, key, strlen(key));
    qn_buffer_append(j->to, ":", 1);
    j->comma = false;
}

void qn_json_text_n(qn_json *j, const char *s, size_t n)
{
    before_value(j);
    write_string(j->to, s, n);
}

void qn_json_text(qn_json *j, const char *s)
{
    qn_json_text_n(j, s, strlen(s));
}

void qn_json_int(qn_json *j, int64_t v)
{
    before_value(j);
    qn_buffer_printf(j->to, "%" PRId64, v);
}

void qn_json_uint(qn_json *j, uint64_t v)
{
    before_value(j);
    qn_buffer_printf(j->to, "%" PRIu64, v);
}

void qn_json_double(qn_json *j, double v)
{
    before_value(j);
    if (isfinite(v))
        qn_buffer_printf(j->to, "%.9g", v);
    else
        qn_buffer_text(j->to, "null");
}

void qn_json_bool(qn_json *j, bool v)
{
    before_value(j);
    qn_buffer_text(j->to, v ? "true" : "false");
}

void qn_json_null(qn_json *j)
{
    before_value(j);
    qn_buffer_text(j->to, "null");
}

void qn_json_raw(qn_json *j, const char *json, size_t n)
{
    before_value(j);
    qn_buffer_append(j->to, json, n);
}

void qn_json_put_text(qn_json *j, const char *key, const char *s)
{
    qn_json_key(j, key);
    qn_json_text(j, s);
}

void qn_json_put_int(qn_json *j, const char *key, int64_t v)
{
    qn_json_key(j, key);
    qn_json_int(j, v);
}

void qn_json_put_uint(qn_json *j, const char *key, uint64_t v)
{
    qn_json_key(j, key);
    qn_json_uint(j, v);
}

void qn_json_put_double(qn_json *j, const char *key, double v)
{
    qn_json_key(j, key);
    qn_json_double(j, v);
}

void qn_json_put_bool(qn_json *j, const char *key, bool v)
{
    qn_json_key(j, key);
    qn_json_bool(j, v);
}
