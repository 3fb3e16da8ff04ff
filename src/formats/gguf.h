// GGUF (versions 2 and 3, little-endian), one file or a split: metadata and named tensors. Every count, length and offset is
// checked before memory is taken or a pointer exists; strings are UTF-8, keys and names occur once, no tensors overlap.
// Values point into the mapped header of the first file. Read-only once open: any thread. Never knows what a key means.
#ifndef QN_FORMATS_GGUF_H
#define QN_FORMATS_GGUF_H
#include "base/vocabulary.h"
#include "formats/tensor_set.h"

enum {
    QN_GGUF_MAX_HEADER =
        48 << 20, // bytes; a vocabulary of 262,144 with 515,000 merges takes 16 MiB
    QN_GGUF_MAX_VALUES = 1 << 16,
    QN_GGUF_MAX_TENSORS = 1 << 16, // of one file
    QN_GGUF_MAX_KEY = 65535,       // bytes
    QN_GGUF_MAX_NAME = 64,         // bytes of a tensor's name
    QN_GGUF_MAX_ALIGNMENT = 1 << 20,
};

// Numbered as in the file.
typedef enum {
    QN_GGUF_U8,
    QN_GGUF_I8,
    QN_GGUF_U16,
    QN_GGUF_I16,
    QN_GGUF_U32,
    QN_GGUF_I32,
    QN_GGUF_F32,
    QN_GGUF_BOOL,
    QN_GGUF_STRING,
    QN_GGUF_ARRAY, // never of a value: is_array says so
    QN_GGUF_U64,
    QN_GGUF_I64,
    QN_GGUF_F64,
    QN_GGUF_N_TYPES
} qn_gguf_type;

typedef struct {
    qn_text_span key;
    qn_gguf_type type; // of the value, or of each element
    bool is_array;
    uint64_t n; // elements of an array; bytes of a string; else 1
    const unsigned char
        *at; // the value, or the first element (strings with their lengths), as stored
} qn_gguf_value;

// The metadata of one file.
typedef struct {
    const char *path;      // in messages
    qn_gguf_value *values; // sorted by key
    size_t n_values;
} qn_gguf_metadata;

typedef struct {
    qn_gguf_metadata metadata; // of the first file
    qn_mapping head;           // what its values point into
    qn_tensor_set set;         // the tensors of all files
} qn_gguf;

// A number of n bytes, as stored.
static inline uint64_t qn_gguf_number(const unsigned char *p, int n)
{
    uint64_t value = 0;
    for (int i = n - 1; i >= 0; i--)
        value = value << 8 | p[i];
    return value;
}

// ---- gguf_set.c ----

// Which GGUF file a model's path means: a file itself; of a directory without config.json the one GGUF file (or the first of the
// one split) that lies there. *out is malloc'd, NULL for any other directory. Several are refused.
int qn_gguf_locate(const char *path, char **out, quern_error *e);
// Whether a file's name is one of a GGUF file: its bytes before ".gguf" (and "-00001-of-00003"), and which part of a split it
// is (1 where it is none).
bool qn_gguf_name_parts(const char *name, size_t *n_stem, int *part);
// Reads the headers of a file, or of the files of a split by its first. Costs no memory for data. On failure *out is closed.
int qn_gguf_open(const char *path, qn_gguf *out, quern_error *e);
// Takes what qn_gguf_open made, or zeros.
void qn_gguf_close(qn_gguf *g);

// ---- gguf.c ----

// Reads one file of file_bytes, of which the first n (all, or QN_GGUF_MAX_HEADER) are at `bytes`: its values into *out, which
// point into `bytes`, its tensors into *s as those of `file` (an index into s->files). The caller frees *out in any case.
int qn_gguf_parse(const unsigned char *bytes, size_t n, uint64_t file_bytes, int file,
                  qn_gguf_metadata *out, qn_tensor_set *s, quern_error *e);
void qn_gguf_free_metadata(qn_gguf_metadata *m);
// The file's number of a type that Quern computes with; -1 where the format has none.
int qn_gguf_number_of(qn_dtype dtype);
// Bytes of a value of a type other than QN_GGUF_STRING.
size_t qn_gguf_scalar_bytes(qn_gguf_type type);

// ---- gguf_value.c: readers of one value. An absent key leaves *out alone and is no error; another type or a number outside
// the range is QUERN_E_FORMAT with "file: key: expected …, found …". ----

// NULL where there is none.
const qn_gguf_value *qn_gguf_find(const qn_gguf_metadata *m, const char *key);
// The refusal itself; returns code. value NULL: nothing was found.
int qn_gguf_refuse(const qn_gguf_metadata *m, int code, const char *key, const char *expected,
                   const qn_gguf_value *value, quern_error *e);
// An integer of any width within [low, high].
int qn_gguf_int(const qn_gguf_metadata *m, const char *key, const int64_t range[2], int64_t *out,
                quern_error *e);
// A float of either width.
int qn_gguf_real(const qn_gguf_metadata *m, const char *key, double *out, quern_error *e);
int qn_gguf_bool(const qn_gguf_metadata *m, const char *key, bool *out, quern_error *e);
// Not NUL-terminated.
int qn_gguf_text(const qn_gguf_metadata *m, const char *key, qn_text_span *out, quern_error *e);
// An array of strings; *out is malloc'd (never NULL where the key is there) and its spans borrowed.
int qn_gguf_texts(const qn_gguf_metadata *m, const char *key, qn_text_span **out, size_t *n,
                  quern_error *e);
// Element i of an array of integers, or a value that is one.
int64_t qn_gguf_int_at(const qn_gguf_value *v, uint64_t i);
// Whether a value's type (or its elements') is an integer that int64_t holds; QN_GGUF_U64 is, though large ones saturate.
bool qn_gguf_is_int(const qn_gguf_value *v);
// Walks an array of strings, of which *at is the next (first v->at).
qn_text_span qn_gguf_next_text(const unsigned char **at);

// The name of the i'th tensor type that Quern computes with ("Q4_K"), from 0 on; NULL past the last.
const char *qn_gguf_type_at(int i);

#endif
