// safetensors: one file or a set of shards as named tensors, each a view into a mapping. Every size is checked before a pointer
// exists: spans cover the data from the header to the end of the file, without hole or overlap. Owns the mappings; read-only
// once mapped, then any thread. Never knows what a tensor is for.
#ifndef QN_FORMATS_SAFETENSORS_H
#define QN_FORMATS_SAFETENSORS_H
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "tensor/tensor.h"

enum {
    QN_SAFETENSORS_MAX_RANK = 8,
    QN_SAFETENSORS_MAX_TENSORS = 1 << 18,
    QN_SAFETENSORS_MAX_FILES = 1000,
    QN_SAFETENSORS_MAX_NAME = 1024,                      // bytes of a tensor's name
    QN_SAFETENSORS_MAX_HEADER = 100000000,               // bytes, as in Hugging Face's own reader
    QN_SAFETENSORS_HEAD = 8 + QN_SAFETENSORS_MAX_HEADER, // where the data begins at the latest
    QN_SAFETENSORS_MAX_METADATA = 4 << 20,               // bytes
    QN_SAFETENSORS_MAX_INDEX = 32 << 20,                 // bytes of model.safetensors.index.json
};

typedef struct {
    const char *name;
    const char *type; // as the file says: "BF16"
    qn_dtype dtype;   // QN_DTYPE_COUNT where Quern does not compute with that type
    int rank, file;   // file: index into files
    int64_t dim[QN_SAFETENSORS_MAX_RANK];
    uint64_t begin, n_bytes; // within the file
    const unsigned char
        *data; // NULL until mapped; may be misaligned for its type: the format allows it
} qn_safetensor;

typedef struct {
    char *path;
    size_t n_bytes;     // of the file, when its header was read
    qn_mapping mapping; // of all of it
} qn_safetensors_file;

typedef struct {
    qn_safetensors_file *files;
    qn_safetensor *tensors; // sorted by name
    int n_files, n_tensors, tensors_capacity;
    qn_arena arena; // names and paths
} qn_safetensors;

#define QN_SAFETENSORS_INIT                                                                        \
    {                                                                                              \
        0                                                                                          \
    }

// Reads the headers of what a directory holds: model.safetensors, else the shards of model.safetensors.index.json, else every
// *.safetensors in order of name. Costs no memory for data, so that a damaged set is told as such however large it is. On
// failure *out is closed.
int qn_safetensors_open(const char *directory, qn_safetensors *out, quern_error *e);
// Maps the files and gives every tensor its data. `copy`: reads them into memory instead.
int qn_safetensors_map(qn_safetensors *s, bool copy, quern_error *e);
// Takes NULL.
void qn_safetensors_close(qn_safetensors *s);
// NULL where there is none of that name.
const qn_safetensor *qn_safetensors_find(const qn_safetensors *s, const char *name);

// Adds the tensors of one file of n bytes, of which at least the first QN_SAFETENSORS_HEAD (or all) are at `bytes`; they are
// not needed afterwards. `file` is its index into s->files, `path` its name in messages.
int qn_safetensors_parse(qn_safetensors *s, const unsigned char *bytes, size_t n, const char *path,
                         int file, quern_error *e);
// Sorts by name; refuses a name that occurs twice. Before any find.
int qn_safetensors_sort(qn_safetensors *s, quern_error *e);

#endif
