// Copies that are done by themselves, and the barriers in shared memory that tell of them. What a copy brings is there at the latest moment
// that its wait allows or at a random one before, so a missing wait shows. See ptx.h.
#include <stdlib.h>
#include <string.h>

#include "grid.h"
#include "races.h"

/* ---- barriers in shared memory ---- */

static ptx_run barrier_init;

// What the 8 bytes hold here: a card's are its own.
enum {
    MOST_EXPECTED = 4096
}; // more than the threads of a cluster: what memory holds that no barrier was made in
typedef struct {
    uint16_t expected, pending;
    int32_t bytes_and_phase; // bytes to come · 2 + the phase's parity
} barrier;

static barrier *barrier_at(const warp *w, const ptx_instruction *i, uint64_t address)
{
    barrier *b = (barrier *)(void *)warp_shared(w, i, address, 8, 8);
    if (i->run != barrier_init && (!b->expected || b->expected > MOST_EXPECTED))
        warp_fail(w, i, "a barrier that was not made");
    return b;
}

static void advance(const group *g, barrier *b)
{
    if (b->pending || b->bytes_and_phase >> 1) return;
    b->pending = b->expected;
    b->bytes_and_phase ^= 1;
    races_advanced(g, (const char *)b);
}

// At a barrier of group `of`.
static void arrive_at(const warp *w, const ptx_instruction *i, const group *of, barrier *b)
{
    if (!b->pending) warp_fail(w, i, "more arrive at a barrier than it has room for");
    b->pending--;
    races_arrive_at(w, i, of, (const char *)b);
    advance(of, b);
    tell(w->group->grid);
}

static void barrier_init(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    for (uint32_t m = lanes; m; m &= m - 1) {
        int l = __builtin_ctz(m);
        uint32_t n = OPERAND(uint32_t, 1)[l];
        if (!n || n > MOST_EXPECTED) warp_fail(w, i, "a barrier of %u", n);
        barrier *b = barrier_at(w, i, address_in(w, i, 0, l) + (uint64_t)i->offset);
        *b = (barrier){(uint16_t)n, (uint16_t)n, 0};
        races_made(w, i, w->group, (const char *)b);
    }
}

// A group of the cluster may be named in an address: see map_address.
enum { ELSEWHERE = 1 << 31, RANK_SHIFT = 24 };

static void barrier_arrive(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    for (uint32_t m = lanes; m; m &= m - 1) {
        uint64_t address = address_in(w, i, 0, __builtin_ctz(m)) + (uint64_t)i->offset;
        const group *own = w->group;
        warp there = {.group = w->group, .index = w->index};
        if (address & (uint32_t)ELSEWHERE) {
            int rank = (int)(address >> RANK_SHIFT & 127);
            there.group = &own->grid->slots[own->cluster * own->grid->cluster + rank];
            address &= (1 << RANK_SHIFT) - 1;
        }
        arrive_at(w, i, there.group, barrier_at(&there, i, address));
    }
}

static void map_address(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    uint32_t *d = OPERAND(uint32_t, 0);
    const uint32_t *a = OPERAND(uint32_t, 1), *rank = OPERAND(uint32_t, 2);
    EACH_LANE(d[l] = a[l] | rank[l] << RANK_SHIFT | (uint32_t)ELSEWHERE;);
}

// The operand "_" is not kept: address, bytes.
static void barrier_expect(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    for (uint32_t m = lanes; m; m &= m - 1) {
        int l = __builtin_ctz(m);
        barrier *b = barrier_at(w, i, address_in(w, i, 0, l) + (uint64_t)i->offset);
        b->bytes_and_phase += (int32_t)OPERAND(uint32_t, 1)[l] * 2;
        arrive_at(w, i, w->group, b);
    }
}

static void barrier_try(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    uint32_t over = 0;
    for (uint32_t m = lanes; m; m &= m - 1) {
        int l = __builtin_ctz(m);
        const barrier *b = barrier_at(w, i, address_in(w, i, 1, l) + (uint64_t)i->offset);
        if (((uint32_t)b->bytes_and_phase & 1) != (OPERAND(uint32_t, 2)[l] & 1)) {
            over |= 1u << l;
            races_passed(w, i, (const char *)b);
        }
    }
    set_lanes(&MASK(0), lanes, over);
    if (over != lanes) w->yields = true;
}

/* ---- bulk copies into shared memory ---- */

static void start_engine_copy(warp *w, const ptx_instruction *i, group *to, int lane)
{
    grid *g = w->group->grid;
    // [to], [from], bytes, [barrier] (, mask or policy)
    int n = (int)OPERAND(uint32_t, 2)[lane];
    if (n <= 0 || n % 16) warp_fail(w, i, "a bulk copy of %d bytes", n);
    warp there = {.group = to, .index = w->index};
    if (g->n_copies == g->room_for_copies) {
        g->room_for_copies = g->room_for_copies ? 2 * g->room_for_copies : 256;
        g->copies = realloc(g->copies, (size_t)g->room_for_copies * sizeof *g->copies);
        if (!g->copies) abort();
    }
    uint64_t bar = OPERAND(uint32_t, 3)[lane];
    g->copies[g->n_copies++] = (engine_copy){
        .to = warp_shared(&there, i, OPERAND(uint32_t, 0)[lane], n, 16),
        .from = warp_global(w, i, OPERAND(uint64_t, 1)[lane], n, 16),
        .n_bytes = n,
        .barrier = (uint64_t *)(void *)warp_shared(&there, i, bar, 8, 8),
        .group = to,
    };
    const engine_copy *new = &g->copies[g->n_copies - 1];
    races_copy_in(w, i, to, new->to, n, (const char *)new->barrier);
}

static void copy_in(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    for (uint32_t m = lanes; m; m &= m - 1)
        start_engine_copy(w, i, w->group, __builtin_ctz(m));
}

static void copy_in_all(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    const group *own = w->group;
    for (uint32_t m = lanes; m; m &= m - 1) {
        int l = __builtin_ctz(m);
        uint32_t mask = OPERAND(uint32_t, 4)[l] & 0xffff;
        if (mask >> own->grid->cluster)
            warp_fail(w, i, "mask %x in a cluster of %d", mask, own->grid->cluster);
        for (int rank = 0; rank < own->grid->cluster; rank++)
            if (mask >> rank & 1)
                start_engine_copy(w, i, &own->grid->slots[own->cluster * own->grid->cluster + rank],
                                  l);
    }
}

void copies_finish_one(grid *g, int n)
{
    engine_copy c = g->copies[n];
    g->copies[n] = g->copies[--g->n_copies];
    memcpy(c.to, c.from, (size_t)c.n_bytes);
    memset(c.group->unfenced + (c.to - c.group->shared) / 16, 0, (size_t)c.n_bytes / 16);
    barrier *b = (barrier *)(void *)c.barrier;
    b->bytes_and_phase -= c.n_bytes * 2;
    tell(g);
    advance(c.group, b);
}

/* ---- copies that lanes wait for themselves ---- */

static void keep(warp *w, own_copy c)
{
    if (w->n_copies == w->room_for_copies) {
        w->room_for_copies = w->room_for_copies ? 2 * w->room_for_copies : 64;
        w->copies = realloc(w->copies, (size_t)w->room_for_copies * sizeof *w->copies);
        if (!w->copies) abort();
    }
    w->copies[w->n_copies++] = c;
}

// [to], [from], 16, bytes to read: the rest is 0.
static void copy_16(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    for (uint32_t m = lanes; m; m &= m - 1) {
        int l = __builtin_ctz(m);
        int n_read = i->n_operands > 3 ? (int)OPERAND(uint32_t, 3)[l] : 16;
        if (n_read > 16) warp_fail(w, i, "a copy of %d of 16 bytes", n_read);
        const char *from = n_read ? warp_global(w, i, OPERAND(uint64_t, 1)[l], n_read, 16) : NULL;
        char *to = warp_shared(w, i, address_in(w, i, 0, l), 16, 16);
        keep(w,
             (own_copy){to, from, 16, n_read, l, 0, races_begin(w, i, RACE_COPIES, to, 16), false});
    }
}

// [to], [from], bytes
static void copy_out(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    for (uint32_t m = lanes; m; m &= m - 1) {
        int l = __builtin_ctz(m), n = (int)OPERAND(uint32_t, 2)[l];
        if (n <= 0 || n % 16) warp_fail(w, i, "a bulk copy of %d bytes", n);
        const char *from = warp_shared(w, i, OPERAND(uint32_t, 1)[l], n, 16);
        warp_check_fenced(w, i, from, n);
        uint32_t clock = races_begin(w, i, RACE_COPIES_OUT, from, n);
        char *to = warp_global(w, i, OPERAND(uint64_t, 0)[l], n, 16);
        keep(w, (own_copy){to, from, n, n, l, 0, clock, true});
    }
}

static void commit(warp *w, uint32_t lanes, bool bulk)
{
    for (int k = 0; k < w->n_copies; k++)
        if (w->copies[k].bulk == bulk && lanes >> w->copies[k].lane & 1) w->copies[k].age++;
    races_commit(w, bulk ? RACE_COPIES_OUT : RACE_COPIES);
}

static void finish(warp *w, uint32_t lanes, bool bulk, int n_left)
{
    int kept = 0;
    for (int k = 0; k < w->n_copies; k++) {
        own_copy c = w->copies[k];
        if (c.bulk != bulk || !(lanes >> c.lane & 1) || c.age <= n_left) {
            w->copies[kept++] = c;
            continue;
        }
        if (c.n_read) memcpy(c.to, c.from, (size_t)c.n_read);
        memset(c.to + c.n_read, 0, (size_t)(c.n_bytes - c.n_read));
        races_over(w, bulk ? RACE_COPIES_OUT : RACE_COPIES, c.clock);
        if (!bulk) note_written(w, c.to, c.n_bytes);
    }
    w->n_copies = kept;
}

static void commit_own(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    (void)i;
    commit(w, lanes, false);
}
static void commit_bulk(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    (void)i;
    commit(w, lanes, true);
}
static void wait_own(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    finish(w, lanes, false, (int)*OPERAND(uint32_t, 0));
}
static void wait_bulk(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    finish(w, lanes, true, (int)*OPERAND(uint32_t, 0));
}
static void make_policy(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    uint64_t *d = OPERAND(uint64_t, 0);
    EACH_LANE(d[l] = 0;);
}

#define COPY_IN "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
const ptx_row ptx_copy_rows[] = {
    {"mbarrier.init.shared::cta.b64", "aw", barrier_init, PTX_PLAIN},
    {"mbarrier.arrive.shared::cta.b64", "_a", barrier_arrive, PTX_PLAIN},
    {"mbarrier.arrive.shared::cluster.b64", "_a", barrier_arrive, PTX_PLAIN},
    {"mbarrier.arrive.expect_tx.shared::cta.b64", "_aw", barrier_expect, PTX_PLAIN},
    {"mbarrier.try_wait.parity.shared::cta.b64", "paw", barrier_try, PTX_PLAIN},
    {"mbarrier.test_wait.parity.shared::cta.b64", "paw", barrier_try, PTX_PLAIN},
    {"mapa.shared::cluster.u32", "www", map_address, PTX_PLAIN},
    {COPY_IN, "bbwb", copy_in, PTX_PLAIN},
    {COPY_IN ".L2::cache_hint", "bbwbq", copy_in, PTX_PLAIN},
    {COPY_IN ".multicast::cluster", "bbwbw", copy_in_all, PTX_PLAIN},
    {"cp.async.bulk.global.shared::cta.bulk_group", "bbw", copy_out, PTX_PLAIN},
    {"cp.async.bulk.commit_group", "", commit_bulk, PTX_PLAIN},
    {"cp.async.bulk.wait_group", "w", wait_bulk, PTX_PLAIN},
    {"cp.async.bulk.wait_group.read", "w", wait_bulk, PTX_PLAIN},
    {"cp.async.cg.shared.global", "bbw?w", copy_16, PTX_PLAIN},
    {"cp.async.commit_group", "", commit_own, PTX_PLAIN},
    {"cp.async.wait_group", "w", wait_own, PTX_PLAIN},
    {"createpolicy.fractional.L2::evict_first.b64", "qw", make_policy, PTX_PLAIN},
    {"createpolicy.fractional.L2::evict_normal.b64", "qw", make_policy, PTX_PLAIN},
    {NULL, NULL, NULL, PTX_PLAIN},
};
