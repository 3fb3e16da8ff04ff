/* Quern: Qwen models in one process. The public C API: all that a server or an application needs.
 *
 *   quern_runtime_open → quern_model_load → quern_submit … events … → quern_model_close → quern_runtime_close
 *
 * Threads: every function may be called from any thread, except that close and free functions must be
 * the last call on their object. Events arrive on the runtime's own text threads.
 * Errors: functions return QUERN_OK (0) or a negative QUERN_E code, and fill a quern_error where one is given
 * (it may be NULL). The library never prints, exits or aborts on input, I/O or lack of memory. */
#ifndef QUERN_H
#define QUERN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- errors ---- */

enum quern_code {
    QUERN_OK = 0,
    QUERN_E_ARGUMENT =
        -1, /* a parameter is out of its range or contradicts another; `param` names it */
    QUERN_E_NOT_FOUND = -2,   /* no such file or model */
    QUERN_E_IO = -3,          /* the system refused to read, write, map or listen */
    QUERN_E_FORMAT = -4,      /* a file is damaged: it contradicts its format or itself */
    QUERN_E_UNSUPPORTED = -5, /* a well-formed thing that Quern does not know */
    QUERN_E_LIMIT = -6,       /* larger than a stated limit */
    QUERN_E_MEMORY = -7,      /* memory or its budget is exhausted; nothing was changed */
    QUERN_E_BUSY = -8,        /* the queue is full; try again later */
    QUERN_E_CLOSING = -9,     /* the model or runtime is draining */
    QUERN_E_DEADLINE = -10,   /* the request's deadline_ms passed */
    QUERN_E_DEVICE = -11,     /* the device failed; the requests on it have ended */
    QUERN_E_CANCELLED = -12,  /* the caller asked for it */
    QUERN_E_CONTEXT = -13,    /* the prompt does not fit the model's context */
    QUERN_E_INTERNAL = -14    /* a fault of Quern */
};

typedef struct quern_error {
    int code;          /* a quern_code */
    char param[32];    /* the request field at fault, or "" */
    char message[472]; /* one line: what, where, expected, found */
} quern_error;

/* "argument", "not_found" … for a code; static. */
const char *quern_code_name(int code);
/* The library's version, "major.minor.patch"; static. */
const char *quern_version(void);

/* ---- runtime: devices, memory ledger, threads, log ---- */

typedef enum { QUERN_LOG_ERROR, QUERN_LOG_WARN, QUERN_LOG_INFO, QUERN_LOG_DEBUG } quern_log_level;

typedef struct quern_runtime_options {
    const char *backend;   /* "auto" (NULL too) or a name of the backend registry */
    int n_threads;         /* compute threads; 0: one a core */
    uint64_t memory_bytes; /* budget for weights, state and scratch; 0: what the device has */
    int log_fd;            /* where log lines go; -1: nowhere */
    quern_log_level log_level;
} quern_runtime_options;

typedef struct quern_runtime quern_runtime;

int quern_runtime_open(const quern_runtime_options *options, quern_runtime **out, quern_error *e);
/* All models must be closed before. Takes NULL. */
void quern_runtime_close(quern_runtime *rt);

typedef struct quern_runtime_info {
    char backend[16]; /* the one in use */
    char device[64];  /* e.g. "AMD EPYC, 2 threads, avx512" */
    int n_threads;
    uint64_t memory_total_bytes; /* the budget */
    uint64_t memory_weights_bytes, memory_state_bytes,
        memory_scratch_bytes;     /* in use, from the ledger */
    double read_bytes_per_second; /* measured ceiling; 0 until quern_runtime_measure has run */
} quern_runtime_info;

void quern_runtime_get_info(quern_runtime *rt, quern_runtime_info *out);
/* True once the device has failed: every request on it ends with QUERN_E_DEVICE, and only a new process can help. */
bool quern_runtime_has_failed(const quern_runtime *rt);
/* Measures the device's read bandwidth (about 0.3 s; blocks). */
void quern_runtime_measure(quern_runtime *rt);

typedef struct quern_limits {
    double read_bytes_per_second;
    double copy_bytes_per_second;   /* from memory to memory: bytes read plus bytes written */
    double matmul_flops_per_second; /* with a large BF16 matrix; a multiply-add is two */
    double launch_seconds;          /* of a launch that computes next to nothing, waited for */
} quern_limits;

/* Measures what the device can do at most (a few seconds; blocks). A figure is 0 where the backend measures none. */
int quern_runtime_measure_limits(quern_runtime *rt, quern_limits *out);

/* ---- models ---- */

typedef struct quern_model quern_model;

/* What a model takes of the memory budget. */
typedef struct quern_memory_need {
    const char *name; /* the model's */
    uint64_t weights_bytes, state_bytes, scratch_bytes;
    uint64_t left_bytes, total_bytes; /* of the budget: before this model, and in all */
    int n_context;                    /* tokens of a sequence, as far as the pool goes */
    const char *kv_cache;             /* type of keys and values */
} quern_memory_need;

typedef struct quern_model_options {
    int prefill_chunk; /* most prompt rows a step; 0: what the device is best with, or 256 */
    int n_kv_blocks;   /* blocks of 16 tokens in the pool; 0: from memory and max_batch */
    int n_context;     /* most tokens of a sequence; 0: the model's own, as far as the pool goes */
    int max_batch;     /* most sequences running at once; 0: 32 */
    int max_queue;     /* most requests waiting; 0: 256 */
    bool no_mmap;      /* copy the weights into memory with read() */
    /* Type of keys and values: "f32", "f16", "bf16" or "q8_0"; NULL: the weights' own, f16 where they come in blocks. */
    const char *kv_cache;
    /* (optional) Called once the need is known to fit, before a weight is read; on the runtime's thread, must not block. */
    void (*on_memory)(void *user, const quern_memory_need *need);
    void *user;
} quern_model_options;

/* Loads a model under `name`: a Hugging Face directory, a GGUF file (of a split the first), or a directory that holds one such file
 * and no config.json. options may be NULL. QUERN_E_MEMORY, before a weight is read, where weights, state and scratch do not fit what
 * is left of the budget: the message has these numbers and what would fit. */
int quern_model_load(quern_runtime *rt, const char *name, const char *path,
                     const quern_model_options *options, quern_model **out, quern_error *e);
/* A model of a built-in shape ("qwen2.5-7b") with seeded random weights of dtype "bf16", "f16" or "f32"; it has no text. */
int quern_model_load_shape(quern_runtime *rt, const char *shape, const char *dtype,
                           const quern_model_options *options, quern_model **out, quern_error *e);
/* From here on new requests are refused with QUERN_E_CLOSING; those accepted go on. */
void quern_model_drain(quern_model *m);
/* Ends what still runs with one QUERN_E_CLOSING event each, waits for those events, frees the model. Takes NULL. */
void quern_model_close(quern_model *m);

typedef struct quern_model_info {
    const char *name, *path, *architecture, *dtype, *backend; /* borrowed until close */
    const char *kv_cache;                                     /* type of keys and values */
    uint64_t n_parameters, weight_bytes;
    uint64_t active_bytes; /* of the weights: what a step of one row reads */
    int n_layers, n_vocab, n_context, max_batch, max_queue;
    bool has_text, has_chat_template;
} quern_model_info;

void quern_model_get_info(const quern_model *m, quern_model_info *out);

enum { QUERN_BATCH_CLASSES = 9 }; /* decode batches of 1, 2, 4 … 256 rows */

/* Live figures, each read atomically; rates are moving averages. */
typedef struct quern_model_stats {
    int running, waiting, blocks_total, blocks_free, batch_rows; /* batch_rows: of the last step */
    uint64_t steps_total, preemptions_total, tokens_total, prompt_tokens_total;
    uint64_t requests_total, requests_done, requests_cancelled, requests_failed;
    double tokens_per_second_now, tokens_per_second_since_start;
    double ttft_ms[3], inter_token_ms[3]; /* p50, p95, p99 of the last 1,024; 0 while none */
    double bytes_per_second; /* weight and state bytes read, over the busy time of recent steps */
    double prefill_tokens_per_second;           /* 0 until measured */
    double decode_step_ms[QUERN_BATCH_CLASSES]; /* by batch class; 0 until measured */
    uint64_t
        queued_tokens; /* prompt and output tokens that the waiting and running still may take */
} quern_model_stats;

void quern_model_get_stats(const quern_model *m, quern_model_stats *out);

/* ---- text ---- */

/* The ids of n bytes of UTF-8; `special`: added tokens are matched everywhere, as in template text. *ids is malloc'd. */
int quern_tokenize(const quern_model *m, const char *text, size_t n, bool special, int32_t **ids,
                   size_t *n_ids, quern_error *e);
/* The bytes of ids (ids beyond the vocabulary are nothing); *text is malloc'd, NUL behind *n bytes. */
int quern_detokenize(const quern_model *m, const int32_t *ids, size_t n_ids, char **text, size_t *n,
                     quern_error *e);
/* float32 logits [n_ids, n_vocab] of a token sequence, row i = after token i, into out. Blocks; runs in the batch as others do. */
int quern_logits(quern_model *m, const int32_t *ids, size_t n_ids, float *out, quern_error *e);

/* ---- requests ---- */

typedef enum { QUERN_GREEDY, QUERN_SAMPLING, QUERN_TOP_K, QUERN_TOP_P, QUERN_BEAM } quern_strategy;
typedef enum { QUERN_EARLY_FALSE, QUERN_EARLY_TRUE, QUERN_EARLY_NEVER } quern_early_stopping;

enum { QUERN_MAX_TOP = 20, QUERN_MAX_BEAMS = 16, QUERN_MAX_STOPS = 16 };

/* What to generate. Fill with quern_params_init, then set fields; each field set also sets its bit in `given`
 * (quern_fields tells name, range and bit), since absent fields take the model's generation_config or defaults.
 * Exactly one of prompt, chat_json, ids. All is copied by quern_submit. */
typedef struct quern_params {
    const char *prompt; /* continued as it stands; special tokens are plain text */
    size_t n_prompt_bytes;
    const char *chat_json; /* {"messages":[…], "tools":[…], …}: variables of the chat template */
    size_t n_chat_bytes;
    const int32_t *ids; /* a prompt of tokens */
    size_t n_ids;
    const char *const *stop; /* NUL-terminated, not empty */
    size_t n_stop;
    uint32_t given;
    int strategy; /* quern_strategy */
    int max_tokens, min_tokens, top_k, logprobs, num_beams, n_best;
    int early_stopping; /* quern_early_stopping */
    float temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
    float length_penalty;
    float deadline_ms; /* from submission; 0: none */
    bool ignore_eos;
    uint64_t seed;
} quern_params;

typedef enum {
    QUERN_FIELD_INT,
    QUERN_FIELD_FLOAT,
    QUERN_FIELD_BOOL,
    QUERN_FIELD_CHOICE,
    QUERN_FIELD_SEED
} quern_field_kind;

/* One row of the table of scalar request fields: what JSON, the command line and documentation are made from. */
typedef struct quern_field {
    const char *name; /* "max_tokens"; on the command line "--max-tokens" */
    quern_field_kind kind;
    size_t
        offset; /* in quern_params: int, float, bool, int (CHOICE: index into choices), uint64_t */
    double min, max;            /* inclusive */
    bool above_min;             /* min itself is excluded */
    bool sampling;              /* naming it switches off generation_config's sampling defaults */
    const char *const *choices; /* NULL-terminated; CHOICE only */
    const char *help;
} quern_field;

/* The table; the bit of row i in `given` is 1u << i. Static. */
const quern_field *quern_fields(size_t *n);
void quern_params_init(quern_params *p);
/* Row `field` set to value (CHOICE: its index, BOOL: 0 or 1), range-checked; SEED through quern_params_set_seed.
 * QUERN_E_ARGUMENT with e->param = the name. */
int quern_params_set(quern_params *p, const quern_field *field, double value, quern_error *e);
void quern_params_set_seed(quern_params *p, uint64_t seed);

typedef struct quern_logprob {
    int32_t id;
    float logprob;
    const char *bytes; /* of the token */
    size_t n_bytes;
} quern_logprob;

typedef struct quern_token {
    int index; /* 0-based among the generated */
    int32_t id;
    const char *
        text; /* text that became certain with this token (UTF-8, whole characters); may be empty */
    size_t n_text;
    quern_logprob chosen; /* valid where logprobs were asked for, as is top */
    const quern_logprob *top;
    int n_top;
} quern_token;

typedef enum { QUERN_FINISH_STOP, QUERN_FINISH_LENGTH, QUERN_FINISH_CANCELLED } quern_finish;
const char *quern_finish_name(quern_finish f); /* "stop", "length", "cancelled" */

typedef struct quern_beam {
    const char *text;
    size_t n_text;
    const int32_t *ids; /* generated, an ending EOS id included */
    size_t n_ids;
    double score; /* sum of log-probabilities / n_ids^length_penalty */
} quern_beam;

typedef struct quern_result {
    quern_finish finish;
    const char *text; /* all of it, without the stop string */
    size_t n_text;
    const int32_t *ids; /* generated, an ending EOS id included */
    size_t n_ids;
    uint64_t seed;
    int prompt_tokens, completion_tokens, cached_tokens;
    double queue_ms, prefill_ms, decode_ms, total_ms, prefill_tokens_per_second, tokens_per_second;
    const quern_beam *beams; /* n_best of them, best first; beam search only */
    int n_beams;
} quern_result;

typedef enum {
    QUERN_EVENT_START, /* the prompt is read and fits: the request is in the queue (prompt_tokens, seed) */
    QUERN_EVENT_TOKEN,
    QUERN_EVENT_DONE, /* terminal: finished or cancelled */
    QUERN_EVENT_ERROR /* terminal */
} quern_event_type;

typedef struct quern_event {
    quern_event_type type;
    int prompt_tokens;          /* START */
    uint64_t seed;              /* START */
    const quern_token *token;   /* TOKEN */
    const quern_result *result; /* DONE */
    const quern_error *error;   /* ERROR */
} quern_event;

/* Called for a request's events one after the other, on a text thread; must not block, nor close the model. What
 * the event points to is borrowed for the call. After the one terminal event it is never called again. */
typedef void (*quern_event_fn)(void *user, const quern_event *event);

typedef struct quern_request quern_request;

/* Checks params and queues a request. On QUERN_OK exactly one terminal event follows (possibly before this
 * returns) and *out must be given to quern_request_free. QUERN_E_ARGUMENT, _UNSUPPORTED (text for a model without),
 * _BUSY, _CLOSING, _DEVICE, _MEMORY: no event. What only reading the prompt shows (_CONTEXT, _LIMIT, _ARGUMENT) comes as an
 * ERROR event. */
int quern_submit(quern_model *m, const quern_params *params, quern_event_fn on_event, void *user,
                 quern_request **out, quern_error *e);
/* Asks for the end: the request stops within two steps with a DONE event of finish CANCELLED, unless it ended before. */
void quern_request_cancel(quern_request *r);
/* Gives the handle back, at any time, also inside the callback; does not cancel. Takes NULL. */
void quern_request_free(quern_request *r);

#ifdef __cplusplus
}
#endif
#endif
