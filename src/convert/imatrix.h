// Importance matrix: for each weight, the sum of squares of every input column that it was multiplied with, and how many inputs
// there were. Files are llama.cpp's (general.type "imatrix", NAME.in_sum2 and NAME.counts, NAME as in the model's GGUF file).
// One thread at a time, but for qn_imatrix_add.
#ifndef QN_CONVERT_IMATRIX_H
#define QN_CONVERT_IMATRIX_H
#include "base/new_file.h"
#include "model/model.h"

typedef struct {
    char name[96];    // "blk.0.attn_q.weight"
    const void *data; // of the weight on the device; while collecting
    int64_t n_columns;
    double *sums; // [n_columns] of squares
    float
        *costs; // [n_columns], all above 0: once read from a file; NULL where nothing was collected
    double count;
} qn_imatrix_entry;

typedef struct {
    qn_imatrix_entry *entries; // sorted by name once read, by data while collecting
    int n_entries;
    uint32_t n_chunks, chunk_size; // windows of text, and tokens of one
    char *dataset;                 // the text's name; may be NULL
} qn_imatrix;

// Reads a file: sums, counts and costs (mean squares; a column that was never used costs a millionth of the mean).
int qn_imatrix_read(const char *path, qn_imatrix *out, quern_error *e);
// The entry of a weight; NULL where there is none.
const qn_imatrix_entry *qn_imatrix_find(const qn_imatrix *m, const char *gguf_name);
void qn_imatrix_free(qn_imatrix *m);

// ---- collecting ----

// An empty entry for every matrix of a loaded model.
int qn_imatrix_prepare(const qn_model *model, qn_imatrix *out, quern_error *e);
// Adds n_rows inputs x [n_rows, n_columns] of the weight at `data`. Any thread, but for one weight at a time: a backend's
// observer (backend.h).
void qn_imatrix_add(void *imatrix, const void *data, const float *x, int64_t n_rows,
                    int64_t n_columns);
// Writes what was collected; entries without an input are left out. The caller commits the file.
int qn_imatrix_write(const qn_imatrix *m, const qn_new_file *file, quern_error *e);

#endif
