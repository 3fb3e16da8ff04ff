// Argument structs of CUDA's own kernels: 32-bit scalars only. Shared by C and CUDA.
#ifndef QN_BACKEND_CUDA_ARGS_H
#define QN_BACKEND_CUDA_ARGS_H

enum {
    QN_CUDA_PART = 1024,   // numbers of K that are summed in one chain, where nothing else is said
    QN_CUDA_PIECE = 64,    // positions that attention takes at a time (attention.cuh)
    QN_CUDA_STEP = 16,     // a step of K; N of packed weights is a multiple of this
    QN_CUDA_K_PAD = 128,   // and K of this: eight steps
    QN_CUDA_MAX_PARTS = 3, // matrices side by side in one product
    QN_CUDA_PRODUCT_SHARED = 96 * 1024, // bytes of shared memory of product
    QN_CUDA_PRODUCT_UNITS = 64,
    QN_CUDA_TILES_SHARED = 98816,      // of product_tiles (product_tiles.cuh)
    QN_CUDA_UNIT_FLOATS = 128,         // sums of a unit: 16 rows of w by 8 of x
    QN_CUDA_GEMM_SHARED = 232448,      // of gemm_…: all that a group of sm_90 may have
    QN_CUDA_GEMM_HALF_SHARED = 115712, // of those of which a multiprocessor has two groups
    QN_CUDA_GEMM_FLAG_BYTES = 4096,    // a word a warpgroup that multiplies: of 512 groups
    QN_CUDA_GEMM_KINDS = 2,            // of sums that are handed over (gemm_handed.cuh)
    QN_CUDA_FEW_PARTS = 4,             // of K, of 16-bit weights
    QN_CUDA_MOST_PARTS = 8,            // of blocks
    QN_CUDA_NORM_WIDTH = 8192,         // of gemm_norm's rows, at most
    QN_CUDA_NORM_THREADS = 512,
    QN_CUDA_ENTER_DIM = 256, // of gemm_enter's heads, at most
    QN_CUDA_FLASH_WARPS = 4, // of flash_rows_… of a 16-bit cache (attention_warps.cuh)
    QN_CUDA_FLASH_WARPS_SHARED_64 = 41472,
    QN_CUDA_FLASH_WARPS_SHARED_128 = 82432,
    QN_CUDA_WIDE_THREADS = 384, // of flash_wide_…
    QN_CUDA_WIDE_ROWS = 128,    // rows of its products
    QN_CUDA_WIDE_SHARED_64 = 132256,
    QN_CUDA_WIDE_SHARED_128 = 230560,
};

// Of packed weights by their type (qn_dtype; blocks_packed.cuh): bytes of a step of a strip, and steps of blocks that are decoded together.
#define QN_CUDA_AFFINE_BITS(type) ((type) < 27 ? (type) / 3 - 2 : 8)
#define QN_CUDA_STEP_BYTES(type)                                                                   \
    ((type) == 3                                   ? 272                                           \
     : (type) == 4 || (type) == 10 || (type) == 13 ? 144                                           \
     : (type) == 5                                 ? 160                                           \
     : (type) == 6 || (type) == 11                 ? 176                                           \
     : (type) == 7                                 ? 192                                           \
     : (type) == 8                                 ? 84                                            \
     : (type) == 9                                 ? 110                                           \
     : (type) == 12                                ? 210                                           \
     : (type) == 14                                ? 136                                           \
     : (type) >= 15 && (type) <= 29 ? 32 * QN_CUDA_AFFINE_BITS(type) + (32 >> (type) % 3)          \
     : (type) == 30                 ? 260                                                          \
                                    : 512)
#define QN_CUDA_IN_BLOCKS(type) ((type) > 2)
#define QN_CUDA_GROUP_STEPS(type) (((type) >= 8 && (type) <= 12) || (type) == 14 ? 16 : 8)

// Groups of gemm_packed_… a multiprocessor, by the rows of x of a tile.
#define QN_CUDA_GEMM_PACKED_GROUPS(tile_rows) ((tile_rows) <= 16 ? 2 : 1)

// CUDA's own kernels; as tasks they are numbered behind the dialect's.
// clang-format off
#define QN_CUDA_FLASH(X, what) X(flash_##what##_f16_64) X(flash_##what##_f16_128) X(flash_##what##_bf16_64) X(flash_##what##_bf16_128) \
    X(flash_##what##_q8_0_64) X(flash_##what##_q8_0_128)
#define QN_CUDA_GEMM(X, n) X(gemm_f16_##n) X(gemm_bf16_##n)
#define QN_CUDA_KERNELS(X) X(product) X(product_tiles) X(product_fold) X(pack_weights) X(pack_blocks) X(unpack_blocks) X(embed_packed) X(read_all) \
    QN_CUDA_FLASH(X, rows) QN_CUDA_FLASH(X, tiles) QN_CUDA_FLASH(X, attend) QN_CUDA_FLASH(X, wide) QN_CUDA_GEMM(X, 16) QN_CUDA_GEMM(X, 32) \
    QN_CUDA_GEMM(X, 64) QN_CUDA_GEMM(X, 128) QN_CUDA_GEMM(X, 256) QN_CUDA_GEMM(X, chain) \
    X(gemm_packed_16) X(gemm_packed_32) X(gemm_packed_64) X(gemm_rows) X(gemm_norm) X(gemm_norm_parts) X(gemm_merge) X(gemm_enter) X(gemm_enter_parts) X(gemm_fold)
// clang-format on
typedef enum {
#define QN_CUDA_VALUE(name) QN_CUDA_##name,
    QN_CUDA_KERNELS(QN_CUDA_VALUE)
#undef QN_CUDA_VALUE
        QN_CUDA_N_KERNELS
} qn_cuda_kernel;

// What the product multiplies: the rows of x as they are, their RMSNorm, or the merge of an attention's splits.
enum { QN_CUDA_PLAIN, QN_CUDA_NORM, QN_CUDA_MERGE };

// Buffers: y[3], x (or the attention's partials), norm weights (or the rows), w[3], bias[3], counts; of product_tiles also the
// partials; of product_fold: y[3], bias[3], counts, partials.
typedef struct {
    int n_k, padded_k;
    int n_matrices;                // those that follow
    int n_n[QN_CUDA_MAX_PARTS];    // rows of each
    int w_type[QN_CUDA_MAX_PARTS]; // of each: as `type`, or blocks (all, or none)
    int bias[QN_CUDA_MAX_PARTS];   // type of each bias, or −1
    int type;                      // of what is multiplied: 1 F16, 2 BF16; blocks become F16
    int accumulate, over_outputs;
    int gated;  // two matrices, gate and up: y[0] = silu(gate) · up
    int source; // QN_CUDA_PLAIN, …
    int norm_type;
    float eps;
    int head_dim, n_splits, window, piece; // of the merge
    int tile_rows;                         // product_tiles: rows of x of a group, 32, 64 or 128
    int n_split; // product_tiles: 1, or the parts, each by groups of its own; product_fold adds them
} qn_cuda_product_args;

// gemm_…: products of many rows on sm_90a (gemm.cuh, gemm_packed.cuh). Buffers: y[3], x as tiles (gemm_tiled.cuh), w[3], bias[3],
// counts, partials, handed sums. gemm_fold: y[3], bias[3], counts, partials.
typedef struct {
    int padded_k;
    // Numbers of K that are summed in one chain: a multiple of QN_CUDA_K_PAD, where there are blocks of twice that. The chains' sums, at most
    // QN_CUDA_MOST_PARTS, are added in order.
    int part;
    int n_matrices;                // those that follow
    int n_n[QN_CUDA_MAX_PARTS];    // rows of each
    int bias[QN_CUDA_MAX_PARTS];   // type of each bias, or −1
    int w_type[QN_CUDA_MAX_PARTS]; // of each in gemm_packed_…: its blocks
    int type;                      // of what is multiplied: 1 F16, 2 BF16
    int accumulate, over_outputs;
    int gated; // two matrices, gate and up: y[0] = silu(gate) · up, as tiles of the next product's x
    int tile_rows;  // rows of x of a tile
    int n_clusters; // of the grid
    int cluster;    // groups a cluster
    int early;      // 1: the weights are there before the kernel before this one is over
    int split_rows; // steps of up to so many rows of x have parts as work of their own (gemm_schedule.cuh)
} qn_cuda_gemm_args;

// gemm_rows: buffers: tiles, x, norm weights, counts.
typedef struct {
    int n_k, padded_k, type, tile_rows, over_outputs;
    int norm; // 1: x's RMSNorm
    int norm_type;
    float eps;
} qn_cuda_gemm_rows_args;

// gemm_norm: buffers: tiles, x, norm weights, bias, counts, partials, outputs.
typedef struct {
    qn_cuda_gemm_args product; // whose results are x; only n_n[0] and over_outputs where not:
    int folds;                 // 1: parts that groups of it did on their own are still to be added
    int gathers; // 1: the norms are of the outputs' rows of x, which nobody reads after them
    int padded_k, type, tile_rows;
    int norm_type;
    float eps;
} qn_cuda_gemm_norm_args;

// gemm_enter: buffers: q, k, v, bias[3], counts, partials, rows, inv_freq, q_norm, k_norm, k_cache, v_cache, table. q becomes what attention
// takes, k and v are in the caches only.
typedef struct {
    qn_cuda_gemm_args product;
    int n_heads, n_kv_heads, head_dim;
    int cache_type, max_blocks;
    int q_norm_type, k_norm_type; // −1: no norm
    float eps, rope_scale;
} qn_cuda_gemm_enter_args;

typedef struct {
    int n_n, n_k, padded_k;
} qn_cuda_pack_args;

// pack_blocks, unpack_blocks.
typedef struct {
    int n_n, n_k, padded_k;
    int type;
    int over_outputs; // unpack_blocks: nothing to do in a step without outputs
} qn_cuda_blocks_args;

typedef struct {
    int width, padded_k, n_vocab, type, max_context;
} qn_cuda_embed_args;

#endif
