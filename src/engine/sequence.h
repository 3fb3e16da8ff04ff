// Sequence: a request as the owner sees it, between its arrival and the step after which its slots and blocks are free.
// For each sequence: committed ≤ launched ≤ reserved. Positions below n_launched have had their row launched; blocks cover at
// least those; n_out tokens of output are known to the host, n_pending more will be drawn by steps in flight.
// Owner thread only.
#ifndef QN_ENGINE_SEQUENCE_H
#define QN_ENGINE_SEQUENCE_H
#include "engine/beam.h"
#include "engine/block_pool.h"

typedef struct qn_sequence qn_sequence;

typedef enum {
    QN_SEQUENCE_WAITING,
    QN_SEQUENCE_RUNNING,
    QN_SEQUENCE_RETURNING, // goes back to waiting when the steps in flight are over (preempted, or a step was lost)
    QN_SEQUENCE_ENDING, // goes away then; its end is already known to the request
    QN_SEQUENCE_GONE,
} qn_sequence_state;

struct qn_sequence {
    quern_request *request;
    qn_sequence *previous, *next; // in the list of its state
    uint64_t order;               // of arrival: the lists are sorted by it
    qn_sequence_state state;
    int n_slots, slots[QUERN_MAX_BEAMS];
    int n_out, n_launched, n_pending;
    int n_sent;      // tokens that the slot holds once the launched steps have run
    int n_in_flight; // launched steps with a row of this sequence
    // beam search
    int beam_slots[QUERN_MAX_BEAMS]; // slot of each live beam
    qn_beam_next beams;              // the next step's beams, not yet given slots and blocks
    bool beams_chosen;
    quern_request *mail_next;  // on the way to the owner; guarded by the executor
    quern_request *dirty_next; // the owner's chain of requests that text workers must look at
    bool dirty, finished;      // finished: the owner has let go of it
};

typedef struct {
    qn_sequence *first, *last;
} qn_sequence_list;

// Inserts by order; almost always at the end.
void qn_sequence_insert(qn_sequence_list *list, qn_sequence *s);
void qn_sequence_remove(qn_sequence_list *list, qn_sequence *s);

// A slot of the device's slot table, as the host knows it.
typedef struct {
    int32_t *blocks; // [max_blocks] of the sequence, by position / 16
    int n_blocks;
    int n_blocks_sent; // entries of the device's table that are right
    bool params_sent;
} qn_slot;

// Gives back its slots and their blocks.
void qn_sequence_free_slots(quern_model *m, qn_sequence *s);
// To the start: prompt and known output are to be run again, a beam search anew.
void qn_sequence_rewind(qn_sequence *s);
// Takes n slots for it; the caller has checked that they are free.
void qn_sequence_take_slots(quern_model *m, qn_sequence *s, int n);
// Drops all blocks of a slot.
void qn_slot_clear(quern_model *m, int slot);
// Blocks for the positions below n_positions. False: the pool is empty; what was taken stays.
bool qn_slot_reserve(quern_model *m, int slot, int n_positions);

// Tokens that the slot holds or will hold when all launched steps have run: prompt, output, drawn.
int qn_sequence_n_tokens(const qn_sequence *s);
// The token at a position that the host knows.
int32_t qn_sequence_token(const qn_sequence *s, int position);

#endif
