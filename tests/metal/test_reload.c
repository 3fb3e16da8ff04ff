// Models that come and go while their device lives: files are unmapped only after the device let go of them (the fake ends the
// process otherwise), and a later model, whose files may lie where the former's did, computes with its own weights.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake/fake.h"
#include "quern.h"

enum { N_IDS = 3 };

typedef struct {
    float *logits;
    size_t n;
} result;

static result logits_of(quern_runtime *rt, const char *name, bool no_mmap)
{
    static const int32_t ids[N_IDS] = {11, 48, 85};
    const char *root = getenv("QUERN_TEST_MODELS");
    char path[1024];
    quern_error e = {0};
    quern_model *m;
    quern_model_info info;
    assert_non_null(root);
    snprintf(path, sizeof path, "%s/%s", root, name);
    const quern_model_options options = {.n_kv_blocks = 4, .prefill_chunk = 4, .no_mmap = no_mmap};
    if (quern_model_load(rt, name, path, &options, &m, &e)) fail_msg("%s", e.message);
    quern_model_get_info(m, &info);
    result r = {.n = (size_t)info.n_vocab * N_IDS};
    r.logits = malloc(r.n * sizeof *r.logits);
    assert_non_null(r.logits);
    if (quern_logits(m, ids, N_IDS, r.logits, &e)) fail_msg("%s", e.message);
    quern_model_close(m);
    return r;
}

static quern_runtime *open_runtime(void)
{
    quern_runtime *rt;
    quern_error e = {0};
    const quern_runtime_options options = {.backend = "metal", .log_fd = -1};
    if (quern_runtime_open(&options, &rt, &e)) fail_msg("%s", e.message);
    return rt;
}

static void test_reload(void **state)
{
    (void)state;
    static const char *const names[] = {"tiny-qwen2", "tiny-qwen3"};
    quern_runtime *rt = open_runtime();
    result first[2];
    for (int i = 0; i < 6; i++) {
        int wraps = fake_metal_count()->n_wraps;
        result r = logits_of(rt, names[i % 2], i >= 4);
        assert_int_equal(fake_metal_count()->n_wraps - wraps, 1); // seen anew, and not copied
        assert_int_equal(fake_metal_count()->wrapped_bytes, 0);   // let go of
        if (i < 2) {
            first[i] = r;
            continue;
        }
        assert_int_equal(r.n, first[i % 2].n);
        assert_memory_equal(r.logits, first[i % 2].logits, r.n * sizeof *r.logits);
        free(r.logits);
    }
    free(first[0].logits);
    free(first[1].logits);
    quern_runtime_close(rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reload)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
