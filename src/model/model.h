// Model: a checkpoint's configuration and weights, and the recording of its forward pass. One file a family (qwen2.c, qwen3.c)
// behind model/registry.c. Knows layers; never a socket, a scheduler or a backend's name.
// Read-only after open: any thread may read it; recording and opening happen on the thread that loads.
#ifndef QN_MODEL_MODEL_H
#define QN_MODEL_MODEL_H
#include "backend/backend.h"
#include "backend/ops/copy_blocks.h" // qn_state_span
#include "base/error.h"
#include "base/vocabulary.h"

typedef struct qn_model qn_model;

// What generation_config.json says; a field is meaningful where its has_ flag is set (eos_ids always).
typedef struct {
    int32_t eos_ids[QN_MAX_EOS];
    int n_eos;
    bool do_sample; // false or absent: greedy is the directory's default strategy
    bool has_temperature, has_top_k, has_top_p, has_min_p, has_repetition_penalty;
    float temperature, top_p, min_p, repetition_penalty;
    int top_k;
} qn_generation_config;

// What becomes of weights in a quantiser's own layout when they are loaded.
typedef struct {
    const char *scheme; // "gptq"; NULL: all weights are used as they lie in the files
    int n_matrices;
    uint64_t n_bytes;        // of the matrices, repacked
    uint64_t expanded_bytes; // of those that no block format holds: they became F16
    double seconds;          // that it took; 0 before the weights are loaded
} qn_model_repack;

// What is known from config.json and generation_config.json alone, without a weight file.
typedef struct {
    char architecture[32]; // the registry's row: "qwen2", "qwen3"
    qn_dtype dtype; // of most weights (the checkpoint's own; for a config alone: what it declares)
    int n_layers, n_vocab, n_context, hidden_size, n_heads, n_kv_heads, head_dim, intermediate_size;
    bool tied;
    uint64_t n_parameters;               // exact, tied embeddings once
    uint64_t weight_bytes;               // all tensors as stored; 0 where only the config was read
    uint64_t type_bytes[QN_DTYPE_COUNT]; // the same by their types
    uint64_t active_bytes;               // weight bytes that a step of one row reads
    qn_model_repack repack;
    qn_generation_config generation;
} qn_model_facts;

typedef struct {
    const qn_backend *backend; // where the weights are to live
    qn_device *device;
    bool no_mmap;
    bool
        has_cache_dtype; // keys and values are of cache_dtype; else of the weights' type, F16 where that comes in blocks
    qn_dtype cache_dtype;
} qn_model_options;

// A model's path is a Hugging Face directory (config.json, generation_config.json, *.safetensors with or without an index), a GGUF
// file (of a split the first), or a directory that holds one such file and no config.json.

// A model before its weights: everything is checked, no tensor's byte is touched. All but qn_model_record may be asked of it.
int qn_model_describe(const char *path, const qn_model_options *options, qn_model **out,
                      quern_error *e);
// The same of a built-in shape with seeded random weights (model/shapes.c). Of a block format are the matrices; vectors are F32.
int qn_model_describe_shape(const char *shape, qn_dtype dtype, const qn_model_options *options,
                            qn_model **out, quern_error *e);
// Places the weights of a described model: mapped, in the type that they have; those in a quantiser's layout (MLX, GPTQ, AWQ,
// FP8) are repacked, a matrix at a time. After a failure it can only be freed.
int qn_model_place(qn_model *m, quern_error *e);
// Both in one.
int qn_model_open(const char *path, const qn_model_options *options, qn_model **out,
                  quern_error *e);
int qn_model_open_shape(const char *shape, qn_dtype dtype, const qn_model_options *options,
                        qn_model **out, quern_error *e);
void qn_model_free(qn_model *m);

const qn_model_facts *qn_model_get_facts(const qn_model *m);

// Facts from a directory's config alone (of a GGUF file as by qn_model_check); from the config and the headers of the weight
// files, which are checked as by qn_model_open; and those of a shape.
int qn_model_read_facts(const char *path, qn_model_facts *out, quern_error *e);
int qn_model_check(const char *path, qn_model_facts *out, quern_error *e);
int qn_model_shape_facts(const char *shape, qn_dtype dtype, qn_model_facts *out, quern_error *e);
// Family i of the registry, from 0 on: its model_type, the models that are of it, and its j'th architecture in GGUF files. NULL
// past the last.
const char *qn_model_family_name(int i);
const char *qn_model_family_about(int i);
const char *qn_model_family_gguf(int i, int j);
// The name of built-in shape i, from 0 on; NULL past the last.
const char *qn_model_shape_name(int i);

// The vocabulary and chat template that a GGUF file carries, until qn_model_free_vocabulary; *out is NULL for a Hugging Face
// directory, whose text files speak for themselves. QUERN_E_NOT_FOUND where the file has none.
int qn_model_read_vocabulary(const char *path, const qn_vocabulary **out, quern_error *e);
void qn_model_free_vocabulary(const qn_vocabulary *v); // takes NULL

// One named tensor of the weight table that a config implies: what must be in the files, and what inspect prints.
typedef struct {
    char name[96], gguf_name[96]; // in a Hugging Face directory and in a GGUF file
    int rank;
    int64_t dim[QN_MAX_RANK];
} qn_weight_fact;
// All of them for a model's config or (path NULL) a shape; *out is malloc'd.
int qn_model_list_weights(const char *path, const char *shape, qn_weight_fact **out, int *n,
                          quern_error *e);

// The same for a loaded model, with each tensor as it lies on the device (whole, at one rank): calls visit in order until it
// returns nonzero, and returns that. A tied head is the embedding table, told once.
typedef int (*qn_model_visit)(void *context, const qn_weight_fact *fact, const qn_tensor *view);
int qn_model_each_weight(const qn_model *m, qn_model_visit visit, void *context);

// State of a sequence: parts with one record of record_bytes a token and layer, kept for the last `window` positions (0: all).
typedef struct {
    const char *name;
    int n_layers;
    size_t record_bytes;
    int window;
} qn_state_part;
// Fills out (room for QN_MAX_PARTS); returns how many. Blocks of a part are record_bytes · QN_BLOCK_TOKENS.
int qn_model_state_parts(const qn_model *m, qn_state_part *out);
// The type of its keys and values; and what the parts would be with another.
qn_dtype qn_model_cache_dtype(const qn_model *m);
int qn_model_state_parts_as(const qn_model *m, qn_dtype cache, qn_state_part *out);
// Bytes of the weights if their matrices were of `dtype`; 0 where their rows are not of whole blocks.
uint64_t qn_model_weight_bytes_as(const qn_model *m, qn_dtype dtype);

// Device scratch that a pass of these limits needs (activations, logits, sampling). One scratch serves all programs of a model.
size_t qn_model_scratch_bytes(const qn_model *m, const qn_step_limits *limits);
// The logits of a pass within that scratch: F32 [max_outputs, n_vocab].
qn_tensor qn_model_logits(const qn_model *m, const qn_step_limits *limits, void *scratch);
// Records a whole step into a plan that qn_plan_init made: step_begin, copy_blocks, the pass, sample. spans[i] is where the
// engine put part i of the state.
void qn_model_record(const qn_model *m, qn_plan *plan, const qn_state_span *spans, void *scratch);

#endif
