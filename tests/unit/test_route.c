// Fleet: routing rules over models whose size, speed and load the test sets (the engine's functions are replaced here).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka wants the headers above first
#include <cmocka.h>

#include "fleet/fleet.h"

struct quern_model {
    char name[64];
    uint64_t n_parameters;
    double step_ms, prefill;
    int running, waiting;
    uint64_t queued_tokens;
    bool closed;
};

static struct quern_model loaded[QN_MAX_MODELS];
static int n_loaded, fail_at;

int quern_runtime_open(const quern_runtime_options *o, quern_runtime **out, quern_error *e)
{
    (void)o, (void)e;
    *out = NULL;
    n_loaded = 0;
    return 0;
}
void quern_runtime_close(quern_runtime *rt)
{
    (void)rt;
}
bool quern_runtime_has_failed(const quern_runtime *rt)
{
    (void)rt;
    return false;
}

void quern_runtime_measure(quern_runtime *rt)
{
    (void)rt;
}
int quern_model_load(quern_runtime *rt, const char *name, const char *path,
                     const quern_model_options *o, quern_model **out, quern_error *e)
{
    (void)rt, (void)o, (void)e;
    if (n_loaded == fail_at) return QUERN_E_FORMAT;
    quern_model *m = &loaded[n_loaded++];
    *m = (struct quern_model){.prefill = 1000};
    snprintf(m->name, sizeof m->name, "%s", name);
    assert_int_equal(sscanf(path, "%lf/%lu", &m->step_ms, (unsigned long *)&m->n_parameters), 2);
    *out = m;
    return 0;
}
void quern_model_close(quern_model *m)
{
    m->closed = true;
}
void quern_model_drain(quern_model *m)
{
    (void)m;
}
void quern_model_get_info(const quern_model *m, quern_model_info *out)
{
    *out = (quern_model_info){.name = m->name,
                              .n_parameters = m->n_parameters,
                              .n_context = 4096,
                              .n_vocab = 100,
                              .max_batch = 4,
                              .max_queue = 4};
}
void quern_model_get_stats(const quern_model *m, quern_model_stats *out)
{
    *out = (quern_model_stats){.running = m->running,
                               .waiting = m->waiting,
                               .queued_tokens = m->queued_tokens,
                               .prefill_tokens_per_second = m->prefill};
    out->decode_step_ms[0] = m->step_ms;
    out->decode_step_ms[2] = m->step_ms * 2; // four rows
}
int quern_submit(quern_model *m, const quern_params *p, quern_event_fn on_event, void *user,
                 quern_request **out, quern_error *e)
{
    (void)m, (void)e;
    *out = NULL;
    assert_int_equal(p->max_tokens, 12);
    assert_true(p->given != 0);
    on_event(user, &(quern_event){.type = QUERN_EVENT_DONE});
    return 0;
}
void quern_request_cancel(quern_request *r)
{
    (void)r;
}
void quern_request_free(quern_request *r)
{
    (void)r;
}
const quern_field *quern_fields(size_t *n)
{
    static const quern_field fields[] = {
        {.name = "max_tokens", .offset = offsetof(quern_params, max_tokens)}};
    *n = 1;
    return fields;
}
void quern_params_init(quern_params *p)
{
    memset(p, 0, sizeof *p);
}
int quern_params_set(quern_params *p, const quern_field *f, double value, quern_error *e)
{
    (void)f, (void)e;
    p->max_tokens = (int)value;
    p->given |= 1;
    return 0;
}

// Three models: small and fast, middle, large and slow. A path is "step_ms/parameters".
static qn_fleet *open_three(const char *routing)
{
    const qn_fleet_model models[] = {{.name = "small", .path = "1/100"},
                                     {.name = "middle", .path = "1.8/500"},
                                     {.name = "large", .path = "10/1000"}};
    qn_fleet_options o = {.models = models, .n_models = 3, .routing = routing};
    qn_fleet *f = NULL;
    fail_at = -1;
    assert_int_equal(qn_fleet_open(&o, &f, NULL), 0);
    return f;
}

static const char *chosen(const qn_fleet *f, qn_route_query q)
{
    static qn_route r;
    assert_int_equal(qn_fleet_route(f, &q, &r, NULL), 0);
    assert_int_equal(r.n_predicted, 3);
    assert_true(*r.reason != 0);
    assert_string_equal(r.chosen, ((struct quern_model *)r.model)->name);
    return r.chosen;
}

static void priorities_choose_by_measured_speed_and_size(void **state)
{
    (void)state;
    qn_fleet *f = open_three(NULL);
    qn_route_query q = {.max_tokens = 100, .n_prompt_bytes = 40};
    q.priority = QN_PRIORITY_SPEED;
    assert_string_equal(chosen(f, q), "small");
    q.priority = QN_PRIORITY_QUALITY;
    assert_string_equal(chosen(f, q), "large");
    q.priority = QN_PRIORITY_BALANCED; // middle is within twice the fastest, large is not
    assert_string_equal(chosen(f, q), "middle");
    q.max_tokens = 201; // a long text
    assert_string_equal(chosen(f, q), "small");
    loaded[0].step_ms = 50; // speed is what is measured, not what is small
    q = (qn_route_query){.priority = QN_PRIORITY_SPEED, .max_tokens = 100};
    assert_string_equal(chosen(f, q), "middle");
    qn_fleet_close(f);
}

static void a_queue_counts(void **state)
{
    (void)state;
    qn_fleet *f = open_three(NULL);
    loaded[0].running = 4;
    loaded[0].waiting = 3;
    loaded[0].queued_tokens = 7 * 300;
    qn_route_query q = {.priority = QN_PRIORITY_SPEED, .max_tokens = 100};
    assert_string_equal(chosen(f, q), "middle");
    qn_fleet_close(f);
}

static void a_deadline_overrules(void **state)
{
    (void)state;
    qn_fleet *f = open_three(NULL);
    qn_route_query q = {.priority = QN_PRIORITY_SPEED, .max_tokens = 100, .deadline_ms = 5000};
    assert_string_equal(chosen(f, q), "large");
    q.deadline_ms = 300;
    assert_string_equal(chosen(f, q), "middle");
    q.deadline_ms = 1; // none makes it
    assert_string_equal(chosen(f, q), "small");
    qn_fleet_close(f);
}

static void names_are_obeyed(void **state)
{
    (void)state;
    qn_fleet *f = open_three("middle");
    quern_error e = {0};
    qn_route r;
    qn_route_query q = {.priority = QN_PRIORITY_QUALITY};
    assert_string_equal(chosen(f, q), "middle"); // routing: middle is what auto means
    q.model = "large";
    assert_string_equal(chosen(f, q), "large");
    q.model = "nobody";
    assert_int_equal(qn_fleet_route(f, &q, &r, &e), QUERN_E_NOT_FOUND);
    assert_string_equal(e.param, "model");
    assert_non_null(strstr(e.message, "nobody"));
    qn_fleet_close(f);
}

static void opening_is_all_or_nothing(void **state)
{
    (void)state;
    const qn_fleet_model twice[] = {{.name = "a", .path = "1/1"}, {.name = "a", .path = "1/1"}};
    const qn_fleet_model two[] = {{.name = "a", .path = "1/1"}, {.name = "b", .path = "1/1"}};
    qn_fleet *f = NULL;
    quern_error e = {0};
    fail_at = -1;
    assert_int_equal(qn_fleet_open(&(qn_fleet_options){.models = twice, .n_models = 2}, &f, &e),
                     QUERN_E_ARGUMENT);
    assert_non_null(strstr(e.message, "twice"));
    assert_int_equal(
        qn_fleet_open(&(qn_fleet_options){.models = two, .n_models = 2, .routing = "c"}, &f, &e),
        QUERN_E_ARGUMENT);
    fail_at = 1;
    assert_int_equal(qn_fleet_open(&(qn_fleet_options){.models = two, .n_models = 2}, &f, &e),
                     QUERN_E_FORMAT);
    assert_true(loaded[0].closed);
    assert_null(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(priorities_choose_by_measured_speed_and_size),
        cmocka_unit_test(a_queue_counts),
        cmocka_unit_test(a_deadline_overrules),
        cmocka_unit_test(names_are_obeyed),
        cmocka_unit_test(opening_is_all_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
