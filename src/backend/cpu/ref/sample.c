// sample in plain C; see ops/sample.h and cpu/sampling.h. What makes it the oracle: it sorts the whole vocabulary.
#include <string.h>

#include "backend/cpu/ref/ref.h"
#include "backend/cpu/sampling.h"

int qn_ref_sample_supports(const void *args)
{
    const qn_sample_args *a = args;
    return qn_cpu_is_f32(&a->logits) && qn_cpu_is_f32(&a->scratch) && a->results &&
           a->logits.dim[1] <= INT32_MAX / 4 && a->scratch.dim[1] >= 4 * a->logits.dim[1] &&
           a->scratch.dim[0] >= a->logits.dim[0];
}

// Merges the sorted runs [from, middle) and [middle, to). On equal values the left run, whose ids are lower, goes first.
static void merge(const float *v, const int32_t *ids, int32_t *out, int from, int middle, int to)
{
    for (int left = from, right = middle, i = from; i < to; i++) {
        int take_left = right == to || (left < middle && v[ids[left]] >= v[ids[right]]);
        out[i] = take_left ? ids[left++] : ids[right++];
    }
}

int qn_sampling_sort(const qn_sampling_need *need, int32_t *ids, int32_t *buffer)
{
    int n = need->n_vocab;
    for (int i = 0; i < n; i++)
        ids[i] = i;
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t from = 0; from < n; from += 2 * width) {
            int64_t middle = from + width < n ? from + width : n;
            int64_t to = from + 2 * width < n ? from + 2 * width : n;
            merge(need->v, ids, buffer, (int)from, (int)middle, (int)to);
        }
        memcpy(ids, buffer, (size_t)n * sizeof *ids);
    }
    return n;
}

void qn_ref_sample(const void *args, const qn_cpu_task *task)
{
    const qn_sampling_kit kit = {&qn_sampling_scalar, qn_sampling_sort};
    qn_sampling_run(args, task, &kit);
}
