// WS /ws/stream: many requests on one WebSocket, each under the client's own id. Messages come on the loop's thread (or a
// worker), events on text threads.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/answer.h"
#include "server/api/handlers.h"
#include "server/generation.h"
#include "server/socket.h"
#include "server/ws_handshake.h"

enum { MAX_ID_BYTES = 128 };

typedef struct entry entry;

// What runs on a socket.
typedef struct {
    qn_socket *socket; // not counted: the socket owns this
    pthread_mutex_t lock;
    entry *running;
    int n_running;
    bool closed;
} stream;

// One request; belongs to its generation's sink.
struct entry {
    stream *on;
    entry *prev, *next; // on->running
    qn_generation *g;
    char id[]; // as JSON
};

/* ---- out ---- */

static void send_error(stream *st, const char *id, const quern_error *e)
{
    qn_buffer to = QN_BUFFER_INIT;
    qn_json j = qn_json_to(&to);
    qn_json_open(&j, '{');
    qn_json_put_text(&j, "type", "error");
    if (id) {
        qn_json_key(&j, "id");
        qn_json_raw(&j, id, strlen(id));
    }
    qn_answer_error(&j, qn_answer_status(e->code), quern_code_name(e->code),
                    e->param[0] ? e->param : NULL, e->message);
    qn_json_close(&j, '}');
    if (!to.failed) qn_socket_send(st->socket, to.data, to.length, true);
    qn_buffer_free(&to);
}

// Off the list; what is left of it is the caller's.
static void unlink_entry(entry *en)
{
    stream *st = en->on;
    pthread_mutex_lock(&st->lock);
    if (en->prev)
        en->prev->next = en->next;
    else
        st->running = en->next;
    if (en->next) en->next->prev = en->prev;
    st->n_running--;
    pthread_mutex_unlock(&st->lock);
}

static void drop(entry *en)
{
    qn_socket *socket = en->on->socket;
    qn_generation_release(en->g);
    free(en);
    qn_socket_count(socket, -1);
    qn_socket_release(socket);
}

// Nobody reads what it makes.
static void give_up(qn_generation *g, int why)
{
    qn_counters *c = &g->server->counters;
    if (qn_generation_cancel(g, why))
        atomic_fetch_add(why == QUERN_E_LIMIT ? &c->slow_clients : &c->clients_gone, 1);
}

static void on_event(qn_generation *g, void *user, const quern_event *event)
{
    entry *en = user;
    qn_buffer to = QN_BUFFER_INIT;
    bool last = event->type == QUERN_EVENT_DONE || event->type == QUERN_EVENT_ERROR;
    // The id is free again before the client can know.
    if (last) unlink_entry(en);
    qn_answer_event(&to, g, en->id, event);
    int rc = to.length && !to.failed ? qn_socket_send(en->on->socket, to.data, to.length, last) : 0;
    if (rc && !last) give_up(g, rc);
    qn_buffer_free(&to);
    if (last) drop(en);
}

/* ---- in ---- */

static entry *find(stream *st, const char *id)
{
    entry *en = st->running;
    while (en && strcmp(en->id, id))
        en = en->next;
    return en;
}

// The id as JSON, malloc'd; NULL where it is none.
static char *read_id(const json_t *message)
{
    const json_t *id = json_object_get(message, "id");
    bool text =
        json_is_string(id) && json_string_length(id) > 0 && json_string_length(id) <= MAX_ID_BYTES;
    return text || json_is_integer(id) ? json_dumps(id, JSON_ENCODE_ANY) : NULL;
}

static int admit(stream *st, entry *en, quern_error *e)
{
    int most = qn_socket_server(st->socket)->options.limits.n_requests_per_socket, rc = 0;
    pthread_mutex_lock(&st->lock);
    if (st->closed)
        rc = qn_error_set(e, QUERN_E_CANCELLED, "the socket is closed");
    else if (find(st, en->id))
        rc = qn_request_refuse(e, "id", "%s is running on this socket", en->id);
    else if (st->n_running >= most)
        rc = qn_error_set(e, QUERN_E_BUSY, "%d requests run on this socket, the most there may be",
                          most);
    else {
        en->next = st->running;
        if (en->next) en->next->prev = en;
        st->running = en;
        st->n_running++;
    }
    pthread_mutex_unlock(&st->lock);
    return rc;
}

static entry *new_entry(stream *st, const char *id)
{
    entry *en = calloc(1, sizeof *en + strlen(id) + 1);
    if (!en) return NULL;
    en->on = st;
    memcpy(en->id, id, strlen(id) + 1);
    en->g = qn_generation_new(qn_socket_server(st->socket), "gen", on_event, en);
    if (!en->g) {
        free(en);
        return NULL;
    }
    qn_socket_hold(st->socket);
    qn_socket_count(st->socket, 1);
    return en;
}

static void generate(stream *st, const char *id, json_t *message)
{
    quern_error e = {0};
    qn_request_input input;
    if (qn_request_input_read(message, false, &input, &e)) {
        send_error(st, id, &e);
        return;
    }
    entry *en = new_entry(st, id);
    if (!en) {
        qn_error_set(&e, QUERN_E_MEMORY, "out of memory");
        send_error(st, id, &e);
    } else if (admit(st, en, &e)) {
        send_error(st, id, &e);
        drop(en);
    } else {
        qn_generation *g = qn_generation_hold(en->g); // the entry may be gone once it is submitted
        g->wants_logprobs = qn_request_has(&input, "logprobs");
        if (qn_generation_submit(g, &input, &e)) {
            unlink_entry(en);
            send_error(st, id, &e);
            drop(en);
        }
        qn_generation_release(g);
    }
    qn_request_input_free(&input);
}

static void cancel(stream *st, const char *id)
{
    quern_error e = {0};
    pthread_mutex_lock(&st->lock);
    entry *en = find(st, id);
    qn_generation *g = en ? qn_generation_hold(en->g) : NULL;
    pthread_mutex_unlock(&st->lock);
    if (g)
        qn_generation_cancel(g, QUERN_E_CANCELLED);
    else {
        qn_request_refuse(&e, "id", "%s is not running on this socket", id);
        send_error(st, id, &e);
    }
    qn_generation_release(g);
}

static void act(stream *st, const char *type, const char *id, json_t *message)
{
    json_object_del(message, "type");
    json_object_del(message, "id");
    if (!strcmp(type, "generate")) {
        generate(st, id, message);
        return;
    }
    quern_error e = {0};
    if (json_object_size(message)) {
        qn_request_refuse(&e, json_object_iter_key(json_object_iter(message)),
                          "is no field of a cancel message");
        send_error(st, id, &e);
    } else {
        cancel(st, id);
    }
    json_decref(message);
}

static void on_message(qn_socket *s, void *user, const char *text, size_t n)
{
    (void)s;
    stream *st = user;
    quern_error e = {0};
    json_t *message = qn_request_load(text, n, &e);
    if (!message) {
        send_error(st, NULL, &e);
        return;
    }
    char *id = read_id(message);
    const char *type = json_string_value(json_object_get(message, "type"));
    bool known = type && (!strcmp(type, "generate") || !strcmp(type, "cancel"));
    if (known && id) {
        act(st, *type == 'g' ? "generate" : "cancel", id, message);
    } else {
        if (!known)
            qn_request_refuse(&e, "type", "must be generate or cancel");
        else
            qn_request_refuse(&e, "id", "must be a string of 1 to %d bytes or a whole number",
                              MAX_ID_BYTES);
        send_error(st, id, &e);
        json_decref(message);
    }
    free(id);
}

/* ---- the socket's life ---- */

static void *on_open(qn_socket *s)
{
    stream *st = calloc(1, sizeof *st);
    if (!st) return NULL;
    st->socket = s;
    pthread_mutex_init(&st->lock, NULL);
    return st;
}

// One at a time, since cancelling must not happen under the lock.
static qn_generation *next_to_cancel(stream *st)
{
    qn_generation *g = NULL;
    pthread_mutex_lock(&st->lock);
    for (entry *en = st->running; en && !g; en = en->next) {
        pthread_mutex_lock(&en->g->lock);
        if (!en->g->cancel_asked) g = qn_generation_hold(en->g);
        pthread_mutex_unlock(&en->g->lock);
    }
    pthread_mutex_unlock(&st->lock);
    return g;
}

static void on_closed(void *user)
{
    stream *st = user;
    qn_generation *g;
    pthread_mutex_lock(&st->lock);
    st->closed = true;
    pthread_mutex_unlock(&st->lock);
    while ((g = next_to_cancel(st))) {
        give_up(g, QUERN_E_CANCELLED);
        qn_generation_release(g);
    }
}

static void on_free(void *user)
{
    stream *st = user;
    pthread_mutex_destroy(&st->lock);
    free(st);
}

void qn_api_stream(qn_call *call)
{
    static const qn_socket_handler HANDLER = {on_open, on_message, on_closed, on_free};
    qn_ws_handshake(call, &HANDLER);
}
