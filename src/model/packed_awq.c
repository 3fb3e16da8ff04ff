// AWQ (AutoAWQ, version gemm): qweight I32 [columns, rows / 8], a word being the number of one column in 8 rows, in the order 0, 2, 4, 6,
// 1, 3, 5, 7 from the lowest bits up; qzeros I32 [groups, rows / 8] likewise; scales [groups, rows]. Value scale · (q - zero).
#include <string.h>

#include "model/packed.h"

enum { QWEIGHT, QZEROS, SCALES, WORD_ROWS = 8, TILE = 64 };

// Where row i of a word's eight has its four bits.
static const int shifts[WORD_ROWS] = {0, 16, 4, 20, 8, 24, 12, 28};

static int check(qn_packed *p, quern_error *e)
{
    if (p->rows % WORD_ROWS)
        return qn_error_set(e, QUERN_E_UNSUPPORTED,
                            "%s: %s: expected a multiple of 8 rows, found %lld", qn_packed_path(p),
                            p->module, (long long)p->rows);
    const int64_t words[2] = {p->columns, p->rows / WORD_ROWS};
    const int64_t zeros[2] = {p->n_groups, p->rows / WORD_ROWS}, groups[2] = {p->n_groups, p->rows};
    int rc = qn_packed_affine(p, &p->dtype, e);
    if (!rc) rc = qn_packed_expect(p, QWEIGHT, "I32", words, e);
    if (!rc) rc = qn_packed_expect(p, QZEROS, "I32", zeros, e);
    return rc ? rc : qn_packed_expect(p, SCALES, "F16 BF16 F32", groups, e);
}

// Eight columns from k on of the eight rows of a word.
static void turn(const qn_packed *p, int64_t word_column, int64_t k, uint8_t *const q[WORD_ROWS])
{
    uint32_t words[8];
    int64_t n_words = p->rows / WORD_ROWS;
    for (int j = 0; j < 8; j++)
        words[j] = qn_packed_word(p->part[QWEIGHT], (k + j) * n_words + word_column);
    for (int row = 0; row < WORD_ROWS; row++) {
        uint32_t eight = 0;
        for (int j = 0; j < 8; j++)
            eight |= (words[j] >> shifts[row] & 15) << 4 * j;
        memcpy(q[row], &eight, sizeof eight);
    }
}

static void repack_word(const qn_packed *p, uint8_t *to, int64_t word_column, int64_t block)
{
    const qn_format *f = qn_format_of(p->dtype);
    size_t row_bytes = (size_t)(p->columns / f->block_elements * f->block_bytes);
    int64_t k = block * f->block_elements, group = k / p->group, row = word_column * WORD_ROWS;
    uint32_t zeros = qn_packed_word(p->part[QZEROS], (group * p->rows + row) / WORD_ROWS);
    uint8_t *q[WORD_ROWS];
    for (int i = 0; i < WORD_ROWS; i++) {
        float scale = qn_packed_number(p->part[SCALES], group * p->rows + row + i);
        float zero = (float)(zeros >> shifts[i] & 15);
        uint8_t *at = to + (size_t)(row + i) * row_bytes + (size_t)(block * f->block_bytes);
        q[i] = qn_packed_head(at, scale, -scale * zero);
    }
    for (int n = 0; n < f->block_elements; n += 8) {
        turn(p, word_column, k + n, q);
        for (int i = 0; i < WORD_ROWS; i++)
            q[i] += 4;
    }
}

static void repack(const qn_packed *p, uint8_t *to, int64_t first, int64_t end)
{
    int64_t n_blocks = p->columns / qn_format_of(p->dtype)->block_elements;
    for (int64_t block = 0; block < n_blocks; block++)
        for (int64_t row = first; row < end; row += WORD_ROWS)
            repack_word(p, to, row / WORD_ROWS, block);
}

const qn_packing qn_packing_awq = {.parts = {"qweight", "qzeros", "scales"},
                                   .zero_biases = true,
                                   .row_step = TILE,
                                   .check = check,
                                   .repack = repack};
