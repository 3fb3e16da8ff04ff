// Detokeniser: whole characters only, Rust's replacement of what is none, special tokens left out.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka wants the headers above first
#include <cmocka.h>

#include "text/detokenizer.h"
#include "tokenizer_fixture.h"

static qn_tokenizer *tokenizer;

static int load(void **unused)
{
    (void)unused;
    fixture f = FIXTURE;
    f.vocab = ",\"Ġhi\":256";
    f.added = "{\"id\":257,\"content\":\"<|end|>\",\"special\":true,\"normalized\":false},"
              "{\"id\":258,\"content\":\"<think>\",\"special\":false,\"normalized\":false},"
              "{\"id\":259,\"content\":\"a é\",\"special\":false,\"normalized\":false}";
    quern_error e;
    return fixture_parse(&f, &tokenizer, &e);
}

static int unload(void **unused)
{
    (void)unused;
    qn_tokenizer_free(tokenizer);
    return 0;
}

// The ids of bytes are the bytes; one push each. Checks that no push gives half a character.
static void expect(const char *bytes, size_t n, const char *text)
{
    qn_detokenizer d;
    qn_buffer out = QN_BUFFER_INIT;
    qn_detokenizer_init(&d, tokenizer, false);
    for (size_t i = 0; i < n; i++) {
        assert_true(qn_detokenizer_push(&d, (unsigned char)bytes[i], &out));
        assert_int_equal(qn_utf8_check(out.data ? out.data : "", out.length), out.length);
    }
    assert_true(qn_detokenizer_finish(&d, &out));
    assert_string_equal(out.data ? out.data : "", text);
    qn_buffer_free(&out);
}

#define R "\xef\xbf\xbd"

// Expected texts are those of Rust's String::from_utf8_lossy.
static void replaces_as_rust(void **unused)
{
    (void)unused;
    expect("z\xc3\xa4\xe4\xb8\x80\xf0\x9f\x98\x80", 10, "zä一😀");
    expect("Hello \xf0\x90\x80World", 14, "Hello " R "World");
    expect("\xf0\x9f\x98", 3, R); // cut at the end
    expect("\xe4\xb8"
           "A\xe4\xb8\xe4\xb8\x80",
           8, R "A" R "一");
    expect("\xed\xa0\x80", 3, R R R); // a surrogate
    expect("\xe0\x80\x80", 3, R R R); // an overlong form
    expect("\xf0\x80\x80"
           "A",
           4, R R R "A");
    expect("\xf4\x90\x80\x80", 4, R R R R);       // above U+10FFFF
    expect("\xc0\xaf\xf5\xff\x80", 5, R R R R R); // never in UTF-8
    expect("\xc3\xc3\xa4", 3, R "ä");
}

static void holds_half_characters(void **unused)
{
    (void)unused;
    qn_detokenizer d;
    qn_buffer out = QN_BUFFER_INIT;
    qn_detokenizer_init(&d, tokenizer, false);
    const int ids[] = {0xf0, 0x9f, 0x98};
    for (int i = 0; i < 3; i++)
        assert_true(qn_detokenizer_push(&d, ids[i], &out));
    assert_int_equal(out.length, 0);
    assert_true(
        qn_detokenizer_push(&d, 257, &out)); // a special token gives nothing and breaks nothing
    assert_true(qn_detokenizer_push(&d, 0x80, &out));
    assert_string_equal(out.data, "😀");
    qn_buffer_free(&out);
}

static void special_and_unknown(void **unused)
{
    (void)unused;
    const int32_t ids[] = {257, 256, 258, 259, -1, 260, 1 << 30, INT32_MIN};
    for (int keep = 0; keep < 2; keep++) {
        qn_detokenizer d;
        qn_buffer out = QN_BUFFER_INIT;
        qn_detokenizer_init(&d, tokenizer, keep);
        for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
            assert_true(qn_detokenizer_push(&d, ids[i], &out));
        assert_true(qn_detokenizer_finish(&d, &out));
        assert_string_equal(out.data, keep ? "<|end|> hi<think>a é" : " hi<think>a é");
        qn_buffer_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(replaces_as_rust),
                                       cmocka_unit_test(holds_half_characters),
                                       cmocka_unit_test(special_and_unknown)};
    return cmocka_run_group_tests(tests, load, unload);
}
