// Base: buffers, arenas, UTF-8, files, errors.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
// cmocka wants the headers above first
#include <cmocka.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/checked.h"
#include "base/file.h"
#include "base/log.h"
#include "base/utf8.h"

static void buffer_grows_and_keeps_a_nul(void **state)
{
    (void)state;
    qn_buffer b = QN_BUFFER_INIT;
    for (int i = 0; i < 1000; i++)
        assert_true(qn_buffer_printf(&b, "%d,", i));
    assert_int_equal(b.length, 3890);
    assert_int_equal(b.data[b.length], 0);
    assert_memory_equal(b.data + b.length - 4, "999,", 4);
    assert_false(qn_buffer_reserve(&b, SIZE_MAX / 2)); // refused, not attempted
    assert_true(b.failed);
    assert_null(qn_buffer_take(&b)); // an incomplete text is not handed out
    qn_buffer_free(&b);
}

static void arena_zeroes_aligns_and_limits(void **state)
{
    (void)state;
    qn_arena a = {.limit_bytes = 1 << 20};
    for (int i = 1; i < 300; i++) {
        unsigned char *p = qn_arena_take(&a, (size_t)i);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (int j = 0; j < i; j++)
            assert_int_equal(p[j], 0);
        memset(p, 0xff, (size_t)i);
    }
    assert_null(qn_arena_take(&a, 1 << 20));
    assert_null(qn_arena_take_array(&a, SIZE_MAX / 2, 4)); // the product overflows
    qn_arena_free(&a);
    assert_non_null(qn_arena_take(&a, 1 << 19));
    qn_arena_free(&a);
}

static void utf8_refuses_what_rfc_3629_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",
                                      "\xc0\xaf",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xe2\x82",
                                      "\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(qn_utf8_check(bad[i], strlen(bad[i])), 0);
    assert_int_equal(qn_utf8_check("12345678901234567\xff", 18), 17);
    for (uint32_t code = 0; code < 0x110000; code += code < 0x3000 ? 1 : 257) {
        char text[4];
        uint32_t back = 1;
        int n = qn_utf8_encode(code, text);
        bool surrogate = code >= 0xd800 && code < 0xe000;
        assert_int_equal(n == 0, surrogate);
        if (n) assert_int_equal(qn_utf8_decode(text, (size_t)n, &back), n);
        if (n) assert_int_equal(back, code);
    }
}

static void spans_do_not_wrap(void **state)
{
    (void)state;
    uint64_t r = 7;
    assert_true(qn_span_inside(10, 0, 10));
    assert_false(qn_span_inside(11, 0, 10));
    assert_false(qn_span_inside(UINT64_MAX, 2, 10));
    assert_false(qn_checked_mul(UINT64_MAX / 2, 3, &r));
    assert_false(qn_checked_add(UINT64_MAX, 1, &r));
    assert_int_equal(r, 7);
}

static void files_that_are_none_are_refused_at_once(void **state)
{
    (void)state;
    char dir[] = "/tmp/quern-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/fifo", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    quern_error e = {0};
    char *text = NULL;
    size_t n;
    qn_mapping m;
    assert_int_equal(qn_file_read(path, 100, &text, &n, &e),
                     QUERN_E_IO); // does not wait for a writer
    assert_non_null(strstr(e.message, "fifo: expected a regular file"));
    assert_int_equal(qn_file_map(dir, false, &m, &e), QUERN_E_IO);
    assert_int_equal(qn_file_read("/nowhere/at all", 100, &text, &n, &e), QUERN_E_NOT_FOUND);
    unlink(path);
    FILE *f = fopen(path, "w");
    fputs("0123456789", f);
    fclose(f);
    assert_int_equal(qn_file_read(path, 9, &text, &n, &e), QUERN_E_LIMIT);
    assert_int_equal(qn_file_read(path, 10, &text, &n, &e), 0);
    assert_string_equal(text, "0123456789");
    free(text);
    for (int copy = 0; copy < 2; copy++) {
        assert_int_equal(qn_file_map(path, copy, &m, &e), 0);
        assert_int_equal(m.n_bytes, 10);
        assert_memory_equal(m.data, "0123456789", 10);
        qn_file_unmap(&m);
    }
    unlink(path);
    rmdir(dir);
}

static void messages_stay_on_one_line(void **state)
{
    (void)state;
    quern_error e = {0};
    char line[1200] = "", big[600];
    assert_int_equal(qn_error_set(&e, QUERN_E_FORMAT, "tensor \"%s\"", "a\nb\x1b[31m"),
                     QUERN_E_FORMAT);
    assert_string_equal(e.message, "tensor \"a?b?[31m\"");
    assert_int_equal(qn_error_prefix(&e, "x.json"), QUERN_E_FORMAT);
    assert_string_equal(e.message, "x.json: tensor \"a?b?[31m\"");
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    qn_error_set(&e, QUERN_E_FORMAT, "%s", big);
    assert_int_equal(strlen(e.message), sizeof e.message - 1);
    assert_int_equal(qn_error_set(NULL, QUERN_E_IO, "nobody asks"), QUERN_E_IO);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    qn_log log = {ends[1], QUERN_LOG_INFO, 0};
    qn_log_write(&log, QUERN_LOG_DEBUG, "not written");
    qn_log_write(&log, QUERN_LOG_WARN, "two\nlines and a \"quote\"");
    close(ends[1]);
    assert_true(read(ends[0], line, sizeof line - 1) > 0);
    close(ends[0]);
    assert_null(strstr(line, "not written"));
    assert_non_null(strstr(line, "level=warn msg=\"two lines and a 'quote'\"\n"));
}

static void only_the_journal_gets_priorities(void **state)
{
    (void)state;
    char stream[64];
    struct stat st;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(fstat(ends[1], &st), 0);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    assert_true(qn_log_open(ends[1], QUERN_LOG_INFO).priority_prefix);
    setenv("JOURNAL_STREAM", "8:123456", 1); // as a terminal inherits it
    assert_false(qn_log_open(ends[1], QUERN_LOG_INFO).priority_prefix);
    unsetenv("JOURNAL_STREAM");
    assert_false(qn_log_open(ends[1], QUERN_LOG_INFO).priority_prefix);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffer_grows_and_keeps_a_nul),
        cmocka_unit_test(arena_zeroes_aligns_and_limits),
        cmocka_unit_test(utf8_refuses_what_rfc_3629_refuses),
        cmocka_unit_test(spans_do_not_wrap),
        cmocka_unit_test(files_that_are_none_are_refused_at_once),
        cmocka_unit_test(messages_stay_on_one_line),
        cmocka_unit_test(only_the_journal_gets_priorities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
