// Races between threadgroups, in the counting build: for each byte of device memory the threadgroups of this set of dispatches
// that wrote and read it. Nothing orders two threadgroups of a set, so a byte that one writes and another touches is an
// error, whatever the order they ran in. TSan sees the same only among some twenty neighbours. Atomic operations are not seen.
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { PAGE = 1024 };

// Numbers of threadgroups; those below the set's first are of earlier sets.
typedef struct {
    uint32_t writer, reader, other_reader;
} cell;

typedef struct {
    uintptr_t key; // address / PAGE
    cell cells[PAGE];
} page;

static struct {
    page **slots; // open addressing
    size_t n_slots, n_pages;
    page *last;
} map;

static page **slot_of(page **slots, size_t n_slots, uintptr_t key)
{
    size_t i = (size_t)(key * 0x9e3779b97f4a7c15u >> 20) & (n_slots - 1);
    while (slots[i] && slots[i]->key != key)
        i = (i + 1) & (n_slots - 1);
    return &slots[i];
}

static bool grow(void)
{
    size_t n = map.n_slots ? 2 * map.n_slots : 4096;
    page **slots = calloc(n, sizeof(page *));
    if (!slots) return false;
    for (size_t i = 0; i < map.n_slots; i++)
        if (map.slots[i]) *slot_of(slots, n, map.slots[i]->key) = map.slots[i];
    free(map.slots);
    map.slots = slots;
    map.n_slots = n;
    return true;
}

static page *page_of(uintptr_t key)
{
    if (map.last && map.last->key == key) return map.last;
    if (2 * map.n_pages >= map.n_slots && !grow()) return NULL;
    page **slot = slot_of(map.slots, map.n_slots, key);
    if (!*slot) {
        *slot = calloc(1, sizeof(page));
        if (!*slot) return NULL;
        (*slot)->key = key;
        map.n_pages++;
    }
    return map.last = *slot;
}

void qn_emulator_races_release(void)
{
    for (size_t i = 0; i < map.n_slots; i++)
        free(map.slots[i]);
    free(map.slots);
    memset(&map, 0, sizeof(map));
}

// The number of the threadgroup that this access races with; 0: none.
uint32_t qn_emulator_races_touch(uintptr_t p, size_t n, bool store)
{
    uint32_t me = qn_emulator_now.group_number, first = qn_emulator_now.first_group_number;
    for (uintptr_t at = p; at < p + n; at++) {
        page *g = page_of(at / PAGE);
        if (!g) return 0;
        cell *c = &g->cells[at % PAGE];
        if (c->writer >= first && c->writer != me) return c->writer;
        if (store) {
            if (c->reader >= first && c->reader != me) return c->reader;
            if (c->other_reader >= first && c->other_reader != me) return c->other_reader;
            c->writer = me;
        } else if (c->reader < first) {
            c->reader = me;
        } else if (c->reader != me) {
            c->other_reader = me;
        }
    }
    return 0;
}
