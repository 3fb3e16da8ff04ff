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
    char key[KEY_CHARS + 2], version[4]; // a longer one is cut, and so none
    int n_keys;
    bool upgrade, connection_upgrade;
} handshake;

static enum MHD_Result look(void *user, enum MHD_ValueKind kind, const char *name,
                            const char *value)
{
    (void)kind;
    handshake *h = user;
    if (!value) return MHD_YES;
    if (!strcasecmp(name, "Sec-WebSocket-Key")) {
        snprintf(h->key, sizeof h->key, "%s", value);
        h->n_keys++;
    } else if (!strcasecmp(name, "Sec-WebSocket-Version")) {
        snprintf(h->version, sizeof h->version, "%s", value);
    } else if (!strcasecmp(name, "Upgrade")) {
        h->upgrade = lists(value, "websocket");
    } else if (!strcasecmp(name, "Connection") && lists(value, "upgrade")) {
        h->connection_upgrade = true;
    }
    return MHD_YES;
}

static bool is_key(const char *key)
{
    return strlen(key) == KEY_CHARS && strspn(key, BASE64) == KEY_CHARS - 2 &&
           !strcmp(key + KEY_CHARS - 2, "==");
}

void qn_ws_handshake(qn_call *call, const qn_socket_handler *handler)
{
    handshake h = {0};
    char accept[QN_WS_ACCEPT_BYTES];
    pthread_mutex_lock(&call->lock);
    if (!call->gone) MHD_get_connection_values(call->connection, MHD_HEADER_KIND, look, &h);
    pthread_mutex_unlock(&call->lock);
    if (call->is_old || !h.upgrade || !h.connection_upgrade) {
        qn_call_header(call, "Upgrade", "websocket");
        qn_call_refuse(call, 426, "upgrade", NULL, "this endpoint speaks WebSocket");
    } else if (strcmp(h.version, "13") != 0) {
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
