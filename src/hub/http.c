// See http.h.
#include "hub/http.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    MAX_HOPS = 6,
    CONNECT_S = 30,
    STALL_S = 60, // without a byte
    FIRST_PAUSE_MS = 500,
    MAX_ATTEMPTS = 5,
    MAX_RETRY_AFTER_S = 120,
    MAX_IGNORED = 1 << 20 // of the body of a refusal
};

struct qn_hub_http {
    CURL *easy;
    const char *token;
    char *origin; // scheme://host:port of the endpoint
    bool secure;
    char why[CURL_ERROR_SIZE];
    // of the request at work
    const qn_hub_get *get;
    qn_hub_answer *answer;
    quern_error *error;
    size_t n_ignored;
    bool began;
    int rc; // of head or body
};

/* ---- the answer ---- */

static bool is_good(long status)
{
    return status == 200 || status == 206;
}

static void copy(char *to, size_t n, const char *from)
{
    size_t i = 0;
    for (; from[i] && i + 1 < n; i++)
        to[i] = (unsigned char)from[i] < 0x20 ? ' ' : from[i];
    to[i] = 0;
}

static void take_header(qn_hub_answer *a, const char *name, const char *value)
{
    long long from, to, whole;
    if (!strcasecmp(name, "etag") && value[0] == '"' && strlen(value) < sizeof a->etag)
        copy(a->etag, sizeof a->etag, value);
    else if (!strcasecmp(name, "content-length"))
        a->length = strtoll(value, NULL, 10);
    else if (!strcasecmp(name, "retry-after"))
        a->retry_after_s = value[0] >= '0' && value[0] <= '9' ? atoi(value) : -1;
    else if (!strcasecmp(name, "x-error-code"))
        copy(a->code, sizeof a->code, value);
    else if (!strcasecmp(name, "x-error-message"))
        copy(a->text, sizeof a->text, value);
    else if (!strcasecmp(name, "content-range") &&
             sscanf(value, "bytes %lld-%lld/%lld", &from, &to, &whole) == 3) {
        a->from = from;
        a->whole = whole;
    }
}

static void forget(qn_hub_answer *a)
{
    *a = (qn_hub_answer){.length = -1, .from = -1, .whole = -1, .retry_after_s = -1};
}

static size_t on_header(char *data, size_t one, size_t n, void *user)
{
    qn_hub_http *h = user;
    char line[1024];
    (void)one;
    size_t length = n < sizeof line ? n : sizeof line - 1;
    memcpy(line, data, length);
    while (length && strchr("\r\n ", line[length - 1]))
        length--;
    line[length] = 0;
    if (!strncmp(line, "HTTP/", 5)) forget(h->answer);
    char *colon = strchr(line, ':');
    if (!colon) return n;
    *colon = 0;
    take_header(h->answer, line, colon + 1 + strspn(colon + 1, " "));
    return n;
}

static int begin(qn_hub_http *h)
{
    if (h->began) return h->rc;
    h->began = true;
    if (h->get->head) h->rc = h->get->head(h->get->user, h->answer, h->error);
    return h->rc;
}

static size_t on_body(char *data, size_t one, size_t n, void *user)
{
    qn_hub_http *h = user;
    (void)one;
    curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &h->answer->status);
    if (!is_good(h->answer->status)) {
        h->n_ignored += n;
        return h->n_ignored > MAX_IGNORED ? 0 : n;
    }
    if (!begin(h)) h->rc = h->get->body(h->get->user, data, n, h->error);
    return h->rc ? 0 : n;
}

/* ---- what went wrong ---- */

static int no_access(const qn_hub_http *h, const char *subject, const qn_hub_answer *a,
                     quern_error *e)
{
    if (!strcmp(a->code, "GatedRepo"))
        return qn_error_set(
            e, QUERN_E_IO,
            "%s: the repository is gated (HTTP %ld): accept its terms on its page, and set "
            "HF_TOKEN to a token of that account%s%s",
            subject, a->status, *a->text ? ": " : "", a->text);
    return qn_error_set(e, QUERN_E_IO, "%s: there is no such repository, or %s (HTTP %ld)%s%s",
                        subject,
                        h->token ? "the token that was given may not read it"
                                 : "it is private: HF_TOKEN would name a token for it",
                        a->status, *a->text ? ": " : "", a->text);
}

static int refused(const qn_hub_http *h, const char *subject, qn_hub_answer *a, quern_error *e)
{
    const char *text = a->text;
    switch (a->status) {
    case 401:
    case 403:
        return no_access(h, subject, a, e);
    case 404:
        return qn_error_set(e, QUERN_E_NOT_FOUND, "%s: not found (HTTP 404%s%s)%s%s", subject,
                            *a->code ? ", " : "", a->code, *text ? ": " : "", text);
    case 429:
        a->again = true;
        if (a->retry_after_s < 0)
            return qn_error_set(e, QUERN_E_BUSY, "%s: too many requests (HTTP 429)", subject);
        return qn_error_set(e, QUERN_E_BUSY,
                            "%s: too many requests (HTTP 429): the server asks to wait %d s",
                            subject, a->retry_after_s);
    default:
        a->again = a->status >= 500 || a->status == 408;
        return qn_error_set(e, QUERN_E_IO, "%s: HTTP %ld%s%s", subject, a->status,
                            *text ? ": " : "", text);
    }
}

static int broken(qn_hub_http *h, CURLcode rc, quern_error *e)
{
    if (h->rc) return h->rc;
    switch (rc) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_OUT_OF_MEMORY:
    case CURLE_WRITE_ERROR:
        break;
    default:
        h->answer->again = true;
    }
    return qn_error_set(e, QUERN_E_IO, "%s: %s", h->get->subject,
                        *h->why ? h->why : curl_easy_strerror(rc));
}

/* ---- the request ---- */

// scheme://host:port, malloc'd; NULL where url is none.
static char *origin_of(const char *url)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL, *origin = NULL;
    if (u && !curl_url_set(u, CURLUPART_URL, url, 0) &&
        !curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) &&
        !curl_url_get(u, CURLUPART_HOST, &host, 0) &&
        !curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT)) {
        size_t n = strlen(scheme) + strlen(host) + strlen(port) + 5;
        origin = malloc(n);
        if (origin) snprintf(origin, n, "%s://%s:%s", scheme, host, port);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return origin;
}

static struct curl_slist *add_line(struct curl_slist *list, const char *name, const char *value)
{
    char line[700];
    snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *longer = curl_slist_append(list, line);
    return longer ? longer : list;
}

static CURLcode perform(qn_hub_http *h, const char *url, bool with_token)
{
    const qn_hub_get *g = h->get;
    char range[32];
    struct curl_slist *lines = NULL;
    if (with_token) {
        char value[600];
        snprintf(value, sizeof value, "Bearer %s", h->token);
        lines = add_line(lines, "Authorization", value);
    }
    snprintf(range, sizeof range, "%lld-", (long long)g->from);
    if (g->from && g->if_range && *g->if_range) lines = add_line(lines, "If-Range", g->if_range);
    curl_easy_setopt(h->easy, CURLOPT_URL, url);
    curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, lines);
    curl_easy_setopt(h->easy, CURLOPT_RANGE, g->from ? range : NULL);
    *h->why = 0;
    h->n_ignored = 0;
    forget(h->answer);
    CURLcode rc = curl_easy_perform(h->easy);
    curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &h->answer->status);
    curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(lines);
    return rc;
}

static bool is_redirect(long status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// Where the answer sends us to, malloc'd; NULL: nowhere.
static char *next_hop(const qn_hub_http *h)
{
    char *to = NULL;
    if (!is_redirect(h->answer->status)) return NULL;
    curl_easy_getinfo(h->easy, CURLINFO_REDIRECT_URL, &to);
    return to ? strdup(to) : NULL;
}

static int settle(qn_hub_http *h, CURLcode rc, quern_error *e)
{
    qn_hub_answer *a = h->answer;
    bool refusal_read = a->status >= 400 && (rc == CURLE_OK || rc == CURLE_WRITE_ERROR);
    if (refusal_read) return refused(h, h->get->subject, a, e);
    if (rc) return broken(h, rc, e);
    if (!is_good(a->status)) return refused(h, h->get->subject, a, e);
    return begin(h);
}

int qn_hub_http_get(qn_hub_http *h, const qn_hub_get *get, qn_hub_answer *answer, quern_error *e)
{
    bool at_home = true; // once sent away, the token is not shown again
    char *url = strdup(get->url);
    h->get = get;
    h->answer = answer;
    h->error = e;
    h->began = false;
    h->rc = 0;
    *h->why = 0;
    forget(answer); // a caller looks at it, whatever fails
    CURLcode rc = CURLE_OUT_OF_MEMORY;
    for (int hop = 0; url; hop++) {
        char *origin = origin_of(url);
        at_home = at_home && origin && !strcmp(origin, h->origin);
        free(origin);
        rc = perform(h, url, at_home && h->token);
        free(url);
        url = rc ? NULL : next_hop(h);
        if (url && hop == MAX_HOPS) {
            free(url);
            return qn_error_set(e, QUERN_E_IO, "%s: the server redirects in a circle",
                                get->subject);
        }
    }
    return settle(h, rc, e);
}

int qn_hub_http_pause_ms(const qn_hub_answer *a, int n_failed)
{
    if (!a->again || n_failed >= MAX_ATTEMPTS || a->retry_after_s > MAX_RETRY_AFTER_S) return -1;
    if (a->retry_after_s >= 0) return a->retry_after_s * 1000;
    return FIRST_PAUSE_MS << (n_failed - 1);
}

static void set_up(qn_hub_http *h)
{
    CURL *c = h->easy;
    const char *schemes = h->secure ? "https" : "http,https";
#if CURL_AT_LEAST_VERSION(7, 85, 0)
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, schemes);
#else
    curl_easy_setopt(c, CURLOPT_PROTOCOLS,
                     h->secure ? CURLPROTO_HTTPS : CURLPROTO_HTTP | CURLPROTO_HTTPS);
    (void)schemes;
#endif
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 1L << 18);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "quern/" QUERN_VERSION);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, h->why);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, h);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, h);
}

int qn_hub_http_open(const char *endpoint, const char *token, qn_hub_http **out, quern_error *e)
{
    qn_hub_http *h = calloc(1, sizeof *h);
    if (!h) return qn_error_set(e, QUERN_E_MEMORY, "no memory for a connection");
    h->easy = curl_easy_init();
    h->token = token;
    h->origin = origin_of(endpoint);
    h->secure = !strncmp(endpoint, "https:", 6);
    if (!h->easy || !h->origin) {
        qn_hub_http_close(h);
        return qn_error_set(e, QUERN_E_MEMORY, "%s: no connection can be prepared", endpoint);
    }
    set_up(h);
    *out = h;
    return 0;
}

void qn_hub_http_close(qn_hub_http *h)
{
    if (!h) return;
    curl_easy_cleanup(h->easy);
    free(h->origin);
    free(h);
}
