// Stop strings: against a search that looks at the whole stream each time.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
// cmocka wants the headers above first
#include <cmocka.h>

#include "text/stop.h"

static unsigned draw(unsigned *state, unsigned n)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 16) % n;
}

// The contract of qn_stop_push by brute force: the stream so far has n bytes, the last `fresh` of them new.
static bool slow_push(const char *const *strings, size_t n_strings, const char *stream, size_t n,
                      size_t fresh, size_t *text_end)
{
    size_t first = SIZE_MAX, held = 0;
    for (size_t s = 0; s < n_strings; s++) {
        size_t length = strlen(strings[s]);
        for (size_t at = 0; at + length <= n; at++)
            if (at + length > n - fresh && memcmp(stream + at, strings[s], length) == 0 &&
                at < first)
                first = at;
        for (size_t k = 1; k < length && k <= n; k++)
            if (memcmp(stream + n - k, strings[s], k) == 0 && k > held) held = k;
    }
    *text_end = first != SIZE_MAX ? first : n - held;
    return first != SIZE_MAX;
}

static void equals_slow_search(void **unused)
{
    (void)unused;
    unsigned seed = 7;
    for (int round = 0; round < 3000; round++) {
        char text[4][8], stream[64];
        const char *strings[4];
        size_t n_strings = 1 + draw(&seed, 4), n = 0;
        for (size_t i = 0; i < n_strings; i++) {
            size_t length = 1 + draw(&seed, 6);
            for (size_t k = 0; k < length; k++)
                text[i][k] = (char)('a' + draw(&seed, 2));
            text[i][length] = 0;
            strings[i] = text[i];
        }
        qn_stop *s = qn_stop_new(strings, n_strings);
        assert_non_null(s);
        for (bool stopped = false; !stopped && n < 50;) {
            size_t fresh = draw(&seed, 5), end, expected_end;
            for (size_t k = 0; k < fresh; k++)
                stream[n + k] = (char)('a' + draw(&seed, 3));
            n += fresh;
            stopped = slow_push(strings, n_strings, stream, n, fresh, &expected_end);
            assert_int_equal(qn_stop_push(s, stream + n - fresh, fresh, &end), stopped);
            assert_int_equal(end, expected_end);
        }
        qn_stop_free(s);
    }
}

static void across_pieces(void **unused)
{
    (void)unused;
    const char *strings[] = {"\n\nUser:", "END"};
    qn_stop *s = qn_stop_new(strings, 2);
    size_t end;
    assert_false(qn_stop_push(s, "Hi.\n", 4, &end));
    assert_int_equal(end, 3);
    assert_false(qn_stop_push(s, "\nUs", 3, &end));
    assert_int_equal(end, 3);
    assert_false(qn_stop_push(s, "E", 1, &end)); // no "User:" any more, but perhaps "END"
    assert_int_equal(end, 7);
    assert_true(qn_stop_push(s, "ND of it", 8, &end));
    assert_int_equal(end, 7);
    qn_stop_free(s);
    qn_stop_free(NULL);
}

static void none(void **unused)
{
    (void)unused;
    qn_stop *s = qn_stop_new(NULL, 0);
    size_t end;
    assert_false(qn_stop_push(s, "abc", 3, &end));
    assert_int_equal(end, 3);
    qn_stop_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(equals_slow_search),
                                       cmocka_unit_test(across_pieces), cmocka_unit_test(none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
