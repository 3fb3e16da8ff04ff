// FP8 in blocks (transformers' FineGrainedFP8Config, as Qwen publishes it): weight F8_E4M3 [rows, columns], weight_scale_inv
// [rows / 128, columns / 128], rounded up: a scale for each 128 × 128. Value scale · number.
#include <string.h>

#include "model/packed.h"

enum { WEIGHT, SCALES, BLOCK = 128, BLOCK_BYTES = 132 };

static int check(qn_packed *p, quern_error *e)
{
    const int64_t whole[2] = {p->rows, p->columns};
    const int64_t scales[2] = {(p->rows + BLOCK - 1) / BLOCK, p->n_groups};
    if (p->columns % BLOCK)
        return qn_error_set(e, QUERN_E_UNSUPPORTED,
                            "%s: %s: expected rows of a multiple of 128 numbers, found %lld",
                            qn_packed_path(p), p->module, (long long)p->columns);
    p->dtype = QN_DTYPE_FP8_128;
    int rc = qn_packed_expect(p, WEIGHT, "F8_E4M3", whole, e);
    return rc ? rc : qn_packed_expect(p, SCALES, "F32 BF16", scales, e);
}

static void repack(const qn_packed *p, uint8_t *to, int64_t first, int64_t end)
{
    for (int64_t row = first; row < end; row++)
        for (int64_t i = 0; i < p->n_groups; i++) {
            int64_t block = row * p->n_groups + i;
            float scale = qn_packed_number(p->part[SCALES], row / BLOCK * p->n_groups + i);
            memcpy(to + block * BLOCK_BYTES, &scale, sizeof scale);
            memcpy(to + block * BLOCK_BYTES + 4, p->part[WEIGHT]->data + block * BLOCK, BLOCK);
        }
}

const qn_packing qn_packing_fp8 = {
    .parts = {"weight", "weight_scale_inv"}, .row_step = 1, .check = check, .repack = repack};
