// WebSocket frames (RFC 6455, through wslay) over memory: bytes in, messages out; frames to send are appended to a
// buffer. Knows no descriptor, so that it can be fuzzed. One thread at a time.
#ifndef QN_SERVER_WS_FRAMES_H
#define QN_SERVER_WS_FRAMES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

enum {
    QN_WS_TEXT = 1,
    QN_WS_CLOSE = 8,
    QN_WS_PING = 9,
    QN_WS_NORMAL = 1000,
    QN_WS_GOING_AWAY = 1001,
    QN_WS_PROTOCOL = 1002,
    QN_WS_UNSUPPORTED = 1003,
    QN_WS_TOO_BIG = 1009,
    QN_WS_FRAGMENTS = 1024 // frames that one message may come in
};

typedef struct qn_ws_frames qn_ws_frames;

// `message` gets each whole text message (valid UTF-8), during feed. NULL on lack of memory.
qn_ws_frames *qn_ws_frames_new(size_t max_message_bytes,
                               void (*message)(void *user, const char *text, size_t n), void *user);
void qn_ws_frames_free(qn_ws_frames *f);

// Takes n bytes of the client's; pongs and closes are appended to *out. After an error or a close frame the rest is
// ignored (qn_ws_frames_is_over).
void qn_ws_frames_feed(qn_ws_frames *f, const char *bytes, size_t n, qn_buffer *out);
// The client closed, or broke the protocol: a close frame has been written, nothing more is read.
bool qn_ws_frames_is_over(const qn_ws_frames *f);

// One unmasked frame, as a server sends it.
void qn_ws_frame_write(qn_buffer *out, int opcode, const char *payload, size_t n);
void qn_ws_frame_write_close(qn_buffer *out, int code, const char *reason);

#endif
