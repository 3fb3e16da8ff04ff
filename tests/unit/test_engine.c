// The engine end to end on the CPU backend and a tiny model with text: what a request gets must not depend on batch, chunking,
// threads, late or lost tickets, preemption, nor on when text workers look; and the limits of text, memory and context.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/runtime.h"
#include "test_engine_collect.h"

static const fake_options ON_CPU = {.on_cpu = true};

typedef struct {
    const char *name;
    fake_options fake;
    quern_model_options options;
} setting;

static const setting SETTINGS[] = {
    {"chunks of 1", {.on_cpu = true}, {.prefill_chunk = 1}},
    {"chunks of 7", {.on_cpu = true}, {.prefill_chunk = 7}},
    {"chunks of 64", {.on_cpu = true}, {.prefill_chunk = 64}},
    {"late", {.on_cpu = true, .late = 4}, {.prefill_chunk = 16}},
    {"late and lost", {.on_cpu = true, .late = 3, .lose_every = 8}, {0}},
    {"few blocks", {.on_cpu = true, .us_a_step = 100}, {.n_kv_blocks = 20}},
    {"a batch of 2", {.on_cpu = true}, {.max_batch = 2}},
};
enum { N_SETTINGS = sizeof SETTINGS / sizeof *SETTINGS, CROWD = 10 };

// Requests of every strategy, with logprobs, penalties and prompts of 3 to 93 tokens.
static quern_params crowd_params(int i, int32_t ids[128])
{
    int n = 3 + i * 10;
    for (int k = 0; k < n; k++)
        ids[k] = (i * 29 + k * 11) % 256;
    quern_params p = params_of(ids, n, 20 + i * 4);
    params_set(&p, "strategy", i % 5 == QUERN_BEAM ? QUERN_GREEDY : i % 5);
    params_set(&p, "temperature", 0.8);
    params_set(&p, "repetition_penalty", 1.2);
    params_set(&p, "presence_penalty", 0.3);
    params_set(&p, "frequency_penalty", 0.2);
    params_set(&p, "logprobs", i % 4);
    params_set(&p, "min_tokens", 12);
    quern_params_set_seed(&p, 77 + (uint64_t)i);
    return p;
}

static void assert_same(const collected *a, const collected *b)
{
    assert_int_equal(a->error.code, QUERN_OK);
    assert_null(a->disorder);
    assert_int_equal(a->n_ids, b->n_ids);
    assert_memory_equal(a->ids, b->ids, (size_t)a->n_ids * sizeof *a->ids);
    assert_int_equal(a->n_text, b->n_text);
    assert_memory_equal(a->text, b->text, a->n_text);
    assert_true(a->logprobs == b->logprobs); // to the bit
    assert_int_equal(a->finish, b->finish);
}

static void alone(const char *kv_cache, collected want[CROWD])
{
    engine g = engine_open(&ON_CPU, &(quern_model_options){.kv_cache = kv_cache});
    int32_t ids[128];
    for (int i = 0; i < CROWD; i++) {
        quern_params p = crowd_params(i, ids);
        collect(&g, &want[i], &p);
        assert_int_equal(want[i].error.code, QUERN_OK);
        assert_true(want[i].n_ids >= 12);
    }
    engine_close(&g);
}

static void check_crowd(const char *kv_cache)
{
    static collected want[CROWD], c[CROWD];
    alone(kv_cache, want);
    for (int k = 0; k < N_SETTINGS; k++) {
        quern_model_options options = SETTINGS[k].options;
        options.kv_cache = kv_cache;
        engine g = engine_open(&SETTINGS[k].fake, &options);
        int32_t ids[CROWD][128];
        for (int i = 0; i < CROWD; i++) {
            quern_params p = crowd_params(i, ids[i]);
            assert_int_equal(collect_submit(&g, &c[i], &p), QUERN_OK);
        }
        for (int i = 0; i < CROWD; i++) {
            collect_wait(&c[i]);
            collect_free(&c[i]);
            assert_same(&c[i], &want[i]);
        }
        engine_settle(&g);
        if (SETTINGS[k].options.n_kv_blocks) assert_true(engine_stats(&g).preemptions_total > 0);
        engine_close(&g);
    }
}

static void a_request_gets_the_same_whatever_happens_around_it(void **state)
{
    (void)state;
    check_crowd(NULL);
}

static void so_it_does_with_a_quantised_cache(void **state)
{
    (void)state;
    check_crowd("q8_0");
}

static void logits_have_the_same_bits_in_every_chunking(void **state)
{
    (void)state;
    enum { N = 60 };
    static float want[N * TINY_VOCAB], got[N * TINY_VOCAB];
    int32_t ids[N], busy_ids[128];
    for (int k = 0; k < N; k++)
        ids[k] = (k * 13) % 256;
    for (int k = -1; k < N_SETTINGS; k++) {
        engine g = k < 0 ? engine_open(&ON_CPU, NULL)
                         : engine_open(&SETTINGS[k].fake, &SETTINGS[k].options);
        static collected beside;
        quern_params p = crowd_params(4, busy_ids);
        assert_int_equal(collect_submit(&g, &beside, &p), QUERN_OK);
        memset(got, 0xff, sizeof got);
        assert_int_equal(quern_logits(g.model, ids, N, got, NULL), QUERN_OK);
        if (k < 0) memcpy(want, got, sizeof got);
        assert_memory_equal(got, want, sizeof got);
        collect_wait(&beside);
        collect_free(&beside);
        engine_close(&g);
    }
}

// A step has room for so many outputs: prompts beside one whose every row wants its logits must not go beyond.
static void logits_share_the_outputs_of_a_step(void **state)
{
    (void)state;
    enum { N = 60 };
    static collected busy, prompt[3], logits;
    static float out[N * TINY_VOCAB], want[N * TINY_VOCAB];
    int32_t ids[N], busy_ids[128], prompt_ids[3][128];
    for (int k = 0; k < N; k++)
        ids[k] = (k * 13) % 256;
    fake_options slow = {.on_cpu = true, .us_a_step = 20000};
    engine g = engine_open(&slow, NULL);
    assert_int_equal(quern_logits(g.model, ids, N, want, NULL), QUERN_OK);
    quern_params p = crowd_params(4, busy_ids);
    assert_int_equal(collect_submit(&g, &busy, &p), QUERN_OK);
    collect_await_token(&busy, 1);
    assert_int_equal(collect_submit_logits(&g, &logits, ids, N, out), QUERN_OK);
    usleep(3000); // all within one step, and in this order
    for (int i = 0; i < 3; i++) {
        p = crowd_params(i, prompt_ids[i]);
        assert_int_equal(collect_submit(&g, &prompt[i], &p), QUERN_OK);
    }
    for (int i = 0; i < 5; i++) {
        collected *c = i < 3 ? &prompt[i] : i < 4 ? &busy : &logits;
        collect_wait(c);
        collect_free(c);
        assert_int_equal(c->error.code, QUERN_OK);
    }
    assert_memory_equal(out, want, sizeof out);
    engine_close(&g);
}

static quern_params text_params(const char *prompt, int max_tokens)
{
    quern_params p;
    quern_params_init(&p);
    p.prompt = prompt;
    p.n_prompt_bytes = strlen(prompt);
    params_set(&p, "max_tokens", max_tokens);
    params_set(&p, "strategy", QUERN_SAMPLING);
    params_set(&p, "ignore_eos", 1);
    quern_params_set_seed(&p, 11);
    return p;
}

// A stop string out of the middle of what comes anyway: the answer ends before it, at the token that completes it, however
// far the device has run ahead.
static void a_stop_string_ends_at_its_token_at_any_speed(void **state)
{
    (void)state;
    static collected whole, c;
    engine g = engine_open(&ON_CPU, NULL);
    quern_params p = text_params("once upon", 60);
    collect(&g, &whole, &p);
    assert_int_equal(whole.n_ids, 60);
    assert_int_equal(whole.result.prompt_tokens, 9);
    engine_close(&g);
    char stop[8] = "";
    memcpy(stop, whole.text + whole.n_text / 2,
           6); // may begin inside a character: then a longer one
    while (((unsigned char)stop[0] & 0xc0) == 0x80)
        memmove(stop, stop + 1, sizeof stop - 1);
    const char *at = strstr(whole.text, stop);
    const char *stops[] = {"never to be found", stop};
    p.stop = stops;
    p.n_stop = 2;
    int n_ids = 0;
    for (int k = 0; k < 4; k++) {
        fake_options o = {.on_cpu = true, .late = k, .us_a_step = k == 3 ? 3000 : 0};
        g = engine_open(&o, NULL);
        collect(&g, &c, &p);
        assert_int_equal(c.finish, QUERN_FINISH_STOP);
        assert_int_equal(c.n_text, (size_t)(at - whole.text));
        assert_memory_equal(c.text, whole.text, c.n_text);
        assert_memory_equal(c.ids, whole.ids, (size_t)c.n_ids * sizeof *c.ids);
        if (k) assert_int_equal(c.n_ids, n_ids);
        n_ids = c.n_ids;
        engine_settle(&g);
        engine_close(&g);
    }
    assert_true(n_ids < 60);
}

static void eos_ends_and_shows_no_text(void **state)
{
    (void)state;
    static collected c, all;
    engine g = engine_open(&ON_CPU, NULL);
    quern_params p = text_params("a", 250);
    params_set(&p, "ignore_eos", 0);
    params_set(&p, "temperature", 3);
    collect(&g, &c, &p);
    assert_int_equal(c.finish, QUERN_FINISH_STOP);
    int32_t last = c.ids[c.n_ids - 1];
    assert_true(last == TINY_END || last == TINY_STOP);
    params_set(&p, "min_tokens", c.n_ids); // so many at least, and then the EOS
    collect(&g, &all, &p);
    assert_true(all.n_ids > c.n_ids);
    params_set(&p, "ignore_eos", 1);
    params_set(&p, "min_tokens", 0);
    collect(&g, &all, &p);
    assert_int_equal(all.n_ids, 250);
    assert_int_equal(all.finish, QUERN_FINISH_LENGTH);
    engine_close(&g);
}

static void the_context_limits_prompt_and_output(void **state)
{
    (void)state;
    static collected c;
    char prompt[TINY_CONTEXT + 1];
    memset(prompt, 'x', sizeof prompt);
    engine g = engine_open(&ON_CPU, NULL);
    prompt[TINY_CONTEXT] = 0;
    quern_params p = text_params(prompt, 5);
    collect(&g, &c, &p);
    assert_int_equal(c.error.code, QUERN_E_CONTEXT);
    assert_string_equal(c.error.param, "prompt");
    assert_int_equal(c.n_starts, 0);
    prompt[TINY_CONTEXT - 3] = 0;
    p = text_params(prompt, 5);
    collect(&g, &c, &p);
    assert_int_equal(c.n_ids, 3);
    assert_int_equal(c.finish, QUERN_FINISH_LENGTH);
    p.given &= ~1u; // max_tokens: what is left
    collect(&g, &c, &p);
    assert_int_equal(c.n_ids, 3);
    p = text_params("\xff\xfe", 5);
    collect(&g, &c, &p);
    assert_int_equal(c.error.code, QUERN_E_ARGUMENT);
    assert_string_equal(c.error.param, "prompt");
    p = text_params("x", 5);
    p.prompt = NULL;
    p.chat_json = "{}";
    p.n_chat_bytes = 2;
    assert_int_equal(collect_submit(&g, &c, &p), QUERN_E_UNSUPPORTED); // no chat template here
    assert_string_equal(c.error.param, "messages");
    engine_close(&g);
}

static void searches_return_n_best_with_text(void **state)
{
    (void)state;
    static collected c, late;
    engine g = engine_open(&ON_CPU, NULL);
    quern_params p = text_params("once upon", 30);
    params_set(&p, "strategy", QUERN_BEAM);
    params_set(&p, "num_beams", 5);
    params_set(&p, "n_best", 3);
    params_set(&p, "length_penalty", 2);
    collect(&g, &c, &p);
    assert_int_equal(c.n_beams, 3);
    assert_int_equal(c.n_ids, 30);
    engine_close(&g);
    g = engine_open(&SETTINGS[4].fake, &SETTINGS[4].options);
    collect(&g, &late, &p);
    assert_same(&late, &c);
    assert_true(late.score == c.score);
    engine_close(&g);
}

static void text_goes_to_ids_and_back(void **state)
{
    (void)state;
    engine g = engine_open(&ON_CPU, NULL);
    int32_t *ids;
    size_t n, n_text;
    char *text;
    const char *s = "h\xc3\xa9llo <|end|>";
    assert_int_equal(quern_tokenize(g.model, s, strlen(s), true, &ids, &n, NULL), QUERN_OK);
    assert_int_equal(n, 8);
    assert_int_equal(ids[7], TINY_END);
    assert_int_equal(quern_detokenize(g.model, ids, n, &text, &n_text, NULL), QUERN_OK);
    assert_string_equal(text, s);
    free(ids);
    free(text);
    assert_int_equal(quern_tokenize(g.model, s, strlen(s), false, &ids, &n, NULL), QUERN_OK);
    assert_int_equal(n, 14);
    free(ids);
    engine_close(&g);
}

static void memory_is_budgeted_and_given_back(void **state)
{
    (void)state;
    tiny_model files;
    quern_runtime *rt;
    quern_model *m;
    quern_error e = {0};
    quern_runtime_info before, with, after;
    tiny_model_write(&files, "{}");
    quern_runtime_options o = {.log_fd = -1, .memory_bytes = 100 << 20, .n_threads = 1};
    assert_int_equal(qn_runtime_open_with(fake_backend(&ON_CPU), &o, &rt, &e), QUERN_OK);
    quern_runtime_get_info(rt, &before);
    assert_int_equal(before.memory_weights_bytes + before.memory_state_bytes, 0);
    const quern_model_options huge = {.n_kv_blocks = 10000000};
    assert_int_equal(quern_model_load(rt, "x", files.directory, &huge, &m, &e), QUERN_E_MEMORY);
    const quern_model_options bad = {.n_context = TINY_CONTEXT + 1};
    assert_int_equal(quern_model_load(rt, "x", files.directory, &bad, &m, &e), QUERN_E_ARGUMENT);
    assert_string_equal(e.param, "n_context");
    assert_int_equal(quern_model_load_shape(rt, "qwen2.5-7b", "f32", NULL, &m, &e), QUERN_E_MEMORY);
    assert_int_equal(quern_model_load(rt, "x", files.directory, NULL, &m, &e), QUERN_OK);
    quern_runtime_get_info(rt, &with);
    quern_model_info info;
    quern_model_get_info(m, &info);
    assert_int_equal(with.memory_weights_bytes, info.weight_bytes);
    assert_true(with.memory_state_bytes > 0 && with.memory_scratch_bytes > 0);
    assert_int_equal(info.n_context, TINY_CONTEXT);
    quern_model_close(m);
    quern_runtime_get_info(rt, &after);
    assert_int_equal(after.memory_weights_bytes + after.memory_state_bytes, 0);
    assert_int_equal(after.memory_scratch_bytes, 0);
    quern_runtime_close(rt);
    tiny_model_remove(&files);
}

static void keep_need(void *user, const quern_memory_need *need)
{
    *(quern_memory_need *)user = *need;
}

// State bytes with a cache of a type, as told before the load and as held after it.
static uint64_t state_bytes_with(quern_runtime *rt, const char *directory, const char *kv_cache)
{
    quern_model *m;
    quern_error e = {0};
    quern_memory_need need = {0};
    quern_runtime_info held;
    quern_model_info info;
    const quern_model_options o = {
        .n_kv_blocks = 40, .kv_cache = kv_cache, .on_memory = keep_need, .user = &need};
    if (quern_model_load(rt, "x", directory, &o, &m, &e)) fail_msg("%s", e.message);
    quern_model_get_info(m, &info);
    quern_runtime_get_info(rt, &held);
    assert_string_equal(info.kv_cache, kv_cache);
    assert_string_equal(need.kv_cache, kv_cache);
    assert_int_equal(need.weights_bytes, held.memory_weights_bytes);
    assert_int_equal(need.state_bytes, held.memory_state_bytes);
    assert_int_equal(need.scratch_bytes, held.memory_scratch_bytes);
    assert_int_equal(need.n_context, info.n_context);
    assert_int_equal(need.left_bytes, need.total_bytes);
    quern_model_close(m);
    return need.state_bytes;
}

static void the_room_of_programs_is_in_the_budget(void **state)
{
    (void)state;
    tiny_model files;
    quern_runtime *rt;
    quern_model *m;
    quern_error e = {0};
    quern_memory_need need = {0};
    quern_runtime_info held, after;
    const quern_model_options o = {.n_kv_blocks = 40, .on_memory = keep_need, .user = &need};
    const fake_options roomy = {.on_cpu = true, .room_bytes = 5000};
    quern_runtime_options budget = {.log_fd = -1, .memory_bytes = 100 << 20, .n_threads = 1};
    tiny_model_write(&files, "{}");
    for (int i = 0; i < 3; i++) { // any, just enough, one byte less
        assert_int_equal(qn_runtime_open_with(fake_backend(&roomy), &budget, &rt, &e), QUERN_OK);
        int rc = quern_model_load(rt, "x", files.directory, &o, &m, &e);
        assert_int_equal(rc, i < 2 ? QUERN_OK : QUERN_E_MEMORY);
        if (rc) {
            assert_non_null(strstr(e.message, "x: memory: room for its programs"));
        } else {
            quern_runtime_get_info(rt, &held);
            uint64_t rooms = held.memory_scratch_bytes - need.scratch_bytes;
            assert_true(rooms > 0 && rooms % 5000 == 0);
            budget.memory_bytes = held.memory_weights_bytes + held.memory_state_bytes +
                                  held.memory_scratch_bytes - (uint64_t)i;
            quern_model_close(m);
        }
        quern_runtime_get_info(rt, &after);
        assert_int_equal(after.memory_weights_bytes + after.memory_scratch_bytes, 0);
        quern_runtime_close(rt);
    }
    tiny_model_remove(&files);
}

static uint64_t scratch_held(quern_runtime *rt)
{
    quern_runtime_info info;
    quern_runtime_get_info(rt, &info);
    return info.memory_scratch_bytes;
}

static void a_room_that_models_share_goes_with_the_last(void **state)
{
    (void)state;
    tiny_model files;
    quern_runtime *rt;
    quern_model *first, *second, *none;
    quern_error e = {0};
    const quern_model_options o = {.n_kv_blocks = 40};
    const fake_options roomy = {.on_cpu = true, .room_bytes = 5000, .shared_bytes = 1 << 20};
    quern_runtime_options budget = {.log_fd = -1, .memory_bytes = 100 << 20, .n_threads = 1};
    tiny_model_write(&files, "{}");
    assert_int_equal(qn_runtime_open_with(fake_backend(&roomy), &budget, &rt, &e), QUERN_OK);
    assert_int_equal(quern_model_load(rt, "a", files.directory, &o, &first, &e), QUERN_OK);
    uint64_t of_first = scratch_held(rt);
    assert_int_equal(quern_model_load(rt, "b", files.directory, &o, &second, &e), QUERN_OK);
    uint64_t of_both = scratch_held(rt);
    assert_int_equal(of_both, 2 * of_first - (1 << 20));
    const quern_model_options huge = {.n_kv_blocks = 10000000};
    assert_int_equal(quern_model_load(rt, "c", files.directory, &huge, &none, &e), QUERN_E_MEMORY);
    assert_int_equal(scratch_held(rt), of_both);
    quern_model_close(first);
    assert_int_equal(scratch_held(rt), of_first);
    quern_model_close(second);
    assert_int_equal(scratch_held(rt), 0);
    quern_runtime_close(rt);
    tiny_model_remove(&files);
}

static void a_quantised_cache_takes_half_the_memory(void **state)
{
    (void)state;
    tiny_model files;
    quern_runtime *rt;
    quern_model *m;
    quern_error e = {0};
    tiny_model_write(&files, "{}");
    quern_runtime_options o = {.log_fd = -1, .memory_bytes = 100 << 20, .n_threads = 1};
    assert_int_equal(qn_runtime_open_with(fake_backend(&ON_CPU), &o, &rt, &e), QUERN_OK);
    uint64_t f16 = state_bytes_with(rt, files.directory, "f16");
    assert_int_equal(f16, 40 * 16 * 2 * 2 * 32 *
                              2); // blocks, tokens, layers, keys and values, numbers, bytes
    assert_int_equal(state_bytes_with(rt, files.directory, "bf16"), f16);
    assert_int_equal(state_bytes_with(rt, files.directory, "q8_0"), f16 * 34 / 64);
    const quern_model_options bad = {.kv_cache = "q4_0"};
    assert_int_equal(quern_model_load(rt, "x", files.directory, &bad, &m, &e), QUERN_E_ARGUMENT);
    assert_string_equal(e.param, "kv_cache");
    quern_runtime_close(rt);
    tiny_model_remove(&files);
}

// Two models of one runtime share its owner thread and their texts stay their own.
static void two_models_share_a_device(void **state)
{
    (void)state;
    static collected want[CROWD], c[2][CROWD];
    alone(NULL, want);
    engine g = engine_open(&SETTINGS[3].fake, NULL), h = g;
    quern_error e = {0};
    assert_int_equal(quern_model_load(g.runtime, "second", g.files.directory, NULL, &h.model, &e),
                     QUERN_OK);
    int32_t ids[CROWD][128];
    for (int i = 0; i < CROWD; i++) {
        quern_params p = crowd_params(i, ids[i]);
        assert_int_equal(collect_submit(&g, &c[0][i], &p), QUERN_OK);
        assert_int_equal(collect_submit(&h, &c[1][i], &p), QUERN_OK);
    }
    for (int i = 0; i < 2 * CROWD; i++) {
        collected *one = &c[i % 2][i / 2];
        collect_wait(one);
        collect_free(one);
        assert_same(one, &want[i / 2]);
    }
    quern_model_close(h.model);
    engine_close(&g);
}

// A model that has work all the time must not keep another one waiting, whichever was loaded first.
static void a_busy_model_does_not_starve_another(void **state)
{
    (void)state;
    static collected busy, other;
    for (int k = 0; k < 2; k++) {
        fake_options slow = {.on_cpu = true, .us_a_step = 2000};
        engine g = engine_open(&slow, NULL), h = g;
        quern_error e = {0};
        assert_int_equal(
            quern_model_load(g.runtime, "second", g.files.directory, NULL, &h.model, &e), QUERN_OK);
        int32_t ids[2][128];
        quern_params p = crowd_params(0, ids[0]);
        params_set(&p, "ignore_eos", 1);
        params_set(&p, "max_tokens", 300);
        assert_int_equal(collect_submit(k ? &h : &g, &busy, &p), QUERN_OK);
        collect_await_token(&busy, 20);
        p = crowd_params(1, ids[1]);
        params_set(&p, "max_tokens", 20);
        other.beside = &busy;
        collect(k ? &g : &h, &other, &p);
        assert_int_equal(other.error.code, QUERN_OK);
        // About a step each, counted as its events come and not when this thread has its turn.
        assert_true(other.beside_at_end - other.beside_at_start < 100);
        collect_wait(&busy);
        collect_free(&busy);
        quern_model_close(h.model);
        engine_close(&g);
    }
}

static void figures_follow(void **state)
{
    (void)state;
    static collected c;
    engine g = engine_open(&ON_CPU, NULL);
    int32_t ids[128];
    quern_params p = crowd_params(6, ids);
    collect(&g, &c, &p);
    engine_settle(&g);
    quern_model_stats s = engine_stats(&g);
    assert_int_equal(s.requests_total, 1);
    assert_int_equal(s.requests_done, 1);
    assert_int_equal(s.prompt_tokens_total, p.n_ids);
    assert_int_equal(s.tokens_total, c.n_ids);
    assert_int_equal(s.steps_total,
                     c.n_ids); // the prompt in one step, and a step for each token but the first
    assert_true(s.ttft_ms[0] > 0 && s.ttft_ms[0] <= s.ttft_ms[2]);
    assert_true(s.inter_token_ms[0] > 0 && s.decode_step_ms[0] > 0 && s.decode_step_ms[1] == 0);
    assert_true(s.prefill_tokens_per_second > 0 && s.bytes_per_second > 0);
    assert_true(s.tokens_per_second_now > 0 && s.tokens_per_second_since_start > 0);
    assert_int_equal(s.queued_tokens, 0);
    assert_true(c.result.queue_ms >= 0 && c.result.prefill_ms > 0 && c.result.decode_ms > 0);
    assert_true(c.result.total_ms >= c.result.decode_ms && c.result.tokens_per_second > 0);
    quern_runtime_measure(g.runtime);
    quern_runtime_info info;
    quern_runtime_get_info(g.runtime, &info);
    assert_true(info.read_bytes_per_second == 1e9);
    quern_limits limits; // of a backend that measures reading alone
    assert_int_equal(quern_runtime_measure_limits(g.runtime, &limits), 0);
    assert_true(limits.read_bytes_per_second == 1e9 && limits.copy_bytes_per_second == 0);
    assert_true(limits.matmul_flops_per_second == 0 && limits.launch_seconds == 0);
    engine_close(&g);
}

// The round that hears of a stop string may be the last before the owner sleeps: what the request might still have taken would
// be told as queued until the next one comes.
static void an_idle_model_has_nothing_queued(void **state)
{
    (void)state;
    static collected whole, c;
    const fake_options slow = {.on_cpu = true, .us_a_step = 2000};
    engine g = engine_open(&slow, NULL);
    quern_params p = text_params("once upon", 20);
    collect(&g, &whole, &p);
    char stop[2] = "";
    for (size_t i = 0; i < whole.n_text && !stop[0]; i++)
        if (whole.text[i] > 0) stop[0] = whole.text[i];
    const char *stops[] = {stop};
    p = text_params("once upon", 250);
    p.stop = stops;
    p.n_stop = 1;
    collect(&g, &c, &p);
    assert_int_equal(c.finish, QUERN_FINISH_STOP);
    engine_settle(&g);
    assert_int_equal(engine_stats(&g).queued_tokens, 0);
    engine_close(&g);
}

// A stop between two looks of the owner at what it is told, its bell silenced by the next round, would leave it asleep for good.
static void an_executor_stops_whatever_it_does(void **state)
{
    (void)state;
    enum { ROUNDS = 20000, MOST_SPINS = 1 << 15 };
    uint32_t random = 1;
    for (int i = 0; i < ROUNDS; i++) {
        qn_executor x = {0};
        quern_error e = {0};
        assert_int_equal(qn_executor_start(&x, &e), QUERN_OK);
        random = random * 1664525 + 1013904223;
        for (volatile uint32_t k = random % MOST_SPINS; k;)
            k--;
        qn_executor_wake(&x);
        qn_executor_stop(&x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_gets_the_same_whatever_happens_around_it),
        cmocka_unit_test(so_it_does_with_a_quantised_cache),
        cmocka_unit_test(logits_have_the_same_bits_in_every_chunking),
        cmocka_unit_test(logits_share_the_outputs_of_a_step),
        cmocka_unit_test(a_stop_string_ends_at_its_token_at_any_speed),
        cmocka_unit_test(eos_ends_and_shows_no_text),
        cmocka_unit_test(the_context_limits_prompt_and_output),
        cmocka_unit_test(searches_return_n_best_with_text),
        cmocka_unit_test(text_goes_to_ids_and_back),
        cmocka_unit_test(memory_is_budgeted_and_given_back),
        cmocka_unit_test(the_room_of_programs_is_in_the_budget),
        cmocka_unit_test(a_room_that_models_share_goes_with_the_last),
        cmocka_unit_test(a_quantised_cache_takes_half_the_memory),
        cmocka_unit_test(two_models_share_a_device),
        cmocka_unit_test(a_busy_model_does_not_starve_another),
        cmocka_unit_test(figures_follow),
        cmocka_unit_test(an_idle_model_has_nothing_queued),
        cmocka_unit_test(an_executor_stops_whatever_it_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
