// WebSocket frames: any bytes, cut anywhere: each message is whole UTF-8 within its limit, what is answered is
// well-formed frames, and nothing comes after the end. The first two bytes choose how the rest is cut.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "server/ws_frames.h"

enum { MAX_MESSAGE = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void demand(int truth)
{
    if (!truth) abort();
}

static void on_message(void *user, const char *text, size_t n)
{
    qn_ws_frames **f = user;
    demand(n <= MAX_MESSAGE && qn_utf8_check(text, n) == n && !qn_ws_frames_is_over(*f));
}

// Only whole, unmasked control frames; a close is the last.
static void check_answers(const qn_buffer *out, int over)
{
    size_t i = 0;
    int closed = 0;
    while (i < out->length) {
        unsigned first = (unsigned char)out->data[i], n = (unsigned char)out->data[i + 1];
        demand(i + 2 <= out->length && !closed && n <= 125 && (first == 0x88 || first == 0x8a));
        closed = first == 0x88;
        i += 2 + n;
    }
    demand(i == out->length && (!closed || over));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 3) return 0;
    qn_buffer out = QN_BUFFER_INIT;
    qn_ws_frames *f = NULL;
    f = qn_ws_frames_new(MAX_MESSAGE, on_message, &f);
    size_t step = data[0] % 64 + 1u, more = data[1];
    for (size_t i = 2; i < n;) {
        size_t piece = n - i < step ? n - i : step;
        char *copy = malloc(piece);
        memcpy(copy, data + i, piece);
        qn_ws_frames_feed(f, copy, piece, &out);
        free(copy);
        i += piece;
        step = step * 7 % 97 + more + 1;
    }
    check_answers(&out, qn_ws_frames_is_over(f));
    qn_ws_frames_free(f);
    qn_buffer_free(&out);
    return 0;
}
