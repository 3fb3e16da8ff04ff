// GPTQ (AutoGPTQ, GPTQModel): qweight I32 [columns · bits / 32, rows], a word being 32 / bits numbers of one row, the first lowest; scales
// [groups, rows]; qzeros I32 [groups, rows · bits / 32], the words along the rows; g_idx I32 [columns]: each column's group.
// Value scale · (q - zero). Where columns were reordered (desc_act), the numbers of a block have scales of their own: such a
// matrix becomes F16.
#include <string.h>

#include "model/packed.h"

enum { QWEIGHT, QZEROS, SCALES, G_IDX, TILE = 16 };

static int check(qn_packed *p, quern_error *e)
{
    int64_t per_word = 32 / p->bits;
    qn_dtype blocks;
    int rc = qn_packed_affine(p, &blocks, e);
    if (!rc && p->rows % per_word)
        rc = qn_error_set(e, QUERN_E_UNSUPPORTED,
                          "%s: %s: expected a multiple of %lld rows, found %lld", qn_packed_path(p),
                          p->module, (long long)per_word, (long long)p->rows);
    const int64_t words[2] = {p->columns / per_word, p->rows}, groups[2] = {p->n_groups, p->rows};
    const int64_t zeros[2] = {p->n_groups, p->rows / per_word}, columns[2] = {p->columns, 0};
    bool reordered = p->model->quantization.reordered && p->n_groups > 1;
    if (!rc) rc = qn_packed_expect(p, QWEIGHT, "I32", words, e);
    if (!rc) rc = qn_packed_expect(p, QZEROS, "I32", zeros, e);
    if (!rc) rc = qn_packed_expect(p, SCALES, "F16 BF16 F32", groups, e);
    if (!rc && (reordered || p->part[G_IDX])) rc = qn_packed_expect(p, G_IDX, "I32", columns, e);
    if (!rc) p->dtype = reordered ? QN_DTYPE_F16 : blocks;
    return rc;
}

static int verify(const qn_packed *p, quern_error *e)
{
    const qn_stored_tensor *t = p->part[G_IDX];
    for (int64_t i = 0; t && i < p->columns; i++) {
        int64_t group = (int32_t)qn_packed_word(t, i);
        if (group < 0 || group >= p->n_groups)
            return qn_error_set(
                e, QUERN_E_FORMAT, "%s: %s[%lld]: expected a group below %lld, found %lld",
                qn_packed_path(p), t->name, (long long)i, (long long)p->n_groups, (long long)group);
        if (p->dtype != QN_DTYPE_F16 && group != i / p->group)
            return qn_error_set(e, QUERN_E_UNSUPPORTED,
                                "%s: %s[%lld]: expected group %lld where desc_act is false, found "
                                "%lld",
                                qn_packed_path(p), t->name, (long long)i, (long long)(i / p->group),
                                (long long)group);
    }
    return 0;
}

// Zeros are less one as whole words are, with the borrows that this brings where a zero is 0 (GPTQModel's conversion).
static inline float zero_of(const qn_packed *p, int64_t group, int64_t row)
{
    unsigned bits = (unsigned)p->bits, log = bits == 4 ? 3 : 2; // numbers a word: 2^log
    uint64_t i = (uint64_t)(group * p->rows + row);
    uint32_t word = qn_packed_word(p->part[QZEROS], (int64_t)(i >> log));
    if (p->model->quantization.zeros_minus_one) word += bits == 4 ? 0x11111111U : 0x01010101U;
    return (float)(word >> (i & ((1U << log) - 1)) * bits & ((1U << bits) - 1));
}

static inline float scale_of(const qn_packed *p, int64_t group, int64_t row)
{
    return qn_packed_number(p->part[SCALES], group * p->rows + row);
}

// Rows first … end - 1, at most TILE: a word of each at a time, since they lie side by side.
static void repack_tile(const qn_packed *p, uint8_t *to, int64_t first, int64_t end)
{
    const qn_format *f = qn_format_of(p->dtype);
    int64_t n_blocks = p->columns / f->block_elements, per_word = 32 / p->bits;
    int64_t words = f->block_elements / per_word;
    size_t row_bytes = (size_t)(n_blocks * f->block_bytes);
    for (int64_t b = 0; b < n_blocks; b++) {
        uint8_t *q[TILE];
        int64_t group = b * f->block_elements / p->group;
        for (int64_t row = first; row < end; row++) {
            float scale = scale_of(p, group, row);
            uint8_t *block = to + (size_t)row * row_bytes + (size_t)(b * f->block_bytes);
            q[row - first] = qn_packed_head(block, scale, -scale * zero_of(p, group, row));
        }
        for (int64_t w = 0; w < words; w++)
            for (int64_t row = first; row < end; row++)
                memcpy(q[row - first] + 4 * w,
                       p->part[QWEIGHT]->data + 4 * ((b * words + w) * p->rows + row), 4);
    }
}

static void expand_tile(const qn_packed *p, uint8_t *to, int64_t first, int64_t end)
{
    int64_t per_word = 32 / p->bits;
    uint32_t mask = (1U << p->bits) - 1;
    for (int64_t k = 0; k < p->columns; k++) {
        int64_t group = qn_packed_word(p->part[G_IDX], k);
        for (int64_t row = first; row < end; row++) {
            uint32_t word = qn_packed_word(p->part[QWEIGHT], k / per_word * p->rows + row);
            float q = (float)(word >> k % per_word * p->bits & mask);
            uint16_t half = qn_f32_to_f16(scale_of(p, group, row) * (q - zero_of(p, group, row)));
            memcpy(to + 2 * (row * p->columns + k), &half, sizeof half);
        }
    }
}

static void repack(const qn_packed *p, uint8_t *to, int64_t first, int64_t end)
{
    for (int64_t row = first; row < end; row += TILE) {
        int64_t tile_end = end - row < TILE ? end : row + TILE;
        if (p->dtype == QN_DTYPE_F16)
            expand_tile(p, to, row, tile_end);
        else
            repack_tile(p, to, row, tile_end);
    }
}

const qn_packing qn_packing_gptq = {.parts = {"qweight", "qzeros", "scales", "g_idx"},
                                    .zero_biases = true,
                                    .row_step = TILE,
                                    .check = check,
                                    .verify = verify,
                                    .repack = repack};
