// WebSocket frames over memory: messages however they are cut, and close codes for what breaks the protocol.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/ws_frames.h"

typedef struct {
    int n;
    qn_buffer last;
} inbox;

static void on_message(void *user, const char *text, size_t n)
{
    inbox *in = user;
    in->n++;
    qn_buffer_clear(&in->last);
    qn_buffer_append(&in->last, text, n);
}

// A masked frame as a client sends it.
static void put_frame(qn_buffer *b, int first, const char *payload, size_t n)
{
    static const unsigned char MASK[4] = {1, 2, 3, 4};
    unsigned char head[8] = {(unsigned char)first, (unsigned char)(0x80 | (n < 126 ? n : 126)),
                             (unsigned char)(n >> 8), (unsigned char)n};
    qn_buffer_append(b, head, n < 126 ? 2 : 4);
    qn_buffer_append(b, MASK, 4);
    for (size_t i = 0; i < n; i++) {
        char c = (char)(payload[i] ^ MASK[i % 4]);
        qn_buffer_append(b, &c, 1);
    }
}

// Feeds in pieces of `piece` bytes, each in its own block so that a byte too many is seen by ASan.
static void feed(qn_ws_frames *f, const qn_buffer *b, size_t piece, qn_buffer *out)
{
    for (size_t i = 0; i < b->length; i += piece) {
        size_t n = b->length - i < piece ? b->length - i : piece;
        char *copy = malloc(n);
        memcpy(copy, b->data + i, n);
        qn_ws_frames_feed(f, copy, n, out);
        free(copy);
    }
}

static void test_messages_however_cut(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 400; piece = piece * 3 + 1) {
        inbox in = {0};
        qn_buffer b = QN_BUFFER_INIT, out = QN_BUFFER_INIT;
        qn_ws_frames *f = qn_ws_frames_new(1000, on_message, &in);
        char text[300];
        memset(text, 'a', sizeof text);
        put_frame(&b, 0x81, text, sizeof text);
        put_frame(&b, 0x01, "\xe2", 1);
        put_frame(&b, 0x89, "ping", 4);
        put_frame(&b, 0x00, "\x82", 1);
        put_frame(&b, 0x80, "\xac", 1);
        feed(f, &b, piece, &out);
        assert_int_equal(in.n, 2);
        assert_string_equal(in.last.data, "€");
        assert_int_equal(out.length, 6);
        assert_memory_equal(out.data, "\x8a\x04ping", 6);
        assert_false(qn_ws_frames_is_over(f));
        qn_ws_frames_free(f);
        qn_buffer_free(&b);
        qn_buffer_free(&out);
        qn_buffer_free(&in.last);
    }
}

static int close_code(const qn_buffer *out)
{
    if (out->length < 4 || (unsigned char)out->data[0] != 0x88) return 0;
    return (unsigned char)out->data[2] << 8 | (unsigned char)out->data[3];
}

static void test_close_codes(void **state)
{
    (void)state;
    static const struct {
        int first;
        const char *payload;
        size_t n;
        int code;
    } CASES[] = {{0x82, "x", 1, 1003},        {0x83, "x", 1, 1002},
                 {0xc1, "x", 1, 1002},        {0x80, "x", 1, 1002},
                 {0x09, "x", 1, 1002},        {0x81, "\xff", 1, 1007},
                 {0x88, "\x03", 1, 1002},     {0x88, "\x03\xed", 2, 1002},
                 {0x88, "\x03\xe8", 2, 1000}, {0x88, "\x03\xe8\xff", 3, 1007}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        inbox in = {0};
        qn_buffer b = QN_BUFFER_INIT, out = QN_BUFFER_INIT;
        qn_ws_frames *f = qn_ws_frames_new(1000, on_message, &in);
        put_frame(&b, CASES[i].first, CASES[i].payload, CASES[i].n);
        put_frame(&b, 0x81, "after", 5);
        feed(f, &b, 1000, &out);
        if (close_code(&out) != CASES[i].code)
            fail_msg("case %zu: %d instead of %d", i, close_code(&out), CASES[i].code);
        assert_true(qn_ws_frames_is_over(f));
        assert_int_equal(in.n, 0);
        qn_ws_frames_free(f);
        qn_buffer_free(&b);
        qn_buffer_free(&out);
    }
}

static void test_limits(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        inbox in = {0};
        qn_buffer b = QN_BUFFER_INIT, out = QN_BUFFER_INIT;
        qn_ws_frames *f = qn_ws_frames_new(1000, on_message, &in);
        if (round) { // too many fragments
            put_frame(&b, 0x01, "", 0);
            for (int i = 0; i < QN_WS_FRAGMENTS; i++)
                put_frame(&b, 0x00, "", 0);
        } else { // too long in sum
            char text[501] = {0};
            put_frame(&b, 0x01, text, 500);
            put_frame(&b, 0x00, text, 501);
        }
        feed(f, &b, 97, &out);
        assert_int_equal(close_code(&out), 1009);
        qn_ws_frames_free(f);
        qn_buffer_free(&b);
        qn_buffer_free(&out);
    }
}

static void test_frames_out(void **state)
{
    (void)state;
    static const struct {
        size_t n, n_head;
    } CASES[] = {{0, 2}, {125, 2}, {126, 4}, {65535, 4}, {65536, 10}};
    char *text = calloc(1, 65536);
    for (size_t i = 0; i < 5; i++) {
        qn_buffer out = QN_BUFFER_INIT;
        qn_ws_frame_write(&out, QN_WS_TEXT, text, CASES[i].n);
        assert_int_equal(out.length, CASES[i].n + CASES[i].n_head);
        assert_int_equal((unsigned char)out.data[0], 0x81);
        qn_buffer_free(&out);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_however_cut),
        cmocka_unit_test(test_close_codes),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_frames_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
