// Packed weights: matrices that a checkpoint holds as several tensors in its quantiser's own layout, repacked at load into blocks that
// kernels compute with. A layout is one file (packed_<scheme>.c) and one row of the table in packed.c. Internal to model/.
#ifndef QN_MODEL_PACKED_H
#define QN_MODEL_PACKED_H
#include <string.h>

#include "model/family.h"

enum { QN_PACKED_PARTS = 4, QN_PACKED_NAME = 96 };

typedef struct qn_packing qn_packing;

// One matrix [rows, columns] of a checkpoint.
typedef struct {
    const qn_packing *packing; // NULL: it is stored plainly
    const qn_model *model;
    char module[QN_PACKED_NAME];                   // its name without ".weight"
    const qn_stored_tensor *part[QN_PACKED_PARTS]; // in the order of packing->parts; NULL: absent
    int64_t rows, columns;
    int bits;
    int64_t group;    // numbers of a row that share a scale
    int64_t n_groups; // of a row; the last may be shorter
    qn_dtype dtype;   // of the result: set by check
} qn_packed;

struct qn_packing {
    // Last names of a module's tensors, up to four; where "weight" is one of them, a weight of a plain type is no packed one.
    const char *parts[QN_PACKED_PARTS];
    // Its quantisers write biases of zeros beside modules that have none.
    bool zero_biases;
    int64_t row_step; // rows are repacked in multiples of this
    // Types and shapes of the parts, before any of their data is mapped; sets dtype.
    int (*check)(qn_packed *p, quern_error *e);
    // (optional: NULL) What must hold of the parts' data.
    int (*verify)(const qn_packed *p, quern_error *e);
    // Writes rows first … end - 1 of the result, whose row 0 is at `to`. Any thread.
    void (*repack)(const qn_packed *p, uint8_t *to, int64_t first, int64_t end);
};

extern const qn_packing qn_packing_mlx, qn_packing_gptq, qn_packing_awq, qn_packing_fp8;

// ---- packed.c: for the loader ----

// The matrix of the weight table's name; out->packing is NULL where the checkpoint holds it plainly.
void qn_packed_find(const qn_model *m, const char *name, const int64_t dim[2], qn_packed *out);
// Checks a packed matrix; all that can be wrong but its data.
int qn_packed_check(qn_packed *p, quern_error *e);
// Whether a tensor of the files is the weight `name`: that itself or, of a packed matrix, one of its parts or a bias beside it that
// must be zeros.
bool qn_packed_has(const qn_model *m, const char *name, const char *tensor);
// Repacks a checked matrix into malloc'd memory.
int qn_packed_repack(const qn_packed *p, void **out, quern_error *e);
// QUERN_E_UNSUPPORTED where a bias that the family does not have is not all zeros.
int qn_packed_check_bias(const qn_model *m, const qn_stored_tensor *bias, quern_error *e);

// ---- packed.c: for the layouts ----

// A part must be there, of one of the types ("F16 BF16 F32") and of that shape; dim[1] 0: a vector.
int qn_packed_expect(const qn_packed *p, int part, const char *types, const int64_t dim[2],
                     quern_error *e);
// The file that has its parts, for messages.
const char *qn_packed_path(const qn_packed *p);
// affine<bits>_<n>, n being the most of 128, 64 and 32 that cuts both groups and rows into whole blocks.
int qn_packed_affine(const qn_packed *p, qn_dtype *out, quern_error *e);
// Number i of a tensor of F32, F16 or BF16.
static inline float qn_packed_number(const qn_stored_tensor *t, int64_t i)
{
    uint16_t half;
    float number;
    if (t->dtype == QN_DTYPE_F32) {
        memcpy(&number, t->data + 4 * i, sizeof number);
        return number;
    }
    memcpy(&half, t->data + 2 * i, sizeof half);
    return t->dtype == QN_DTYPE_F16 ? qn_f16_to_f32(half) : qn_bf16_to_f32(half);
}
// Word i of one of U32 or I32.
static inline uint32_t qn_packed_word(const qn_stored_tensor *t, int64_t i)
{
    uint32_t word;
    memcpy(&word, t->data + 4 * i, sizeof word);
    return word;
}
// The beginning of an affine block; returns where its numbers go.
uint8_t *qn_packed_head(uint8_t *block, float scale, float bias);

#endif
