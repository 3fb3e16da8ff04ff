// JSON → request: what is read, what is refused, and that refusing leaks nothing (under ASan).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "server/request_json.h"

// The fleet's, which this test does without.
int qn_priority_by_name(const char *name)
{
    return !strcmp(name, "speed")      ? 0
           : !strcmp(name, "balanced") ? 1
           : !strcmp(name, "quality")  ? 2
                                       : -1;
}

static int read_it(const char *text, bool parts, qn_request_input *out, quern_error *e)
{
    *e = (quern_error){0};
    json_t *j = qn_request_load(text, strlen(text), e);
    return j ? qn_request_input_read(j, parts, out, e) : e->code;
}

static void test_all_of_a_request(void **state)
{
    (void)state;
    qn_request_input in;
    quern_error e;
    int rc = read_it("{\"prompt\":\"\\u00e9x\",\"model\":\"m\",\"priority\":\"quality\",\"stream\":"
                     "true,\"stop\":[\"a\",\"b\"],"
                     "\"max_tokens\":7,\"temperature\":1,\"seed\":9223372036854775807,\"early_"
                     "stopping\":\"never\","
                     "\"strategy\":\"beam\",\"ignore_eos\":true}",
                     false, &in, &e);
    assert_int_equal(rc, 0);
    assert_string_equal(in.params.prompt, "éx");
    assert_int_equal(in.params.n_prompt_bytes, 3);
    assert_string_equal(in.model, "m");
    assert_int_equal(in.priority, QN_PRIORITY_QUALITY);
    assert_true(in.stream);
    assert_int_equal(in.params.n_stop, 2);
    assert_string_equal(in.params.stop[1], "b");
    assert_int_equal(in.params.max_tokens, 7);
    assert_true(in.params.temperature == 1);
    assert_true(in.params.seed == INT64_MAX);
    assert_int_equal(in.params.early_stopping, QUERN_EARLY_NEVER);
    assert_int_equal(in.params.strategy, QUERN_BEAM);
    assert_true(in.params.ignore_eos);
    assert_true(qn_request_has(&in, "seed"));
    assert_false(qn_request_has(&in, "top_k"));
    qn_request_input_free(&in);
}

static void test_messages(void **state)
{
    (void)state;
    qn_request_input in;
    quern_error e;
    assert_int_equal(
        read_it("{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", false, &in, &e), 0);
    assert_string_equal(in.chat_json, "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
                                      "\"add_generation_prompt\":true}");
    assert_int_equal(in.params.n_chat_bytes, strlen(in.chat_json));
    assert_int_equal(in.priority, QN_PRIORITY_BALANCED);
    qn_request_input_free(&in);
    const char *parts =
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
        "{\"type\":\"text\",\"text\":\"b\"}]}],\"stop\":null}";
    assert_int_equal(read_it(parts, false, &in, &e), QUERN_E_ARGUMENT);
    assert_int_equal(read_it(parts, true, &in, &e), 0);
    assert_non_null(strstr(in.chat_json, "\"content\":\"ab\""));
    qn_request_input_free(&in);
}

static void test_refusals_name_the_field(void **state)
{
    (void)state;
    static const char *const CASES[][3] = {
        {"{\"prompt\":\"x\",\"temprature\":1}", "temprature", "the nearest is temperature"},
        {"{\"prompt\":\"x\",\"top_k\":1.5}", "top_k", "whole number"},
        {"{\"prompt\":\"x\",\"top_k\":9007199254740993}", "top_k", "at most"},
        {"{\"prompt\":\"x\",\"seed\":-1}", "seed", "from 0"},
        {"{\"prompt\":\"x\",\"strategy\":\"best\"}", "strategy",
         "greedy, sampling, top_k, top_p, beam"},
        {"{\"prompt\":\"x\",\"early_stopping\":\"true\"}", "early_stopping", "one of"},
        {"{\"prompt\":\"x\",\"messages\":[]}", "prompt", "not both"},
        {"{\"stop\":\"x\"}", "prompt", "is missing"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"king\",\"content\":"
         "\"a\"}]}",
         "messages[1].role", "must be"},
        {"{\"prompt\":\"x\",\"stop\":[\"a\",\"\"]}", "stop", "none empty"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        qn_request_input in;
        quern_error e;
        assert_int_equal(read_it(CASES[i][0], false, &in, &e), QUERN_E_ARGUMENT);
        assert_string_equal(e.param, CASES[i][1]);
        if (!strstr(e.message, CASES[i][2])) fail_msg("%s lacks \"%s\"", e.message, CASES[i][2]);
    }
}

static void test_hostile_json(void **state)
{
    (void)state;
    static const char *const CASES[] = {"",
                                        "[",
                                        "{\"a\":1,\"a\":2}",
                                        "{\"a\":\"\xff\"}",
                                        "{\"a\":\"\\u0000\"}",
                                        "{\"a\":NaN}",
                                        "{\"a\":1e999}",
                                        "1",
                                        "null",
                                        "{} x",
                                        "{\"a\":9223372036854775808}"};
    quern_error e;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        assert_null(qn_request_load(CASES[i], strlen(CASES[i]), &e));
}

// {"a":[[…]]} of the given depth; `whole`: closed again.
static json_t *nested(int depth, bool whole, quern_error *e)
{
    qn_buffer b = QN_BUFFER_INIT;
    qn_buffer_text(&b, "{\"a\":");
    for (int i = 1; i < depth; i++)
        qn_buffer_text(&b, "[");
    for (int i = 1; i < depth && whole; i++)
        qn_buffer_text(&b, "]");
    qn_buffer_text(&b, "}");
    json_t *j = qn_request_load(b.data, b.length, e);
    qn_buffer_free(&b);
    return j;
}

static void test_nesting(void **state)
{
    (void)state;
    quern_error e;
    json_t *j = nested(64, true, &e);
    assert_non_null(j);
    json_decref(j);
    assert_null(nested(65, true, &e));
    assert_non_null(strstr(e.message, "deeper than 64"));
    assert_null(nested(1000000, false, &e));
    assert_non_null(strstr(e.message, "deeper than 64"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_of_a_request),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_refusals_name_the_field),
        cmocka_unit_test(test_hostile_json),
        cmocka_unit_test(test_nesting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
