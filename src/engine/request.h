// Request: one quern_submit from acceptance to its terminal event, with the room for all that it may output.
// Three parties touch it, each its own part: the caller's handle (cancel, free), a text worker (never two at once), the owner
// (through qn_sequence). What crosses is atomic or moves under a queue's mutex.
#ifndef QN_ENGINE_REQUEST_H
#define QN_ENGINE_REQUEST_H
#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "engine/params.h"
#include "engine/sequence.h"
#include "engine/text_stream.h"

typedef enum {
    QN_REQUEST_PROMPT,
    QN_REQUEST_CHAT,
    QN_REQUEST_IDS,
    QN_REQUEST_LOGITS
} qn_request_kind;

// How the owner says that no more comes; part of `progress`.
typedef enum {
    QN_END_NONE,
    QN_END_STOP,
    QN_END_LENGTH,
    QN_END_CANCELLED,
    QN_END_ERROR, // request->error says which
} qn_end;

// Where a request stands with the text workers; guarded by their pool's mutex.
typedef enum { QN_TEXT_IDLE, QN_TEXT_TO_PREPARE, QN_TEXT_TO_EMIT, QN_TEXT_RUNNING } qn_text_state;

struct quern_request {
    // handle
    pthread_mutex_t lock;  // guards model
    quern_model *model;    // NULL once the request has retired
    atomic_int references; // the caller's handle, and the engine's until it retires
    atomic_bool cancelled; // the caller asks for the end
    quern_event_fn on_event;
    void *user;
    double submitted_ms;

    // input: fixed before the owner sees the request
    qn_arena arena;
    qn_request_kind kind;
    char *text; // prompt or chat JSON
    size_t n_text_bytes;
    qn_ids prompt;
    qn_resolved resolved;
    char **stops;
    size_t n_stops;
    int max_tokens; // cut to the context

    // output room, written by the owner, read by a text worker as far as `progress` says
    _Atomic uint64_t progress; // tokens << 8 | qn_end
    quern_error error;
    int32_t *ids;     // [max_tokens]
    float *logprobs;  // [max_tokens], with logprobs only, as are the next two
    int32_t *top_ids; // [max_tokens][resolved.logprobs]
    float *top_logprobs;
    qn_beam_search search; // beam search only
    float *logits;         // QN_REQUEST_LOGITS: [n_prompt][n_vocab], the caller's
    _Atomic double admitted_ms, first_token_ms, last_token_ms; // 0: not yet

    qn_sequence sequence; // the owner's

    // text workers
    quern_request *text_previous, *text_next; // guarded by the pool, as are the next three
    qn_text_state text_state;
    bool text_again;       // something came while it was worked on
    bool owner_done;       // the owner will never touch it again
    atomic_bool abandoned; // to the owner: more tokens are of no use (a stop string, no memory)
    bool prepared, terminal;
    int n_emitted;
    qn_text_stream stream;
    quern_logprob top[QUERN_MAX_TOP];
};

static inline uint64_t qn_progress_of(int n_tokens, qn_end end)
{
    return (uint64_t)n_tokens << 8 | (uint64_t)end;
}

static inline bool qn_request_is_eos(const quern_request *r, int32_t id)
{
    for (int i = 0; i < r->resolved.slot.n_eos; i++)
        if (r->resolved.slot.eos[i] == id) return true;
    return false;
}

// One reference less; the last frees.
void qn_request_release(quern_request *r);
// A text worker's last act on a request that has had its terminal event and left the owner.
void qn_request_retire(quern_request *r);
// As quern_submit, for quern_logits: every row of `logits` is filled before DONE.
int qn_request_submit_logits(quern_model *m, const int32_t *ids, size_t n_ids, float *logits,
                             quern_event_fn on_event, void *user, quern_request **out,
                             quern_error *e);

#endif
