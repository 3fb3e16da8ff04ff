// Integers, bits, predicates and moves. See ptx.h.
#include <string.h>

#include "warp.h"

#define TERNARY(name, T, U, V, ...)                                                                \
    static void name(warp *w, const ptx_instruction *i, uint32_t lanes)                            \
    {                                                                                              \
        T *d = OPERAND(T, 0);                                                                      \
        const U *x = OPERAND(U, 1), *y = OPERAND(U, 2);                                            \
        const V *z = OPERAND(V, 3);                                                                \
        EACH_LANE(U a = x[l]; U b = y[l]; V c = z[l]; d[l] = (T)(__VA_ARGS__););                   \
    }

// Of 16 bits, in lanes of 32: what is above counts for nothing, and is 0 in results.
#define LOW(v) ((uint16_t)(v))

BINARY(add_16, uint32_t, uint32_t, uint32_t, LOW(a + b))
BINARY(sub_16, uint32_t, uint32_t, uint32_t, LOW(a - b))
BINARY(mul_16, uint32_t, uint32_t, uint32_t, LOW((uint32_t)LOW(a) * LOW(b)))
BINARY(and_16, uint32_t, uint32_t, uint32_t, LOW(a &b))
BINARY(or_16, uint32_t, uint32_t, uint32_t, LOW(a | b))
BINARY(xor_16, uint32_t, uint32_t, uint32_t, LOW(a ^ b))
BINARY(shl_16, uint32_t, uint32_t, uint32_t, b > 15 ? 0 : LOW(a << b))
BINARY(shr_16, uint32_t, uint32_t, uint32_t, b > 15 ? 0 : LOW(a) >> b)
UNARY(neg_16, uint32_t, uint32_t, LOW(0 - a))
BINARY(mul_wide_16, uint32_t, uint32_t, uint32_t, (uint32_t)LOW(a) * LOW(b))

BINARY(add_32, uint32_t, uint32_t, uint32_t, a + b)
BINARY(sub_32, uint32_t, uint32_t, uint32_t, a - b)
BINARY(mul_32, uint32_t, uint32_t, uint32_t, a *b)
BINARY(mul_hi_u32, uint32_t, uint32_t, uint32_t, (uint64_t)a *b >> 32)
BINARY(mul_hi_s32, uint32_t, int32_t, int32_t, (uint64_t)((int64_t)a *b) >> 32)
BINARY(mul_wide_s32, int64_t, int32_t, int32_t, (int64_t)a *b)
BINARY(mul_wide_u32, uint64_t, uint32_t, uint32_t, (uint64_t)a *b)
TERNARY(mad_32, uint32_t, uint32_t, uint32_t, a *b + c)
TERNARY(mad_wide_u32, uint64_t, uint32_t, uint64_t, (uint64_t)a *b + c)
BINARY(div_s32, int32_t, int32_t, int32_t, b ? (int64_t)a / b : -1)
BINARY(div_u32, uint32_t, uint32_t, uint32_t, b ? a / b : UINT32_MAX)
BINARY(rem_s32, int32_t, int32_t, int32_t, b ? (int64_t)a % b : a)
BINARY(rem_u32, uint32_t, uint32_t, uint32_t, b ? a % b : a)
BINARY(min_s32, int32_t, int32_t, int32_t, a < b ? a : b)
BINARY(max_s32, int32_t, int32_t, int32_t, a > b ? a : b)
BINARY(min_u32, uint32_t, uint32_t, uint32_t, a < b ? a : b)
BINARY(max_u32, uint32_t, uint32_t, uint32_t, a > b ? a : b)
BINARY(and_32, uint32_t, uint32_t, uint32_t, a &b)
BINARY(or_32, uint32_t, uint32_t, uint32_t, a | b)
BINARY(xor_32, uint32_t, uint32_t, uint32_t, a ^ b)
UNARY(not_32, uint32_t, uint32_t, ~a)
UNARY(neg_32, uint32_t, uint32_t, 0 - a)
BINARY(shl_32, uint32_t, uint32_t, uint32_t, b > 31 ? 0 : a << b)
BINARY(shr_u32, uint32_t, uint32_t, uint32_t, b > 31 ? 0 : a >> b)
BINARY(shr_s32, int32_t, int32_t, uint32_t, a >> (b > 31 ? 31 : b))
UNARY(clz_32, uint32_t, uint32_t, a ? __builtin_clz(a) : 32)
UNARY(popc_32, uint32_t, uint32_t, (uint32_t)__builtin_popcount(a))
UNARY(bfind_shift_u32, uint32_t, uint32_t, a ? (uint32_t)__builtin_clz(a) : UINT32_MAX)

static uint32_t reversed(uint32_t v)
{
    uint32_t r = 0;
    for (int k = 0; k < 32; k++)
        r |= (v >> k & 1) << (31 - k);
    return r;
}
UNARY(brev_32, uint32_t, uint32_t, reversed(a))

static uint32_t permuted(uint32_t a, uint32_t b, uint32_t selector)
{
    uint64_t both = (uint64_t)b << 32 | a;
    uint32_t r = 0;
    for (int k = 0; k < 4; k++) {
        uint32_t s = selector >> 4 * k & 15, byte = (uint32_t)(both >> 8 * (s & 7)) & 255;
        if (s & 8) byte = byte & 128 ? 255 : 0;
        r |= byte << 8 * k;
    }
    return r;
}
TERNARY(prmt_32, uint32_t, uint32_t, uint32_t, permuted(a, b, c))

// Of each three bits what the table says.
static uint32_t looked_up(uint32_t a, uint32_t b, uint32_t c, uint32_t table)
{
    uint32_t v = 0;
    for (int i = 0; i < 8; i++)
        if (table >> i & 1) v |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
    return v;
}
static void lop3_32(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    uint32_t *d = OPERAND(uint32_t, 0);
    const uint32_t *a = OPERAND(uint32_t, 1), *b = OPERAND(uint32_t, 2), *c = OPERAND(uint32_t, 3);
    const uint32_t *table = OPERAND(uint32_t, 4);
    EACH_LANE(d[l] = looked_up(a[l], b[l], c[l], table[l]););
}

BINARY(add_64, uint64_t, uint64_t, uint64_t, a + b)
BINARY(sub_64, uint64_t, uint64_t, uint64_t, a - b)
BINARY(mul_64, uint64_t, uint64_t, uint64_t, a *b)
BINARY(div_s64, int64_t, int64_t, int64_t, b ? a / b : -1)
BINARY(div_u64, uint64_t, uint64_t, uint64_t, b ? a / b : UINT64_MAX)
BINARY(rem_u64, uint64_t, uint64_t, uint64_t, b ? a % b : a)
BINARY(min_u64, uint64_t, uint64_t, uint64_t, a < b ? a : b)
BINARY(max_u64, uint64_t, uint64_t, uint64_t, a > b ? a : b)
BINARY(and_64, uint64_t, uint64_t, uint64_t, a &b)
BINARY(or_64, uint64_t, uint64_t, uint64_t, a | b)
BINARY(xor_64, uint64_t, uint64_t, uint64_t, a ^ b)
BINARY(shl_64, uint64_t, uint64_t, uint32_t, b > 63 ? 0 : a << b)
BINARY(shr_u64, uint64_t, uint64_t, uint32_t, b > 63 ? 0 : a >> b)
BINARY(shr_s64, int64_t, int64_t, uint32_t, a >> (b > 63 ? 63 : b))

// d = b with the `length` bits of a at `at`.
#define FIELD(name, T, BITS)                                                                       \
    static void name(warp *w, const ptx_instruction *i, uint32_t lanes)                            \
    {                                                                                              \
        T *d = OPERAND(T, 0);                                                                      \
        const T *a = OPERAND(T, 1), *b = OPERAND(T, 2);                                            \
        const uint32_t *at = OPERAND(uint32_t, 3), *length = OPERAND(uint32_t, 4);                 \
        EACH_LANE(uint32_t p = at[l] & 255; uint32_t n = length[l] & 255;                          \
                  T ones = n >= BITS ? (T)-1 : (((T)1 << n) - 1); T m = p >= BITS ? 0 : ones << p; \
                  d[l] = (b[l] & ~m) | (p >= BITS ? 0 : a[l] << p & m););                          \
    }
FIELD(bfi_32, uint32_t, 32)
FIELD(bfi_64, uint64_t, 64)

UNARY(cvt_s64_s32, int64_t, int32_t, a)
UNARY(cvt_u64_u32, uint64_t, uint32_t, a)
UNARY(cvt_u32_u64, uint32_t, uint64_t, a)
UNARY(cvt_u32_u16, uint32_t, uint32_t, LOW(a))
UNARY(mov_32, uint32_t, uint32_t, a)
UNARY(mov_64, uint64_t, uint64_t, a)

#define SELECT(name, T)                                                                            \
    static void name(warp *w, const ptx_instruction *i, uint32_t lanes)                            \
    {                                                                                              \
        T *d = OPERAND(T, 0);                                                                      \
        const T *a = OPERAND(T, 1), *b = OPERAND(T, 2);                                            \
        uint32_t p = MASK(3);                                                                      \
        EACH_LANE(d[l] = p >> l & 1 ? a[l] : b[l];);                                               \
    }
SELECT(selp_32, uint32_t)
SELECT(selp_64, uint64_t)

#define COMPARE(name, T, ...)                                                                      \
    static void name(warp *w, const ptx_instruction *i, uint32_t lanes)                            \
    {                                                                                              \
        const T *x = OPERAND(T, 1), *y = OPERAND(T, 2);                                            \
        uint32_t all = 0;                                                                          \
        for (int l = 0; l < PTX_LANES; l++) {                                                      \
            T a = x[l], b = y[l];                                                                  \
            all |= (uint32_t)(__VA_ARGS__) << l;                                                   \
        }                                                                                          \
        set_lanes(&MASK(0), lanes, all);                                                           \
    }
COMPARE(eq_16, uint32_t, LOW(a) == LOW(b))
COMPARE(ne_16, uint32_t, LOW(a) != LOW(b))
COMPARE(eq_32, uint32_t, a == b)
COMPARE(ne_32, uint32_t, a != b)
COMPARE(lt_s32, int32_t, a < b)
COMPARE(le_s32, int32_t, a <= b)
COMPARE(gt_s32, int32_t, a > b)
COMPARE(ge_s32, int32_t, a >= b)
COMPARE(lt_u32, uint32_t, a < b)
COMPARE(le_u32, uint32_t, a <= b)
COMPARE(gt_u32, uint32_t, a > b)
COMPARE(ge_u32, uint32_t, a >= b)
COMPARE(eq_64, uint64_t, a == b)
COMPARE(ne_64, uint64_t, a != b)
COMPARE(lt_s64, int64_t, a < b)
COMPARE(lt_u64, uint64_t, a < b)
COMPARE(le_u64, uint64_t, a <= b)
COMPARE(gt_u64, uint64_t, a > b)
COMPARE(ge_u64, uint64_t, a >= b)
COMPARE(lt_f32, float, a < b)
COMPARE(gt_f32, float, a > b)
COMPARE(ge_f32, float, a >= b)
COMPARE(le_f32, float, a <= b)
COMPARE(eq_f32, float, a == b)
// Also where one is no number.
COMPARE(ltu_f32, float, !(a >= b))
COMPARE(leu_f32, float, !(a > b))
COMPARE(gtu_f32, float, !(a <= b))
COMPARE(geu_f32, float, !(a < b))
COMPARE(neu_f32, float, !(a == b))

#define PREDICATE(name, ...)                                                                       \
    static void name(warp *w, const ptx_instruction *i, uint32_t lanes)                            \
    {                                                                                              \
        uint32_t a = MASK(1), b = i->n_operands > 2 ? MASK(2) : 0;                                 \
        (void)b;                                                                                   \
        set_lanes(&MASK(0), lanes, __VA_ARGS__);                                                   \
    }
PREDICATE(mov_pred, a)
PREDICATE(not_pred, ~a)
PREDICATE(and_pred, a &b)
PREDICATE(or_pred, a | b)
PREDICATE(xor_pred, a ^ b)

ptx_run ptx_move_local, ptx_move_parameter, ptx_pack, ptx_unpack, ptx_clock, ptx_clock64;

void ptx_move_local(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    uint64_t *d = OPERAND(uint64_t, 0);
    uint64_t at = (uint64_t)(uintptr_t)OPERAND(char, 1);
    EACH_LANE(d[l] = at + (uint64_t)(l * i->stride););
}
void ptx_move_parameter(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    uint64_t *d = OPERAND(uint64_t, 0);
    uint64_t at = (uint64_t)(uintptr_t)w->group->grid->parameters + (uint64_t)i->offset;
    EACH_LANE(d[l] = at;);
}
// {low, high} as one, and back: halves of 16 or 32 bits.
void ptx_pack(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    const uint32_t *low = OPERAND(uint32_t, 1), *high = OPERAND(uint32_t, 2);
    uint32_t *d = OPERAND(uint32_t, 0);
    uint64_t *q = OPERAND(uint64_t, 0);
    if (i->wide)
        EACH_LANE(q[l] = (uint64_t)high[l] << 32 | low[l];);
    else
        EACH_LANE(d[l] = high[l] << 16 | LOW(low[l]););
}
void ptx_unpack(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    uint32_t *low = OPERAND(uint32_t, 0), *high = OPERAND(uint32_t, 1);
    const uint32_t *a = OPERAND(uint32_t, 2);
    const uint64_t *q = OPERAND(uint64_t, 2);
    if (i->wide)
        EACH_LANE(uint64_t v = q[l]; low[l] = (uint32_t)v; high[l] = (uint32_t)(v >> 32););
    else
        EACH_LANE(uint32_t v = a[l]; low[l] = LOW(v); high[l] = v >> 16;);
}
void ptx_clock(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    uint32_t *d = OPERAND(uint32_t, 0), now = (uint32_t)w->group->grid->n_run;
    EACH_LANE(d[l] = now;);
}
void ptx_clock64(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    uint64_t *d = OPERAND(uint64_t, 0), now = w->group->grid->n_run;
    EACH_LANE(d[l] = now;);
}

#define PLAIN PTX_PLAIN
const ptx_row ptx_integer_rows[] = {
    {"add.s16", "www", add_16, PLAIN},
    {"sub.s16", "www", sub_16, PLAIN},
    {"mul.lo.s16", "www", mul_16, PLAIN},
    {"and.b16", "www", and_16, PLAIN},
    {"or.b16", "www", or_16, PLAIN},
    {"xor.b16", "www", xor_16, PLAIN},
    {"shl.b16", "www", shl_16, PLAIN},
    {"shr.u16", "www", shr_16, PLAIN},
    {"neg.s16", "ww", neg_16, PLAIN},
    {"mul.wide.u16", "www", mul_wide_16, PLAIN},
    {"add.s32", "www", add_32, PLAIN},
    {"sub.s32", "www", sub_32, PLAIN},
    {"mul.lo.s32", "www", mul_32, PLAIN},
    {"mul.hi.u32", "www", mul_hi_u32, PLAIN},
    {"mul.hi.s32", "www", mul_hi_s32, PLAIN},
    {"mul.wide.s32", "qww", mul_wide_s32, PLAIN},
    {"mul.wide.u32", "qww", mul_wide_u32, PLAIN},
    {"mad.lo.s32", "wwww", mad_32, PLAIN},
    {"mad.wide.u32", "qwwq", mad_wide_u32, PLAIN},
    {"div.s32", "www", div_s32, PLAIN},
    {"div.u32", "www", div_u32, PLAIN},
    {"rem.s32", "www", rem_s32, PLAIN},
    {"rem.u32", "www", rem_u32, PLAIN},
    {"min.s32", "www", min_s32, PLAIN},
    {"max.s32", "www", max_s32, PLAIN},
    {"min.u32", "www", min_u32, PLAIN},
    {"max.u32", "www", max_u32, PLAIN},
    {"and.b32", "www", and_32, PLAIN},
    {"or.b32", "www", or_32, PLAIN},
    {"xor.b32", "www", xor_32, PLAIN},
    {"not.b32", "ww", not_32, PLAIN},
    {"neg.s32", "ww", neg_32, PLAIN},
    {"shl.b32", "www", shl_32, PLAIN},
    {"shr.u32", "www", shr_u32, PLAIN},
    {"shr.s32", "www", shr_s32, PLAIN},
    {"clz.b32", "ww", clz_32, PLAIN},
    {"popc.b32", "ww", popc_32, PLAIN},
    {"bfind.shiftamt.u32", "ww", bfind_shift_u32, PLAIN},
    {"brev.b32", "ww", brev_32, PLAIN},
    {"prmt.b32", "wwww", prmt_32, PLAIN},
    {"lop3.b32", "wwwww", lop3_32, PLAIN},
    {"bfi.b32", "wwwww", bfi_32, PLAIN},
    {"bfi.b64", "qqqww", bfi_64, PLAIN},
    {"add.s64", "qqq", add_64, PLAIN},
    {"add.u64", "qqq", add_64, PLAIN},
    {"sub.s64", "qqq", sub_64, PLAIN},
    {"mul.lo.s64", "qqq", mul_64, PLAIN},
    {"div.s64", "qqq", div_s64, PLAIN},
    {"div.u64", "qqq", div_u64, PLAIN},
    {"rem.u64", "qqq", rem_u64, PLAIN},
    {"min.u64", "qqq", min_u64, PLAIN},
    {"max.u64", "qqq", max_u64, PLAIN},
    {"and.b64", "qqq", and_64, PLAIN},
    {"or.b64", "qqq", or_64, PLAIN},
    {"xor.b64", "qqq", xor_64, PLAIN},
    {"shl.b64", "qqw", shl_64, PLAIN},
    {"shr.u64", "qqw", shr_u64, PLAIN},
    {"shr.s64", "qqw", shr_s64, PLAIN},
    {"cvt.s64.s32", "qw", cvt_s64_s32, PLAIN},
    {"cvt.u64.u32", "qw", cvt_u64_u32, PLAIN},
    {"cvt.u32.u64", "wq", cvt_u32_u64, PLAIN},
    {"cvt.u32.u16", "ww", cvt_u32_u16, PLAIN},
    {"cvt.u16.u32", "ww", cvt_u32_u16, PLAIN},
    {"cvta.local.u64", "qq", mov_64, PLAIN},
    {"cvta.to.local.u64", "qq", mov_64, PLAIN},
    {"cvta.to.global.u64", "qq", mov_64, PLAIN},
    {"mov.u16", "mw", mov_32, PLAIN},
    {"mov.b32", "mw", mov_32, PLAIN},
    {"mov.u32", "mw", mov_32, PLAIN},
    {"mov.f32", "mw", mov_32, PLAIN},
    {"mov.b64", "mq", mov_64, PLAIN},
    {"mov.u64", "mq", mov_64, PLAIN},
    {"mov.pred", "pp", mov_pred, PLAIN},
    {"not.pred", "pp", not_pred, PLAIN},
    {"and.pred", "ppp", and_pred, PLAIN},
    {"or.pred", "ppp", or_pred, PLAIN},
    {"xor.pred", "ppp", xor_pred, PLAIN},
    {"selp.b32", "wwwp", selp_32, PLAIN},
    {"selp.f32", "wwwp", selp_32, PLAIN},
    {"selp.u32", "wwwp", selp_32, PLAIN},
    {"selp.u16", "wwwp", selp_32, PLAIN},
    {"selp.b64", "qqqp", selp_64, PLAIN},
    {"setp.eq.s16", "pww", eq_16, PLAIN},
    {"setp.ne.s16", "pww", ne_16, PLAIN},
    {"setp.eq.b32", "pww", eq_32, PLAIN},
    {"setp.ne.b32", "pww", ne_32, PLAIN},
    {"setp.eq.s32", "pww", eq_32, PLAIN},
    {"setp.ne.s32", "pww", ne_32, PLAIN},
    {"setp.lt.s32", "pww", lt_s32, PLAIN},
    {"setp.le.s32", "pww", le_s32, PLAIN},
    {"setp.gt.s32", "pww", gt_s32, PLAIN},
    {"setp.ge.s32", "pww", ge_s32, PLAIN},
    {"setp.lt.u32", "pww", lt_u32, PLAIN},
    {"setp.le.u32", "pww", le_u32, PLAIN},
    {"setp.gt.u32", "pww", gt_u32, PLAIN},
    {"setp.ge.u32", "pww", ge_u32, PLAIN},
    {"setp.eq.b64", "pqq", eq_64, PLAIN},
    {"setp.ne.b64", "pqq", ne_64, PLAIN},
    {"setp.eq.s64", "pqq", eq_64, PLAIN},
    {"setp.ne.s64", "pqq", ne_64, PLAIN},
    {"setp.lt.s64", "pqq", lt_s64, PLAIN},
    {"setp.lt.u64", "pqq", lt_u64, PLAIN},
    {"setp.le.u64", "pqq", le_u64, PLAIN},
    {"setp.gt.u64", "pqq", gt_u64, PLAIN},
    {"setp.ge.u64", "pqq", ge_u64, PLAIN},
    {"setp.lt.f32", "pww", lt_f32, PLAIN},
    {"setp.le.f32", "pww", le_f32, PLAIN},
    {"setp.gt.f32", "pww", gt_f32, PLAIN},
    {"setp.ge.f32", "pww", ge_f32, PLAIN},
    {"setp.eq.f32", "pww", eq_f32, PLAIN},
    {"setp.ltu.f32", "pww", ltu_f32, PLAIN},
    {"setp.leu.f32", "pww", leu_f32, PLAIN},
    {"setp.gtu.f32", "pww", gtu_f32, PLAIN},
    {"setp.geu.f32", "pww", geu_f32, PLAIN},
    {"setp.neu.f32", "pww", neu_f32, PLAIN},
    {NULL, NULL, NULL, PLAIN},
};
