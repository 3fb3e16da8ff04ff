// The structures of the step block, the slot table and a step's results, as every backend lays them out: 32-bit scalars only.
// GPU kernels include this text too, so there is nothing else here; step.h tells how they are used.
#ifndef QN_BACKEND_STEP_LAYOUT_H
#define QN_BACKEND_STEP_LAYOUT_H
#ifndef QN_DIALECT // the GPU languages have these types without a header
#include <stdint.h>
#endif

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

#endif
