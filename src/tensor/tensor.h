// Tensors: element types, shapes and views. A view owns nothing; any thread may read it.
#ifndef QN_TENSOR_TENSOR_H
#define QN_TENSOR_TENSOR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A weight format is one value here and one row of tensor/quant/registry.c.
typedef enum {
    QN_DTYPE_F32,
    QN_DTYPE_F16,
    QN_DTYPE_BF16, // the last whose numbers stand alone; those below come in blocks, up to IQ4_XS laid as in GGUF files
    QN_DTYPE_Q8_0,
    QN_DTYPE_Q4_0,
    QN_DTYPE_Q4_1,
    QN_DTYPE_Q5_0,
    QN_DTYPE_Q5_1,
    QN_DTYPE_Q2_K,
    QN_DTYPE_Q3_K,
    QN_DTYPE_Q4_K,
    QN_DTYPE_Q5_K,
    QN_DTYPE_Q6_K,
    QN_DTYPE_IQ4_NL,
    QN_DTYPE_IQ4_XS,
    QN_DTYPE_AFFINE3_32, // affine<bits>_<group>: what MLX, GPTQ and AWQ weights are repacked into; groups run fastest
    QN_DTYPE_AFFINE3_64,
    QN_DTYPE_AFFINE3_128,
    QN_DTYPE_AFFINE4_32,
    QN_DTYPE_AFFINE4_64,
    QN_DTYPE_AFFINE4_128,
    QN_DTYPE_AFFINE5_32,
    QN_DTYPE_AFFINE5_64,
    QN_DTYPE_AFFINE5_128,
    QN_DTYPE_AFFINE6_32,
    QN_DTYPE_AFFINE6_64,
    QN_DTYPE_AFFINE6_128,
    QN_DTYPE_AFFINE8_32,
    QN_DTYPE_AFFINE8_64,
    QN_DTYPE_AFFINE8_128,
    QN_DTYPE_FP8_128,
    QN_DTYPE_COUNT
} qn_dtype;

enum { QN_MAX_RANK = 4 };

// Dense row-major view: dim[rank-1] runs fastest. data is a device address (on the CPU and in unified memory: a pointer).
typedef struct {
    void *data;
    qn_dtype dtype;
    int rank;
    int64_t dim[QN_MAX_RANK];
} qn_tensor;

static inline qn_tensor qn_tensor_2d(void *data, qn_dtype dtype, int64_t rows, int64_t columns)
{
    return (qn_tensor){data, dtype, 2, {rows, columns}};
}
static inline qn_tensor qn_tensor_1d(void *data, qn_dtype dtype, int64_t n)
{
    return (qn_tensor){data, dtype, 1, {n}};
}

// Whether a type's numbers stand alone: what vectors and caches are made of, and what can be read one by one.
static inline bool qn_dtype_is_plain(qn_dtype dtype)
{
    return (unsigned)dtype <= QN_DTYPE_BF16;
}

int64_t qn_tensor_n_elements(const qn_tensor *t);
// Bytes that the view spans, and those of one row (n numbers along the last dimension; whole blocks for block formats).
size_t qn_tensor_bytes(const qn_tensor *t);
size_t qn_tensor_row_bytes(const qn_tensor *t);

// The traits of a weight format: its block layout and reference conversion.
typedef struct {
    const char *name; // "bf16", as on the command line and in reports
    int block_elements, block_bytes;
    // n elements (a multiple of block_elements) to and from float32; reference code, any address. from_f32 takes finite
    // numbers; NULL: the format is read only.
    void (*to_f32)(const void *from, float *to, size_t n);
    void (*from_f32)(const float *from, void *to, size_t n);
} qn_format;

const qn_format *qn_format_of(qn_dtype dtype);
// A row of n finite numbers into a type that can be written. columns[n] (NULL: none): how much an error in each column costs,
// all above 0; a type that does not weigh them takes no notice.
bool qn_format_weighs(qn_dtype dtype);
void qn_format_quantise(qn_dtype dtype, const float *from, const float *columns, void *to,
                        size_t n);
// Bytes of n elements, the last block whole.
size_t qn_format_bytes(const qn_format *f, uint64_t n);
// Kernels of GPUs read tensors at multiples of this: the largest power of two that divides a block, at most 16. Rows keep it.
size_t qn_format_alignment(const qn_format *f);
// QN_DTYPE_COUNT where unknown.
qn_dtype qn_dtype_by_name(const char *name);
// affine<bits>_<group>; QN_DTYPE_COUNT where there is none.
qn_dtype qn_dtype_affine(int64_t bits, int64_t group);

// Single conversions (round to nearest even).
float qn_f16_to_f32(uint16_t h);
uint16_t qn_f32_to_f16(float f);
static inline float qn_bf16_to_f32(uint16_t h)
{
    union {
        uint32_t u;
        float f;
    } v = {(uint32_t)h << 16};
    return v.f;
}
uint16_t qn_f32_to_bf16(float f);
// FP8 of 4 exponent and 3 fraction bits: ±448 at most, no infinities, NaN where the lower 7 bits are ones. What is larger
// becomes ±448.
float qn_fp8_to_f32(uint8_t b);
uint8_t qn_f32_to_fp8(float f);

#endif
