// The emulated card's memory. See grid.h.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grid.h"

enum { MOST = 4096, FILLING = 0xCD, ALIGNMENT = 256 };

static struct {
    uint64_t from, to;
    bool own;
} rooms[MOST];
static int n_rooms, last;

void *card_alloc(size_t n_bytes, bool own)
{
    size_t room = (n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    char *p = n_rooms < MOST ? aligned_alloc(ALIGNMENT, room + ALIGNMENT) : NULL;
    if (!p) return NULL;
    memset(p, FILLING, n_bytes);
    rooms[n_rooms].own = own;
    rooms[n_rooms].from = (uint64_t)(uintptr_t)p;
    rooms[n_rooms++].to = (uint64_t)(uintptr_t)p + n_bytes;
    return p;
}

int card_free(void *address)
{
    for (int k = 0; k < n_rooms; k++) {
        if (rooms[k].from != (uint64_t)(uintptr_t)address) continue;
        rooms[k] = rooms[--n_rooms];
        last = 0;
        free(address);
        return 0;
    }
    return -1;
}

size_t card_taken(void)
{
    size_t n = 0;
    for (int k = 0; k < n_rooms; k++)
        n += rooms[k].own ? rooms[k].to - rooms[k].from : 0;
    return n;
}

bool card_holds(uint64_t address, size_t n_bytes)
{
    if (last < n_rooms && address >= rooms[last].from && address + n_bytes <= rooms[last].to)
        return true;
    for (int k = 0; k < n_rooms; k++)
        if (address >= rooms[k].from && address + n_bytes <= rooms[k].to) {
            last = k;
            return true;
        }
    return false;
}

uint64_t card_hinted(const ptx_instruction *i, uint64_t *from)
{
    if (i->hint >= n_rooms) return 0;
    *from = rooms[i->hint].from;
    return rooms[i->hint].to - rooms[i->hint].from;
}

static bool is_within(uint64_t address, int n_bytes, const char *from, size_t length)
{
    uint64_t at = (uint64_t)(uintptr_t)from;
    return address >= at && address + (uint64_t)n_bytes <= at + length;
}

char *warp_global(const warp *w, const ptx_instruction *i, uint64_t address, int n_bytes,
                  int alignment)
{
    const grid *g = w->group->grid;
    if (address % (uint64_t)alignment)
        warp_fail(w, i, "address %llx is no multiple of %d", (unsigned long long)address,
                  alignment);
    int *hint = &((ptx_instruction *)(uintptr_t)i)->hint; // where this instruction was last
    if (*hint < n_rooms && address >= rooms[*hint].from &&
        address + (uint64_t)n_bytes <= rooms[*hint].to)
        return (char *)(uintptr_t)address;
    if (card_holds(address, (size_t)n_bytes)) {
        *hint = last;
        return (char *)(uintptr_t)address;
    }
    bool elsewhere = i->space == PTX_ANYWHERE &&
                     is_within(address, n_bytes, w->group->shared, (size_t)g->shared_bytes);
    for (int k = 0; k < w->depth && i->space == PTX_ANYWHERE && !elsewhere; k++)
        elsewhere = is_within(address, n_bytes, w->frames[k].registers,
                              (size_t)w->frames[k].f->frame_bytes);
    if (!elsewhere && !ptx_module_variable_holds(g->module, address, n_bytes) &&
        !is_within(address, n_bytes, g->parameters, (size_t)g->entry->parameter_bytes))
        warp_fail(w, i, "%d bytes at %llx, where no memory is", n_bytes,
                  (unsigned long long)address);
    return (char *)(uintptr_t)address;
}
