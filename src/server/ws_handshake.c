// See ws_handshake.h.
#include "server/ws_handshake.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "server/call_state.h"
#include "server/ws_accept.h"

enum { KEY_CHARS = 24 }; // of base64, for 16 bytes

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// One of a comma-separated list, whatever its case.
static bool lists(const char *list, const char *word)
{
    size_t n = strlen(word);
    while (list && *list) {
        list += strspn(list, " \t,");
        size_t length = strcspn(list, " \t,");
        if (length == n && !strncasecmp(list, word, n)) return true;
        list += length;
    }
    return false;
}

typedef struct {
    const char *key, *version, *upgrade;
    int n_keys;
    bool connection_upgrade;
} handshake;

static enum MHD_Result look(void *user, enum MHD_ValueKind kind, const char *name,
                            const char *value)
{
    (void)kind;
    handshake *h = user;
    if (!value) return MHD_YES;
    if (!strcasecmp(name, "Sec-WebSocket-Key")) {
        h->key = value;
        h->n_keys++;
    } else if (!strcasecmp(name, "Sec-WebSocket-Version")) {
        h->version = value;
    } else if (!strcasecmp(name, "Upgrade")) {
        h->upgrade = value;
    } else if (!strcasecmp(name, "Connection") && lists(value, "upgrade")) {
        h->connection_upgrade = true;
    }
    return MHD_YES;
}

static bool is_key(const char *key)
{
    return key && strlen(key) == KEY_CHARS && strspn(key, BASE64) == KEY_CHARS - 2 &&
           !strcmp(key + KEY_CHARS - 2, "==");
}

void qn_ws_handshake(qn_call *call, const qn_socket_handler *handler)
{
    handshake h = {0};
    char accept[QN_WS_ACCEPT_BYTES];
    MHD_get_connection_values(call->connection, MHD_HEADER_KIND, look, &h);
    if (call->is_old || !lists(h.upgrade, "websocket") || !h.connection_upgrade) {
        qn_call_header(call, "Upgrade", "websocket");
        qn_call_refuse(call, 426, "upgrade", NULL, "this endpoint speaks WebSocket");
    } else if (!h.version || strcmp(h.version, "13")) {
        qn_call_header(call, "Sec-WebSocket-Version", "13");
        qn_call_refuse(call, 426, "upgrade", NULL, "Sec-WebSocket-Version must be 13");
    } else if (h.n_keys != 1 || !is_key(h.key)) {
        qn_call_refuse(call, 400, "upgrade", NULL, "one Sec-WebSocket-Key of 16 bytes is due");
    } else {
        qn_buffer none = QN_BUFFER_INIT;
        qn_ws_accept(h.key, accept);
        qn_call_header(call, "Upgrade", "websocket");
        qn_call_header(call, "Sec-WebSocket-Accept", accept);
        call->upgrade = handler;
        qn_call_answer(call, 101, "", &none);
    }
}
