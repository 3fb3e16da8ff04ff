// The rules of a request's head, over any head: a line of method, one of target, one of version, then name:value lines.
// What passes is unambiguous: that is checked here by other means than the rules use.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void demand(int truth)
{
    if (!truth) abort();
}

// The next line of *at as a string; "" at the end.
static char *next_line(char **at)
{
    char *line = *at, *end = strchr(line, '\n');
    if (end) {
        *end = 0;
        *at = end + 1;
    } else {
        *at = line + strlen(line);
    }
    return line;
}

static void check_passed(const qn_head *h)
{
    demand(h->target[0] == '/' && strlen(h->target) <= QN_MAX_TARGET_BYTES &&
           !strstr(h->target, "%00"));
    demand(h->n_length + h->n_transfer <= 1 && h->n_headers <= QN_MAX_HEADERS && !h->bad_header);
    if (h->n_length)
        demand(strtoull(h->length, NULL, 10) == qn_rules_length(h) && h->length[0] != '+');
    if (h->n_transfer) demand(!strcasecmp(h->transfer, "chunked"));
    if (!qn_rules_host(h).status)
        demand(!strncasecmp(h->host, "localhost", 9) || !strncmp(h->host, "127.0.0.1", 9) ||
               !strncmp(h->host, "[::1]", 5));
    if (h->n_origin && !qn_rules_origin(h).status)
        demand(strcasestr(h->origin, "://localhost") || strstr(h->origin, "://127.0.0.1") ||
               strstr(h->origin, "://[::1]"));
    if (!qn_rules_content_type(h).status && h->n_type)
        demand(!strncasecmp(h->type, "application/json", 16) ||
               (!strncasecmp(h->type, "application/x-www-form-urlencoded", 33) && !h->n_origin));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = malloc(n + 1), *at = text;
    memcpy(text, data, n);
    text[n] = 0;
    qn_head h = {0};
    h.method = next_line(&at);
    h.target = next_line(&at);
    h.version = next_line(&at);
    while (*at) {
        char *name = next_line(&at), *colon = strchr(name, ':');
        char *value = colon ? colon + 1 : name + strlen(name);
        qn_head_add(&h, name, colon ? (size_t)(colon - name) : strlen(name), value, strlen(value));
    }
    qn_refusal r = qn_rules_framing(&h);
    demand(!r.status || (r.status >= 400 && r.status < 500 && r.message && r.code));
    if (!r.status) check_passed(&h);
    free(text);
    return 0;
}
