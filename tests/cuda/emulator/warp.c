// Warps: which lanes run what, and the instructions that lanes do together. See warp.h.
#include "races.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS = 4 };   // of so many turns one parts the lanes
enum { STALLS = 64 }; // after so many turns without an end, lanes that are further on get theirs

void warp_fail(const warp *w, const ptx_instruction *i, const char *format, ...)
{
    grid *g = w->group->grid;
    char what[200];
    va_list list;
    va_start(list, format);
    vsnprintf(what, sizeof what, format, list);
    va_end(list);
    snprintf(g->error, 512, "%.*s: group %u, %u, %u, warp %d, line %d of the PTX: %s",
             g->entry->name_length, g->entry->name, w->group->at[0], w->group->at[1],
             w->group->at[2], w->index, i ? i->line : 0, what);
    longjmp(g->failed, 1);
}

char *warp_shared(const warp *w, const ptx_instruction *i, uint64_t address, int n_bytes,
                  int alignment)
{
    const group *g = w->group;
    if (address + (uint64_t)n_bytes > (uint64_t)g->grid->shared_bytes || address > UINT32_MAX)
        warp_fail(w, i, "%d bytes at %llu of shared memory, which has %d", n_bytes,
                  (unsigned long long)address, g->grid->shared_bytes);
    if (address % (uint64_t)alignment)
        warp_fail(w, i, "shared address %llu is no multiple of %d", (unsigned long long)address,
                  alignment);
    return g->shared + address;
}

void warp_check_fenced(const warp *w, const ptx_instruction *i, const char *at, int n_bytes)
{
    const group *g = w->group;
    for (size_t k = (size_t)(at - g->shared) / 16; k <= (size_t)(at - g->shared + n_bytes - 1) / 16;
         k++)
        if (g->unfenced[k])
            warp_fail(w, i, "shared memory at %zu, written by warp %d, without fence.proxy.async",
                      k * 16, g->unfenced[k] - 1);
}

static void fence_for_copies(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    uint8_t own = (uint8_t)(1 + w->index), *at = w->group->unfenced;
    (void)i, (void)lanes;
    for (int k = 0, n = (w->group->grid->shared_bytes + 15) / 16; k < n; k++)
        at[k] = at[k] == own ? 0 : at[k];
}

/* ---- frames ---- */

static void enter(warp *w, ptx_function *f, uint32_t lanes)
{
    if (w->depth == (int)(sizeof w->frames / sizeof *w->frames))
        warp_fail(w, NULL, "calls too deep");
    frame *new = &w->frames[w->depth++];
    if (new->room < (size_t)f->frame_bytes) {
        free(new->registers);
        new->room = (size_t)f->frame_bytes;
        new->registers = aligned_alloc(64, (new->room + 63) / 64 * 64);
        if (!new->registers) warp_fail(w, NULL, "no memory for %zu bytes of registers", new->room);
    }
    new->f = f;
    new->n_splits = 1;
    new->active = 0;
    new->splits[0] = (split){.lanes = lanes};
    w->bases[PTX_IN_FRAME] = new->registers;
}

static void hand_over(char *to, const ptx_parameter *to_part, const char *from,
                      const ptx_parameter *from_part)
{
    int stride = (to_part->n_bytes + 15) / 16 * 16;
    memcpy(to + to_part->at, from + from_part->at, (size_t)(stride * PTX_LANES));
}

static void call(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    frame *caller = &w->frames[w->depth - 1];
    ptx_call *c = &caller->f->calls[i->target];
    char error[256];
    if (!c->callee)
        c->callee =
            ptx_module_function(w->group->grid->module, c->callee_name, c->name_length, error);
    if (!c->callee) warp_fail(w, i, "%s", error);
    if (c->callee->n_parameters != c->n_arguments)
        warp_fail(w, i, "a call of the wrong number of arguments");
    enter(w, c->callee, lanes);
    for (int k = 0; k < c->n_arguments; k++)
        hand_over(w->frames[w->depth - 1].registers, &c->callee->parameters[k], caller->registers,
                  &c->arguments[k]);
}

static void remove_split(frame *f, int n)
{
    f->splits[n] = f->splits[--f->n_splits];
}

// The lanes that the frame has sent off are done with it: back to the caller, or the end.
static void leave(warp *w)
{
    frame *f = &w->frames[--w->depth];
    if (!w->depth) {
        w->alive = 0;
        return;
    }
    frame *caller = &w->frames[w->depth - 1];
    split *s = &caller->splits[caller->active];
    const ptx_call *c = &caller->f->calls[caller->f->code[s->at].target];
    for (int k = 0; k < c->n_results; k++)
        hand_over(caller->registers, &c->results[k], f->registers, &f->f->results[k]);
    s->at++;
    w->bases[PTX_IN_FRAME] = caller->registers;
}

/* ---- which lanes run ---- */

static void merge(frame *f)
{
    for (int a = 0; a < f->n_splits; a++)
        for (int b = a + 1; b < f->n_splits;) {
            if (f->splits[b].at != f->splits[a].at) {
                b++;
                continue;
            }
            f->splits[a].lanes |= f->splits[b].lanes;
            f->splits[a].meets = false;
            remove_split(f, b);
        }
}

// Those furthest back go first, so that lanes come together again where their ways do.
static bool choose(frame *f, bool last)
{
    int best = -1;
    merge(f);
    for (int k = 0; k < f->n_splits; k++) {
        if (f->splits[k].meets) continue;
        int at = f->splits[k].at;
        if (best < 0 || (last ? at > f->splits[best].at : at < f->splits[best].at)) best = k;
    }
    f->active = best;
    return best >= 0;
}

static void branch(frame *f, const ptx_instruction *i, uint32_t lanes)
{
    split *s = &f->splits[f->active];
    if (lanes == s->lanes) {
        s->at = i->target;
        return;
    }
    s->at++;
    if (!lanes) return;
    s->lanes &= ~lanes;
    f->splits[f->n_splits++] = (split){.lanes = lanes, .at = i->target};
}

static void end_lanes(warp *w, frame *f, uint32_t lanes)
{
    split *s = &f->splits[f->active];
    if (lanes != s->lanes) {
        s->lanes &= ~lanes;
        s->at++;
        return;
    }
    remove_split(f, f->active);
    f->active = 0;
    if (!f->n_splits) leave(w);
}

// Lanes that have not ended, of those that run this frame.
static uint32_t lanes_of(const frame *f)
{
    uint32_t all = 0;
    for (int k = 0; k < f->n_splits; k++)
        all |= f->splits[k].lanes;
    return all;
}

/* ---- turns ---- */

// One instruction of the active lanes; false: the turn is over.
static bool step(warp *w, frame *f)
{
    split *s = &f->splits[f->active];
    if (s->at >= f->f->n_code) warp_fail(w, NULL, "%.*s has no end", f->f->name_length, f->f->name);
    const ptx_instruction *i = &f->f->code[s->at];
    uint32_t lanes = s->lanes;
    if (i->guard != PTX_NOWHERE)
        lanes &= *(uint32_t *)at_operand(w, i->guard) ^ (i->negated ? UINT32_MAX : 0);
    switch (i->kind) {
    case PTX_MEET:
        if (s->lanes != lanes_of(f)) {
            s->meets = true;
            w->apart = false;
            return choose(f, false) || (warp_fail(w, i, "lanes that never meet"), false);
        }
        s->meets = false;
        if (lanes) i->run(w, i, lanes);
        if (w->again) return w->again = false;
        s->at++;
        break;
    case PTX_PLAIN:
        if (lanes) i->run(w, i, lanes);
        s->at++;
        break;
    case PTX_BRANCH:
        branch(f, i, lanes);
        if (f->n_splits > 1 && !w->apart) choose(f, false);
        return true;
    case PTX_CALL: // what is called may hold the lanes together: all of them go there, if they come
        if (s->lanes != lanes_of(f) && !s->meets) {
            s->meets = true;
            w->apart = false;
            if (choose(f, false)) return true;
            f->active = (int)(s - f->splits);
        }
        s->meets = false;
        if (lanes == s->lanes)
            call(w, i, lanes);
        else
            warp_fail(w, i, "a call under a predicate");
        break;
    case PTX_RETURN:
        if (lanes)
            end_lanes(w, f, lanes);
        else
            s->at++;
        return w->depth > 0 &&
               (w->frames[w->depth - 1].n_splits < 2 || choose(&w->frames[w->depth - 1], false));
    }
    if (w->depth && f == &w->frames[w->depth - 1] && f->n_splits > 1 && !w->apart) choose(f, false);
    return !w->blocked && !w->yields;
}

// Now and then some lanes go ahead of the others, as they may where nothing holds them together.
static void part(warp *w, frame *f)
{
    split *s = &f->splits[f->active];
    uint32_t ahead = (uint32_t)grid_random(w->group->grid) & s->lanes;
    if (f->n_splits == PTX_LANES || !ahead || ahead == s->lanes) return;
    s->lanes &= ~ahead;
    f->splits[f->n_splits] = (split){.lanes = ahead, .at = s->at};
    f->active = f->n_splits++;
    w->apart = true;
}

void warp_run(warp *w, int n)
{
    frame *top = &w->frames[w->depth - 1];
    w->yields = false;
    w->turns = top->n_splits > 1 ? w->turns + 1 : 0;
    w->apart = false;
    if (w->turns) choose(top, w->turns % STALLS == 0);
    if (grid_random(w->group->grid) % PARTS == 0) part(w, top);
    w->bases[PTX_IN_FRAME] = w->frames[w->depth - 1].registers;
    int done = 0;
    while (done < n && w->depth && step(w, &w->frames[w->depth - 1]))
        done++;
    w->group->grid->n_run += (uint64_t)done;
}

void warp_start(warp *w, group *g, int index)
{
    enum { TID, NTID = 3, CTAID = 6, NCTAID = 9, LANE = 12, WARP, RANK };
    const grid *gr = g->grid;
    w->group = g;
    w->index = index;
    w->depth = 0;
    w->alive = UINT32_MAX;
    w->blocked = w->again = w->yields = w->apart = false;
    w->n_copies = w->n_products = 0;
    w->turns = 0;
    w->bases[PTX_IN_CONSTANTS] = ptx_module_constants(gr->module);
    w->bases[PTX_IN_SPECIALS] = (const char *)w->specials;
    for (int l = 0; l < PTX_LANES; l++) {
        uint32_t value[N_SPECIALS] = {[NTID] = gr->n_threads,   [NTID + 1] = 1,
                                      [NTID + 2] = 1,           [LANE] = (uint32_t)l,
                                      [WARP] = (uint32_t)index, [RANK] = (uint32_t)g->rank};
        value[TID] = (uint32_t)(index * PTX_LANES + l);
        for (int k = 0; k < 3; k++) {
            value[CTAID + k] = g->at[k];
            value[NCTAID + k] = gr->n_groups[k];
        }
        for (int k = 0; k < N_SPECIALS; k++)
            ((uint32_t *)w->specials[k])[l] = value[k];
    }
    enter(w, gr->entry, UINT32_MAX);
}

/* ---- what lanes do together ---- */

static void shuffle(warp *w, const ptx_instruction *i, uint32_t lanes, bool by_index)
{
    // d [| p], a, b, c, members
    bool tells = i->n_operands == 6;
    int at = tells ? 2 : 1;
    const uint32_t *a = OPERAND(uint32_t, at), *b = OPERAND(uint32_t, at + 1),
                   *c = OPERAND(uint32_t, at + 2);
    uint32_t out[PTX_LANES], inside = 0;
    for (uint32_t m = lanes; m; m &= m - 1) {
        int l = __builtin_ctz(m);
        int segment = (int)(c[l] >> 8 & 31), clamp = (int)(c[l] & 31);
        int last = (l & segment) | (clamp & ~segment), first = l & segment;
        int from = by_index ? first | ((int)(b[l] & 31) & ~segment) : l ^ (int)(b[l] & 31);
        if (from <= last)
            inside |= 1u << l;
        else
            from = l;
        if (!(lanes >> from & 1))
            warp_fail(w, i, "lane %d shuffles from lane %d, which is not there", l, from);
        out[l] = a[from];
    }
    uint32_t *d = OPERAND(uint32_t, 0);
    EACH_LANE(d[l] = out[l];);
    if (tells) set_lanes(&MASK(1), lanes, inside);
}
static void shuffle_bfly(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    shuffle(w, i, lanes, false);
}
static void shuffle_idx(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    shuffle(w, i, lanes, true);
}

static void vote_all(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    set_lanes(&MASK(0), lanes, (MASK(1) & lanes) == lanes ? UINT32_MAX : 0);
}
static void vote_any(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    set_lanes(&MASK(0), lanes, MASK(1) & lanes ? UINT32_MAX : 0);
}
static void vote_ballot(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    uint32_t *d = OPERAND(uint32_t, 0), all = MASK(1) & lanes;
    EACH_LANE(d[l] = all;);
}
static void redux_or(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    uint32_t *d = OPERAND(uint32_t, 0), all = 0;
    const uint32_t *a = OPERAND(uint32_t, 1);
    for (uint32_t m = lanes; m; m &= m - 1)
        all |= a[__builtin_ctz(m)];
    EACH_LANE(d[l] = all;);
}

/* ---- barriers ---- */

static void release(group *g, int barrier)
{
    g->arrived[barrier] = 0;
    tell(g->grid);
    for (int k = 0; k < g->n_warps; k++)
        if (g->waiting[barrier] >> k & 1) g->warps[k].blocked = false;
    races_release(g, barrier, g->waiting[barrier]);
    g->waiting[barrier] = 0;
}

static void arrive(warp *w, const ptx_instruction *i, bool waits)
{
    group *g = w->group;
    uint32_t barrier = *OPERAND(uint32_t, 0);
    int n = i->n_operands > 1 ? (int)*OPERAND(uint32_t, 1) : g->n_alive * PTX_LANES;
    if (barrier >= N_BARRIERS || n % PTX_LANES)
        warp_fail(w, i, "barrier %u of %d threads", barrier, n);
    g->arrived[barrier] += PTX_LANES;
    races_arrive(w, (int)barrier);
    if (waits) {
        w->blocked = true;
        g->waiting[barrier] |= 1u << w->index;
    }
    if (g->arrived[barrier] > n) warp_fail(w, i, "more threads than %d at barrier %u", n, barrier);
    if (g->arrived[barrier] == n) release(g, (int)barrier);
}
static void bar_sync(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    (void)lanes;
    arrive(w, i, true);
}
static void bar_arrive(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    (void)lanes;
    arrive(w, i, false);
}

static void cluster_arrive(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    (void)i, (void)lanes;
    grid *g = w->group->grid;
    int c = w->group->cluster;
    w->cluster_phase = g->cluster_phases[c];
    bool last = ++g->cluster_arrived[c] == (unsigned)(g->cluster * w->group->n_warps);
    races_cluster_arrive(w, last);
    if (!last) return;
    g->cluster_arrived[c] = 0;
    g->cluster_phases[c]++;
    tell(g);
}
static void cluster_wait(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    (void)i, (void)lanes;
    w->again = w->group->grid->cluster_phases[w->group->cluster] == w->cluster_phase;
    if (!w->again) races_cluster_wait(w);
}

static void nothing(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    (void)w, (void)i, (void)lanes;
}
static void yield(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    (void)i, (void)lanes;
    w->yields = true;
}
static void trap(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    (void)lanes;
    warp_fail(w, i, "a trap");
}

const ptx_row ptx_warp_rows[] = {
    {"bra", "l", nothing, PTX_BRANCH},
    {"bra.uni", "l", nothing, PTX_BRANCH},
    {"call.uni", "", nothing, PTX_CALL},
    {"ret", "", nothing, PTX_RETURN},
    {"trap", "", trap, PTX_PLAIN},
    {"nanosleep.u32", "w", yield, PTX_PLAIN},
    {"shfl.sync.bfly.b32", "wwwww", shuffle_bfly, PTX_MEET},
    {"shfl.sync.idx.b32", "wwwww", shuffle_idx, PTX_MEET},
    {"vote.sync.all.pred", "ppw", vote_all, PTX_MEET},
    {"vote.sync.any.pred", "ppw", vote_any, PTX_MEET},
    {"vote.sync.ballot.b32", "wpw", vote_ballot, PTX_MEET},
    {"redux.sync.or.b32", "www", redux_or, PTX_MEET},
    {"bar.warp.sync", "w", nothing, PTX_MEET},
    {"bar.sync", "w?w", bar_sync, PTX_MEET},
    {"bar.arrive", "ww", bar_arrive, PTX_MEET},
    {"barrier.cluster.arrive.release.aligned", "", cluster_arrive, PTX_MEET},
    {"barrier.cluster.wait.acquire.aligned", "", cluster_wait, PTX_MEET},
    {"setmaxnreg.dec.sync.aligned.u32", "w", nothing, PTX_MEET},
    {"setmaxnreg.inc.sync.aligned.u32", "w", nothing, PTX_MEET},
    {"membar.gl", "", nothing, PTX_PLAIN},
    {"fence.mbarrier_init.release.cluster", "", nothing, PTX_PLAIN},
    {"fence.proxy.async.shared::cta", "", fence_for_copies, PTX_PLAIN},
    {"griddepcontrol.wait", "", nothing, PTX_PLAIN},
    {"griddepcontrol.launch_dependents", "", nothing, PTX_PLAIN},
    {"prefetch.global.L2", "a", nothing, PTX_PLAIN},
    {"cp.async.bulk.prefetch.L2.global", "aw", nothing, PTX_PLAIN},
    {NULL, NULL, NULL, PTX_PLAIN},
};
