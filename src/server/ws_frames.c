// See ws_frames.h.
#include "server/ws_frames.h"

#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

struct qn_ws_frames {
    wslay_event_context_ptr wslay;
    void (*message)(void *user, const char *text, size_t n);
    void *user;
    const char *in; // of the running feed
    size_t n_in;
    qn_buffer *out;
    qn_buffer text; // of the message that is coming in
    size_t max_message_bytes;
    int n_fragments;
    bool in_control, over;
    int failure; // a close code of ours; 0: none
};

static void fail(qn_ws_frames *f, int code)
{
    if (!f->failure) f->failure = code;
    wslay_event_shutdown_read(f->wslay);
}

static ssize_t take_bytes(wslay_event_context_ptr wslay, uint8_t *to, size_t n, int flags,
                          void *user)
{
    (void)flags;
    qn_ws_frames *f = user;
    if (!f->n_in) {
        wslay_event_set_error(wslay, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    if (n > f->n_in) n = f->n_in;
    memcpy(to, f->in, n);
    f->in += n;
    f->n_in -= n;
    return (ssize_t)n;
}

static ssize_t give_bytes(wslay_event_context_ptr wslay, const uint8_t *bytes, size_t n, int flags,
                          void *user)
{
    (void)flags;
    qn_ws_frames *f = user;
    if (qn_buffer_append(f->out, bytes, n)) return (ssize_t)n;
    wslay_event_set_error(wslay, WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static void on_frame(wslay_event_context_ptr wslay,
                     const struct wslay_event_on_frame_recv_start_arg *frame, void *user)
{
    (void)wslay;
    qn_ws_frames *f = user;
    f->in_control = wslay_is_ctrl_frame(frame->opcode);
    if (f->in_control) {
        // A close frame's payload is a code of two bytes and a reason, or nothing.
        if (frame->opcode == WSLAY_CONNECTION_CLOSE && frame->payload_length == 1)
            fail(f, QN_WS_PROTOCOL);
        return;
    }
    if (frame->opcode != WSLAY_CONTINUATION_FRAME) {
        qn_buffer_clear(&f->text);
        f->n_fragments = 0;
    }
    if (frame->opcode == WSLAY_BINARY_FRAME) fail(f, QN_WS_UNSUPPORTED);
    if (++f->n_fragments > QN_WS_FRAGMENTS ||
        frame->payload_length > f->max_message_bytes - f->text.length)
        fail(f, QN_WS_TOO_BIG);
}

static void on_bytes(wslay_event_context_ptr wslay,
                     const struct wslay_event_on_frame_recv_chunk_arg *chunk, void *user)
{
    (void)wslay;
    qn_ws_frames *f = user;
    if (f->in_control || f->failure) return;
    if (!qn_buffer_append(&f->text, chunk->data, chunk->data_length)) fail(f, QN_WS_TOO_BIG);
}

static void on_message(wslay_event_context_ptr wslay, const struct wslay_event_on_msg_recv_arg *m,
                       void *user)
{
    (void)wslay;
    qn_ws_frames *f = user;
    if (m->opcode != WSLAY_TEXT_FRAME || f->failure) return;
    f->message(f->user, f->text.data ? f->text.data : "", f->text.length);
    // A long message's room is not kept for the short ones that follow.
    if (f->text.capacity > 65536)
        qn_buffer_free(&f->text);
    else
        qn_buffer_clear(&f->text);
}

qn_ws_frames *qn_ws_frames_new(size_t max_message_bytes,
                               void (*message)(void *user, const char *text, size_t n), void *user)
{
    struct wslay_event_callbacks calls = {.recv_callback = take_bytes,
                                          .send_callback = give_bytes,
                                          .on_frame_recv_start_callback = on_frame,
                                          .on_frame_recv_chunk_callback = on_bytes,
                                          .on_msg_recv_callback = on_message};
    qn_ws_frames *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    f->message = message;
    f->user = user;
    f->max_message_bytes = max_message_bytes;
    if (wslay_event_context_server_init(&f->wslay, &calls, f)) {
        free(f);
        return NULL;
    }
    // wslay checks; the bytes are gathered here, so that memory grows only with what has come.
    wslay_event_config_set_no_buffering(f->wslay, 1);
    wslay_event_config_set_max_recv_msg_length(f->wslay, max_message_bytes);
    return f;
}

void qn_ws_frames_free(qn_ws_frames *f)
{
    if (!f) return;
    wslay_event_context_free(f->wslay);
    qn_buffer_free(&f->text);
    free(f);
}

void qn_ws_frames_feed(qn_ws_frames *f, const char *bytes, size_t n, qn_buffer *out)
{
    if (f->over) return;
    f->in = bytes;
    f->n_in = n;
    f->out = out;
    int rc = wslay_event_recv(f->wslay);
    if (!f->failure && rc) f->failure = QN_WS_PROTOCOL;
    if (!f->failure && wslay_event_send(f->wslay)) f->failure = QN_WS_PROTOCOL;
    if (f->failure) qn_ws_frame_write_close(out, f->failure, "");
    f->over = f->failure || !wslay_event_get_read_enabled(f->wslay);
    f->out = NULL;
}

bool qn_ws_frames_is_over(const qn_ws_frames *f)
{
    return f->over;
}

void qn_ws_frame_write(qn_buffer *out, int opcode, const char *payload, size_t n)
{
    unsigned char head[10] = {(unsigned char)(0x80 | opcode)};
    size_t n_head = 2;
    if (n < 126) {
        head[1] = (unsigned char)n;
    } else {
        int width = n < 65536 ? 2 : 8;
        head[1] = width == 2 ? 126 : 127;
        for (int i = 0; i < width; i++)
            head[2 + i] = (unsigned char)((uint64_t)n >> 8 * (width - 1 - i));
        n_head += (size_t)width;
    }
    // All or nothing: half a frame would spoil the stream.
    if (!qn_buffer_reserve(out, n_head + n)) return;
    qn_buffer_append(out, head, n_head);
    qn_buffer_append(out, payload, n);
}

void qn_ws_frame_write_close(qn_buffer *out, int code, const char *reason)
{
    char payload[125] = {(char)(code >> 8), (char)(code & 0xff)};
    size_t n = strlen(reason);
    if (n > sizeof payload - 2) n = sizeof payload - 2;
    memcpy(payload + 2, reason, n);
    qn_ws_frame_write(out, QN_WS_CLOSE, payload, n + 2);
}
