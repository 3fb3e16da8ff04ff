// See races.h. Vector clocks as in FastTrack (Flanagan, Freund 2009). Clocks only grow, over groups and launches: what a group's
// predecessor in the same memory did is ordered before all of it, so that nothing is cleared between.
#include "races.h"

#include <stdlib.h>
#include <string.h>

enum {
    MOST_IN_CLUSTER = MOST_OF_CLUSTER * MAX_WARPS,
    MOST_KEPT = 160, // barriers in shared memory, of a cluster
    MOST_THREADS = MOST_IN_CLUSTER * RACE_PARTS + MOST_KEPT,
};

typedef uint32_t clocks[MOST_THREADS];

// A barrier in shared memory. What arrives goes into `coming`, which those that wait get when its phase is over.
typedef struct {
    const char *at;
    uint32_t copies; // clock of the bulk copies that it tells of: a thread of their own
    clocks coming, passed;
} kept_barrier;

// Of a cluster.
struct races {
    int n_warps,
        n_threads; // warps of a group; threads: warps' parts, then the copies of each kept barrier
    uint32_t base; // clocks at the cluster's start
    int n_kept;
    uint32_t used[2]; // of barriers: bits of those with clocks
    clocks of_warps[MOST_IN_CLUSTER], barriers[MOST_OF_CLUSTER][N_BARRIERS], coming, passed;
    clocks from_others
        [MOST_OF_CLUSTER]; // when another group's warp was last at a barrier in a group's memory
    uint32_t parts[MOST_IN_CLUSTER][RACE_PARTS];
    kept_barrier kept[MOST_KEPT];
};

static uint32_t highest; // clock that was reached
static int era;          // how often clocks have begun again
enum { CLOCK_MOST = 1 << 26 };

/* ---- an access, in 8 bytes ---- */

enum {
    BYTES_BITS = 4, // which of the word's 4 bytes
    SYNC_BIT = BYTES_BITS,
    LINE_SHIFT,
    LINE_BITS = 23,
    CLOCK_SHIFT = LINE_SHIFT + LINE_BITS,
    CLOCK_BITS = 27,
    THREAD_SHIFT = CLOCK_SHIFT + CLOCK_BITS,
    ALL_BYTES = (1 << BYTES_BITS) - 1,
    SYNC = 1 << SYNC_BIT,
};

static inline int thread_in(uint64_t entry)
{
    return (int)(entry >> THREAD_SHIFT);
}
static inline uint64_t entry_of(int thread, uint32_t clock, int line, bool sync)
{
    return (uint64_t)thread << THREAD_SHIFT | (uint64_t)clock << CLOCK_SHIFT |
           (uint64_t)line << LINE_SHIFT | (sync ? SYNC : 0);
}
// Whether it may be at the same time as `entry`, of one who knows these clocks. Atomics and barriers' operations don't race with each other.
static inline bool conflicts(const uint32_t *own, uint64_t old, uint64_t entry)
{
    return own[thread_in(old)] < (old >> CLOCK_SHIFT & ((1u << CLOCK_BITS) - 1)) &&
           (old & entry & ALL_BYTES) && !(old & entry & SYNC);
}

static int number_of(const warp *w)
{
    return w->group->rank * w->group->races->n_warps + w->index;
}
static uint32_t *clocks_of(const warp *w)
{
    return w->group->races->of_warps[number_of(w)];
}
static void join(const races *r, uint32_t *to, const uint32_t *from)
{
    LANES_APART
    for (int k = 0; k < r->n_threads; k++)
        to[k] = to[k] > from[k] ? to[k] : from[k];
}
static void reach(uint32_t clock)
{
    if (clock > highest) highest = clock;
}
// What the warp does from here on is not what it has just released.
static void tick(const warp *w)
{
    reach(++clocks_of(w)[number_of(w) * RACE_PARTS]);
}

/* ---- beginnings ---- */

enum { ROOM_OF_CELL = 4 };

bool races_make(group *g, size_t n_bytes)
{
    if (!g->cells) g->cells = calloc(n_bytes / ROOM_OF_CELL, sizeof *g->cells);
    if (!g->own_races) g->own_races = calloc(1, sizeof *g->own_races);
    g->n_cells = n_bytes / ROOM_OF_CELL;
    return g->cells && g->own_races;
}

void races_launch(void)
{
    if (highest < CLOCK_MOST) return;
    highest = 0;
    era++;
}

void races_start(grid *g, int cluster)
{
    group *first = &g->slots[cluster * g->cluster];
    races *r = first->own_races;
    r->n_warps = first->n_warps;
    int n = r->n_warps * g->cluster;
    r->n_threads = n * RACE_PARTS;
    r->n_kept = 0;
    r->used[0] = r->used[1] = 0;
    r->base = highest;
    memset(r->coming, 0, sizeof r->coming);
    memset(r->passed, 0, sizeof r->passed);
    memset(r->from_others, 0, sizeof r->from_others);
    for (int k = 0; k < n; k++) {
        for (int t = 0; t < MOST_THREADS; t++)
            r->of_warps[k][t] = r->base;
        r->of_warps[k][k * RACE_PARTS]++;
        for (int p = 0; p < RACE_PARTS; p++)
            r->parts[k][p] = r->base + 1;
    }
    reach(r->base + 1);
    for (int k = 0; k < g->cluster; k++) {
        first[k].races = r;
        if (first[k].era != era) memset(first[k].cells, 0, first[k].n_cells * sizeof *first->cells);
        first[k].era = era;
    }
}

/* ---- accesses ---- */

static _Noreturn void tell_race(const warp *w, const ptx_instruction *i, const race_cell *cell,
                                const group *of, uint64_t old)
{
    static const char *const parts[] = {"", "'s copy (cp.async)", "'s product (wgmma)",
                                        "'s copy out (cp.async.bulk)"};
    const races *r = of->races;
    int thread = thread_in(old), other = thread / RACE_PARTS;
    const char *what =
        old == cell->write || old == cell->syncs[0] || old == cell->syncs[1] ? "written" : "read";
    size_t at = (size_t)(cell - of->cells) * ROOM_OF_CELL;
    int line = (int)(old >> LINE_SHIFT & ((1u << LINE_BITS) - 1));
    if (other >= r->n_warps * of->grid->cluster)
        warp_fail(w, i, "a race: shared memory at %zu, %s by a bulk copy of line %d", at, what,
                  line);
    warp_fail(
        w, i, "a race: shared memory at %zu of group %d, %s by group %d's warp %d%s of line %d", at,
        of->rank, what, other / r->n_warps, other % r->n_warps, parts[thread % RACE_PARTS], line);
}

// One of n accesses makes room: of the same thread, one that is ordered before, or any.
static void note_one(grid *g, uint64_t *list, int n, const uint32_t *own, uint64_t entry)
{
    for (int k = 0; k < n; k++) {
        uint64_t old = list[k];
        if (thread_in(old) == thread_in(entry) || !conflicts(own, old, ALL_BYTES)) {
            list[k] = entry;
            return;
        }
    }
    list[grid_random(g) % (unsigned)n] = entry;
}

static inline void reads(const warp *w, const ptx_instruction *i, const group *of, race_cell *c,
                         const uint32_t *own, uint64_t entry)
{
    if (c->reads[0] == entry || c->reads[1] == entry || c->reads[2] == entry) return;
    if (conflicts(own, c->write, entry)) tell_race(w, i, c, of, c->write);
    for (int k = 0; k < RACE_SYNCS; k++)
        if (conflicts(own, c->syncs[k], entry)) tell_race(w, i, c, of, c->syncs[k]);
    note_one(w->group->grid, c->reads, RACE_READERS, own, entry);
}

// Who races with what is ordered before a plain write races with that, too: it is forgotten.
static inline void writes(const warp *w, const ptx_instruction *i, const group *of, race_cell *c,
                          const uint32_t *own, uint64_t entry)
{
    if (conflicts(own, c->write, entry)) tell_race(w, i, c, of, c->write);
    for (int k = 0; k < RACE_SYNCS; k++)
        if (conflicts(own, c->syncs[k], entry)) tell_race(w, i, c, of, c->syncs[k]);
    for (int k = 0; k < RACE_READERS; k++)
        if (conflicts(own, c->reads[k], entry)) tell_race(w, i, c, of, c->reads[k]);
    if (entry & SYNC) {
        note_one(w->group->grid, c->syncs, RACE_SYNCS, own, entry);
        return;
    }
    c->write = entry;
    for (int k = 0; k < RACE_SYNCS; k++)
        if (!(c->syncs[k] & ALL_BYTES & ~entry)) c->syncs[k] = 0;
    for (int k = 0; k < RACE_READERS; k++)
        if (!(c->reads[k] & ALL_BYTES & ~entry)) c->reads[k] = 0;
}

static void touch(const warp *w, const ptx_instruction *i, const group *of, size_t at, int n_bytes,
                  uint64_t entry, bool is_write)
{
    const uint32_t *own = clocks_of(w);
    race_cell *c = of->cells + at / ROOM_OF_CELL;
    int n = n_bytes < ROOM_OF_CELL ? 1 : n_bytes / ROOM_OF_CELL;
    entry |= n_bytes < ROOM_OF_CELL ? ((1u << n_bytes) - 1) << at % ROOM_OF_CELL : ALL_BYTES;
    for (int k = 0; k < n; k++)
        if (is_write)
            writes(w, i, of, c + k, own, entry);
        else
            reads(w, i, of, c + k, own, entry);
}

static uint64_t own_entry(const warp *w, const ptx_instruction *i, bool sync)
{
    int thread = number_of(w) * RACE_PARTS;
    return entry_of(thread, clocks_of(w)[thread], i->line, sync);
}

void races_lanes(const warp *w, const ptx_instruction *i, char *const at[PTX_LANES], uint32_t lanes,
                 int n_bytes, race_access access)
{
    const group *g = w->group;
    uint64_t entry = own_entry(w, i, access >= RACE_SYNC_READS);
    size_t last = SIZE_MAX;
    for (uint32_t m = lanes; m; m &= m - 1) {
        size_t offset = (size_t)(at[__builtin_ctz(m)] - g->shared);
        if (offset == last || offset >= (size_t)g->grid->shared_bytes) continue;
        last = offset;
        touch(w, i, g, offset, n_bytes, entry, access & 1);
    }
}

/* ---- what a warp has under way ---- */

uint32_t races_begin(const warp *w, const ptx_instruction *i, race_part part, const char *at,
                     int n_bytes)
{
    const group *g = w->group;
    int number = number_of(w);
    uint32_t clock = g->races->parts[number][part];
    touch(w, i, g, (size_t)(at - g->shared), n_bytes,
          entry_of(number * RACE_PARTS + part, clock, i->line, false), part == RACE_COPIES);
    return clock;
}
void races_commit(const warp *w, race_part part)
{
    reach(++w->group->races->parts[number_of(w)][part]);
}
void races_over(const warp *w, race_part part, uint32_t clock)
{
    uint32_t *own = &clocks_of(w)[number_of(w) * RACE_PARTS + part];
    if (clock > *own) *own = clock;
}

/* ---- barriers ---- */

void races_arrive(const warp *w, int barrier)
{
    races *r = w->group->races;
    uint32_t *c = r->barriers[w->group->rank][barrier];
    if (r->used[w->group->rank] >> barrier & 1)
        join(r, c, clocks_of(w));
    else
        memcpy(c, clocks_of(w), sizeof r->barriers[0][0]);
    r->used[w->group->rank] |= 1u << barrier;
    tick(w);
}
void races_release(const group *g, int barrier, uint32_t waiting)
{
    races *r = g->races;
    for (uint32_t m = waiting; m; m &= m - 1)
        join(r, clocks_of(&g->warps[__builtin_ctz(m)]), r->barriers[g->rank][barrier]);
    r->used[g->rank] &= ~(1u << barrier);
}

void races_cluster_arrive(const warp *w, bool last)
{
    races *r = w->group->races;
    join(r, r->coming, clocks_of(w));
    tick(w);
    if (!last) return;
    memcpy(r->passed, r->coming, sizeof r->passed);
    memset(r->coming, 0, sizeof r->coming);
}
void races_cluster_wait(const warp *w)
{
    join(w->group->races, clocks_of(w), w->group->races->passed);
}

/* ---- barriers in shared memory ---- */

// What a warp does in another group's memory has to be before that group's end, for one of its warps at least.
static void note_other(const warp *w, const group *of)
{
    int thread = number_of(w) * RACE_PARTS;
    if (of == w->group) return;
    of->races->from_others[of->rank][thread] = clocks_of(w)[thread];
    if (!of->n_alive) warp_fail(w, NULL, "at a barrier of group %d, which has ended", of->rank);
}
void races_end(const group *g)
{
    const races *r = g->races;
    clocks all = {0};
    for (int k = 0; k < g->n_warps; k++)
        join(r, all, clocks_of(&g->warps[k]));
    for (int t = 0; t < r->n_threads; t++)
        if (r->from_others[g->rank][t] > all[t])
            warp_fail(&g->warps[0], NULL,
                      "its group may end before group %d's warp %d has been at a barrier of it",
                      t / RACE_PARTS / r->n_warps, t / RACE_PARTS % r->n_warps);
}

static kept_barrier *find_kept(races *r, const char *at)
{
    for (int k = 0; k < r->n_kept; k++)
        if (r->kept[k].at == at) return &r->kept[k];
    return NULL;
}
// races_made sees to it that there is room. A barrier that nobody made in this launch shares the last.
static kept_barrier *kept_at(races *r, const char *at)
{
    kept_barrier *known = find_kept(r, at);
    if (known) return known;
    if (r->n_kept == MOST_KEPT) return &r->kept[MOST_KEPT - 1];
    kept_barrier *new = &r->kept[r->n_kept++];
    r->n_threads++;
    memset(new, 0, sizeof *new);
    new->at = at;
    new->copies = r->base;
    return new;
}

void races_made(const warp *w, const ptx_instruction *i, const group *of, const char *barrier)
{
    if (of->races->n_kept == MOST_KEPT && !find_kept(of->races, barrier))
        warp_fail(w, i, "the emulator keeps no more than %d barriers", MOST_KEPT);
    kept_barrier *b = kept_at(of->races, barrier);
    touch(w, i, of, (size_t)(barrier - of->shared), 8, own_entry(w, i, false), true);
    memset(b->coming, 0, sizeof b->coming);
    memset(b->passed, 0, sizeof b->passed);
}
void races_arrive_at(const warp *w, const ptx_instruction *i, const group *of, const char *barrier)
{
    touch(w, i, of, (size_t)(barrier - of->shared), 8, own_entry(w, i, true), true);
    join(of->races, kept_at(of->races, barrier)->coming, clocks_of(w));
    note_other(w, of);
    tick(w);
}
void races_advanced(const group *of, const char *barrier)
{
    kept_barrier *b = kept_at(of->races, barrier);
    memcpy(b->passed, b->coming, sizeof b->passed);
    memset(b->coming, 0, sizeof b->coming);
}
void races_passed(const warp *w, const ptx_instruction *i, const char *barrier)
{
    const group *g = w->group;
    touch(w, i, g, (size_t)(barrier - g->shared), 8, own_entry(w, i, true), false);
    join(g->races, clocks_of(w), kept_at(g->races, barrier)->passed);
}

// The phase can't end before the copy does, so what it releases may be noted as it begins.
void races_copy_in(const warp *w, const ptx_instruction *i, const group *of, const char *to,
                   int n_bytes, const char *barrier)
{
    races *r = of->races;
    kept_barrier *b = kept_at(r, barrier);
    int thread = r->n_warps * of->grid->cluster * RACE_PARTS + (int)(b - r->kept);
    reach(++b->copies);
    touch(w, i, of, (size_t)(barrier - of->shared), 8, own_entry(w, i, true), true);
    touch(w, i, of, (size_t)(to - of->shared), n_bytes, entry_of(thread, b->copies, i->line, false),
          true);
    join(r, b->coming, clocks_of(w));
    b->coming[thread] = b->copies;
    note_other(w, of);
    tick(w);
}
