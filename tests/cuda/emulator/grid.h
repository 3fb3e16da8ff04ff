// Launches on the emulated card: groups of threads side by side, their warps in random order. See driver.c for the API in front.
#ifndef QN_TEST_GRID_H
#define QN_TEST_GRID_H
#include "warp.h"

typedef struct {
    ptx_module *module;
    ptx_function *entry;
    const char *parameters;
    unsigned n_groups[3], n_threads;
    int shared_bytes; // asked for with the launch
    int n_processors;
    uint64_t patience; // instructions of warps that only wait, until nothing counts as going on
} grid_launch;

// 0, or -1 and one line in error (512 bytes). Runs to the end. One thread at a time.
int grid_run(const grid_launch *launch, char *error);
void grid_seed(uint64_t seed);
// Does what the copy engine has to do, the n-th of it.
void copies_finish_one(grid *g, int n);

// Memory that the emulated card reaches, its own or the host's; host addresses. NULL: none left.
void *card_alloc(size_t n_bytes, bool own);
int card_free(void *address); // -1: not one of these
size_t card_taken(void);      // of its own
bool card_holds(uint64_t address, size_t n_bytes);

#endif
