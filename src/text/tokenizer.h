// Byte-level BPE tokenizer, as Hugging Face `tokenizers` does it from a tokenizer.json:
// added tokens → NFC → the file's own pre-tokenizer pattern (PCRE2) → byte-level BPE merges.
// A tokenizer is read-only after load: any thread may encode and decode with it at once.
#ifndef QN_TEXT_TOKENIZER_H
#define QN_TEXT_TOKENIZER_H
#include "base/buffer.h"
#include "base/error.h"
#include "base/vocabulary.h"

typedef struct qn_tokenizer qn_tokenizer;

// Ids that grow. data is malloc'd; free with qn_ids_free.
typedef struct {
    int32_t *data;
    size_t n, capacity;
} qn_ids;
void qn_ids_free(qn_ids *ids);
// Append; false: no memory, nothing appended.
bool qn_ids_push(qn_ids *ids, int32_t id);
bool qn_ids_append(qn_ids *ids, const int32_t *more, size_t n);

// Reads directory/tokenizer.json (and what of tokenizer_config.json concerns tokens). Refused with file and field:
// a type other than BPE, ids or merges not in the vocabulary, a pattern that does not compile, unknown normalizers …
int qn_tokenizer_load(const char *directory, qn_tokenizer **out, quern_error *e);
// The same from n bytes of tokenizer.json; `name` stands in messages.
int qn_tokenizer_parse(const char *name, const char *json, size_t n, qn_tokenizer **out,
                       quern_error *e);
// The same from the tables of a model file that carries its vocabulary; nothing of them is kept. Ids and texts are those of the
// tokenizer.json that the file was made from.
int qn_tokenizer_from_vocabulary(const qn_vocabulary *v, qn_tokenizer **out, quern_error *e);
void qn_tokenizer_free(qn_tokenizer *t);
// False where the pattern runs without just-in-time compilation (the system refused it): several times slower, worth a log line.
bool qn_tokenizer_is_fast(const qn_tokenizer *t);

// What GGUF files call its normalizer and pattern ("qwen2"); NULL: no name that Quern knows.
const char *qn_tokenizer_pre(const qn_tokenizer *t);

// Highest id + 1, added tokens included.
int qn_tokenizer_n_ids(const qn_tokenizer *t);
// The id of an added token or vocabulary entry by its content; -1 where there is none.
int32_t qn_tokenizer_id_of(const qn_tokenizer *t, const char *content);

// Appends the ids of n bytes of UTF-8 (else QUERN_E_ARGUMENT naming the offset) to *out.
// trusted: one byte for each byte of text, nonzero where a chat template wrote it: an added token marked `special` is
// matched only where all of its bytes are trusted; NULL: nowhere (what a user writes). Added tokens not marked special
// are matched everywhere. Text is pre-tokenised across the seams. Time is linear in n (n log n in one piece), stack bounded.
int qn_tokenizer_encode(const qn_tokenizer *t, const char *text, size_t n,
                        const unsigned char *trusted, qn_ids *out, quern_error *e);

// The raw bytes of one id (borrowed until free): *n = 0 for ids outside the vocabulary. Byte-level coding undone; may be half a character.
const char *qn_tokenizer_bytes(const qn_tokenizer *t, int32_t id, size_t *n);
// True for added tokens marked special (left out of generated text).
bool qn_tokenizer_is_special(const qn_tokenizer *t, int32_t id);

#endif
