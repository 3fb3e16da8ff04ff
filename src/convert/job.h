// The tensors of a conversion and their way into the file, on several threads. Internal to convert/.
#ifndef QN_CONVERT_JOB_H
#define QN_CONVERT_JOB_H
#include "base/new_file.h"
#include "convert/convert.h"

typedef struct {
    char name[96];  // in the file
    qn_tensor from; // where it lies now: [n_rows, n_columns], or a vector as one row
    int64_t n_rows, n_columns;
    qn_dtype dtype;       // what it becomes
    const float *columns; // weights of the columns, or NULL
    uint64_t offset;      // in the file
} qn_convert_item;

typedef struct {
    const qn_convert_item *items;
    int n_items;
    const qn_new_file *file;
    const qn_convert_options *options;
} qn_convert_job;

// Converts and writes all items. QUERN_E_FORMAT where a weight is no finite number.
int qn_convert_run(const qn_convert_job *job, quern_error *e);

#endif
