// Matrix units: mma.sync and wgmma have one order here, so what is equal on the cards measured is equal here; sums are those of exact
// products in double, rounded once for 16 of K. Layouts: PTX ISA, "Warp-level matrix instructions" and "Asynchronous wgmma". See ptx.h.
#include <string.h>

#include "halves.h"
#include "races.h"

enum { K = 16 };

typedef float to_float(uint16_t bits);

// The two numbers of 16 bits in each lane of a register.
static void unpack(const uint32_t *from, float low[PTX_LANES], float high[PTX_LANES], to_float *as)
{
    for (int l = 0; l < PTX_LANES; l++) {
        low[l] = as((uint16_t)from[l]);
        high[l] = as((uint16_t)(from[l] >> 16));
    }
}

// a: 16 rows of K, in four registers.
static void read_a(const warp *w, const ptx_instruction *i, int n, float a[16][K], to_float *as)
{
    for (int k = 0; k < 4; k++) {
        float low[PTX_LANES], high[PTX_LANES];
        unpack(OPERAND(uint32_t, n + k), low, high, as);
        for (int l = 0; l < PTX_LANES; l++) {
            int row = l / 4 + k % 2 * 8, column = l % 4 * 2 + k / 2 * 8;
            a[row][column] = low[l];
            a[row][column + 1] = high[l];
        }
    }
}

// 16 rows by 8 columns: c + a · b. sums, in the lanes' order: registers d, d + 1, …
static void multiply(float a[16][K], float b[K][8], const float *const c[4], float *const d[4])
{
    double sums[16][8] = {0};
    for (int row = 0; row < 16; row++)
        for (int k = 0; k < K; k++)
            for (int column = 0; column < 8; column++)
                sums[row][column] += (double)a[row][k] * (double)b[k][column];
    for (int k = 0; k < 4; k++)
        for (int l = 0; l < PTX_LANES; l++) {
            double s = sums[l / 4 + k / 2 * 8][l % 4 * 2 + k % 2];
            d[k][l] = (float)(c ? (double)c[k][l] + s : s);
        }
}

// d (4), a (4), b (2), c (4)
static void mma(warp *w, const ptx_instruction *i, to_float *as)
{
    float a[16][K], b[K][8];
    read_a(w, i, 4, a, as);
    for (int k = 0; k < 2; k++) {
        float low[PTX_LANES], high[PTX_LANES];
        unpack(OPERAND(uint32_t, 8 + k), low, high, as);
        for (int l = 0; l < PTX_LANES; l++) {
            b[l % 4 * 2 + k * 8][l / 4] = low[l];
            b[l % 4 * 2 + 1 + k * 8][l / 4] = high[l];
        }
    }
    const float *c[4];
    float *d[4];
    for (int k = 0; k < 4; k++) {
        d[k] = OPERAND(float, k);
        c[k] = OPERAND(float, 10 + k);
    }
    multiply(a, b, c, d);
}
static void mma_f16(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    (void)lanes;
    mma(w, i, from_f16);
}
static void mma_bf16(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    (void)lanes;
    mma(w, i, from_bf16);
}

/* ---- wgmma: each warp has 16 of the 64 rows ---- */

// Swizzled over 128 bytes, the one layout that Quern's kernels use.
typedef struct {
    uint32_t start, leading, stride;
} descriptor;

static descriptor read_descriptor(const warp *w, const ptx_instruction *i, uint64_t d)
{
    if (d >> 62 != 1)
        warp_fail(w, i, "a swizzle of mode %u is not known here", (unsigned)(d >> 62));
    if (d >> 49 & 7) warp_fail(w, i, "a descriptor's base offset is not known here");
    return (descriptor){(uint32_t)(d & 0x3fff) << 4, (uint32_t)(d >> 16 & 0x3fff) << 4,
                        (uint32_t)(d >> 32 & 0x3fff) << 4};
}

// Where k of column n lies. Not transposed: rows of K, 8 columns an atom; else rows of columns, 64 columns and 8 of K an atom.
static uint32_t offset_of(const descriptor *d, int n, int k, bool transposed)
{
    uint32_t at = d->start;
    if (transposed)
        at += (uint32_t)(n / 64) * d->leading + (uint32_t)(k / 8) * d->stride +
              (uint32_t)(k % 8 * 128 + n % 64 * 2);
    else
        at += (uint32_t)(n / 8) * d->stride + (uint32_t)(n % 8 * 128 + k * 2);
    return at ^ (at >> 7 & 7) << 4;
}

// d (n / 2), a (4), descriptor, whether it adds, 1, 1, transposed
static void wgmma(warp *w, const ptx_instruction *i, to_float *as)
{
    int n_sums = i->n_operands - 9, at = n_sums;
    float a[16][K], b[K][8];
    read_a(w, i, at, a, as);
    const uint64_t *words = OPERAND(uint64_t, at + 4);
    for (int l = 1; l < PTX_LANES; l++)
        if (words[l] != words[0]) warp_fail(w, i, "lanes with different descriptors");
    uint32_t adds = MASK(at + 5);
    if (adds != 0 && adds != UINT32_MAX) warp_fail(w, i, "lanes that differ in whether they add");
    descriptor d = read_descriptor(w, i, words[0]);
    bool transposed = *OPERAND(uint32_t, at + 8) != 0;
    for (int n = 0; n < n_sums / 4; n++) {
        for (int k = 0; k < K; k++)
            for (int column = 0; column < 8; column++) {
                uint16_t bits;
                const char *from =
                    warp_shared(w, i, offset_of(&d, n * 8 + column, k, transposed), 2, 2);
                warp_check_fenced(w, i, from, 2);
                memcpy(&bits, from, sizeof bits);
                b[k][column] = as(bits);
            }
        float *sums[4];
        for (int k = 0; k < 4; k++)
            sums[k] = OPERAND(float, n * 4 + k);
        multiply(a, b, adds ? (const float *const *)sums : NULL, sums);
    }
}
// Done when it is waited for, not before: what is read too early is old, what is overwritten too early is new.
// Its reads of b may be at any time from here to the wait: 16 rows or columns of 16 bytes for 8 columns.
static void begin_reads(const warp *w, const ptx_instruction *i, uint32_t *clock)
{
    int n_sums = i->n_operands - 9;
    descriptor d = read_descriptor(w, i, *OPERAND(uint64_t, n_sums + 4));
    bool transposed = *OPERAND(uint32_t, n_sums + 8) != 0;
    for (int n = 0; n < n_sums * 2; n += 8)
        for (int k = 0; k < K; k++) {
            uint32_t at =
                transposed ? offset_of(&d, n, k, true) : offset_of(&d, n + k % 8, k / 8 * 8, false);
            *clock = races_begin(w, i, RACE_PRODUCTS, warp_shared(w, i, at, 16, 16), 16);
        }
}
static void put_off(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    (void)lanes;
    if (w->n_products == MAX_PRODUCTS)
        warp_fail(w, i, "more than %d products without a wait", MAX_PRODUCTS);
    own_product *new = &w->products[w->n_products++];
    *new = (own_product){i, w->bases[PTX_IN_FRAME], 0, 0};
    begin_reads(w, i, &new->clock);
}
static void wgmma_f16(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    put_off(w, i, lanes);
}
static void wgmma_bf16(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    put_off(w, i, lanes);
}
static void wgmma_commit(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    (void)i, (void)lanes;
    for (int k = 0; k < w->n_products; k++)
        w->products[k].age++;
    races_commit(w, RACE_PRODUCTS);
}
static void wgmma_wait(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    const char *own = w->bases[PTX_IN_FRAME];
    int n_left = (int)*OPERAND(uint32_t, 0), done = 0;
    (void)lanes;
    for (; done < w->n_products && w->products[done].age > n_left; done++) {
        const own_product *p = &w->products[done];
        w->bases[PTX_IN_FRAME] = p->registers;
        races_over(w, RACE_PRODUCTS, p->clock);
        wgmma(w, p->of, p->of->run == wgmma_f16 ? from_f16 : from_bf16);
    }
    w->bases[PTX_IN_FRAME] = own;
    w->n_products -= done;
    memmove(w->products, w->products + done, (size_t)w->n_products * sizeof *w->products);
}
static void wgmma_fence(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    (void)w, (void)i, (void)lanes;
}

/* ---- 8 × 8 matrices between shared memory and registers ---- */

// The 32 rows that the lanes name.
static void touch_rows(const warp *w, const ptx_instruction *i, int operand, race_access access)
{
    char *at[PTX_LANES];
    for (int l = 0; l < PTX_LANES; l++)
        at[l] = warp_shared(w, i, address_in(w, i, operand, l) + (uint64_t)i->offset, 16, 16);
    races_lanes(w, i, at, UINT32_MAX, 16, access);
}

// Row `row` of matrix `m`: the lane that names it is 8 m + row.
static char *matrix_row(const warp *w, const ptx_instruction *i, int operand, int m, int row)
{
    return warp_shared(w, i, address_in(w, i, operand, 8 * m + row) + (uint64_t)i->offset, 16, 16);
}

static uint16_t half_at(const char *row, int column)
{
    uint16_t v;
    memcpy(&v, row + 2 * column, sizeof v);
    return v;
}

static void load_matrices(warp *w, const ptx_instruction *i, bool transposed)
{
    uint32_t out[4][PTX_LANES];
    touch_rows(w, i, 4, RACE_READS);
    for (int m = 0; m < 4; m++)
        for (int l = 0; l < PTX_LANES; l++) {
            int a = l / 4, b = l % 4 * 2;
            uint32_t low = transposed ? half_at(matrix_row(w, i, 4, m, b), a)
                                      : half_at(matrix_row(w, i, 4, m, a), b);
            uint32_t high = transposed ? half_at(matrix_row(w, i, 4, m, b + 1), a)
                                       : half_at(matrix_row(w, i, 4, m, a), b + 1);
            out[m][l] = low | high << 16;
        }
    for (int m = 0; m < 4; m++)
        memcpy(OPERAND(uint32_t, m), out[m], sizeof out[m]);
}
static void ldmatrix(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    (void)lanes;
    load_matrices(w, i, false);
}
static void ldmatrix_transposed(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    (void)lanes;
    load_matrices(w, i, true);
}
static void movmatrix(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    uint32_t out[PTX_LANES];
    const uint32_t *in = OPERAND(uint32_t, 1);
    (void)lanes;
    for (int l = 0; l < PTX_LANES; l++) { // row b of the matrix is in lanes 4 b …, two numbers each
        int a = l / 4, b = l % 4 * 2;
        uint32_t low = in[4 * b + a / 2] >> 16 * (a % 2) & 0xffff;
        uint32_t high = in[4 * (b + 1) + a / 2] >> 16 * (a % 2) & 0xffff;
        out[l] = low | high << 16;
    }
    memcpy(OPERAND(uint32_t, 0), out, sizeof out);
}
static void stmatrix_transposed(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    (void)lanes;
    touch_rows(w, i, 0, RACE_WRITES);
    for (int m = 0; m < 4; m++)
        for (int l = 0; l < PTX_LANES; l++) {
            uint32_t v = OPERAND(uint32_t, 1 + m)[l];
            uint16_t low = (uint16_t)v, high = (uint16_t)(v >> 16);
            char *first = matrix_row(w, i, 0, m, l % 4 * 2),
                 *second = matrix_row(w, i, 0, m, l % 4 * 2 + 1);
            memcpy(first + l / 4 * 2, &low, sizeof low);
            memcpy(second + l / 4 * 2, &high, sizeof high);
            note_written(w, first, 16);
            note_written(w, second, 16);
        }
}

#define WGMMA(n)                                                                                   \
    {"wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.f16.f16", "wwqpwww", wgmma_f16, PTX_MEET},    \
    {                                                                                              \
        "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16", "wwqpwww", wgmma_bf16,         \
            PTX_MEET                                                                               \
    }

const ptx_row ptx_matrix_rows[] = {
    {"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", "wwww", mma_f16, PTX_MEET},
    {"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", "wwww", mma_bf16, PTX_MEET},
    WGMMA(16),
    WGMMA(32),
    WGMMA(64),
    WGMMA(128),
    WGMMA(256),
    {"wgmma.fence.sync.aligned", "", wgmma_fence, PTX_MEET},
    {"wgmma.commit_group.sync.aligned", "", wgmma_commit, PTX_MEET},
    {"wgmma.wait_group.sync.aligned", "w", wgmma_wait, PTX_MEET},
    {"ldmatrix.sync.aligned.m8n8.x4.shared.b16", "wa", ldmatrix, PTX_MEET},
    {"ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", "wa", ldmatrix_transposed, PTX_MEET},
    {"movmatrix.sync.aligned.m8n8.trans.b16", "ww", movmatrix, PTX_MEET},
    {"stmatrix.sync.aligned.m8n8.x4.trans.shared.b16", "aw", stmatrix_transposed, PTX_MEET},
    {NULL, NULL, NULL, PTX_PLAIN},
};
