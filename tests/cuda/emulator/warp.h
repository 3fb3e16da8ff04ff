// Warps that run PTX: their registers and lanes, and the group of threads that they belong to. See grid.h for launches.
#ifndef QN_TEST_WARP_H
#define QN_TEST_WARP_H

#include <setjmp.h>

#include "ptx.h"

enum { N_BARRIERS = 16, N_SPECIALS = 24, MAX_WARPS = 32, MOST_OF_CLUSTER = 2 };

typedef struct grid grid;
typedef struct group group;
typedef struct race_cell race_cell;
typedef struct races races;

// Lanes that are at one instruction.
typedef struct {
    uint32_t lanes;
    int at;
    bool meets; // waits for other lanes
} split;

typedef struct {
    ptx_function *f;
    char *registers;
    size_t room; // bytes of registers
    int n_splits, active;
    split splits[PTX_LANES];
} frame;

// A copy by cp.async that a lane has started.
typedef struct {
    char *to;
    const char *from;
    int n_bytes, n_read, lane, age; // age: commits since
    uint32_t clock;                 // races.h's
    bool bulk;
} own_copy;

// A product that the matrix units have still to do.
typedef struct {
    const ptx_instruction *of;
    const char *registers;
    int age;
    uint32_t clock; // races.h's
} own_product;

enum { MAX_PRODUCTS = 64 };

struct warp {
    const char *bases[PTX_N_BASES]; // of the frame that runs
    group *group;
    int index;
    uint32_t alive;
    int depth;
    frame frames[8];
    uint64_t specials[N_SPECIALS]
                     [PTX_LANES]; // 8 bytes of room a lane; numbers of 4 bytes lie side by side
    bool blocked;                 // at a barrier
    bool again;                   // the instruction could not run yet
    bool yields;
    bool apart; // of this turn: the active lanes don't wait for the others
    unsigned cluster_phase, turns;
    int n_copies, room_for_copies;
    own_copy *copies;
    int n_products;
    own_product products[MAX_PRODUCTS];
};

struct group {
    grid *grid;
    unsigned at[3];    // blockIdx
    int cluster, rank; // which cluster of those that run, which of its groups
    int n_warps, n_alive;
    warp *warps;
    char *shared;
    uint8_t *
        unfenced; // 16 bytes each: 1 + which warp has written there since its last fence for copies and matrix units; 0: none
    int arrived[N_BARRIERS];
    uint32_t waiting[N_BARRIERS];
    race_cell *cells; // races.h's, as is the rest
    size_t n_cells;
    races *races, *own_races; // the cluster's, and room for one
    int era;
};

// A copy that the copy engine has still to do: it comes at any time.
typedef struct {
    char *to;
    const char *from;
    int n_bytes;
    uint64_t *barrier;
    group *group;
} engine_copy;

// The launch that runs.
struct grid {
    ptx_module *module;
    ptx_function *entry;
    const char *parameters;
    unsigned n_groups[3], n_threads;
    int shared_bytes;
    int n_slots, cluster;
    group *slots; // those that run, cluster by cluster
    unsigned *cluster_arrived, *cluster_phases;
    unsigned long long next, n_total;
    uint64_t patience, random, n_run,
        told; // told: n_run when something last changed that others may wait for
    engine_copy *copies;
    int n_copies, room_for_copies;
    jmp_buf failed;
    char *error; // 512 bytes
};

// Runs up to n instructions of the warp, or until it can't go on.
void warp_run(warp *w, int n);
// Its lanes from the beginning of the entry.
void warp_start(warp *w, group *g, int index);
// Ends the launch with one line: kernel, line of the text, group, warp, what.
_Noreturn void warp_fail(const warp *w, const ptx_instruction *i, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
uint64_t grid_random(grid *g);

// Others may be able to go on now.
static inline void tell(grid *g)
{
    g->told = g->n_run;
}

// ---- for what runs instructions ----

static inline void *at_operand(const warp *w, ptx_operand o)
{
    return (void *)(uintptr_t)(w->bases[o >> PTX_BASE_SHIFT] + (o & ((1 << PTX_BASE_SHIFT) - 1)));
}
#define OPERAND(T, n) ((T *)at_operand(w, i->operands[n]))
#define MASK(n) (*OPERAND(uint32_t, n))

// A lane of a result depends on the same lane of operands only. (clang would warn of each loop that has no vectors after all.)
#if defined __clang__
#define LANES_APART
#else
#define LANES_APART _Pragma("GCC ivdep")
#endif
// Does what follows with l, a lane, for each of them.
#define EACH_LANE(...)                                                                             \
    do {                                                                                           \
        if (lanes == UINT32_MAX) {                                                                 \
            LANES_APART                                                                            \
            for (int l = 0; l < PTX_LANES; l++) {                                                  \
                __VA_ARGS__                                                                        \
            }                                                                                      \
        } else {                                                                                   \
            for (uint32_t m_ = lanes; m_; m_ &= m_ - 1) {                                          \
                int l = __builtin_ctz(m_);                                                         \
                __VA_ARGS__                                                                        \
            }                                                                                      \
        }                                                                                          \
    } while (0)

// An instruction of one operand a, of two, a and b: the function that runs it.
#define UNARY(name, T, U, ...)                                                                     \
    static void name(warp *w, const ptx_instruction *i, uint32_t lanes)                            \
    {                                                                                              \
        T *d = OPERAND(T, 0);                                                                      \
        const U *x = OPERAND(U, 1);                                                                \
        EACH_LANE(U a = x[l]; d[l] = (T)(__VA_ARGS__););                                           \
    }
#define BINARY(name, T, U, V, ...)                                                                 \
    static void name(warp *w, const ptx_instruction *i, uint32_t lanes)                            \
    {                                                                                              \
        T *d = OPERAND(T, 0);                                                                      \
        const U *x = OPERAND(U, 1);                                                                \
        const V *y = OPERAND(V, 2);                                                                \
        EACH_LANE(U a = x[l]; V b = y[l]; d[l] = (T)(__VA_ARGS__););                               \
    }

static inline void set_lanes(uint32_t *mask, uint32_t lanes, uint32_t value)
{
    *mask = (*mask & ~lanes) | (value & lanes);
}

static inline float float_of(uint32_t bits)
{
    union {
        uint32_t u;
        float f;
    } v = {.u = bits};
    return v.f;
}
static inline uint32_t bits_of(float f)
{
    union {
        float f;
        uint32_t u;
    } v = {.f = f};
    return v.u;
}

// Memory, checked: the launch fails where there is none, or where the address is no multiple of `alignment`.
char *warp_global(const warp *w, const ptx_instruction *i, uint64_t address, int n_bytes,
                  int alignment);
uint64_t card_hinted(const ptx_instruction *i,
                     uint64_t *from); // bytes of the memory where the instruction was last; 0: none
char *warp_shared(const warp *w, const ptx_instruction *i, uint64_t address, int n_bytes,
                  int alignment);
// Shared memory that a thread's own instruction has written; that copies and matrix units are about to read: the launch fails where a
// fence between is missing.
static inline void note_written(const warp *w, const char *at, int n_bytes)
{
    size_t offset = (size_t)(at - w->group->shared);
    if (offset >= (size_t)w->group->grid->shared_bytes) return; // a place in other memory
    for (size_t k = offset / 16; k <= (offset + (size_t)n_bytes - 1) / 16; k++)
        w->group->unfenced[k] = (uint8_t)(1 + w->index);
}
void warp_check_fenced(const warp *w, const ptx_instruction *i, const char *at, int n_bytes);
// The address of operand n in a lane, without offsets.
static inline uint64_t address_in(const warp *w, const ptx_instruction *i, int n, int lane)
{
    return i->wide_address ? OPERAND(uint64_t, n)[lane] : OPERAND(uint32_t, n)[lane];
}

// The tables of instructions, a file each; a row is found by its whole name.
typedef struct {
    const char *name, *operands;
    ptx_run *run;
    ptx_kind kind;
} ptx_row;
extern const ptx_row ptx_integer_rows[], ptx_float_rows[], ptx_memory_rows[], ptx_warp_rows[],
    ptx_matrix_rows[], ptx_copy_rows[];
const char *ptx_memory_kind(const char *mnemonic, int length, ptx_instruction *i);

#endif
