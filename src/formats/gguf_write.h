// Writing GGUF (version 3, little-endian): values and tensors are noted in the order in which they are to stand, then the header
// is made; the tensors' bytes are the caller's, who puts them at data + offset. One thread at a time.
#ifndef QN_FORMATS_GGUF_WRITE_H
#define QN_FORMATS_GGUF_WRITE_H
#include "base/buffer.h"
#include "formats/gguf.h"

typedef struct {
    qn_buffer values, tensors; // as in the file; `failed` of either is reported by qn_gguf_header
    uint64_t n_values, n_tensors, data_bytes;
    uint64_t alignment; // of tensors; the caller sets it to a power of two of at least 8 (32)
} qn_gguf_writer;

void qn_gguf_put_text(qn_gguf_writer *w, const char *key, qn_text_span value);
void qn_gguf_put_u32(qn_gguf_writer *w, const char *key, uint32_t value);
void qn_gguf_put_f32(qn_gguf_writer *w, const char *key, float value);
void qn_gguf_put_bool(qn_gguf_writer *w, const char *key, bool value);
void qn_gguf_put_texts(qn_gguf_writer *w, const char *key, const qn_text_span *texts, size_t n);
// An array of I32, from bytes.
void qn_gguf_put_kinds(qn_gguf_writer *w, const char *key, const uint8_t *kinds, size_t n);
// As it stands in another file.
void qn_gguf_put_value(qn_gguf_writer *w, const qn_gguf_value *value);
// A tensor of rank dimensions, of which the last runs fastest; returns its offset in the data, and counts its bytes.
uint64_t qn_gguf_put_tensor(qn_gguf_writer *w, const char *name, qn_dtype dtype, const int64_t *dim,
                            int rank);
// The whole header, padded to where the data begins. QUERN_E_MEMORY, also for all that was put before; QUERN_E_LIMIT where it is
// larger than readers take. `path` stands in messages.
int qn_gguf_header(const qn_gguf_writer *w, const char *path, qn_buffer *out, quern_error *e);
void qn_gguf_writer_free(qn_gguf_writer *w);

#endif
