// Rules of a request's head, the WebSocket handshake's key, and JSON out: the server's pure functions.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/json_out.h"
#include "server/rules.h"
#include "server/ws_accept.h"

static qn_head head_of(const char *method, const char *target)
{
    return (qn_head){.method = method, .target = target, .version = "HTTP/1.1"};
}

static void add(qn_head *h, const char *name, const char *value)
{
    qn_head_add(h, name, strlen(name), value, strlen(value));
}

static void test_framing(void **state)
{
    (void)state;
    static const struct {
        const char *method, *target, *name[2], *value[2];
        int status;
    } CASES[] = {
        {"GET", "/health", {NULL}, {NULL}, 0},
        {"POST", "/generate", {"Content-Length"}, {"5"}, 0},
        {"POST", "/generate", {"content-LENGTH"}, {"0"}, 0},
        {"POST", "/generate", {"Transfer-Encoding"}, {"Chunked"}, 0},
        {"POST", "/generate", {NULL}, {NULL}, 411},
        {"POST", "/generate", {"Content-Length", "Transfer-Encoding"}, {"5", "chunked"}, 400},
        {"POST", "/generate", {"Content-Length", "Content-Length"}, {"5", "5"}, 400},
        {"POST", "/generate", {"Content-Length"}, {"5 "}, 400},
        {"POST", "/generate", {"Content-Length"}, {"1234567890123456789"}, 400},
        {"POST", "/generate", {"Transfer-Encoding"}, {"chunked, gzip"}, 400},
        {"POST", "/generate", {"Transfer-Encodingchunked"}, {""}, 400},
        {"POST", "/generate", {"Content-Length", "Content-Encoding"}, {"5", "gzip"}, 415},
        {"POST", "/generate", {"Content-Length", "Expect"}, {"5", "tea"}, 417},
        {"GET", "/health", {"Content-Length"}, {"5"}, 400},
        {"GET", "/health", {"Content-Length"}, {"0"}, 0},
        {"GET", "health", {NULL}, {NULL}, 400},
        {"GET", "/a%2", {NULL}, {NULL}, 400},
        {"GET", "/a%00", {NULL}, {NULL}, 400},
        {"GET", "/a%2fb", {NULL}, {NULL}, 0},
        {"GET", "/a b", {NULL}, {NULL}, 400},
        {"GET", "/", {"X-A"}, {"a\x01"}, 400},
        {"GET", "/", {"X-A"}, {"tab\tand \xe9"}, 0},
        {"GET", "/", {"X A"}, {"a"}, 400},
        {"GET", "/", {""}, {"a"}, 400},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        qn_head h = head_of(CASES[i].method, CASES[i].target);
        add(&h, "Host", "localhost");
        for (int k = 0; k < 2 && CASES[i].name[k]; k++)
            add(&h, CASES[i].name[k], CASES[i].value[k]);
        if (qn_rules_framing(&h).status != CASES[i].status)
            fail_msg("case %zu: %d instead of %d", i, qn_rules_framing(&h).status, CASES[i].status);
    }
    qn_head none = head_of("GET", "/"), two = none;
    assert_int_equal(qn_rules_framing(&none).status, 400);
    add(&two, "Host", "a");
    add(&two, "host", "a");
    assert_int_equal(qn_rules_framing(&two).status, 400);
}

static int origin_status(const char *host, const char *origin)
{
    qn_head h = head_of("POST", "/generate");
    add(&h, "Host", host);
    add(&h, "Origin", origin);
    return qn_rules_origin(&h).status;
}

static void test_hosts_and_origins(void **state)
{
    (void)state;
    static const char *const GOOD[] = {"localhost", "LocalHost:8080", "127.0.0.1", "[::1]:1"};
    static const char *const BAD[] = {
        "",     "localhost.", "localhost:", "localhost:1x",     "127.0.0.2",     "localhost/a",
        "[::1", "[::1]a",     "evil",       "localhost:123456", "localhostevil", "::1"};
    for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++) {
        qn_head h = head_of("GET", "/");
        add(&h, "Host", GOOD[i]);
        assert_int_equal(qn_rules_host(&h).status, 0);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        qn_head h = head_of("GET", "/");
        add(&h, "Host", BAD[i]);
        assert_int_equal(qn_rules_host(&h).status, 403);
    }
    assert_int_equal(origin_status("localhost:8080", "http://localhost:8080"), 0);
    assert_int_equal(origin_status("127.0.0.1:8080", "http://localhost:8080"), 0);
    assert_int_equal(origin_status("localhost", "http://localhost:80"), 0);
    assert_int_equal(origin_status("localhost:443", "https://localhost"), 0);
    assert_int_equal(origin_status("localhost:8080", "http://localhost:3000"), 403);
    assert_int_equal(origin_status("localhost:8080", "http://localhost"), 403);
    assert_int_equal(origin_status("localhost:8080", "http://evil:8080"), 403);
    assert_int_equal(origin_status("localhost", "null"), 403);
    assert_int_equal(origin_status("localhost", "http"), 403);
    assert_int_equal(origin_status("localhost", "https"), 403);
}

static void test_content_types(void **state)
{
    (void)state;
    qn_head form = head_of("POST", "/generate");
    add(&form, "Content-Type", "application/x-www-form-urlencoded");
    assert_int_equal(qn_rules_content_type(&form).status, 0);
    add(&form, "Origin", "http://localhost");
    assert_int_equal(qn_rules_content_type(&form).status, 415);
    qn_head json = head_of("POST", "/generate");
    assert_int_equal(qn_rules_content_type(&json).status, 0);
    add(&json, "Content-Type", "Application/JSON ; charset=utf-8");
    assert_int_equal(qn_rules_content_type(&json).status, 0);
}

static void test_the_handshakes_key(void **state)
{
    (void)state;
    char accept[QN_WS_ACCEPT_BYTES];
    qn_ws_accept("dGhlIHNhbXBsZSBub25jZQ==", accept);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    qn_ws_accept("AAAAAAAAAAAAAAAAAAAAAA==", accept);
    assert_string_equal(accept, "ICX+Yqv66kxgM0FcWaLWlFLwTAI=");
}

static void test_json_out(void **state)
{
    (void)state;
    qn_buffer b = QN_BUFFER_INIT;
    qn_json j = qn_json_to(&b);
    qn_json_open(&j, '{');
    qn_json_put_text(&j, "a\"", "\\\"\n\t\x01\x7f/é\xff\xe2\x82");
    qn_json_key(&j, "n");
    qn_json_open(&j, '[');
    qn_json_int(&j, INT64_MIN);
    qn_json_uint(&j, UINT64_MAX);
    qn_json_double(&j, 0.1);
    qn_json_double(&j, NAN);
    qn_json_double(&j, -INFINITY);
    qn_json_bool(&j, true);
    qn_json_open(&j, '{');
    qn_json_close(&j, '}');
    qn_json_null(&j);
    qn_json_raw(&j, "[1]", 3);
    qn_json_text_n(&j, "a\0b", 3);
    qn_json_text(&j, "\u2028");
    qn_json_close(&j, ']');
    qn_json_put_bool(&j, "z", false);
    qn_json_close(&j, '}');
    assert_string_equal(
        b.data, "{\"a\\\"\":\"\\\\\\\"\\n\\t\\u0001\\u007f/é\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\","
                "\"n\":[-9223372036854775808,18446744073709551615,0.1,null,null,true,{},null,[1],"
                "\"a\\u0000b\",\"\\u2028\"],\"z\":false}");
    qn_buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing),       cmocka_unit_test(test_hosts_and_origins),
        cmocka_unit_test(test_content_types), cmocka_unit_test(test_the_handshakes_key),
        cmocka_unit_test(test_json_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
