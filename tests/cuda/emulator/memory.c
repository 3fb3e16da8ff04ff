// Loads, stores, atomics, addresses. See ptx.h.
#include <string.h>

#include "halves.h"
#include "races.h"
#include "warp.h"

static char *place(const warp *w, const ptx_instruction *i, int n, int lane, int n_bytes,
                   int alignment)
{
    if (i->space == PTX_LAUNCHED) return (char *)(uintptr_t)w->group->grid->parameters + i->offset;
    if ((i->space == PTX_LOCAL || i->space == PTX_PARAMETER) && i->stride) // by its name
        return OPERAND(char, n) + (ptrdiff_t)lane * i->stride + i->offset;
    uint64_t address = address_in(w, i, n, lane) + (uint64_t)i->offset;
    if (i->space == PTX_SHARED) return warp_shared(w, i, address, n_bytes, alignment);
    if (i->space == PTX_GLOBAL || i->space == PTX_ANYWHERE)
        return warp_global(w, i, address, n_bytes, alignment);
    return (char *)(uintptr_t)address;
}

// One element of each lane between memory and registers of type R, by way of type T: as wide as in memory, with its sign or without.
#define MOVE_IN(R, T)                                                                              \
    for (uint32_t m = lanes; m; m &= m - 1) {                                                      \
        int l = __builtin_ctz(m);                                                                  \
        T v;                                                                                       \
        memcpy(&v, at[l] + k * (int)sizeof v, sizeof v);                                           \
        ((R *)registers)[l] = (R)v;                                                                \
    }
#define MOVE_OUT(R, T)                                                                             \
    for (uint32_t m = lanes; m; m &= m - 1) {                                                      \
        int l = __builtin_ctz(m);                                                                  \
        T v = (T)((const R *)registers)[l];                                                        \
        memcpy(at[l] + k * (int)sizeof v, &v, sizeof v);                                           \
    }

enum { SIGNED = 16, WIDE = 32 };
static int form(const ptx_instruction *i)
{
    return i->bytes | (i->is_signed ? SIGNED : 0) | (i->wide ? WIDE : 0);
}

static void move_in(char *const at[PTX_LANES], int k, void *registers, int form, uint32_t lanes)
{
    switch (form) {
    case 1:
        MOVE_IN(uint32_t, uint8_t);
        break;
    case 1 | SIGNED:
        MOVE_IN(uint32_t, int8_t);
        break;
    case 2:
        MOVE_IN(uint32_t, uint16_t);
        break;
    case 2 | SIGNED:
        MOVE_IN(uint32_t, int16_t);
        break;
    case 1 | WIDE:
        MOVE_IN(uint64_t, uint8_t);
        break;
    case 1 | WIDE | SIGNED:
        MOVE_IN(uint64_t, int8_t);
        break;
    case 2 | WIDE:
        MOVE_IN(uint64_t, uint16_t);
        break;
    case 2 | WIDE | SIGNED:
        MOVE_IN(uint64_t, int16_t);
        break;
    case 4 | WIDE:
        MOVE_IN(uint64_t, uint32_t);
        break;
    case 4 | WIDE | SIGNED:
        MOVE_IN(uint64_t, int32_t);
        break;
    case 8 | WIDE:
    case 8 | WIDE | SIGNED:
        MOVE_IN(uint64_t, uint64_t);
        break;
    default:
        MOVE_IN(uint32_t, uint32_t);
        break;
    }
}

static void move_out(char *const at[PTX_LANES], int k, const void *registers, int form,
                     uint32_t lanes)
{
    switch (form & ~SIGNED) {
    case 1:
        MOVE_OUT(uint32_t, uint8_t);
        break;
    case 2:
        MOVE_OUT(uint32_t, uint16_t);
        break;
    case 1 | WIDE:
        MOVE_OUT(uint64_t, uint8_t);
        break;
    case 2 | WIDE:
        MOVE_OUT(uint64_t, uint16_t);
        break;
    case 4 | WIDE:
        MOVE_OUT(uint64_t, uint32_t);
        break;
    case 8 | WIDE:
        MOVE_OUT(uint64_t, uint64_t);
        break;
    default:
        MOVE_OUT(uint32_t, uint32_t);
        break;
    }
}

// Whether all lanes' addresses lie from `from` on in n_bytes, and at multiples of `n`, a power of two.
static bool are_within(const uint64_t address[PTX_LANES], uint64_t from, uint64_t n_bytes,
                       uint64_t n)
{
    uint64_t outside = 0;
    LANES_APART
    for (int l = 0; l < PTX_LANES; l++)
        outside |= (uint64_t)(address[l] - from > n_bytes - n) | (address[l] & (n - 1));
    return !outside;
}

// All lanes at once where all are there and all is well; else one by one, which tells what is wrong. Whether some may be
// shared memory.
static bool find_places(const warp *w, const ptx_instruction *i, int operand, uint32_t lanes,
                        char *at[PTX_LANES])
{
    uint64_t address[PTX_LANES], from = 0, n_bytes = 0;
    int n = i->count * i->bytes;
    if (lanes == UINT32_MAX && i->space == PTX_SHARED)
        n_bytes = (uint64_t)w->group->grid->shared_bytes;
    else if (lanes == UINT32_MAX && (i->space == PTX_GLOBAL || i->space == PTX_ANYWHERE))
        n_bytes = card_hinted(i, &from);
    if (n_bytes >= (uint64_t)n) {
        for (int l = 0; l < PTX_LANES; l++)
            address[l] = address_in(w, i, operand, l) + (uint64_t)i->offset;
        if (are_within(address, from, n_bytes, (uint64_t)n)) {
            char *base = i->space == PTX_SHARED ? w->group->shared : NULL;
            for (int l = 0; l < PTX_LANES; l++)
                at[l] = (char *)((uintptr_t)base + address[l]);
            return i->space == PTX_SHARED;
        }
    }
    for (uint32_t m = lanes; m; m &= m - 1) {
        int l = __builtin_ctz(m);
        at[l] = place(w, i, operand, l, n, n);
    }
    return i->space == PTX_SHARED || i->space == PTX_ANYWHERE;
}

// Registers first, the address last.
static void load(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    char *at[PTX_LANES];
    w->yields = i->polls;
    if (find_places(w, i, i->count, lanes, at))
        races_lanes(w, i, at, lanes, i->count * i->bytes, i->shares ? RACE_SYNC_READS : RACE_READS);
    for (int k = 0; k < i->count; k++)
        move_in(at, k, OPERAND(char, k), form(i), lanes);
}

// The address first.
static void store(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    char *at[PTX_LANES];
    tell(w->group->grid);
    if (find_places(w, i, 0, lanes, at)) {
        races_lanes(w, i, at, lanes, i->count * i->bytes,
                    i->shares ? RACE_SYNC_WRITES : RACE_WRITES);
        for (uint32_t m = lanes; m; m &= m - 1)
            note_written(w, at[__builtin_ctz(m)], i->count * i->bytes);
    }
    for (int k = 0; k < i->count; k++)
        move_out(at, k, OPERAND(char, 1 + k), form(i), lanes);
}

// Where the atomic operation of a lane is.
static void *atomic_place(const warp *w, const ptx_instruction *i, int n, int lane)
{
    char *at[PTX_LANES];
    at[lane] = place(w, i, n, lane, 4, 4);
    if (i->space != PTX_GLOBAL) races_lanes(w, i, at, 1u << lane, 4, RACE_SYNC_WRITES);
    return at[lane];
}

static void atomic_add(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    for (uint32_t m = lanes; m; m &= m - 1) {
        int l = __builtin_ctz(m);
        uint32_t *at = atomic_place(w, i, 1, l), before = *at;
        *at = before + OPERAND(uint32_t, 2)[l];
        OPERAND(uint32_t, 0)[l] = before;
    }
}

static void atomic_max(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    for (uint32_t m = lanes; m; m &= m - 1) {
        int l = __builtin_ctz(m);
        int32_t *at = atomic_place(w, i, 1, l), before = *at, v = OPERAND(int32_t, 2)[l];
        *at = v > before ? v : before;
        OPERAND(int32_t, 0)[l] = before;
    }
}

static void reduce_add(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    for (uint32_t m = lanes; m; m &= m - 1) {
        int l = __builtin_ctz(m);
        *(uint32_t *)atomic_place(w, i, 0, l) += OPERAND(uint32_t, 1)[l];
    }
}

// Memory's own adding takes denormal numbers for 0.
static float flushed(float v)
{
    return v < 0x1p-126f && v > -0x1p-126f ? 0 : v;
}
static void reduce_add_floats(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    for (uint32_t m = lanes; m; m &= m - 1) {
        int l = __builtin_ctz(m);
        float *at = (float *)(void *)place(w, i, 0, l, 16, 16);
        for (int k = 0; k < 4; k++)
            at[k] = flushed(flushed(at[k]) + flushed(OPERAND(float, 1 + k)[l]));
    }
}

static void generic_of_shared(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    const uint64_t *a = OPERAND(uint64_t, 1);
    uint64_t *d = OPERAND(uint64_t, 0), base = (uint64_t)(uintptr_t)w->group->shared;
    EACH_LANE(d[l] = a[l] + base;);
}
static void shared_of_generic(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    const uint64_t *a = OPERAND(uint64_t, 1);
    uint64_t *d = OPERAND(uint64_t, 0), base = (uint64_t)(uintptr_t)w->group->shared;
    EACH_LANE(d[l] = a[l] - base;);
}

const ptx_row ptx_memory_rows[] = {
    {"cvta.shared.u64", "qq", generic_of_shared, PTX_PLAIN},
    {"cvta.to.shared.u64", "qq", shared_of_generic, PTX_PLAIN},
    {NULL, NULL, NULL, PTX_PLAIN},
};

/* ---- names: ld and st, then how, where, how many, what ---- */

static bool has(const char *m, int n, const char *part)
{
    size_t length = strlen(part);
    for (int k = 0; k + (int)length <= n; k++)
        if (!memcmp(m + k, part, length) && (k + (int)length == n || m[k + (int)length] == '.'))
            return true;
    return false;
}

static ptx_space space_of(const char *m, int n)
{
    return has(m, n, ".global")   ? PTX_GLOBAL
           : has(m, n, ".shared") ? PTX_SHARED
           : has(m, n, ".local")  ? PTX_LOCAL
           : has(m, n, ".param")  ? PTX_PARAMETER
                                  : PTX_ANYWHERE;
}

static int bytes_of(const char *m, int n)
{
    return m[n - 1] == '8' ? 1 : m[n - 1] == '6' ? 2 : m[n - 1] == '2' ? 4 : 8;
}

static bool starts(const char *m, int n, const char *what)
{
    return n > (int)strlen(what) && !memcmp(m, what, strlen(what));
}

static bool is_atomic(const char *m, int n, ptx_instruction *i, const char **letters)
{
    static const struct {
        const char *begins, *ends, *letters;
        ptx_run *run;
    } rows[] = {
        {"atom.", ".add.u32", "waw", atomic_add},
        {"atom.", ".max.s32", "waw", atomic_max},
        {"red.", ".add.u32", "aw", reduce_add},
        {"red.", ".add.v4.f32", "aw", reduce_add_floats},
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        int length = (int)strlen(rows[k].ends);
        if (!starts(m, n, rows[k].begins) || n <= length ||
            memcmp(m + n - length, rows[k].ends, (size_t)length))
            continue;
        i->run = rows[k].run;
        *letters = rows[k].letters;
        return true;
    }
    return false;
}

const char *ptx_memory_kind(const char *m, int n, ptx_instruction *i)
{
    const char *letters = NULL;
    i->space = (uint8_t)space_of(m, n);
    if (is_atomic(m, n, i, &letters)) return letters;
    bool loads = starts(m, n, "ld.");
    if (!loads && !starts(m, n, "st.")) return NULL;
    i->run = loads ? load : store;
    i->bytes = (uint8_t)bytes_of(m, n);
    i->is_signed = m[n - (i->bytes == 1 ? 2 : 3)] == 's';
    i->shares = has(m, n, ".relaxed") || has(m, n, ".acquire") || has(m, n, ".release") ||
                has(m, n, ".volatile"); // as relaxed, by the PTX ISA
    i->polls = loads && i->shares;
    i->count = has(m, n, ".v4") ? 4 : has(m, n, ".v2") ? 2 : 1;
    return loads ? (i->bytes == 8 ? "qa" : "wa") : i->bytes == 8 ? "aq" : "aw";
}
