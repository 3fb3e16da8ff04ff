// Tensor set: the named tensors of one or more weight files, each a view into a mapping, whatever the files' format. A reader
// (safetensors.h, gguf.h) checks every size and adds them; nothing of their data is touched before the set is mapped.
// Owns the mappings; read-only once mapped, then any thread. Never knows what a tensor is for.
#ifndef QN_FORMATS_TENSOR_SET_H
#define QN_FORMATS_TENSOR_SET_H
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "tensor/tensor.h"

enum {
    QN_TENSOR_SET_MAX_RANK = 8,
    QN_TENSOR_SET_MAX_TENSORS = 1 << 18,
    QN_TENSOR_SET_MAX_FILES = 1000,
};

typedef struct {
    const char *name;
    const char *type; // as the file says: "BF16"
    qn_dtype dtype;   // QN_DTYPE_COUNT where Quern does not compute with that type
    int rank, file;   // file: index into files
    int64_t dim[QN_TENSOR_SET_MAX_RANK]; // the last runs fastest
    uint64_t begin, n_bytes;             // within the file
    const unsigned char
        *data; // NULL until mapped; may be misaligned for its type: safetensors allows it
} qn_stored_tensor;

typedef struct {
    char *path;
    size_t n_bytes;      // of the file, when its header was read
    size_t header_bytes; // before the first tensor
    uint64_t header_sum; // of what stood there then
    qn_mapping mapping;  // of all of it
} qn_tensor_file;

typedef struct {
    qn_tensor_file *files;
    qn_stored_tensor *tensors; // sorted by name
    int n_files, n_tensors, tensors_capacity;
    qn_arena arena; // names and paths
} qn_tensor_set;

#define QN_TENSOR_SET_INIT                                                                         \
    {                                                                                              \
        0                                                                                          \
    }

// ---- for readers ----

// Notes the file once; it is opened later.
int qn_tensor_set_add_file(qn_tensor_set *s, const char *path, quern_error *e);
// Adds a copy of *t under the n bytes at name. `path` is the file in messages.
int qn_tensor_set_add(qn_tensor_set *s, const qn_stored_tensor *t, const char *name, size_t n,
                      const char *path, quern_error *e);
// Notes what stands before the first of a file's tensors, which are those added since there were `first`: should the file be
// another when it is mapped, that is seen.
void qn_tensor_set_note_header(qn_tensor_set *s, int file, int first, const qn_mapping *head);
// Sorts by name; refuses a name that occurs twice. Before any find.
int qn_tensor_set_sort(qn_tensor_set *s, quern_error *e);
// Whether a name can be printed: not empty, no control characters, no "../". (It is never used as a path.)
bool qn_tensor_set_sane_name(const char *name, size_t n);

// ---- for users ----

// Maps the files and gives every tensor its data. `copy`: reads them into memory instead. QUERN_E_IO where one is not the file
// whose header was read.
int qn_tensor_set_map(qn_tensor_set *s, bool copy, quern_error *e);
// Takes NULL.
void qn_tensor_set_close(qn_tensor_set *s);
// NULL where there is none of that name.
const qn_stored_tensor *qn_tensor_set_find(const qn_tensor_set *s, const char *name);

#endif
