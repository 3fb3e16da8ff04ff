// See rules.h.
#include "server/rules.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

enum { MAX_LENGTH_DIGITS = 18 };

static const qn_refusal FINE = {0, NULL, NULL, NULL, false};

static qn_refusal broken(const char *message)
{
    return (qn_refusal){400, "framing", NULL, message, true};
}

static bool is_token(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !memchr("!#$%&'*+-.^_`|~", s[i], 15)) return false;
    return n > 0;
}

static bool has_control(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (((unsigned char)s[i] < 0x20 && s[i] != '\t') || s[i] == 0x7f) return true;
    return false;
}

static bool named(const char *name, size_t n, const char *want)
{
    return n == strlen(want) && !strncasecmp(name, want, n);
}

// libmicrohttpd joins a folded line to the header's name: what is left of a length then looks like another header.
static bool is_folded(const char *name, size_t n)
{
    return (n > 14 && !strncasecmp(name, "content-length", 14)) ||
           (n > 17 && !strncasecmp(name, "transfer-encoding", 17));
}

void qn_head_add(qn_head *h, const char *name, size_t n_name, const char *value, size_t n_value)
{
    const struct {
        const char *name, **value;
        int *n;
    } known[] = {{"host", &h->host, &h->n_host},
                 {"content-length", &h->length, &h->n_length},
                 {"transfer-encoding", &h->transfer, &h->n_transfer},
                 {"content-type", &h->type, &h->n_type},
                 {"content-encoding", &h->encoding, &h->n_encoding},
                 {"origin", &h->origin, &h->n_origin},
                 {"expect", &h->expect, &h->n_expect}};
    h->n_headers++;
    if (!is_token(name, n_name) || is_folded(name, n_name) || has_control(value, n_value) ||
        strlen(value) != n_value)
        h->bad_header = true;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (named(name, n_name, known[i].name)) {
            *known[i].value = value;
            ++*known[i].n;
        }
}

static qn_refusal check_target(const char *t)
{
    size_t n = strlen(t);
    if (n > QN_MAX_TARGET_BYTES)
        return (qn_refusal){414, "target", NULL, "the path is longer than 8192 bytes", true};
    if (t[0] != '/') return broken("the target is no path");
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)t[i];
        if (c <= 0x20 || c >= 0x7f) return broken("the path has a character that must be escaped");
        if (c != '%') continue;
        if (!isxdigit((unsigned char)t[i + 1]) || !isxdigit((unsigned char)t[i + 2]))
            return broken("the path has a bad escape");
        if (t[i + 1] == '0' && t[i + 2] == '0') return broken("the path has a NUL");
    }
    return FINE;
}

static bool is_length(const char *s)
{
    size_t n = strlen(s);
    return n > 0 && n <= MAX_LENGTH_DIGITS && strspn(s, "0123456789") == n;
}

static qn_refusal check_length(const qn_head *h)
{
    if (h->n_length > 1) return broken("more than one Content-Length");
    if (h->n_transfer > 1) return broken("more than one Transfer-Encoding");
    if (h->n_length && h->n_transfer)
        return broken("Content-Length together with Transfer-Encoding");
    if (h->n_length && !is_length(h->length)) return broken("Content-Length is no length");
    if (h->n_transfer && strcasecmp(h->transfer, "chunked"))
        return broken("Transfer-Encoding must be chunked");
    if (h->n_transfer && strcmp(h->version, "HTTP/1.1"))
        return broken("Transfer-Encoding needs HTTP/1.1");
    bool has_body = h->n_transfer || qn_rules_length(h);
    bool get = !strcmp(h->method, "GET") || !strcmp(h->method, "HEAD");
    if (has_body && get) return broken("a GET may not have a body");
    if (!h->n_length && !h->n_transfer && !strcmp(h->method, "POST"))
        return (qn_refusal){411, "framing", NULL, "Content-Length is missing", true};
    return FINE;
}

qn_refusal qn_rules_framing(const qn_head *h)
{
    bool one = !strcmp(h->version, "HTTP/1.1");
    if (!one && strcmp(h->version, "HTTP/1.0")) return broken("the version must be HTTP/1.1");
    qn_refusal r = check_target(h->target);
    if (r.status) return r;
    if (h->bad_header) return broken("a header has a bad name or a control character");
    if (h->n_headers > QN_MAX_HEADERS)
        return (qn_refusal){431, "headers", NULL, "more than 100 headers", true};
    if (h->n_host > 1 || (one && !h->n_host)) return broken("exactly one Host header is due");
    if (h->n_encoding && strcasecmp(h->encoding, "identity"))
        return (qn_refusal){415, "content_encoding", NULL, "Content-Encoding is not supported",
                            true};
    if (h->n_expect && strcasecmp(h->expect, "100-continue"))
        return (qn_refusal){417, "expect", NULL, "Expect must be 100-continue", true};
    return check_length(h);
}

uint64_t qn_rules_length(const qn_head *h)
{
    uint64_t n = 0;
    for (const char *s = h->length; s && *s; s++)
        n = n * 10 + (uint64_t)(*s - '0');
    return n;
}

// host[:port] where the host is this machine; *port is its text ("" where it has none).
static bool is_this_machine(const char *authority, const char **port)
{
    static const char *const NAMES[] = {"localhost", "127.0.0.1", "[::1]"};
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(NAMES[i]);
        if (strncasecmp(authority, NAMES[i], n)) continue;
        const char *rest = authority + n;
        if (!*rest) {
            *port = "";
            return true;
        }
        size_t digits = *rest == ':' ? strspn(rest + 1, "0123456789") : 0;
        *port = rest + 1;
        return digits >= 1 && digits <= 5 && !rest[1 + digits];
    }
    return false;
}

qn_refusal qn_rules_host(const qn_head *h)
{
    const char *port;
    if (h->n_host == 1 && is_this_machine(h->host, &port)) return FINE;
    return (qn_refusal){
        403, "host", NULL,
        "this server is for this machine: Host must be localhost, 127.0.0.1 or [::1]", false};
}

qn_refusal qn_rules_origin(const qn_head *h)
{
    const char *origin_port, *host_port;
    if (!h->n_origin) return FINE;
    if (h->n_origin == 1 && h->n_host == 1 && !strncasecmp(h->origin, "http", 4)) {
        bool tls = (h->origin[4] | 0x20) == 's';
        const char *authority = h->origin + 4 + tls;
        const char *usual = tls ? "443" : "80";
        if (!strncmp(authority, "://", 3) && is_this_machine(authority + 3, &origin_port) &&
            is_this_machine(h->host, &host_port) &&
            !strcmp(*origin_port ? origin_port : usual, *host_port ? host_port : usual))
            return FINE;
    }
    return (qn_refusal){403, "origin", NULL, "pages of other origins may not use this server",
                        false};
}

qn_refusal qn_rules_content_type(const qn_head *h)
{
    static const qn_refusal WRONG = {415, "content_type", NULL,
                                     "Content-Type must be application/json", false};
    if (h->n_type > 1) return WRONG;
    if (!h->n_type) return FINE;
    size_t n = strcspn(h->type, ";");
    while (n && (h->type[n - 1] == ' ' || h->type[n - 1] == '\t'))
        n--;
    if (named(h->type, n, "application/json")) return FINE;
    // What `curl -d` says by itself; a browser's form would say it too, and send its Origin with it.
    if (named(h->type, n, "application/x-www-form-urlencoded") && !h->n_origin) return FINE;
    return WRONG;
}
