// The sampler's distributions: expected ones (tests/golden/data and, where present, ../shared), drawn frequencies, and the head
// of a sorted vocabulary against a full sort. Philox against the vectors of its authors (Random123).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/sampling.h"
#include "backend/philox.h"

static const qn_sampling_kit sorting = {&qn_sampling_scalar, qn_sampling_sort};
static const qn_sampling_kit selecting = {&qn_sampling_scalar, qn_sampling_select};
static const qn_slot_params off = {.temperature = 1, .top_p = 1, .repetition_penalty = 1};

static uint64_t random_state;

static float uniform(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (float)(random_state >> 40) * 0x1p-24f;
}

static void test_philox(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < 3; i++) {
        uint32_t out[4];
        qn_philox(vectors[i].key, vectors[i].counter, out);
        assert_memory_equal(out, vectors[i].out, sizeof out);
    }
    assert_true(qn_philox_uniform(0, 0, 0) == (float)(0x6627e8d5 >> 8) / 16777216.0f);
}

// ---- a row and its list ----

typedef struct {
    qn_sampling_row row;
    qn_slot_params params;
    qn_sampling_list list;
} fixture;

// Frees with free(f->row.scratch). logits and tokens stay the caller's.
static void make_list(fixture *f, const qn_sampling_kit *kit, const float *logits, int n_vocab)
{
    static const int32_t no_tokens[1];
    if (!f->row.tokens) f->row.tokens = no_tokens, f->row.position = -1;
    f->row.logits = logits;
    f->row.n_vocab = n_vocab;
    f->row.params = &f->params;
    f->row.scratch = malloc(4 * (size_t)n_vocab * sizeof(float));
    assert_non_null(f->row.scratch);
    qn_sampling_penalise(&f->row, 0);
    float max = kit->math->max(f->row.scratch, n_vocab);
    qn_sampling_make_list(kit, &f->row, max, &f->list);
}

static void probabilities(const fixture *f, double *p)
{
    for (int i = 0; i < f->row.n_vocab; i++)
        p[i] = 0;
    for (int i = 0; i < f->list.n; i++)
        p[f->list.ids ? f->list.ids[i] : i] = (double)f->list.weights[i] / (double)f->list.total;
}

// ---- goldens ----

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

static float number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return (float)json_number_value(value);
}

static qn_slot_params params_of(const json_t *j)
{
    qn_slot_params p = {.temperature = number(j, "temperature"),
                        .top_k = (int32_t)number(j, "top_k"),
                        .top_p = number(j, "top_p"),
                        .min_p = number(j, "min_p"),
                        .repetition_penalty = number(j, "repetition_penalty"),
                        .presence_penalty = number(j, "presence_penalty"),
                        .frequency_penalty = number(j, "frequency_penalty")};
    return p;
}

static void check_case(const json_t *c, const qn_sampling_kit *kit, const char *where, int line)
{
    const json_t *history = json_object_get(c, "history"), *probs = json_object_get(c, "probs");
    const json_t *values = json_object_get(c, "logits");
    int n = (int)json_array_size(values), n_history = (int)json_array_size(history);
    float *logits = calloc((size_t)n, sizeof *logits);
    int32_t *tokens = calloc((size_t)n_history + 1, sizeof *tokens);
    double *found = calloc((size_t)n, sizeof *found),
           *expected = calloc((size_t)n, sizeof *expected);
    assert_true(logits && tokens && found && expected);
    for (int i = 0; i < n; i++)
        logits[i] = (float)json_number_value(json_array_get(values, (size_t)i));
    for (int i = 0; i < n_history; i++)
        tokens[i] = (int32_t)json_integer_value(json_array_get(history, (size_t)i));
    fixture f = {.params = params_of(json_object_get(c, "params")),
                 .row = {.tokens = tokens, .position = n_history - 1}};
    make_list(&f, kit, logits, n);
    probabilities(&f, found);
    for (int i = 0; i < n; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        expected[i] = json_number_value(json_object_get(probs, key));
    }
    if (json_is_true(json_object_get(c, "ties"))) {
        qsort(found, (size_t)n, sizeof *found, compare);
        qsort(expected, (size_t)n, sizeof *expected, compare);
    }
    for (int i = 0; i < n; i++)
        if (!(fabs(found[i] - expected[i]) <= 1e-5))
            fail_msg("%s:%d: [%d] expected %.9g, found %.9g", where, line, i, expected[i],
                     found[i]);
    free(f.row.scratch);
    free(logits);
    free(tokens);
    free(found);
    free(expected);
}

static void check_file(const char *path, int n_least)
{
    FILE *file = fopen(path, "r");
    if (!file) {
        print_message("%s is absent\n", path);
        skip();
    }
    int n = 0;
    json_t *c;
    json_error_t e;
    while ((c = json_loadf(file, JSON_DISABLE_EOF_CHECK, &e))) {
        n++;
        check_case(c, &sorting, path, n);
        check_case(c, &selecting, path, n);
        json_decref(c);
    }
    fclose(file);
    assert_true(n >= n_least);
}

static void test_own_goldens(void **state)
{
    (void)state;
    char path[1024];
    const char *source = getenv("QUERN_SOURCE");
    snprintf(path, sizeof path, "%s/tests/golden/data/sampler.jsonl", source ? source : ".");
    check_file(path, 20);
}

static void test_shared_goldens(void **state)
{
    (void)state;
    char path[1024];
    const char *source = getenv("QUERN_SOURCE"), *shared = getenv("QUERN_SHARED");
    if (shared)
        snprintf(path, sizeof path, "%s/golden/sampler.jsonl", shared);
    else
        snprintf(path, sizeof path, "%s/../shared/golden/sampler.jsonl", source ? source : ".");
    check_file(path, 173);
}

// ---- draws ----

// Chi-square of drawn frequencies; Wilson and Hilferty's normal approximation: z < 3.72 is p > 1e-4.
static void check_frequencies(const fixture *f, const int *count, int n_draws)
{
    double p[256], statistic = 0, rest_p = 0, rest_count = 0;
    int cells = 0;
    probabilities(f, p);
    for (int i = 0; i < f->row.n_vocab; i++) {
        if (p[i] == 0) assert_int_equal(count[i], 0);
        if (p[i] * n_draws < 10) {
            rest_p += p[i];
            rest_count += count[i];
            continue;
        }
        double d = count[i] - p[i] * n_draws;
        statistic += d * d / (p[i] * n_draws);
        cells++;
    }
    if (rest_p * n_draws >= 10) {
        statistic += pow(rest_count - rest_p * n_draws, 2) / (rest_p * n_draws);
        cells++;
    }
    if (cells < 2) return;
    double k = cells - 1;
    double z = (cbrt(statistic / k) - (1 - 2 / (9 * k))) / sqrt(2 / (9 * k));
    if (z > 3.72) fail_msg("chi-square %.1f with %.0f degrees of freedom", statistic, k);
}

static void test_draws(void **state)
{
    (void)state;
    static const qn_slot_params some[] = {
        {.temperature = 1, .top_p = 1, .repetition_penalty = 1},
        {.temperature = 0.7f, .top_p = 0.9f, .repetition_penalty = 1},
        {.temperature = 1.3f, .top_p = 1, .top_k = 12, .repetition_penalty = 1},
        {.temperature = 1, .top_p = 0.95f, .top_k = 40, .min_p = 0.02f, .repetition_penalty = 1},
    };
    enum { N_VOCAB = 200, N_DRAWS = 40000 };
    random_state = 7;
    float logits[N_VOCAB];
    for (int i = 0; i < N_VOCAB; i++)
        logits[i] = 6 * uniform();
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        fixture f = {.params = some[i]};
        make_list(&f, &selecting, logits, N_VOCAB);
        int along[N_VOCAB] = {0}, across[N_VOCAB] = {0};
        for (uint32_t draw = 0; draw < N_DRAWS; draw++) {
            along[qn_sampling_draw(&selecting, &f.list, qn_philox_uniform(42, 0, draw))]++;
            across[qn_sampling_draw(&selecting, &f.list, qn_philox_uniform(draw, 1, 10))]++;
        }
        check_frequencies(&f, along, N_DRAWS);  // one seed, many positions
        check_frequencies(&f, across, N_DRAWS); // many seeds, one position
        free(f.row.scratch);
    }
}

// The ends of u: the first token that can be, and the last; never one that cannot.
static void test_ends(void **state)
{
    (void)state;
    float logits[] = {-INFINITY, 1, 2, -INFINITY};
    fixture f = {.params = off};
    make_list(&f, &selecting, logits, 4);
    assert_int_equal(qn_sampling_draw(&selecting, &f.list, 0), 1);
    assert_int_equal(qn_sampling_draw(&selecting, &f.list, 0x1.fffffep-1f), 2);
    free(f.row.scratch);
}

// ---- the head of a sorted vocabulary ----

static void test_select(void **state)
{
    (void)state;
    enum { MOST = 20000 };
    float *logits = malloc(MOST * sizeof *logits);
    assert_non_null(logits);
    random_state = 1;
    for (int i = 0; i < 60; i++) {
        int n = i < 20 ? 1 + (int)(uniform() * 50) : 1 + (int)(uniform() * MOST);
        float spread = i % 3 == 0 ? 0.001f : i % 3 == 1 ? 10 : 100;
        for (int t = 0; t < n; t++)
            logits[t] = uniform() * spread - spread / 2;
        for (int t = 0; t < n / 2; t++)
            logits[(int)(uniform() * (float)n)] = logits[t]; // ties
        if (i % 5 == 0) logits[n / 2] = -INFINITY;
        fixture a = {.params = off}, b;
        a.params.temperature = i % 4 == 3 ? 40 : 0.2f + uniform();
        a.params.top_k = i % 2 ? (int)(uniform() * (float)n) : 0;
        a.params.top_p = i % 3 ? uniform() : 1;
        a.params.min_p = i % 7 == 0 ? 0.1f * uniform() : 0;
        b = a;
        make_list(&a, &sorting, logits, n);
        make_list(&b, &selecting, logits, n);
        assert_int_equal(a.list.n, b.list.n);
        assert_true(a.list.total == b.list.total && !a.list.ids == !b.list.ids);
        assert_memory_equal(a.list.weights, b.list.weights, (size_t)a.list.n * sizeof(float));
        if (a.list.ids)
            assert_memory_equal(a.list.ids, b.list.ids, (size_t)a.list.n * sizeof(int32_t));
        free(a.row.scratch);
        free(b.row.scratch);
    }
    free(logits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox),         cmocka_unit_test(test_own_goldens),
        cmocka_unit_test(test_shared_goldens), cmocka_unit_test(test_draws),
        cmocka_unit_test(test_ends),           cmocka_unit_test(test_select),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
