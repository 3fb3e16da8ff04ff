// The table of request fields, its checks, and how strategies and generation_config resolve (DESIGN.md §4).
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <limits.h>
#include <math.h>
#include <string.h>

#include "engine/params.h"

static const int32_t IDS[] = {1, 2};

static quern_params minimal(void)
{
    quern_params p;
    quern_params_init(&p);
    p.ids = IDS;
    p.n_ids = 2;
    return p;
}

static const quern_field *field(const char *name)
{
    size_t n;
    const quern_field *f = quern_fields(&n);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(f[i].name, name)) return &f[i];
    fail_msg("no field %s", name);
    return NULL;
}

static void set(quern_params *p, const char *name, double value)
{
    assert_int_equal(quern_params_set(p, field(name), value, NULL), QUERN_OK);
}

static void every_field_refuses_values_out_of_range(void **state)
{
    (void)state;
    size_t n;
    const quern_field *f = quern_fields(&n);
    assert_true(n <= 32);
    for (size_t i = 0; i < n; i++) {
        if (f[i].kind == QUERN_FIELD_SEED) continue;
        double above = f[i].max + (f[i].kind == QUERN_FIELD_FLOAT ? 1e-3 * fabs(f[i].max) : 1);
        const double bad[] = {f[i].min - 1, above, NAN, INFINITY, -INFINITY, 0.5, f[i].min};
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            if (bad[k] == 0.5 && f[i].kind == QUERN_FIELD_FLOAT) continue;
            if (bad[k] == f[i].min && !f[i].above_min) continue;
            quern_params p = minimal();
            quern_error e = {0};
            assert_int_equal(quern_params_set(&p, &f[i], bad[k], &e), QUERN_E_ARGUMENT);
            assert_string_equal(e.param, f[i].name);
            assert_int_equal(p.given, 0);
        }
        quern_params p = minimal();
        assert_int_equal(quern_params_set(&p, &f[i], f[i].max, NULL), QUERN_OK);
        assert_int_equal(p.given, 1u << i);
    }
}

static void submit_checks_fields_that_were_set_by_hand(void **state)
{
    (void)state;
    quern_error e = {0};
    quern_params p = minimal();
    p.top_p = 2; // not given: ignored
    assert_int_equal(qn_params_check(&p, &e), QUERN_OK);
    p.given = 1u << QN_FIELD_TOP_P;
    assert_int_equal(qn_params_check(&p, &e), QUERN_E_ARGUMENT);
    assert_string_equal(e.param, "top_p");
    p.top_p = NAN;
    assert_int_equal(qn_params_check(&p, &e), QUERN_E_ARGUMENT);
}

static void exactly_one_prompt_that_is_not_empty(void **state)
{
    (void)state;
    quern_params p = minimal();
    p.ids = NULL;
    assert_int_equal(qn_params_check(&p, NULL), QUERN_E_ARGUMENT);
    p.prompt = "";
    assert_int_equal(qn_params_check(&p, NULL), QUERN_E_ARGUMENT);
    p.n_prompt_bytes = 1;
    assert_int_equal(qn_params_check(&p, NULL), QUERN_OK);
    p.ids = IDS;
    assert_int_equal(qn_params_check(&p, NULL), QUERN_E_ARGUMENT);
}

static void contradictions_name_their_field(void **state)
{
    (void)state;
    quern_error e = {0};
    quern_params p = minimal();
    set(&p, "max_tokens", 4);
    set(&p, "min_tokens", 5);
    assert_int_equal(qn_params_check(&p, &e), QUERN_E_ARGUMENT);
    assert_string_equal(e.param, "min_tokens");
    p = minimal();
    set(&p, "strategy", QUERN_BEAM);
    set(&p, "num_beams", 2);
    set(&p, "n_best", 3);
    assert_int_equal(qn_params_check(&p, &e), QUERN_E_ARGUMENT);
    assert_string_equal(e.param, "n_best");
    p = minimal(); // ignored by a strategy that does not use it
    set(&p, "n_best", 3);
    set(&p, "num_beams", 2);
    assert_int_equal(qn_params_check(&p, &e), QUERN_OK);
    const char *stops[] = {"a", ""};
    p.stop = stops;
    p.n_stop = 2;
    assert_int_equal(qn_params_check(&p, &e), QUERN_E_ARGUMENT);
    assert_string_equal(e.param, "stop");
}

static const qn_generation_config QWEN = {.eos_ids = {7, 9},
                                          .n_eos = 2,
                                          .do_sample = true,
                                          .has_temperature = true,
                                          .temperature = 0.7f,
                                          .has_top_k = true,
                                          .top_k = 20,
                                          .has_top_p = true,
                                          .top_p = 0.8f,
                                          .has_repetition_penalty = true,
                                          .repetition_penalty = 1.05f};

static qn_resolved resolve(const quern_params *p, const qn_generation_config *config)
{
    qn_resolved r;
    assert_int_equal(qn_params_resolve(p, config, &r, NULL), QUERN_OK);
    return r;
}

static void a_bare_request_takes_generation_config(void **state)
{
    (void)state;
    quern_params p = minimal();
    set(&p, "max_tokens", 3);
    set(&p, "min_tokens", 1);
    qn_resolved r = resolve(&p, &QWEN);
    assert_int_equal(r.strategy, QUERN_SAMPLING);
    assert_true(r.slot.temperature == 0.7f && r.slot.top_k == 20 && r.slot.top_p == 0.8f);
    assert_true(r.slot.repetition_penalty == 1.05f);
    assert_int_equal(r.slot.n_eos, 2);
    qn_generation_config greedy = QWEN;
    greedy.do_sample = false;
    r = resolve(&p, &greedy);
    assert_int_equal(r.strategy, QUERN_GREEDY);
    assert_true(r.slot.greedy && r.slot.top_k == 0 && r.slot.repetition_penalty == 1.05f);
}

static void naming_a_sampling_field_switches_it_off(void **state)
{
    (void)state;
    quern_params p = minimal();
    set(&p, "temperature", 0.5);
    qn_resolved r = resolve(&p, &QWEN);
    assert_int_equal(r.strategy, QUERN_SAMPLING);
    assert_true(r.slot.temperature == 0.5f && r.slot.top_k == 0 && r.slot.top_p == 1);
    assert_true(r.slot.repetition_penalty == 1);
    set(&p, "temperature", 0);
    assert_true(resolve(&p, &QWEN).slot.greedy);
    p = minimal();
    set(&p, "strategy", QUERN_GREEDY);
    r = resolve(&p, &QWEN);
    assert_true(r.slot.greedy && r.slot.repetition_penalty == 1);
    assert_int_equal(r.slot.n_eos, 2);
}

static void strategies_have_their_defaults(void **state)
{
    (void)state;
    quern_params p = minimal();
    set(&p, "strategy", QUERN_TOP_K);
    assert_int_equal(resolve(&p, &QWEN).slot.top_k, 50);
    set(&p, "top_p", 0.3);
    qn_resolved r = resolve(&p, &QWEN);
    assert_true(r.slot.top_k == 50 && r.slot.top_p == 0.3f);
    p = minimal();
    set(&p, "strategy", QUERN_TOP_P);
    assert_true(resolve(&p, &QWEN).slot.top_p == 0.9f);
    set(&p, "ignore_eos", 1);
    assert_int_equal(resolve(&p, &QWEN).slot.n_eos, 0);
    p = minimal();
    set(&p, "strategy", QUERN_BEAM);
    set(&p, "early_stopping", QUERN_EARLY_NEVER);
    set(&p, "length_penalty", -0.5);
    r = resolve(&p, &QWEN);
    assert_true(r.n_beams == QN_DEFAULT_BEAMS && r.n_best == 1 && r.length_penalty == -0.5);
    assert_int_equal(r.early_stopping, QUERN_EARLY_NEVER);
}

static void a_seed_is_kept_whole_or_drawn_within_53_bits(void **state)
{
    (void)state;
    quern_params p = minimal();
    quern_params_set_seed(&p, UINT64_MAX - 1);
    qn_resolved r = resolve(&p, &QWEN);
    assert_true(r.slot.seed_low == 0xfffffffeu && r.slot.seed_high == 0xffffffffu);
    p = minimal();
    qn_resolved a = resolve(&p, &QWEN), b = resolve(&p, &QWEN);
    assert_true(a.slot.seed_low != b.slot.seed_low || a.slot.seed_high != b.slot.seed_high);
    assert_true(a.slot.seed_high < 1u << 21);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_refuses_values_out_of_range),
        cmocka_unit_test(submit_checks_fields_that_were_set_by_hand),
        cmocka_unit_test(exactly_one_prompt_that_is_not_empty),
        cmocka_unit_test(contradictions_name_their_field),
        cmocka_unit_test(a_bare_request_takes_generation_config),
        cmocka_unit_test(naming_a_sampling_field_switches_it_off),
        cmocka_unit_test(strategies_have_their_defaults),
        cmocka_unit_test(a_seed_is_kept_whole_or_drawn_within_53_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
