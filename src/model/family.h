// What model families and the shared parts of model/ know of one another: a family's meaning of a configuration, its table of
// weights, and the recording of its pass. Internal to model/.
#ifndef QN_MODEL_FAMILY_H
#define QN_MODEL_FAMILY_H
#include "base/arena.h"
#include "formats/gguf.h"
#include "formats/hf_config.h"
#include "formats/hf_quantization.h"
#include "model/model.h"

// The family's meaning of a configuration: nothing absent, everything checked.
typedef struct {
    int n_layers, n_vocab, n_context, hidden_size, n_heads, n_kv_heads, head_dim, intermediate_size;
    bool tied;
    bool attention_bias; // the family's choice: biases on its projections
    float norm_eps;
    qn_hf_rope rope;              // theta and original_max_position filled in
    int window[QN_HF_MAX_LAYERS]; // positions that layer i attends to; 0: all
} qn_model_config;

// A dimension of a weight, by name: its size follows from the configuration.
typedef enum {
    QN_DIM_NONE,
    QN_DIM_HIDDEN,
    QN_DIM_VOCAB,
    QN_DIM_QUERY, // n_heads · head_dim
    QN_DIM_KEY,   // n_kv_heads · head_dim
    QN_DIM_HEAD,  // head_dim
    QN_DIM_INNER, // intermediate_size
} qn_dim;

// How a tensor is cut for tensor parallelism: rank r of n has part r of n of the rows or columns, or all of it. Cuts of
// QN_DIM_QUERY and QN_DIM_KEY fall between heads.
typedef enum { QN_CUT_WHOLE, QN_CUT_ROWS, QN_CUT_COLUMNS } qn_cut;

typedef enum { QN_WHEN_ALWAYS, QN_WHEN_UNTIED, QN_WHEN_BIAS } qn_when;

// One row of a family's weight table: the tensor's name, where its view goes, its shape.
typedef struct {
    const char *name; // "model.layers.%d.…": one a layer
    size_t offset;    // of a qn_tensor within the family's layer struct, or within qn_ends
    qn_dim dim[2];
    qn_cut cut;
    qn_when when;
} qn_weight_spec;

// The weights outside the layers.
typedef struct {
    qn_tensor embed, final_norm, head; // head = embed where tied
} qn_ends;

// Activations of a pass, carved from its scratch; all F32.
typedef struct {
    qn_tensor x, h;     // [max_rows, hidden]: the residual stream, and its norm
    qn_tensor q, a;     // [max_rows, query]: queries, and what attention gives
    qn_tensor k, v;     // [max_rows, key]
    qn_tensor gate, up; // [max_rows, inner]
    qn_tensor out;      // [max_outputs, hidden]
    qn_tensor logits;   // [max_outputs, n_vocab]
    qn_tensor part;     // of logits: this rank's; the same tensor at one rank
    qn_tensor sampling; // [max_outputs, 4 · n_vocab]
} qn_activations;

typedef struct {
    qn_plan *plan;
    qn_activations at;
    const qn_state_span *spans; // in the order of the family's state parts
} qn_pass;

typedef struct {
    const char *name;  // = config.json's model_type
    const char *about; // the models that are of it, as their makers call them
    // The family's meaning of a configuration; refuses what it cannot run.
    int (*configure)(const qn_hf_config *hf, const char *file, qn_model_config *out,
                     quern_error *e);
    const qn_weight_spec *weights;
    int n_weights;
    size_t layer_bytes; // of the family's layer struct
    // With caches of the given type.
    int (*state_parts)(const qn_model *m, qn_dtype cache, qn_state_part *out);
    // Places the activations at base (NULL: nowhere); returns the bytes that they take.
    size_t (*carve)(const qn_model *m, const qn_step_limits *limits, char *base,
                    qn_activations *out);
    // From embed to logits.
    void (*record)(const qn_model *m, const qn_pass *pass);
} qn_family;

struct qn_model {
    const qn_family *family;
    qn_model_config config;
    qn_model_facts facts;
    int rank, n_ranks; // of tensor parallelism
    qn_ends ends;
    char *layers;       // [n_layers] of the family's layer struct
    qn_tensor inv_freq; // F32 [head_dim / 2]
    float rope_scale;
    qn_model_options options;
    qn_gguf gguf;         // where the model is a GGUF file
    qn_tensor_set folder; // where it is a directory: the mappings that the weights are views of
    qn_tensor_set *files; // the one of the two, NULL until it is open
    qn_hf_quantization quantization; // what a directory's config.json says of packed weights
    qn_mapping random;               // or the memory that a shape's weights fill
    void **device_memory;            // what was allocated on the device for this model
    int n_device_memory;
};

// ---- registry.c ----

const qn_family *qn_model_family(const char *name); // NULL where unknown

// ---- config.c ----

// What is read from a directory, or stands in the table of shapes.
typedef struct {
    qn_hf_config hf;
    bool packed; // weights are in a quantiser's layout; hf.dtype is what most will be once repacked
    const qn_family *family;
    qn_model_config config;
    qn_generation_config generation;
} qn_description;

// From a directory's files or a GGUF file's metadata, by what `path` is.
int qn_config_read(const char *path, qn_description *out, quern_error *e);
// Finds the family of d->hf and fills d->family and d->config.
int qn_config_resolve(qn_description *d, const char *file, quern_error *e);
// The part that dense families share: sizes, RoPE, windows. default_head_dim 0: hidden_size / heads.
int qn_config_dense(const qn_hf_config *hf, int default_head_dim, const char *file,
                    qn_model_config *out, quern_error *e);
void qn_config_facts(const qn_description *d, qn_model_facts *out);

// ---- rope.c ----

// inv_freq[head_dim / 2] and the factor of cos and sin. QUERN_E_FORMAT where the parameters give no finite number.
int qn_rope_frequencies(const qn_model_config *c, const char *file, float *inv_freq, float *scale,
                        quern_error *e);

// ---- weights.c: the weight table that a configuration implies ----

// Whether a configuration has the weight.
bool qn_weights_wanted(const qn_model_config *c, const qn_weight_spec *spec);
// The whole tensor's shape; returns its rank.
int qn_weights_shape(const qn_model_config *c, const qn_weight_spec *spec, int64_t dim[2]);
void qn_weights_name(const qn_weight_spec *spec, int layer, char out[96]);
// Calls visit for every tensor of the table, in order, until one returns nonzero; returns that. layer is 0 outside layers.
typedef int (*qn_weights_visit)(void *context, const qn_weight_spec *spec, int layer);
int qn_weights_each(const qn_model_config *c, const qn_family *f, qn_weights_visit visit,
                    void *context);
// Elements of all tensors, and of those that a step of one row reads.
void qn_weights_count(const qn_model_config *c, const qn_family *f, uint64_t *n_parameters,
                      uint64_t *n_active);
// The same in bytes, where matrices are of `dtype`.
void qn_weights_bytes(const qn_model_config *c, const qn_family *f, qn_dtype dtype, uint64_t *all,
                      uint64_t *active);
// The type of a tensor where matrices are of `dtype`: vectors come in no blocks.
qn_dtype qn_weights_dtype(qn_dtype dtype, int rank);
// QUERN_E_UNSUPPORTED where a row of some matrix is not of whole blocks. `source` is named in the message.
int qn_weights_check_blocks(const qn_model_config *c, const qn_family *f, qn_dtype dtype,
                            const char *source, quern_error *e);
// Where the view of a tensor goes.
qn_tensor *qn_weights_slot(const qn_model *m, const qn_weight_spec *spec, int layer);
// Fills the views of a model without files, but for their data: matrices are of `dtype`.
void qn_weights_describe(qn_model *m, qn_dtype dtype);
// Sets weight_bytes, active_bytes and dtype of m->facts from the views.
void qn_weights_measure(qn_model *m);

// ---- gguf_names.c ----

// The family that runs an architecture of GGUF's, as model_type names it; NULL: none.
const char *qn_gguf_family(const char *architecture, size_t n);
// The i'th architecture of GGUF's that the family runs, from 0 on; NULL past the last.
const char *qn_gguf_architecture(const char *family, int i);
// A weight's name in GGUF files: "blk.3.attn_q.weight" for "model.layers.3.self_attn.q_proj.weight".
void qn_gguf_name(const qn_weight_spec *spec, int layer, char out[96]);

// ---- loader.c, memory.c, random.c ----

// Reads the headers of the model's files and fills the views, but for their data: all that can be wrong is found here.
int qn_loader_check(qn_model *m, const char *path, quern_error *e);
// "[4096, 128]", cut off at n bytes; returns text.
const char *qn_loader_print_shape(const int64_t *dim, int rank, char *text, size_t n);
// Then maps the files and places every tensor's data.
int qn_loader_place_all(qn_model *m, quern_error *e);
// The rank's part of a whole tensor at `data`, as a view on the device: in place where it can be and the data outlives the model
// (`lasting`), else a copy.
int qn_loader_place(qn_model *m, const qn_weight_spec *spec, const qn_tensor *whole, bool lasting,
                    qn_tensor *out, quern_error *e);
// Places seeded random numbers where the views of qn_weights_describe have no data.
int qn_random_fill(qn_model *m, quern_error *e);
// Device memory that ends with the model, holding n bytes copied from `from`.
int qn_memory_upload(qn_model *m, const void *from, size_t n_bytes, void **address, quern_error *e);
// Mappings that are adopted from: lent before, taken back before they end (what was not lent may be, too).
void qn_memory_lend(qn_model *m, const qn_mapping *mapping);
void qn_memory_take_back(qn_model *m, const qn_mapping *mapping);
// The device's address for read-only host memory that outlives the model.
int qn_memory_adopt(qn_model *m, const void *from, size_t n_bytes, void **address, quern_error *e);
void qn_memory_free(qn_model *m);

// ---- shapes.c ----

int qn_shapes_find(const char *name, qn_dtype dtype, qn_description *out, quern_error *e);

#endif
