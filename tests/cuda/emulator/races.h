// Races in shared memory, by happens-before: two accesses to a word, one of them a write, that no barrier orders are told, whatever order
// they came in here. Warps are the threads (lanes within one count as ordered: their order is random elsewhere); what a warp has under way,
// copies and products, are threads of their own, so that an access before the wait is found.
// Atomic operations, volatile ones too, don't race with each other, and order nothing: no kernel lets warps wait for words of shared memory.
// See warp.h.
#ifndef QN_TEST_RACES_H
#define QN_TEST_RACES_H
#include "warp.h"

typedef enum { RACE_READS, RACE_WRITES, RACE_SYNC_READS, RACE_SYNC_WRITES } race_access;

// What a warp has under way, beside itself.
typedef enum { RACE_ITSELF, RACE_COPIES, RACE_PRODUCTS, RACE_COPIES_OUT, RACE_PARTS } race_part;

// The accesses to a word of 4 bytes that later ones may race with: the last write, and since then
// some atomic ones and some reads, of different threads.
enum { RACE_SYNCS = 2, RACE_READERS = 3 };
struct race_cell {
    uint64_t write, syncs[RACE_SYNCS], reads[RACE_READERS];
};

bool races_make(group *g, size_t n_bytes); // false: no memory
void races_launch(void);                   // before its groups start
void races_start(grid *g, int cluster);    // before its warps run

// Accesses of lanes, at addresses of which some may be no shared memory.
void races_lanes(const warp *w, const ptx_instruction *i, char *const at[PTX_LANES], uint32_t lanes,
                 int n_bytes, race_access access);

// A part of a warp begins to read or write; what it began is over when its clock of then is told to be.
uint32_t races_begin(const warp *w, const ptx_instruction *i, race_part part, const char *at,
                     int n_bytes);
void races_commit(const warp *w, race_part part);
void races_over(const warp *w, race_part part, uint32_t clock);

// bar.sync and bar.arrive; those that wait, when they may go on.
void races_arrive(const warp *w, int barrier);
void races_release(const group *g, int barrier, uint32_t waiting);
void races_cluster_arrive(const warp *w, bool last);
void races_cluster_wait(const warp *w);

void races_end(const group *g); // all its warps have ended

// Barriers in the shared memory of group `of`.
void races_made(const warp *w, const ptx_instruction *i, const group *of, const char *barrier);
void races_arrive_at(const warp *w, const ptx_instruction *i, const group *of, const char *barrier);
void races_advanced(const group *of, const char *barrier);
void races_passed(const warp *w, const ptx_instruction *i, const char *barrier);
// A bulk copy into `of` begins, which the barrier there tells of.
void races_copy_in(const warp *w, const ptx_instruction *i, const group *of, const char *to,
                   int n_bytes, const char *barrier);

#endif
