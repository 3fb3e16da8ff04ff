// MLX (mlx.core.quantize, mode affine): weight U32 [rows, columns · bits / 32] is each row as one stream of bits, the first number lowest;
// scales and biases [rows, columns / group]. Value scale · q + bias. An affine block holds the same bits behind its scale and bias.
#include <string.h>

#include "model/packed.h"

enum { WEIGHT, SCALES, BIASES };

static int check(qn_packed *p, quern_error *e)
{
    static const char *const numbers = "F16 BF16 F32";
    if (p->columns % p->group)
        return qn_error_set(e, QUERN_E_UNSUPPORTED,
                            "%s: %s: expected rows of whole groups of %lld, found rows of %lld",
                            qn_packed_path(p), p->module, (long long)p->group,
                            (long long)p->columns);
    const int64_t words[2] = {p->rows, p->columns * p->bits / 32},
                  groups[2] = {p->rows, p->n_groups};
    int rc = qn_packed_expect(p, WEIGHT, "U32", words, e);
    if (!rc) rc = qn_packed_expect(p, SCALES, numbers, groups, e);
    if (!rc) rc = qn_packed_expect(p, BIASES, numbers, groups, e);
    return rc ? rc : qn_packed_affine(p, &p->dtype, e);
}

static void repack(const qn_packed *p, uint8_t *to, int64_t first, int64_t end)
{
    size_t n_bytes = (size_t)(p->group * p->bits / 8), block_bytes = n_bytes + 8;
    for (int64_t i = first * p->n_groups; i < end * p->n_groups; i++) {
        uint8_t *q =
            qn_packed_head(to + (size_t)i * block_bytes, qn_packed_number(p->part[SCALES], i),
                           qn_packed_number(p->part[BIASES], i));
        memcpy(q, p->part[WEIGHT]->data + (size_t)i * n_bytes, n_bytes);
    }
}

const qn_packing qn_packing_mlx = {
    .parts = {"weight", "scales", "biases"}, .row_step = 1, .check = check, .repack = repack};
