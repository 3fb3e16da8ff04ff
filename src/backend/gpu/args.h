// Argument structs of the kernels: 32-bit scalars only, so that C, Metal and CUDA lay them out alike. In kernels they are read
// field by field, never copied whole. Types are qn_dtype values: 0 F32, 1 F16, 2 BF16; of weights also the block formats.
#ifndef QN_BACKEND_GPU_ARGS_H
#define QN_BACKEND_GPU_ARGS_H

// clang-format off
#define QN_GPU_BLOCK_FORMATS(X) \
    X(3, q8_0) X(4, q4_0) X(5, q4_1) X(6, q5_0) X(7, q5_1) X(8, q2_k) X(9, q3_k) X(10, q4_k) X(11, q5_k) X(12, q6_k) \
    X(13, iq4_nl) X(14, iq4_xs) X(30, fp8_128)
// Affine blocks by their bits: the value of groups of 32; those of 64 and 128 follow it. One pair of kernels for all three.
#define QN_GPU_AFFINE_FORMATS(X) X(15, 3) X(18, 4) X(21, 5) X(24, 6) X(27, 8)
// clang-format on

// step_begin: the sizes of the step block's parts (its layout is qn_step_at of step.h) and of the slot table.
typedef struct {
    int rows_at, outputs_at, slot_copies_at, params_edits_at, token_edits_at, block_edits_at,
        block_copies_at; // in 4-byte words from the block's start
    int apply;           // 1: apply the edits to the slot table; 0: fetch the block only
    int max_context, max_blocks;
    int n_words; // of the whole block
} qn_gpu_step_begin_args;

typedef struct {
    int max_outputs;
} qn_gpu_step_end_args;

typedef struct {
    int n_layers, n_blocks;
    int block_words; // block_bytes / 4; bytes beyond in block_tail
    int block_tail;
} qn_gpu_copy_blocks_args;

typedef struct {
    int width, n_vocab, type, max_context;
} qn_gpu_embed_args;

typedef struct {
    int width;
} qn_gpu_gather_args;

typedef struct {
    int width, n_groups, type;
    float eps;
    int over_outputs; // 1: rows are counted by n_outputs
} qn_gpu_rms_norm_args;

typedef struct {
    int n_heads, head_dim;
    float scale;
} qn_gpu_rope_args;

typedef struct {
    int n_kv_heads, head_dim, type, max_blocks;
} qn_gpu_kv_append_args;

typedef struct {
    int width;
} qn_gpu_swiglu_args;

// Products: K (n_k), N of each part; types of the biases (−1: none).
typedef struct {
    int n_k, n_n;
    int bias_type, accumulate, over_outputs;
    int w_type;  // matmul_any and affine blocks only
    int aligned; // weights at multiples of 16 bytes (else of 8)
} qn_gpu_matmul_args;

typedef struct {
    int n_k, n_q, n_kv; // rows of the three parts: n_q, n_kv, n_kv
    int bias_q, bias_k, bias_v, norm_type;
    float eps;
    int aligned;
} qn_gpu_norm_project_args;

typedef struct {
    int n_k, n_n, norm_type;
    float eps;
    int aligned;
} qn_gpu_norm_gate_up_args;

// attention and attend; the norms and the rotation are attend's.
typedef struct {
    int n_heads, n_kv_heads, head_dim, window;
    float scale;
    int n_parts;    // groups a key head: of its query heads at most 8 each
    int n_splits;   // of the positions
    int piece;      // positions that a split takes at a time; QN_PIECE in the dialect's own kernels
    int whole;      // 1: a group does all splits of its row and writes the result; 0: partials
    int max_blocks; // of the block table
    int wide_k, wide_v;           // the caches' rows may be read in whole vectors
    int q_norm_type, k_norm_type; // −1: no norm
    float eps, rope_scale;
    int tile_rows,
        tile_type; // CUDA's own: what is written are a product's tiles (cuda/gemm_tiled.cuh); 0 rows: it is not
    int cache_type;
} qn_gpu_attention_args;

typedef struct {
    int n_k, n_n;
    int head_dim, window, n_splits, piece;
    int bias_type, accumulate, aligned;
} qn_gpu_merge_project_args;

// The four kernels of sample.
typedef struct {
    int n_vocab, n_segments;
    int scratch_width, work_words; // of an output
    int max_context;
    int each; // outputs that a group of sample_count and sample_place looks at: at most 32
} qn_gpu_sample_args;

#endif
