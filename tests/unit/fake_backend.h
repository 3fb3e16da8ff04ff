// A backend whose tickets come late, lost or dead. Behind it either the CPU backend, launched when a ticket comes due, or a
// scripted device: it interprets the step block itself, keeps a "key" for every position of every block, and draws each next
// token as a hash of what it reads through the block table. So a wrong table, a block freed too early or a token that was
// never sent changes the output. It also watches the contract: at most two launches in flight, an untouched step block, one
// thread, rows and tables within their limits.
#ifndef FAKE_BACKEND_H
#define FAKE_BACKEND_H
#include "backend/backend.h"

typedef struct {
    bool on_cpu;      // the CPU backend behind it, else scripted
    int late;         // up to so many polls before a ticket is due (0: done within launch)
    int lose_every;   // about every n-th launch is lost; 0: none
    int rows_in_time; // launches of more rows are lost; 0: none
    int die_at;       // the n-th launch ends with a dead device; 0: never
    int refuse_at;    // the n-th launch is refused
    int n_vocab, eos; // scripted: tokens are 0 … n_vocab − 1
    int eos_every;    // … and about every n-th is eos
    int us_a_step;    // a launch takes so long …
    int us_a_row;     // … and so much longer for each row
    int room_bytes;   // that a program holds beside,
    int shared_bytes; // … and all together, while there is one
} fake_options;

typedef struct {
    int n_launches, n_lost, most_in_flight, most_rows;
    const char *violation; // NULL: none
} fake_log;

// The backend, behaving as `options` say from the next open on. One at a time.
const qn_backend *fake_backend(const fake_options *options);
const fake_log *fake_backend_log(void);

// What the scripted device answers: the token behind `history` of n tokens, for a seed.
int32_t fake_token(const int32_t *history, int n, uint64_t seed);

#endif
