// Memory of a run: buffers between guard pages for the caller, and guarded copies of args structs.
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

enum { FILL = 0xcb, GRAIN = 16 };

// The first bytes of a guarded block; a page apart from what the caller sees.
typedef struct {
    size_t whole, n_bytes;
} block_head;

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

void *qn_emulator_guarded_alloc(size_t n_bytes)
{
    // | head | guard | data … | guard |
    size_t page = page_bytes(), grains = round_up(n_bytes ? n_bytes : 1, GRAIN);
    if (n_bytes > SIZE_MAX / 2) return NULL;
    size_t data = round_up(grains, page), whole = data + 3 * page;
    char *block = mmap(NULL, whole, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED) return NULL;
    *(block_head *)block = (block_head){.whole = whole, .n_bytes = n_bytes};
    mprotect(block + page, page, PROT_NONE);
    mprotect(block + 2 * page + data, page, PROT_NONE);
    char *memory = block + 2 * page + data - grains;
    memset(memory, FILL, grains);
    return memory;
}

bool qn_emulator_guarded_free(void *memory)
{
    if (!memory) return true;
    size_t page = page_bytes();
    char *block = (char *)((uintptr_t)memory / page * page) - 2 * page;
    block_head head = *(block_head *)block;
    const unsigned char *end = (unsigned char *)block + head.whole - page;
    bool intact = true;
    for (const unsigned char *p = (unsigned char *)memory + head.n_bytes; p < end; p++)
        intact = intact && *p == FILL;
    munmap(block, head.whole);
    return intact;
}

void *qn_emulator_args_copy(const void *args, size_t n_bytes, int index)
{
    // One for each place in a list, kept: dispatches of one list must not share theirs.
    static struct {
        void *memory;
        size_t n_bytes;
    } kept[QN_EMULATOR_MAX_CONCURRENT];
    if (index >= QN_EMULATOR_MAX_CONCURRENT) return NULL;
    if (!kept[index].memory || kept[index].n_bytes != n_bytes) {
        qn_emulator_guarded_free(kept[index].memory);
        kept[index].memory = qn_emulator_guarded_alloc(n_bytes);
        kept[index].n_bytes = n_bytes;
    }
    if (kept[index].memory) memcpy(kept[index].memory, args, n_bytes);
    return kept[index].memory;
}
