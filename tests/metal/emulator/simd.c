// The simdgroup's collective operations. A lane leaves its operand and waits; when all 32 wait in the same operation,
// resolve() gives each its result. Sums and products of matrices have one fixed order, the same for every seed.
#include <math.h>
#include <string.h>

#include "internal.h"

enum { LANES = QN_EMULATOR_LANES };

static qn_emulator_fiber *wait_in(uint32_t op, uint32_t arg, const void *site)
{
    qn_emulator_fiber *f = qn_emulator_now.current;
    f->op = op;
    f->arg = arg;
    f->site = site;
    qn_emulator_fiber_wait(QN_EMULATOR_IN_SIMD);
    return f;
}

// Called by kernels through the shim.
float qn_emulator_simd_f(uint32_t op, float x, uint32_t arg)
{
    qn_emulator_now.current->value.f = x;
    return wait_in(op | QN_EMULATOR_FLOAT, arg, __builtin_return_address(0))->value.f;
}

uint32_t qn_emulator_simd_u(uint32_t op, uint32_t x, uint32_t arg)
{
    qn_emulator_now.current->value.u = x;
    return wait_in(op | QN_EMULATOR_UINT, arg, __builtin_return_address(0))->value.u;
}

int32_t qn_emulator_simd_i(uint32_t op, int32_t x, uint32_t arg)
{
    qn_emulator_now.current->value.i = x;
    return wait_in(op | QN_EMULATOR_INT, arg, __builtin_return_address(0))->value.i;
}

// Checks that every lane names the same memory and stride.
void qn_emulator_simd_uniform(const void *pointer, uint64_t stride)
{
    uint64_t key = (uint64_t)(uintptr_t)pointer * 31 + stride;
    wait_in(QN_EMULATOR_UNIFORM, (uint32_t)(key ^ key >> 32), __builtin_return_address(0));
}

// a b + c of 8x8 matrices, of which each lane has two elements (see shim/metal_matrix).
qn_emulator_pair qn_emulator_simd_matrix(qn_emulator_pair a, qn_emulator_pair b, qn_emulator_pair c)
{
    qn_emulator_fiber *f = qn_emulator_now.current;
    f->a = a;
    f->b = b;
    f->c = c;
    wait_in(QN_EMULATOR_MATRIX, 0, __builtin_return_address(0));
    return f->c;
}

uint32_t qn_emulator_lane(void)
{
    return (uint32_t)(qn_emulator_now.current - qn_emulator_now.fibers) % LANES;
}

static const char *const names[QN_EMULATOR_N_OPERATIONS] = {
    [QN_EMULATOR_SUM] = "simd_sum",
    [QN_EMULATOR_MAX] = "simd_max",
    [QN_EMULATOR_MIN] = "simd_min",
    [QN_EMULATOR_AND] = "simd_and (or simd_all)",
    [QN_EMULATOR_OR] = "simd_or (or simd_any)",
    [QN_EMULATOR_XOR] = "simd_xor",
    [QN_EMULATOR_PREFIX_EXCLUSIVE] = "simd_prefix_exclusive_sum",
    [QN_EMULATOR_PREFIX_INCLUSIVE] = "simd_prefix_inclusive_sum",
    [QN_EMULATOR_SHUFFLE] = "simd_shuffle",
    [QN_EMULATOR_SHUFFLE_XOR] = "simd_shuffle_xor",
    [QN_EMULATOR_SHUFFLE_DOWN] = "simd_shuffle_down",
    [QN_EMULATOR_SHUFFLE_UP] = "simd_shuffle_up",
    [QN_EMULATOR_BROADCAST] = "simd_broadcast",
    [QN_EMULATOR_BALLOT] = "simd_ballot",
    [QN_EMULATOR_UNIFORM] = "simdgroup_load or simdgroup_store",
    [QN_EMULATOR_MATRIX] = "simdgroup_multiply_accumulate",
};

const char *qn_emulator_simd_name(uint32_t op)
{
    uint32_t kind = op & QN_EMULATOR_OPERATION_MASK;
    return kind < QN_EMULATOR_N_OPERATIONS ? names[kind] : "an unknown operation";
}

static float combine_f(uint32_t kind, float a, float b)
{
    if (kind == QN_EMULATOR_SUM) return a + b;
    return (kind == QN_EMULATOR_MAX) == (a > b) ? a : b;
}

static uint32_t combine_u(uint32_t kind, uint32_t a, uint32_t b)
{
    switch (kind) {
    case QN_EMULATOR_SUM:
        return a + b;
    case QN_EMULATOR_MAX:
        return a > b ? a : b;
    case QN_EMULATOR_MIN:
        return a < b ? a : b;
    case QN_EMULATOR_AND:
        return a & b;
    case QN_EMULATOR_OR:
        return a | b;
    default:
        return a ^ b;
    }
}

static void reduce(qn_emulator_fiber *f, uint32_t op)
{
    uint32_t kind = op & QN_EMULATOR_OPERATION_MASK;
    // A signed order is the unsigned one with the sign bit turned.
    bool turn = (op & QN_EMULATOR_INT) && (kind == QN_EMULATOR_MAX || kind == QN_EMULATOR_MIN);
    uint32_t flip = turn ? 1u << 31 : 0;
    qn_emulator_value v[LANES], w[LANES];
    for (int i = 0; i < LANES; i++)
        v[i].u = f[i].value.u ^ flip;
    for (int m = LANES / 2; m; m >>= 1) {
        for (int i = 0; i < LANES; i++) {
            if (op & QN_EMULATOR_FLOAT)
                w[i].f = combine_f(kind, v[i].f, v[i ^ m].f);
            else
                w[i].u = combine_u(kind, v[i].u, v[i ^ m].u);
        }
        memcpy(v, w, sizeof(v));
    }
    for (int i = 0; i < LANES; i++)
        f[i].value.u = v[i].u ^ flip;
}

static void prefix(qn_emulator_fiber *f, uint32_t op)
{
    bool exclusive = (op & QN_EMULATOR_OPERATION_MASK) == QN_EMULATOR_PREFIX_EXCLUSIVE;
    qn_emulator_value sum = {.u = 0}, next;
    for (int i = 0; i < LANES; i++, sum = next) {
        if (op & QN_EMULATOR_FLOAT)
            next.f = sum.f + f[i].value.f;
        else
            next.u = sum.u + f[i].value.u;
        f[i].value = exclusive ? sum : next;
    }
}

static int shuffle(qn_emulator_fiber *f, uint32_t op)
{
    uint32_t kind = op & QN_EMULATOR_OPERATION_MASK, from;
    qn_emulator_value v[LANES];
    for (int i = 0; i < LANES; i++)
        v[i] = f[i].value;
    for (uint32_t i = 0; i < LANES; i++) {
        uint32_t arg = f[i].arg;
        if (arg >= LANES)
            return qn_emulator_fail("%s by or from lane %u, there are 32", names[kind], arg);
        if (kind == QN_EMULATOR_BROADCAST && arg != f[0].arg)
            return qn_emulator_fail("simd_broadcast from lane %u in lane 0 but from %u in lane %u",
                                    f[0].arg, arg, i);
        from = kind == QN_EMULATOR_SHUFFLE_XOR    ? i ^ arg
               : kind == QN_EMULATOR_SHUFFLE_DOWN ? i + arg
               : kind == QN_EMULATOR_SHUFFLE_UP   ? i - arg
                                                  : arg;
        if (from < LANES) f[i].value = v[from]; // else the lane keeps its own
    }
    return 0;
}

static void ballot(qn_emulator_fiber *f)
{
    uint32_t mask = 0;
    for (int i = 0; i < LANES; i++)
        mask |= (uint32_t)(f[i].value.u != 0) << i;
    for (int i = 0; i < LANES; i++)
        f[i].value.u = mask;
}

// Lane i has elements (row, column) and (row, column + 1).
static void element_of(uint32_t lane, uint32_t *row, uint32_t *column)
{
    uint32_t quad = lane / 4;
    *row = (quad & 4) + lane / 2 % 4;
    *column = (quad & 2) * 2 + lane % 2 * 2;
}

#if defined(__x86_64__)
__attribute__((target("fma")))
#endif
static void
matrix(qn_emulator_fiber *f)
{
    float a[8][8], b[8][8], c[8][8];
    uint32_t row, column;
    for (uint32_t i = 0; i < LANES; i++) {
        element_of(i, &row, &column);
        memcpy(&a[row][column], &f[i].a, sizeof(f[i].a));
        memcpy(&b[row][column], &f[i].b, sizeof(f[i].b));
        memcpy(&c[row][column], &f[i].c, sizeof(f[i].c));
    }
    for (row = 0; row < 8; row++)
        for (int k = 0; k < 8; k++)
            for (column = 0; column < 8; column++) {
                int at = qn_emulator_now.uneven_matrices && column > 3 ? 7 - k : k;
                c[row][column] = fmaf(a[row][at], b[at][column], c[row][column]);
            }
    for (uint32_t i = 0; i < LANES; i++) {
        element_of(i, &row, &column);
        memcpy(&f[i].c, &c[row][column], sizeof(f[i].c));
    }
}

int qn_emulator_simd_resolve(qn_emulator_fiber *f)
{
    uint32_t op = f[0].op;
    switch (op & QN_EMULATOR_OPERATION_MASK) {
    case QN_EMULATOR_PREFIX_EXCLUSIVE:
    case QN_EMULATOR_PREFIX_INCLUSIVE:
        prefix(f, op);
        break;
    case QN_EMULATOR_SHUFFLE:
    case QN_EMULATOR_SHUFFLE_XOR:
    case QN_EMULATOR_SHUFFLE_DOWN:
    case QN_EMULATOR_SHUFFLE_UP:
    case QN_EMULATOR_BROADCAST:
        return shuffle(f, op);
    case QN_EMULATOR_BALLOT:
        ballot(f);
        break;
    case QN_EMULATOR_UNIFORM:
        for (int i = 1; i < LANES; i++)
            if (f[i].arg != f[0].arg)
                return qn_emulator_fail(
                    "simdgroup_load or _store of other memory in lane %d than in lane 0", i);
        break;
    case QN_EMULATOR_MATRIX:
        matrix(f);
        break;
    default:
        reduce(f, op);
    }
    return 0;
}
