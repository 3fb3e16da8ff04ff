// The step block and the slot table: what the host writes for a step, what lives on the device between steps, and what a
// step gives back. All structures hold 32-bit scalars only, so that every backend lays them out alike.
//
// A sequence that runs has a slot: its tokens (prompt and output, by position), its block table and its sampling parameters
// live there. The host sends only what changed (edits); a step's `sample` appends the drawn token to the slot, so the next
// step's row can be launched before the host has seen it.
#ifndef QN_BACKEND_STEP_H
#define QN_BACKEND_STEP_H
#include <stddef.h>
#include <stdint.h>

enum {
    QN_BLOCK_TOKENS = 16, // positions a block holds
    QN_TOP_MAX = 272,     // most candidates an output row can ask for: 16 beams × (1 + 16 EOS ids)
    QN_MAX_EOS = 16,
};

// One row of the batch: the token tokens[slot][position] enters the pass.
typedef struct {
    int32_t slot, position;
    int32_t output; // index into outputs, or -1: nothing is wanted
} qn_row;

typedef enum {
    QN_OUTPUT_SAMPLE, // draw a token (or argmax), append it to the slot at position + 1, with n_top log-probabilities
    QN_OUTPUT_TOP, // the n_top best of the penalised log-probabilities; nothing is appended (beam search)
    QN_OUTPUT_LOGITS, // nothing more: the host downloads the logits row
} qn_output_kind;

typedef struct {
    int32_t row, kind, n_top;
} qn_output;

typedef struct {
    int32_t slot, index, value; // tokens[slot][index] = value, or table[slot][index] = block
} qn_edit;

// Sampling parameters of a slot. The order of filters: repetition, frequency and presence penalties, temperature, top-k,
// top-p, min-p. Off: temperature 1, top_k 0, top_p 1, min_p 0, repetition_penalty 1, the others 0.
typedef struct {
    uint32_t seed_low, seed_high; // draw at position p: Philox4x32-10(key = seed, counter = p)
    int32_t greedy; // 1: argmax after penalties; temperature and filters are not looked at
    int32_t top_k;
    float temperature, top_p, min_p;
    float repetition_penalty, presence_penalty, frequency_penalty;
    int32_t n_prompt;   // tokens[0 … n_prompt) are the prompt, the rest is output
    int32_t min_tokens; // EOS ids are impossible while fewer outputs exist
    int32_t n_eos, eos[QN_MAX_EOS];
} qn_slot_params;

typedef struct {
    int32_t slot;
    qn_slot_params params;
} qn_params_edit;

typedef struct {
    int32_t source, target,
        n_tokens; // tokens[target][0 … n) and the table's entries that cover them = source's
} qn_slot_copy;

typedef struct {
    int32_t source, target; // blocks, over all parts and layers
} qn_block_copy;

typedef struct {
    int32_t n_rows, n_outputs;
    int32_t n_slot_copies, n_params_edits, n_token_edits, n_block_edits, n_block_copies;
    int32_t reserved;
} qn_step_counts;

typedef struct {
    int32_t token; // SAMPLE: the one drawn; else -1
    float logprob; // of token, before penalties and temperature
    int32_t
        n_top; // SAMPLE: by log-probability before penalties; TOP: penalised; best first, ties by lower id
    int32_t reserved;
    int32_t top_id[QN_TOP_MAX];
    float top_logprob[QN_TOP_MAX];
} qn_step_result;

// Capacities, fixed for a model at load.
typedef struct {
    int max_rows, max_outputs, max_slots, max_edits,
        max_context; // max_edits: of tokens, and of blocks
} qn_step_limits;

// Where the parts of a step block lie, at any base address: the host's copy and the device's have one layout.
typedef struct {
    qn_step_counts *counts;
    qn_row *rows;                 // [max_rows]
    qn_output *outputs;           // [max_outputs]
    qn_slot_copy *slot_copies;    // [max_slots]
    qn_params_edit *params_edits; // [max_slots]
    qn_edit *token_edits;         // [max_edits]
    qn_edit *block_edits;         // [max_edits]
    qn_block_copy *block_copies;  // [max_slots]
} qn_step_view;

size_t qn_step_bytes(const qn_step_limits *l);
qn_step_view qn_step_at(const qn_step_limits *l, void *base);
// Copies what a block holds (not its capacity): for backends whose device memory is the host's. to = from is nothing to do.
void qn_step_copy(const qn_step_limits *l, void *to, const void *from);

// The slot table on the device.
typedef struct {
    int32_t *tokens; // [max_slots][max_context]
    int32_t *table;  // [max_slots][max_blocks]: physical block of positions 16 i … 16 i + 15
    qn_slot_params *params;                     // [max_slots]
    int32_t max_slots, max_context, max_blocks; // max_blocks = ceil(max_context / 16)
} qn_slot_table;

size_t qn_slot_table_bytes(const qn_step_limits *l);
qn_slot_table qn_slot_table_at(const qn_step_limits *l, void *base);

#endif
