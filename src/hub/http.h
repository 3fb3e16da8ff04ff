// HTTP of the hub: one GET after another over libcurl. Follows redirects itself, so that the token stays with the endpoint's host.
#ifndef QN_HUB_HTTP_H
#define QN_HUB_HTTP_H
#include "base/error.h"

typedef struct qn_hub_http qn_hub_http;

// Of the answer that came last (the last hop).
typedef struct {
    long status;
    char etag[136];           // as it came, quotes included; "": none, or a weak one
    int64_t length;           // Content-Length; -1: not told
    int64_t from, whole;      // of Content-Range "bytes from-…/whole"; -1
    int retry_after_s;        // -1: not told
    char code[40], text[200]; // X-Error-Code, X-Error-Message
    bool again;               // it failed in a way that may pass
} qn_hub_answer;

typedef struct {
    const char *url;      // of the endpoint
    const char *subject;  // begins messages: "ORG/REPO", a file
    int64_t from;         // > 0: a Range from this byte on
    const char *if_range; // ETag for If-Range; NULL or "": none
    // Before the first byte of a good answer (200, 206), also of an empty one; nonzero ends it with that code, the error being set.
    int (*head)(void *user, const qn_hub_answer *answer, quern_error *e);
    int (*body)(void *user, const char *bytes, size_t n, quern_error *e);
    void *user;
} qn_hub_get;

// token may be NULL. QUERN_E_MEMORY.
int qn_hub_http_open(const char *endpoint, const char *token, qn_hub_http **out, quern_error *e);
void qn_hub_http_close(qn_hub_http *h);
// 0: a good answer, wholly read. Else *answer tells whether it is worth trying again, and e what happened.
int qn_hub_http_get(qn_hub_http *h, const qn_hub_get *get, qn_hub_answer *answer, quern_error *e);
// How long to wait before the next attempt after n failed ones without progress; -1: give up.
int qn_hub_http_pause_ms(const qn_hub_answer *answer, int n_failed);

#endif
