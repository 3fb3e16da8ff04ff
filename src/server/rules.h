// Rules: what a request's head must be before its body is worth reading (RFC 9112 framing without ambiguity, the Host
// and Origin rules of DESIGN.md §4, content types). Pure functions over untrusted text; any thread. Knows no socket.
#ifndef QN_SERVER_RULES_H
#define QN_SERVER_RULES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QN_MAX_TARGET_BYTES = 8192, QN_MAX_HEADERS = 100 };

// The head of a request as it came; the strings are borrowed.
typedef struct {
    const char *method, *target, *version; // target: the raw path, not unescaped
    const char *host, *length, *transfer, *type, *encoding, *origin,
        *expect; // the last of each; NULL: absent
    int n_host, n_length, n_transfer, n_type, n_encoding, n_origin, n_expect;
    int n_headers;
    bool bad_header; // a name that is no token or a value with control characters
} qn_head;

void qn_head_add(qn_head *h, const char *name, size_t n_name, const char *value, size_t n_value);

// Why a request is refused; status 0: it is not.
typedef struct {
    int status;
    const char *code, *param, *message; // static
    bool close;                         // the connection cannot be trusted after it
} qn_refusal;

// Version, target, Host count, lengths and codings.
qn_refusal qn_rules_framing(const qn_head *h);
// Host must name this machine (for a server that only this machine can reach).
qn_refusal qn_rules_host(const qn_head *h);
// Origin, where there is one, must be this server as the Host header names it.
qn_refusal qn_rules_origin(const qn_head *h);
qn_refusal qn_rules_content_type(const qn_head *h);
// The declared length; 0 where there is none. Only after qn_rules_framing has passed.
uint64_t qn_rules_length(const qn_head *h);

#endif
