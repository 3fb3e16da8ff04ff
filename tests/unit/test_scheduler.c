// The scheduler and the pipeline on a scripted device whose tickets come late, lost or dead: outputs must be those of the plain
// run, every accepted request gets exactly one terminal event, and all blocks come back.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test_engine_collect.h"

enum { VOCAB = TINY_VOCAB, EOS = TINY_END, CROWD = 24 };

static const fake_options PLAIN = {.n_vocab = VOCAB, .eos = EOS, .eos_every = 40};

static fake_options with(int late, int lose_every)
{
    fake_options o = PLAIN;
    o.late = late;
    o.lose_every = lose_every;
    return o;
}

// Request i of a crowd: prompts of 1 to 90 tokens, 1 to 60 tokens of output.
typedef struct {
    int32_t ids[90];
    int n_ids, max_tokens;
    uint64_t seed;
} order;

static order order_of(int i)
{
    order o = {.n_ids = 1 + (i * 37) % 90, .max_tokens = 1 + (i * 23) % 60};
    o.seed = (uint64_t)i * 1234567;
    for (int k = 0; k < o.n_ids; k++)
        o.ids[k] = (i * 31 + k * 7) % 250;
    return o;
}

static quern_params params_for(const order *o)
{
    quern_params p = params_of(o->ids, o->n_ids, o->max_tokens);
    params_set(&p, "strategy", QUERN_SAMPLING);
    quern_params_set_seed(&p, o->seed);
    return p;
}

static int is_eos(int32_t t)
{
    return t == TINY_END || t == TINY_STOP;
}

// What the device's rule gives, step by step, with nothing between.
static void assert_as_scripted(const order *o, const collected *c)
{
    int32_t history[600];
    int n = o->n_ids, n_out = 0;
    memcpy(history, o->ids, sizeof o->ids);
    do {
        history[n] = fake_token(history, n, o->seed);
        n++, n_out++;
    } while (!is_eos(history[n - 1]) && n_out < o->max_tokens);
    assert_int_equal(c->error.code, QUERN_OK);
    assert_null(c->disorder);
    assert_int_equal(c->n_ids, n_out);
    assert_memory_equal(c->ids, history + o->n_ids, (size_t)n_out * sizeof *history);
    assert_int_equal(c->finish, is_eos(history[n - 1]) ? QUERN_FINISH_STOP : QUERN_FINISH_LENGTH);
}

static void run_crowd(engine *g)
{
    static collected c[CROWD];
    static order o[CROWD];
    for (int i = 0; i < CROWD; i++) {
        o[i] = order_of(i);
        quern_params p = params_for(&o[i]);
        assert_int_equal(collect_submit(g, &c[i], &p), QUERN_OK);
    }
    for (int i = 0; i < CROWD; i++) {
        collect_wait(&c[i]);
        collect_free(&c[i]);
        assert_as_scripted(&o[i], &c[i]);
    }
    engine_settle(g);
}

static void a_crowd_gets_what_each_would_get_alone(void **state)
{
    (void)state;
    static const int CHUNKS[] = {1, 7, 64, 0};
    for (int i = 0; i < 4; i++) {
        engine g = engine_open(&PLAIN, &(quern_model_options){.prefill_chunk = CHUNKS[i]});
        run_crowd(&g);
        engine_close(&g);
    }
}

static void late_tickets_change_nothing_and_two_are_in_flight(void **state)
{
    (void)state;
    fake_options late = with(4, 0);
    engine g = engine_open(&late, &(quern_model_options){.prefill_chunk = 16});
    run_crowd(&g);
    assert_int_equal(fake_backend_log()->most_in_flight, 2);
    engine_close(&g);
}

static void lost_tickets_change_nothing(void **state)
{
    (void)state;
    for (int late = 0; late < 4; late += 3) {
        fake_options lossy = with(late, 6);
        engine g = engine_open(&lossy, &(quern_model_options){.prefill_chunk = 32});
        run_crowd(&g);
        assert_true(fake_backend_log()->n_lost > 0);
        engine_close(&g);
    }
}

// A device that ends a step which takes it too long: chunks of prompts become smaller until they pass.
static void steps_that_take_too_long_become_shorter(void **state)
{
    (void)state;
    for (int late = 0; late < 4; late += 3) {
        fake_options slow = with(late, 0);
        slow.rows_in_time = 64; // of a full batch 32 decode
        engine g = engine_open(&slow, &(quern_model_options){.prefill_chunk = 256});
        run_crowd(&g);
        assert_true(fake_backend_log()->n_lost > 0);
        // Three halvings, each after up to four steps, and those that were launched behind them.
        assert_true(fake_backend_log()->n_lost < 32);
        engine_close(&g);
    }
}

// … also where a step has few rows of what it might have had: a prompt that is lost whole, again and again, would be the device's end.
static void a_short_prompt_that_takes_too_long_is_cut(void **state)
{
    (void)state;
    enum { NTH = 4 }; // of the crowd, with 59 tokens
    fake_options slow = PLAIN;
    slow.rows_in_time = 40;
    engine g = engine_open(&slow, &(quern_model_options){.prefill_chunk = 2048});
    order o = order_of(NTH);
    assert_true(o.n_ids > slow.rows_in_time);
    static collected c;
    quern_params p = params_for(&o);
    assert_int_equal(collect_submit(&g, &c, &p), QUERN_OK);
    collect_wait(&c);
    assert_as_scripted(&o, &c);
    collect_free(&c);
    engine_settle(&g);
    assert_int_equal(fake_backend_log()->n_lost, 5);
    engine_close(&g);
}

static void few_blocks_preempt_and_change_nothing(void **state)
{
    (void)state;
    for (int late = 0; late < 4; late += 3) {
        fake_options o = with(late, late ? 9 : 0);
        o.us_a_step = 200; // so that a crowd gathers …
        o.eos_every = 400; // … and grows
        engine g = engine_open(&o, &(quern_model_options){.n_kv_blocks = 12});
        run_crowd(&g);
        quern_model_stats s = engine_stats(&g);
        assert_true(s.preemptions_total > 0);
        assert_int_equal(s.blocks_total, 12);
        engine_close(&g);
    }
}

static void requests_join_a_batch_in_flight(void **state)
{
    (void)state;
    enum { N = 16, TOKENS = 24 };
    static collected c[N];
    fake_options o = PLAIN;
    o.eos_every = 0;
    o.us_a_step = 500;
    engine g = engine_open(&o, NULL);
    order orders[N];
    for (int i = 0; i < N; i++) {
        orders[i] = order_of(i);
        orders[i].max_tokens = TOKENS;
        orders[i].n_ids = 5;
        quern_params p = params_for(&orders[i]);
        params_set(&p, "ignore_eos", 1);
        assert_int_equal(collect_submit(&g, &c[i], &p), QUERN_OK);
    }
    for (int i = 0; i < N; i++) {
        collect_wait(&c[i]);
        collect_free(&c[i]);
        assert_int_equal(c[i].n_ids, TOKENS);
    }
    assert_true(engine_stats(&g).steps_total < 3 * TOKENS);
    engine_close(&g);
}

// A prompt that takes long is read in pieces while others wait for their next token, and at once where nobody does.
static void a_long_prompt_does_not_hold_up_others(void **state)
{
    (void)state;
    enum { LONG = 200 };
    static collected beside, prompt;
    fake_options o = PLAIN;
    o.us_a_row = 2000;
    int32_t ids[LONG] = {0};
    engine g = engine_open(&o, NULL);
    quern_params p = params_of(ids, LONG, 1);
    collect(&g, &prompt, &p);
    assert_int_equal(fake_backend_log()->most_rows, LONG);
    engine_close(&g);
    g = engine_open(&o, NULL);
    order r = order_of(1);
    quern_params q = params_of(r.ids, 20, 60);
    params_set(&q, "ignore_eos", 1);
    assert_int_equal(collect_submit(&g, &beside, &q), QUERN_OK);
    collect_await_token(&beside, 3);
    collect(&g, &prompt, &p);
    assert_int_equal(beside.n_terminals, 0);
    assert_true(fake_backend_log()->most_rows < LONG / 2);
    collect_wait(&beside);
    collect_free(&beside);
    engine_close(&g);
}

static void a_search(engine *g, collected *c, int i)
{
    order o = order_of(i);
    quern_params p = params_of(o.ids, o.n_ids, 20 + i);
    params_set(&p, "strategy", QUERN_BEAM);
    params_set(&p, "num_beams", 2 + i % 4);
    params_set(&p, "n_best", 2);
    params_set(&p, "ignore_eos", i % 2);
    params_set(&p, "early_stopping", i % 3);
    quern_params_set_seed(&p, 5); // a search draws nothing, but the scripted device hashes it
    assert_int_equal(collect_submit(g, c, &p), QUERN_OK);
}

// Searches among other requests: the same beams whatever happens to tickets and blocks.
static void searches_do_not_depend_on_what_happens_around(void **state)
{
    (void)state;
    enum { N = 8 };
    static collected want[N], c[N], other;
    engine g = engine_open(&PLAIN, NULL);
    for (int i = 0; i < N; i++) {
        a_search(&g, &want[i], i);
        collect_wait(&want[i]);
        collect_free(&want[i]);
        assert_int_equal(want[i].error.code, QUERN_OK);
        assert_int_equal(want[i].n_beams, 2);
    }
    engine_close(&g);
    const fake_options around[] = {PLAIN, with(4, 0), with(3, 25)};
    uint64_t n_preemptions = 0;
    for (int k = 0; k < 3; k++) {
        fake_options o = around[k];
        o.us_a_step = 200;
        g = engine_open(&o, &(quern_model_options){.n_kv_blocks = 22, .max_batch = 12});
        for (int i = 0; i < N; i++)
            a_search(&g, &c[i], i);
        order beside = order_of(5);
        quern_params p = params_for(&beside);
        collect(&g, &other, &p);
        assert_as_scripted(&beside, &other);
        for (int i = 0; i < N; i++) {
            collect_wait(&c[i]);
            collect_free(&c[i]);
            assert_int_equal(c[i].error.code, QUERN_OK);
            assert_null(c[i].disorder);
            assert_int_equal(c[i].n_ids, want[i].n_ids);
            assert_memory_equal(c[i].ids, want[i].ids, (size_t)c[i].n_ids * 4);
            assert_true(c[i].score == want[i].score);
        }
        engine_settle(&g);
        n_preemptions += engine_stats(&g).preemptions_total;
        engine_close(&g);
    }
    assert_true(n_preemptions > 0);
}

static void a_dead_device_ends_every_request_with_its_error(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) {
        static collected c[CROWD];
        fake_options o = with(k == 2 ? 4 : 0, 0);
        *(k == 1 ? &o.refuse_at : &o.die_at) = 9;
        o.us_a_step = 300;
        engine g = engine_open(&o, &(quern_model_options){.prefill_chunk = 16});
        int n_failed = 0, accepted[CROWD];
        for (int i = 0; i < CROWD; i++) {
            order r = order_of(i);
            quern_params p = params_for(&r);
            int rc = collect_submit(&g, &c[i], &p);
            if (rc) assert_int_equal(rc, QUERN_E_DEVICE);
            accepted[i] = rc == QUERN_OK;
        }
        for (int i = 0; i < CROWD; i++) {
            if (!accepted[i]) continue;
            collect_wait(&c[i]);
            collect_free(&c[i]);
            if (c[i].error.code) assert_int_equal(c[i].error.code, QUERN_E_DEVICE);
            n_failed += c[i].error.code != 0;
        }
        assert_true(n_failed > 0);
        order r = order_of(3);
        quern_params p = params_for(&r);
        assert_int_equal(collect_submit(&g, &c[0], &p), QUERN_E_DEVICE);
        float logits[VOCAB];
        assert_int_equal(quern_logits(g.model, r.ids, 1, logits, NULL), QUERN_E_DEVICE);
        engine_close(&g);
    }
}

static void cancel_ends_within_two_steps(void **state)
{
    (void)state;
    fake_options o = with(2, 0);
    o.eos_every = 0;
    o.us_a_step = 2000;
    engine g = engine_open(&o, NULL);
    order r = order_of(2);
    r.max_tokens = 200;
    quern_params p = params_for(&r);
    params_set(&p, "ignore_eos", 1);
    static collected c;
    for (int at = 1; at < 5; at++) {
        c.cancel_at = at;
        collect(&g, &c, &p);
        assert_int_equal(c.finish, QUERN_FINISH_CANCELLED);
        // two steps, and one whose token was on its way
        assert_true(c.n_ids >= at && c.n_ids <= at + 3);
    }
    engine_settle(&g);
    assert_int_equal(engine_stats(&g).requests_cancelled, 4);
    engine_close(&g);
}

static void waiting_requests_can_be_cancelled_and_pass_deadlines(void **state)
{
    (void)state;
    static collected busy, waits, late;
    fake_options o = PLAIN;
    o.eos_every = 0;
    o.us_a_step = 1000;
    engine g = engine_open(&o, &(quern_model_options){.max_batch = 1});
    order r = order_of(2);
    r.max_tokens = 200;
    quern_params p = params_for(&r);
    params_set(&p, "ignore_eos", 1);
    assert_int_equal(collect_submit(&g, &busy, &p), QUERN_OK);
    assert_int_equal(collect_submit(&g, &waits, &p), QUERN_OK);
    params_set(&p, "deadline_ms", 20);
    assert_int_equal(collect_submit(&g, &late, &p), QUERN_OK);
    quern_request_cancel(waits.request);
    collect_wait(&waits);
    assert_int_equal(waits.finish, QUERN_FINISH_CANCELLED);
    assert_int_equal(waits.n_ids, 0);
    collect_wait(&late);
    assert_int_equal(late.error.code, QUERN_E_DEADLINE);
    assert_int_equal(busy.n_terminals, 0);
    collect_wait(&busy);
    assert_int_equal(busy.n_ids, 200);
    collect_free(&busy), collect_free(&waits), collect_free(&late);
    engine_close(&g);
}

static void the_queue_is_bounded_and_closing_ends_all(void **state)
{
    (void)state;
    enum { N = 12 };
    static collected c[N];
    fake_options o = PLAIN;
    o.eos_every = 0;
    o.us_a_step = 2000;
    engine g = engine_open(&o, &(quern_model_options){.max_batch = 1, .max_queue = 4});
    order r = order_of(2);
    r.max_tokens = 200;
    quern_params p = params_for(&r);
    params_set(&p, "ignore_eos", 1);
    int n_accepted = 0, n_busy = 0;
    for (int i = 0; i < N; i++) {
        int rc = collect_submit(&g, &c[n_accepted], &p);
        if (rc) assert_int_equal(rc, QUERN_E_BUSY);
        rc ? n_busy++ : n_accepted++;
    }
    assert_true(n_busy >= N - 6 && n_accepted >= 4);
    quern_model_drain(g.model);
    static collected late;
    assert_int_equal(collect_submit(&g, &late, &p), QUERN_E_CLOSING);
    engine_close(&g);
    for (int i = 0; i < n_accepted; i++) {
        assert_int_equal(c[i].n_terminals, 1);
        assert_int_equal(c[i].error.code, QUERN_E_CLOSING);
        quern_request_cancel(c[i].request); // the handle outlives the model
        collect_free(&c[i]);
    }
}

// Many requests of all kinds, cancelled at random, handles given back early, on a device that loses steps, with few blocks.
static void nothing_is_lost_in_a_storm(void **state)
{
    (void)state;
    enum { N = 400 };
    static collected c[N];
    unsigned dice = 7;
    fake_options o = with(3, 40);
    engine g = engine_open(
        &o, &(quern_model_options){.n_kv_blocks = 24, .max_batch = 8, .prefill_chunk = 20});
    int n_accepted = 0;
    for (int i = 0; i < N; i++) {
        dice = dice * 1103515245u + 12345u;
        unsigned what = dice >> 16;
        order r = order_of((int)(what % 97));
        quern_params p = params_for(&r);
        if (what % 5 == 0) {
            params_set(&p, "strategy", QUERN_BEAM);
            params_set(&p, "num_beams", 1 + what % 3);
        }
        if (what % 11 == 0) params_set(&p, "deadline_ms", 1 + what % 7);
        c[n_accepted].cancel_at = what % 7 ? 0 : 1 + (int)(what % 9);
        int rc = collect_submit(&g, &c[n_accepted], &p);
        if (rc == QUERN_E_BUSY) {
            usleep(2000);
            continue;
        }
        assert_int_equal(rc, QUERN_OK);
        collected *mine = &c[n_accepted++];
        if (what % 13 == 0) quern_request_cancel(mine->request);
        if (what % 17 == 0 && what % 7) collect_free(mine);
        if (what % 3 == 0) usleep(200);
    }
    for (int i = 0; i < n_accepted; i++)
        collect_wait(&c[i]);
    engine_settle(&g);
    quern_model_stats s = engine_stats(&g);
    assert_int_equal(s.requests_total, n_accepted);
    assert_int_equal(s.requests_done + s.requests_cancelled + s.requests_failed, n_accepted);
    engine_close(&g);
    for (int i = 0; i < n_accepted; i++) {
        assert_int_equal(c[i].n_terminals, 1);
        assert_null(c[i].disorder);
        collect_free(&c[i]);
    }
}

static void what_can_never_fit_is_refused(void **state)
{
    (void)state;
    static collected c;
    engine g = engine_open(&PLAIN, &(quern_model_options){.n_kv_blocks = 5, .max_batch = 4});
    quern_model_info info;
    quern_model_get_info(g.model, &info);
    assert_int_equal(info.n_context, 80);
    int32_t ids[90] = {0};
    quern_params p = params_of(ids, 80, 1);
    collect(&g, &c, &p);
    assert_int_equal(c.error.code, QUERN_E_CONTEXT);
    assert_string_equal(c.error.param, "prompt");
    p = params_of(ids, 79, 10);
    params_set(&p, "ignore_eos", 1);
    collect(&g, &c, &p);
    assert_int_equal(c.n_ids, 1); // cut to the context
    assert_int_equal(c.finish, QUERN_FINISH_LENGTH);
    p = params_of(ids, 10, 40); // four beams of 50 tokens need 16 blocks
    params_set(&p, "strategy", QUERN_BEAM);
    collect(&g, &c, &p);
    assert_int_equal(c.error.code, QUERN_E_LIMIT);
    p.given &= ~1u; // without max_tokens it is cut to what fits
    collect(&g, &c, &p);
    assert_int_equal(c.error.code, QUERN_OK);
    assert_true(c.n_ids <= 6);
    params_set(&p, "num_beams", 5);
    assert_int_equal(collect_submit(&g, &c, &p), QUERN_E_ARGUMENT);
    assert_string_equal(c.error.param, "num_beams");
    ids[3] = VOCAB;
    p = params_of(ids, 10, 4);
    collect(&g, &c, &p);
    assert_int_equal(c.error.code, QUERN_E_ARGUMENT);
    engine_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowd_gets_what_each_would_get_alone),
        cmocka_unit_test(late_tickets_change_nothing_and_two_are_in_flight),
        cmocka_unit_test(lost_tickets_change_nothing),
        cmocka_unit_test(steps_that_take_too_long_become_shorter),
        cmocka_unit_test(a_short_prompt_that_takes_too_long_is_cut),
        cmocka_unit_test(few_blocks_preempt_and_change_nothing),
        cmocka_unit_test(requests_join_a_batch_in_flight),
        cmocka_unit_test(a_long_prompt_does_not_hold_up_others),
        cmocka_unit_test(searches_do_not_depend_on_what_happens_around),
        cmocka_unit_test(a_dead_device_ends_every_request_with_its_error),
        cmocka_unit_test(cancel_ends_within_two_steps),
        cmocka_unit_test(waiting_requests_can_be_cancelled_and_pass_deadlines),
        cmocka_unit_test(the_queue_is_bounded_and_closing_ends_all),
        cmocka_unit_test(nothing_is_lost_in_a_storm),
        cmocka_unit_test(what_can_never_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
