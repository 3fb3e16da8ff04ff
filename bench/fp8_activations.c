// What it costs in exactness to multiply FP8 weights by the matrix units' FP8 form, for which x becomes E4M3 too: each 128 numbers of
// a row over their largest, as transformers does on cards that have it. Relative error of the logits against the same model's
// with x as it is:
//   fp8_activations MODEL ID…        (an FP8 checkpoint; ids by `quern tokenize`)
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/observed.h"
#include "quern.h"
#include "tensor/tensor.h"

typedef struct {
    int n_products, last; // seen in this run; the head's, which stays as it is (0: all do)
} products;

static void round_block(float x[128])
{
    float most = 0;
    for (int i = 0; i < 128; i++)
        most = fmaxf(most, fabsf(x[i]));
    float scale = most / 448.0f;
    for (int i = 0; i < 128 && scale > 0; i++)
        x[i] = scale * qn_fp8_to_f32(qn_f32_to_fp8(x[i] / scale));
}

// One compute thread: nobody else is at x. Products of the same x round it again, which changes nothing.
static void see(void *user, const void *weight, const float *x, int64_t n_rows, int64_t n_columns)
{
    (void)weight;
    products *p = user;
    if (++p->n_products >= p->last) return;
    for (int64_t i = 0; i + 128 <= n_rows * n_columns; i += 128)
        round_block((float *)(uintptr_t)(x + i));
}

static float *logits(const char *path, products *p, const int32_t *ids, size_t n, size_t *n_numbers)
{
    const qn_observer observer = {see, p};
    const quern_runtime_options options = {.n_threads = 1, .log_fd = -1};
    quern_runtime *rt = NULL;
    quern_model *m = NULL;
    quern_error e = {0};
    float *out = NULL;
    int rc = qn_runtime_open_observed(&observer, &options, &rt, &e);
    if (!rc) rc = quern_model_load(rt, "model", path, NULL, &m, &e);
    if (!rc) {
        quern_model_info info;
        quern_model_get_info(m, &info);
        *n_numbers = n * (size_t)info.n_vocab;
        out = malloc(*n_numbers * sizeof *out);
        if (out) rc = quern_logits(m, ids, n, out, &e);
    }
    quern_model_close(m);
    quern_runtime_close(rt);
    if (!rc && out) return out;
    fprintf(stderr, "fp8_activations: %s\n", rc ? e.message : "no memory");
    exit(1);
}

int main(int argc, char **argv)
{
    size_t n = argc > 2 ? (size_t)argc - 2 : 0, n_numbers = 0;
    int32_t *ids = calloc(n + 1, sizeof *ids);
    if (!n || !ids) {
        fprintf(stderr, "usage: fp8_activations MODEL ID...\n");
        return 2;
    }
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)strtol(argv[i + 2], NULL, 10);
    products none = {0, 0};
    float *exact = logits(argv[1], &none, ids, n, &n_numbers);
    products rounded = {0, none.n_products};
    float *found = logits(argv[1], &rounded, ids, n, &n_numbers);
    double off = 0, all = 0;
    for (size_t i = 0; i < n_numbers; i++) {
        off += pow((double)found[i] - exact[i], 2);
        all += pow(exact[i], 2);
    }
    printf("%d products, relative error %.4f\n", none.n_products, sqrt(off / all));
    free(exact);
    free(found);
    free(ids);
    return 0;
}
