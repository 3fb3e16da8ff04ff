// safetensors: one file or a set of shards as named tensors. Every size is checked before a pointer exists: spans cover the data
// from the header to the end of the file, without hole or overlap. Any thread; the set is its caller's.
#ifndef QN_FORMATS_SAFETENSORS_H
#define QN_FORMATS_SAFETENSORS_H
#include "formats/tensor_set.h"

enum {
    QN_SAFETENSORS_MAX_NAME = 1024,                      // bytes of a tensor's name
    QN_SAFETENSORS_MAX_HEADER = 100000000,               // bytes, as in Hugging Face's own reader
    QN_SAFETENSORS_HEAD = 8 + QN_SAFETENSORS_MAX_HEADER, // where the data begins at the latest
    QN_SAFETENSORS_MAX_METADATA = 4 << 20,               // bytes
    QN_SAFETENSORS_MAX_INDEX = 32 << 20,                 // bytes of model.safetensors.index.json
};

// Reads the headers of what a directory holds: model.safetensors, else the shards of model.safetensors.index.json, else every
// *.safetensors in order of name. Costs no memory for data, so that a damaged set is told as such however large it is. On
// failure *out is closed.
int qn_safetensors_open(const char *directory, qn_tensor_set *out, quern_error *e);

// Adds the tensors of one file of n bytes, of which at least the first QN_SAFETENSORS_HEAD (or all) are at `bytes`; they are
// not needed afterwards. `file` is its index into s->files, `path` its name in messages.
int qn_safetensors_parse(qn_tensor_set *s, const unsigned char *bytes, size_t n, const char *path,
                         int file, quern_error *e);

// The name of the i'th type that Quern computes with ("BF16"), from 0 on; NULL past the last.
const char *qn_safetensors_type_at(int i);

#endif
