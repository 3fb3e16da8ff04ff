// sample: instruction sets and threads against plain C (which sorts the whole vocabulary) bit for bit, an output alone against
// the same output among others, and what a result must say. The distributions themselves: tests/unit/test_sampler.c.
#include <math.h>
#include <string.h>

#include "backend/ops/sample.h"
#include "world.h"

enum { N_OUTPUTS = MAX_SLOTS }; // an output a slot: each appends to its own tokens

static qn_slot_params random_params(world *w, int n_vocab, int position)
{
    static const float temperatures[] = {1, 0.3f, 2.5f, 30}, top_ps[] = {1, 0.9f, 0.3f, 0.999f};
    qn_slot_params p = {.seed_low = world_random(w), .seed_high = world_random(w)};
    p.greedy = world_pick(w, 0, 4) == 0;
    p.temperature = temperatures[world_pick(w, 0, 3)];
    p.top_k = world_pick(w, 0, 1) ? world_pick(w, 1, n_vocab) : 0;
    p.top_p = top_ps[world_pick(w, 0, 3)];
    p.min_p = world_pick(w, 0, 2) ? 0 : 0.05f;
    p.repetition_penalty = world_pick(w, 0, 1) ? 1 : 1.3f;
    p.presence_penalty = world_pick(w, 0, 1) ? 0 : 0.7f;
    p.frequency_penalty = world_pick(w, 0, 1) ? 0 : -0.2f;
    p.n_prompt = world_pick(w, 1, position + 1);
    p.min_tokens = world_pick(w, 0, 1) ? 0 : 1000;
    p.n_eos = world_pick(w, 0, 3);
    for (int i = 0; i < p.n_eos; i++)
        p.eos[i] = world_pick(w, 0, n_vocab - 1);
    return p;
}

static qn_sample_args make(world *w, int n_vocab, float scale)
{
    qn_sample_args a = {.logits = world_tensor(w, QN_DTYPE_F32, N_OUTPUTS, n_vocab, scale),
                        .scratch = qn_tensor_2d(NULL, QN_DTYPE_F32, N_OUTPUTS, 4 * n_vocab),
                        .results = w->batch.results,
                        .counts = w->batch.step.counts,
                        .rows = w->batch.step.rows,
                        .outputs = w->batch.step.outputs,
                        .slots = w->batch.slots};
    a.scratch.data = world_memory(w, qn_tensor_bytes(&a.scratch));
    world_rows(w, N_OUTPUTS, 100, n_vocab + 2); // some tokens outside the vocabulary
    w->batch.step.counts->n_outputs = N_OUTPUTS;
    for (int i = 0; i < N_OUTPUTS; i++) {
        w->batch.step.rows[i].slot = i;
        w->batch.step.outputs[i] = (qn_output){i, QN_OUTPUT_SAMPLE, world_pick(w, 0, 20)};
        w->batch.slots.params[i] = random_params(w, n_vocab, w->batch.step.rows[i].position);
    }
    return a;
}

static double log_sum_exp(const qn_tensor *logits, int64_t row)
{
    int64_t n = logits->dim[1];
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        max = fmax(max, world_at(logits, row * n + i));
    for (int64_t i = 0; i < n; i++)
        sum += exp(world_at(logits, row * n + i) - max);
    return max + log(sum);
}

static void check_sampled(world *w, const qn_sample_args *a, int i)
{
    const qn_step_result *r = &a->results[i];
    int64_t n_vocab = a->logits.dim[1];
    double sum = log_sum_exp(&a->logits, i);
    qn_row row = a->rows[i];
    if (r->token < 0) return; // every token was banned
    assert_true(fabs(world_at(&a->logits, i * n_vocab + r->token) - sum - (double)r->logprob) <
                1e-4);
    assert_int_equal(r->n_top, a->outputs[i].n_top < n_vocab ? a->outputs[i].n_top : n_vocab);
    for (int j = 0; j < r->n_top; j++) {
        double logit = world_at(&a->logits, i * n_vocab + r->top_id[j]);
        assert_true(fabs(logit - sum - (double)r->top_logprob[j]) < 1e-4);
        if (j && r->top_logprob[j] == r->top_logprob[j - 1])
            assert_true(r->top_id[j] > r->top_id[j - 1]);
        else if (j)
            assert_true(r->top_logprob[j] < r->top_logprob[j - 1]);
    }
    if (row.position + 1 < MAX_CONTEXT)
        assert_int_equal(w->batch.slots.tokens[row.slot * MAX_CONTEXT + row.position + 1],
                         r->token);
}

static void check_outputs_alone(world *w, const qn_sample_args *a)
{
    qn_step_result *all = world_memory(w, N_OUTPUTS * sizeof *all);
    memcpy(all, a->results, N_OUTPUTS * sizeof *all);
    qn_output outputs[N_OUTPUTS];
    memcpy(outputs, a->outputs, sizeof outputs);
    qn_sample_args one = *a;
    size_t row_bytes = (size_t)a->logits.dim[1] * sizeof(float);
    one.logits.data = world_memory(w, row_bytes);
    w->batch.step.counts->n_outputs = 1;
    for (int i = 0; i < N_OUTPUTS; i++) {
        w->batch.step.outputs[0] = outputs[i];
        memcpy(one.logits.data, (char *)a->logits.data + (size_t)i * row_bytes, row_bytes);
        one.logits.dim[0] = 1;
        world_run_best(w, QN_OP_SAMPLE, &one);
        assert_memory_equal(&a->results[0], &all[i], sizeof *all);
    }
}

static void test_sample(void **state)
{
    static const int vocabularies[] = {1, 2, 15, 16, 33, 100, 257, 1000, 3001};
    for (int i = 0; i < 36; i++) {
        world *w = *state;
        world_begin(w, (uint64_t)i + 2000);
        qn_sample_args a = make(w, vocabularies[i % 9], i % 4 == 3 ? 0.01f : 4);
        world_check_results(w, QN_OP_SAMPLE, &a, a.results, N_OUTPUTS);
        for (int j = 0; j < N_OUTPUTS; j++)
            check_sampled(w, &a, j);
        check_outputs_alone(w, &a);
    }
}

// TOP: penalties act on log-probabilities, banned tokens are left out, nothing is appended.
static void test_top(void **state)
{
    for (int i = 0; i < 9; i++) {
        world *w = *state;
        world_begin(w, (uint64_t)i + 2100);
        int n_vocab = 40 + 100 * i;
        qn_sample_args a = make(w, n_vocab, 4);
        for (int j = 0; j < N_OUTPUTS; j++) {
            w->batch.step.outputs[j].kind = QN_OUTPUT_TOP;
            w->batch.step.outputs[j].n_top = j % 2 ? QN_TOP_MAX : 5;
        }
        qn_row row = a.rows[0];
        w->batch.slots.params[0] = (qn_slot_params){
            .repetition_penalty = 2, .n_prompt = 1, .min_tokens = 1000, .n_eos = 1};
        int32_t best = 0;
        float *logits = a.logits.data;
        for (int t = 0; t < n_vocab; t++)
            if (logits[t] > logits[best]) best = t;
        w->batch.slots.params[0].eos[0] = best == 0 ? 1 : 0;
        w->batch.slots.tokens[row.slot * MAX_CONTEXT + row.position] = best;
        int32_t *next = &w->batch.slots.tokens[row.slot * MAX_CONTEXT + row.position + 1];
        int32_t kept = row.position + 1 < MAX_CONTEXT ? *next : 0;
        world_check_results(w, QN_OP_SAMPLE, &a, a.results, N_OUTPUTS);
        if (row.position + 1 < MAX_CONTEXT) assert_int_equal(*next, kept);
        double sum = log_sum_exp(&a.logits, 0), doubled = 2 * ((double)logits[best] - sum);
        for (int j = 0; j < a.results[0].n_top; j++) {
            assert_int_not_equal(a.results[0].top_id[j], w->batch.slots.params[0].eos[0]);
            if (a.results[0].top_id[j] == best)
                assert_true(fabs((double)a.results[0].top_logprob[j] - doubled) < 1e-4);
        }
        int most = n_vocab < QN_TOP_MAX ? n_vocab : QN_TOP_MAX;
        assert_true(a.results[1].n_top == most || a.results[1].n_top >= most - 3); // bans
        assert_int_equal(a.results[0].token, -1);
    }
}

static void test_edges(void **state)
{
    world *w = *state;
    world_begin(w, 2200);
    enum { N = 50 };
    qn_sample_args a = make(w, N, 1);
    float *logits = a.logits.data;
    for (int i = 0; i < N_OUTPUTS; i++)
        w->batch.slots.params[i] = (qn_slot_params){
            .greedy = 1, .temperature = 1, .top_p = 1, .repetition_penalty = 1, .n_prompt = 1};
    logits[0 * N + 17] = NAN;
    for (int t = 0; t < N; t++)
        logits[1 * N + t] = -INFINITY;
    logits[2 * N + 3] = INFINITY;
    logits[3 * N + 9] = logits[3 * N + 41] = 100; // a tie
    logits[4 * N + 7] = 100;                      // banned
    w->batch.slots.params[4].min_tokens = 1000;
    w->batch.slots.params[4].n_eos = 1;
    w->batch.slots.params[4].eos[0] = 7;
    w->batch.step.outputs[5].kind = QN_OUTPUT_LOGITS;
    world_check_results(w, QN_OP_SAMPLE, &a, a.results, N_OUTPUTS);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(a.results[i].token, -1);
        assert_int_equal(a.results[i].n_top, 0);
    }
    assert_int_equal(a.results[3].token, 9);
    assert_int_not_equal(a.results[4].token, 7);
    assert_true(a.results[4].token >= 0);
    assert_int_equal(a.results[5].token, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample),
        cmocka_unit_test(test_top),
        cmocka_unit_test(test_edges),
    };
    return cmocka_run_group_tests(tests, world_open, world_close);
}
