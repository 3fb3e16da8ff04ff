// See names.h.
#include "hub/names.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_NAME = 96, MAX_PATH = 512, MAX_TOKEN = 512, MAX_ENDPOINT = 200 };

static const char LETTERS[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

static bool is_name(const char *s, size_t n)
{
    char name[MAX_NAME + 1];
    if (!n || n > MAX_NAME) return false;
    memcpy(name, s, n);
    name[n] = 0;
    bool edges = strchr("-.", name[0]) || strchr("-.", name[n - 1]);
    for (const char *c = name; *c; c++)
        if (!strchr(LETTERS, *c) && !strchr("-_.", *c)) return false;
    return !edges && !strstr(name, "--") && !strstr(name, "..");
}

bool qn_hub_is_repository(const char *name)
{
    const char *slash = strchr(name, '/');
    return slash && is_name(name, (size_t)(slash - name)) && is_name(slash + 1, strlen(slash + 1));
}

static bool is_part(const char *s, size_t n)
{
    bool dots = (n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.');
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f || s[i] == '\\') return false;
    return n && !dots;
}

bool qn_hub_is_path(const char *name)
{
    if (strlen(name) > MAX_PATH) return false;
    for (const char *part = name;; part++) {
        size_t n = strcspn(part, "/");
        if (!is_part(part, n)) return false;
        part += n;
        if (!*part) return true;
    }
}

bool qn_hub_is_revision(const char *name)
{
    return qn_hub_is_path(name) && name[0] != '-' && !strpbrk(name, " ?#*:[~^%");
}

bool qn_hub_is_hash(const char *text, size_t n)
{
    size_t n_hex = strspn(text, "0123456789abcdef");
    return (n == 40 || n == 64) && n_hex >= n;
}

bool qn_hub_is_endpoint(const char *url)
{
    const char *host = !strncmp(url, "https://", 8)  ? url + 8
                       : !strncmp(url, "http://", 7) ? url + 7
                                                     : "";
    size_t n = strcspn(host, "/");
    if (!n || strlen(url) > MAX_ENDPOINT || strpbrk(url, "@?# \\\"<>")) return false;
    for (const char *c = url; *c; c++)
        if (*c < 0x21 || *c > 0x7e) return false;
    return true;
}

bool qn_hub_is_token(const char *token)
{
    size_t n = strlen(token);
    for (size_t i = 0; i < n; i++)
        if (token[i] < 0x21 || token[i] > 0x7e) return false;
    return n && n <= MAX_TOKEN;
}

void qn_hub_escape(qn_buffer *to, const char *text, bool keep_slash)
{
    for (const char *c = text; *c; c++) {
        bool plain = strchr(LETTERS, *c) || strchr("-_.~", *c) || (*c == '/' && keep_slash);
        if (plain)
            qn_buffer_append(to, c, 1);
        else
            qn_buffer_printf(to, "%%%02X", (unsigned char)*c);
    }
}

char *qn_hub_text(qn_arena *a, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *text = n < 0 ? NULL : qn_arena_take(a, (size_t)n + 1);
    if (text) vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}
