// See grid.h.
#include "grid.h"
#include "races.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TURN = 400,
    SHARED_MOST = 228 * 1024,
    SHARED_ROOM = SHARED_MOST + 64 * 1024,
    THREADS_A_PROCESSOR = 2048,
    WARM = 0xA5
};

static uint64_t seed = 1;

void grid_seed(uint64_t value)
{
    seed = value ? value : 1;
}

uint64_t grid_random(grid *g) // xorshift64
{
    g->random ^= g->random << 13;
    g->random ^= g->random >> 7;
    g->random ^= g->random << 17;
    return g->random;
}

/* ---- groups ---- */

static void start_group(grid *g, int slot, unsigned long long n)
{
    group *new = &g->slots[slot];
    new->grid = g;
    new->cluster = slot / g->cluster;
    new->rank = slot % g->cluster;
    new->at[0] = (unsigned)(n % g->n_groups[0]);
    new->at[1] = (unsigned)(n / g->n_groups[0] % g->n_groups[1]);
    new->at[2] = (unsigned)(n / g->n_groups[0] / g->n_groups[1]);
    new->n_warps = new->n_alive = (int)(g->n_threads / PTX_LANES);
    memset(new->arrived, 0, sizeof new->arrived);
    memset(new->waiting, 0, sizeof new->waiting);
    memset(new->shared, WARM, (size_t)g->shared_bytes);
    memset(new->unfenced, 0, (size_t)(g->shared_bytes + 15) / 16);
    for (int k = 0; k < new->n_warps; k++)
        warp_start(&new->warps[k], new, k);
}

static void start_cluster(grid *g, int cluster)
{
    g->cluster_arrived[cluster] = 0;
    for (int rank = 0; rank < g->cluster; rank++)
        start_group(g, cluster * g->cluster + rank, g->next++);
    races_start(g, cluster);
}

static bool is_over(const grid *g, int cluster)
{
    for (int rank = 0; rank < g->cluster; rank++)
        if (g->slots[cluster * g->cluster + rank].n_alive) return false;
    return true;
}

static void end_warp(warp *w)
{
    group *g = w->group;
    g->n_alive--;
    tell(g->grid);
    if (w->n_copies) warp_fail(w, NULL, "ends with copies that it has not waited for");
    if (w->n_products) warp_fail(w, NULL, "ends with products that it has not waited for");
}

static void end_group(const group *g)
{
    races_end(g);
    for (int k = 0; k < g->grid->n_copies; k++)
        if (g->grid->copies[k].group == g)
            warp_fail(&g->warps[0], NULL, "its group ends while copies into it are on their way");
}

/* ---- turns ---- */

static void some_copies(grid *g, bool all)
{
    while (g->n_copies && (all || grid_random(g) % 4))
        copies_finish_one(g, (int)(grid_random(g) % (unsigned)g->n_copies));
}

// A turn for each warp of a group, from a random one on. Whether any did something.
static bool turn_of_group(grid *g, group *of)
{
    bool moved = false;
    int first = (int)(grid_random(g) % (unsigned)of->n_warps);
    for (int k = 0; k < of->n_warps; k++) {
        warp *w = &of->warps[(first + k) % of->n_warps];
        if (!w->alive || w->blocked) continue;
        uint64_t before = g->n_run;
        warp_run(w, (int)(1 + grid_random(g) % TURN));
        moved |= g->n_run != before;
        if (!w->alive) {
            end_warp(w);
            moved = true;
        }
    }
    if (of->n_alive == 0) end_group(of);
    return moved;
}

// Where every warp is that has not ended, then the failure.
static void describe(grid *g)
{
    const warp *one = &g->slots[0].warps[0];
    for (int s = 0; s < g->n_slots; s++)
        for (int k = 0; k < g->slots[s].n_warps; k++) {
            const warp *w = &g->slots[s].warps[k];
            if (!w->alive || !w->depth) continue;
            const frame *f = &w->frames[w->depth - 1];
            one = w;
            for (int n = 0; n < f->n_splits; n++)
                fprintf(stderr, "group %d warp %d: lanes %08x at line %d%s%s\n", s, k,
                        f->splits[n].lanes, f->f->code[f->splits[n].at].line,
                        w->blocked ? ", at a barrier" : "",
                        f->splits[n].meets ? ", for other lanes" : "");
        }
    warp_fail(one, NULL, "nothing can go on");
}

static void run(grid *g)
{
    int n_clusters = g->n_slots / g->cluster, n_running = 0;
    for (int c = 0; c < n_clusters; c++, n_running++)
        start_cluster(g, c);
    for (int idle = 0; n_running;) {
        bool moved = g->n_copies > 0;
        int first = (int)(grid_random(g) % (unsigned)n_clusters);
        for (int k = 0; k < n_clusters; k++) {
            int c = (first + k) % n_clusters;
            if (is_over(g, c)) continue;
            for (int rank = 0; rank < g->cluster; rank++)
                if (g->slots[c * g->cluster + rank].n_alive)
                    moved |= turn_of_group(g, &g->slots[c * g->cluster + rank]);
            some_copies(g, false);
            if (!is_over(g, c)) continue;
            if (g->next < g->n_total)
                start_cluster(g, c);
            else
                n_running--;
        }
        idle = moved ? 0 : idle + 1;
        if (idle > 1000 || g->n_run - g->told > g->patience) describe(g);
    }
}

/* ---- launches ---- */

static int per_processor(const grid_launch *l, int shared_bytes)
{
    int by_threads = (int)(THREADS_A_PROCESSOR / l->n_threads),
        by_shared = SHARED_MOST / (shared_bytes + 1024);
    int n = by_threads < by_shared ? by_threads : by_shared;
    return n > 4 ? 4 : n;
}

// Of all launches, so that nothing is made again.
static struct {
    group groups[64];
    unsigned arrived[64], phases[64];
    engine_copy *copies;
    int room_for_copies;
} kept;

static int prepare(grid *g, const grid_launch *l)
{
    g->shared_bytes = l->entry->shared_bytes + l->shared_bytes;
    if (l->entry->shared_bytes && l->shared_bytes)
        return snprintf(g->error, 512, "shared memory by name and by the launch: not known here");
    g->cluster = l->entry->cluster;
    g->n_total = (unsigned long long)l->n_groups[0] * l->n_groups[1] * l->n_groups[2];
    if (l->n_threads % PTX_LANES || !l->n_threads || l->n_threads > MAX_WARPS * PTX_LANES ||
        (l->entry->n_threads && (int)l->n_threads > l->entry->n_threads))
        return snprintf(g->error, 512, "%u threads a group", l->n_threads);
    int most = per_processor(l, l->shared_bytes) * l->n_processors;
    if (most > 64) most = 64;
    if (g->cluster > MOST_OF_CLUSTER || most < g->cluster || g->n_total % (unsigned)g->cluster)
        return snprintf(g->error, 512, "%d bytes of shared memory, clusters of %d", l->shared_bytes,
                        g->cluster);
    g->n_slots = (int)(g->n_total < (unsigned)most ? g->n_total
                                                   : (unsigned)(most / g->cluster * g->cluster));
    return 0;
}

static int make_slots(grid *g)
{
    g->slots = kept.groups;
    g->cluster_arrived = kept.arrived;
    g->cluster_phases = kept.phases;
    g->copies = kept.copies;
    g->room_for_copies = kept.room_for_copies;
    for (int s = 0; s < g->n_slots; s++) {
        group *new = &g->slots[s];
        if (!new->warps) new->warps = calloc(MAX_WARPS, sizeof *new->warps);
        if (!new->shared) new->shared = aligned_alloc(1024, SHARED_ROOM);
        if (!new->unfenced) new->unfenced = malloc(SHARED_ROOM / 16);
        if (!new->warps || !new->shared || !new->unfenced || !races_make(new, SHARED_ROOM))
            return snprintf(g->error, 512, "no memory for a group");
    }
    return 0;
}

int grid_run(const grid_launch *l, char *error)
{
    static grid g; // setjmp leaves no doubt about what it holds
    g = (grid){.module = l->module,
               .entry = l->entry,
               .parameters = l->parameters,
               .n_groups = {l->n_groups[0], l->n_groups[1], l->n_groups[2]},
               .n_threads = l->n_threads,
               .random = seed += 0x9e3779b97f4a7c15u,
               .error = error,
               .patience = l->patience};
    if (!g.random) g.random = 1;
    int rc = prepare(&g, l) || make_slots(&g) ? -1 : 0;
    races_launch();
    if (!rc) {
        if (setjmp(g.failed))
            rc = -1;
        else
            run(&g);
    }
    kept.copies = g.copies ? g.copies : kept.copies;
    kept.room_for_copies = g.copies ? g.room_for_copies : kept.room_for_copies;
    return rc;
}
