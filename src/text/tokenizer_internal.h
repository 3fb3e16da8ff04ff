// The parts of a tokenizer, shared by tokenizer*.c and nobody else.
#ifndef QN_TEXT_TOKENIZER_INTERNAL_H
#define QN_TEXT_TOKENIZER_INTERNAL_H
#include <jansson.h>

#include "base/vocabulary.h"
#include "text/added.h"
#include "text/bpe.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"

struct qn_tokenizer {
    qn_bpe bpe;
    qn_pretokenizer *pretokenizer;
    bool nfc;        // normalizer NFC, else none
    const char *pre; // the name of both, see tokenizer_vocabulary.c; NULL: none
    qn_added_token *added;
    size_t n_added;
    qn_added_set raw, normalized; // added tokens sought in the raw text, and after normalization
    bool
        normalized_special; // some of `normalized` are special: trust is needed after normalization
    int32_t max_added;      // highest id of an added token, -1: none
};

// A byte-level string (each byte as a printable character) to raw bytes; out has room for n. False: it holds a character that
// stands for no byte.
bool qn_tokenizer_unmap(const char *s, size_t n, char *out, size_t *n_out);
// s, made fit for a message: at most 40 bytes, only printable ASCII. Returns out.
const char *qn_tokenizer_show(const char *s, size_t n, char out[48]);

// ---- the parts of loading; each returns 0 or a QUERN_E code and names file and field ----

typedef struct {
    qn_tokenizer *t;
    const char *path;    // of the file being read, for messages
    const json_t *vocab; // model.vocab
    json_t *added;       // content → index in t->added
    quern_error *e;
} qn_tokenizer_loader;

// JSON text to a value, with limits on depth and size before anything is built.
int qn_tokenizer_json(const char *path, const char *json, size_t n, json_t **out, quern_error *e);
// *out: a member's boolean, or `otherwise` where there is none or null.
int qn_tokenizer_bool(const qn_tokenizer_loader *l, const json_t *object, const char *key,
                      bool otherwise, bool *out);
// One entry of the vocabulary, a byte-level string of n bytes; `field` stands in messages. scratch has room for n.
int qn_tokenizer_put_entry(const qn_tokenizer_loader *l, const char *field, int32_t id,
                           const char *piece, size_t n, char *scratch);
// The next merge, `at` in `field`. scratch has room for two pieces.
int qn_tokenizer_put_merge(const qn_tokenizer_loader *l, const char *field, size_t at,
                           qn_text_span left, qn_text_span right, char *scratch);
// After the last merge: every byte must have an entry.
int qn_tokenizer_finish_merges(const qn_tokenizer_loader *l, const char *vocabulary_field);
// Room for `more` added tokens; then one of them, of n bytes with a NUL behind, that no other has.
bool qn_tokenizer_reserve_added(qn_tokenizer *t, size_t more);
int qn_tokenizer_put_added(qn_tokenizer_loader *l, qn_added_token token, const char *content,
                           size_t n);
// "model": the vocabulary and the merges.
int qn_tokenizer_load_model(qn_tokenizer_loader *l, const json_t *model);
// "added_tokens" of tokenizer.json.
int qn_tokenizer_load_added(qn_tokenizer_loader *l, const json_t *tokens);
// "added_tokens_decoder" of tokenizer_config.json: must agree; tokens that stand only here are added.
int qn_tokenizer_load_decoder(qn_tokenizer_loader *l, const json_t *tokens);
// After the last added token: what encoding needs.
int qn_tokenizer_load_sets(qn_tokenizer_loader *l);
// The name of a normalizer and pattern; NULL where they have none.
const char *qn_tokenizer_pre_name(bool nfc, const char *pattern, size_t n);
// "normalizer", "pre_tokenizer", "post_processor" and "decoder".
int qn_tokenizer_load_pipeline(qn_tokenizer_loader *l, const json_t *root);

#endif
