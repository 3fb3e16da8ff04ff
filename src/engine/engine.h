// Engine: the data of one loaded model (struct quern_model), as the owner thread steps it. Who may touch what stands at each
// group. The engine knows requests, sequences, slots and blocks; never a family's name, a layer or a socket.
#ifndef QN_ENGINE_ENGINE_H
#define QN_ENGINE_ENGINE_H
#include "engine/request.h"
#include "engine/stats.h"
#include "text/chat_template.h"

enum { QN_MAX_PROGRAMS = 20, QN_MIN_OUTPUTS = 16, QN_MAX_BATCH = 256, QN_MAX_CHUNK = 65536 };
enum {
    QN_LEAST_CHUNK = 16
}; // rows of prompts: fewer say little about the rate, and are not worth a cut
enum { QN_DEFAULT_CHUNK = 256, QN_DEFAULT_BATCH = 32, QN_DEFAULT_QUEUE = 256 };

// What an output of a step belongs to.
typedef struct {
    qn_sequence *sequence;
    int beam;       // of a beam search
    int logits_row; // of QN_REQUEST_LOGITS
} qn_output_owner;

// A step on its way: written, launched, then committed. Each model has two.
typedef struct {
    quern_model *model;
    void *block; // the host's step block, [qn_step_bytes]
    qn_step_view step;
    qn_step_result *results;  // [max_outputs]
    qn_output_owner *outputs; // [max_outputs]
    qn_sequence **members;    // [max_slots] with a row in it
    int n_members, n_prefill_rows;
    bool in_flight;
    qn_ticket ticket;
    double launched_ms;
    uint64_t state_bytes; // of keys and values that its rows read
} qn_flight;

struct quern_model {
    quern_runtime *runtime;
    quern_model *next; // the executor's list

    // fixed after load: any thread
    char *name, *path;
    qn_model *weights;
    const qn_model_facts *facts;
    qn_tokenizer *tokenizer; // NULL: no text
    qn_chat_template *chat_template;
    int n_context, max_batch, max_queue, prefill_chunk;
    qn_step_limits limits;
    int n_parts;
    qn_state_part parts[QN_MAX_PARTS];

    // the device's memory and programs: owner
    void *state, *slots_memory, *step_memory, *results_memory, *scratch;
    uint64_t ledger_bytes[3];
    bool has_rooms; // its programs' rooms are entered beside these
    qn_program *programs[QN_MAX_PROGRAMS];
    int program_rows[QN_MAX_PROGRAMS], n_programs;
    qn_tensor logits;

    // scheduling: owner
    qn_block_pool pool;
    qn_slot *slots;
    int32_t *slot_blocks;
    int *free_slots, n_free_slots;
    qn_sequence_list waiting, running; // running: also those that are returning or ending
    int n_running;                     // sequences in it that are QN_SEQUENCE_RUNNING
    uint64_t n_arrived;
    qn_flight flights[2];
    bool exclusive;     // a step whose logits the host will fetch is in flight
    int chunk_most;     // rows of prompts a step: prefill_chunk, or fewer after one was lost
    int n_chunks;       // steps of so many since
    int n_lost_chunks;  // steps with rows of prompts lost since one with lost_rows went well
    int lost_rows;      // the fewest of those
    bool tried;         // in this round of the executor: it had nothing to launch
    double served_ms;   // device time given to it, for fair shares
    double step_ms;     // of recent steps
    double decode_ms;   // … of those without rows of prompts
    double prefill_ms;  // … a row, of those with many
    int n_blocks_total; // fixed

    // life: any thread
    atomic_bool draining, closing;
    int n_active; // accepted requests that have not retired; guarded by the runtime's gone_mutex
    qn_stats stats;
};

// scheduler.c: writes the next step into f; the number of its rows (0: nothing to do).
int qn_scheduler_fill(quern_model *m, qn_flight *f, double now_ms);

// beam_group.c: gives the chosen beams of a search their slots and blocks and writes their rows. False: no blocks now.
bool qn_beam_group_write(quern_model *m, qn_flight *f, qn_sequence *s);

// step_write.c: the parts of a step block.
void qn_step_begin_write(qn_flight *f);
void qn_step_add_member(qn_flight *f, qn_sequence *s);
// A row for a position of a slot; kind < 0: no output.
void qn_step_add_row(qn_flight *f, int slot, int position, int kind, const qn_output_owner *owner);
void qn_step_set_token(qn_flight *f, int slot, int position, int32_t token);
void qn_step_set_block(qn_flight *f, int slot, int index, int32_t block);
// The slot's sampling parameters, and its table as far as n_positions, where the device has not got them.
void qn_step_send_slot(qn_flight *f, const qn_sequence *s, int slot, int n_positions);

// commit.c: the step has ended; `lost`: without results.
void qn_commit_flight(qn_flight *f, bool lost, double now_ms);

// sequence_end.c. Ends the sequence: publishes the end, and frees what it holds when no step has it any more. code, message:
// of QN_END_ERROR.
void qn_sequence_end(quern_model *m, qn_sequence *s, qn_end end, int code, const char *message);
// Back to waiting, for a later start from its known tokens.
void qn_sequence_return(quern_model *m, qn_sequence *s);
// Frees a sequence that has stopped running, if no step has it any more; else nothing happens yet.
void qn_sequence_settle(quern_model *m, qn_sequence *s);

// tend.c. Looks at cancels, deadlines and closing for every sequence; updates the figures.
void qn_engine_tend(quern_model *m, double now_ms);
// The device is dead: every sequence ends with QUERN_E_DEVICE.
void qn_engine_fail(quern_model *m);
// A request that a text worker has prepared arrives.
void qn_engine_receive(quern_model *m, quern_request *r);

// model_device.c. Where a model comes from: its path, or a shape with random weights of dtype.
typedef struct {
    const char *shape; // NULL: the path
    qn_dtype dtype;
    const quern_model_options *options;
} qn_engine_source;

// Opens the weights and makes all that the model needs on the device. What a failure leaves is freed by the next.
int qn_engine_open_device(quern_model *m, const qn_engine_source *from, quern_error *e);
void qn_engine_free_device(quern_model *m);

#endif
