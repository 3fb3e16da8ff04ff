// See gguf_vocabulary.h.
#include "formats/gguf_vocabulary.h"

#include <stdlib.h>
#include <string.h>

static int check_model(const qn_gguf_metadata *m, quern_error *e)
{
    static const char key[] = "tokenizer.ggml.model";
    qn_text_span model = {NULL, 0};
    int rc = qn_gguf_text(m, key, &model, e);
    if (rc) return rc;
    if (!model.data || qn_vocabulary_is(model, "none") || qn_vocabulary_is(model, "no_vocab"))
        return qn_gguf_refuse(m, QUERN_E_NOT_FOUND, key, "a tokenizer", qn_gguf_find(m, key), e);
    if (qn_vocabulary_is(model, "gpt2")) return 0;
    return qn_gguf_refuse(m, QUERN_E_UNSUPPORTED, key, "gpt2 (byte-level BPE)",
                          qn_gguf_find(m, key), e);
}

static int check_additions(const qn_gguf_metadata *m, quern_error *e)
{
    static const char *const keys[] = {
        "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token",
        "tokenizer.ggml.add_sep_token", "tokenizer.ggml.add_space_prefix"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        bool adds = false;
        int rc = qn_gguf_bool(m, keys[i], &adds, e);
        if (rc) return rc;
        if (adds)
            return qn_error_set(e, QUERN_E_UNSUPPORTED, "%s: %s: expected false, found true",
                                m->path, keys[i]);
    }
    return 0;
}

// An array that has an entry a token; *out NULL where it is absent.
static int find_column(const qn_gguf_metadata *m, const char *key, size_t n_tokens,
                       const qn_gguf_value **out, quern_error *e)
{
    const qn_gguf_value *v = *out = qn_gguf_find(m, key);
    if (!v || (v->is_array && v->n == n_tokens)) return 0;
    return qn_gguf_refuse(m, QUERN_E_FORMAT, key, "an array with an entry a token", v, e);
}

// Where a file has no kinds: what converters call special by its looks.
static qn_token_kind guess_kind(qn_text_span t)
{
    bool marked = t.n >= 4 && !memcmp(t.data, "<|", 2) && !memcmp(t.data + t.n - 2, "|>", 2);
    return marked ? QN_TOKEN_CONTROL : QN_TOKEN_NORMAL;
}

static int read_kinds(const qn_gguf_metadata *m, const qn_vocabulary *v, uint8_t *kinds,
                      quern_error *e)
{
    static const char key[] = "tokenizer.ggml.token_type";
    const qn_gguf_value *types;
    int rc = find_column(m, key, v->n_tokens, &types, e);
    if (rc) return rc;
    if (types && !qn_gguf_is_int(types))
        return qn_gguf_refuse(m, QUERN_E_FORMAT, key, "an array of integers", types, e);
    for (size_t i = 0; i < v->n_tokens; i++) {
        int64_t kind = types ? qn_gguf_int_at(types, i) : (int64_t)guess_kind(v->tokens[i]);
        if (kind < QN_TOKEN_NORMAL || kind > QN_TOKEN_BYTE)
            return qn_error_set(e, QUERN_E_FORMAT,
                                "%s: %s[%zu]: expected a type from 1 to 6, found "
                                "%lld",
                                m->path, key, i, (long long)kind);
        kinds[i] = (uint8_t)kind;
    }
    return 0;
}

static int read_tokens(const qn_gguf_metadata *m, qn_vocabulary *v, quern_error *e)
{
    static const char tokens_key[] = "tokenizer.ggml.tokens",
                      merges_key[] = "tokenizer.ggml.merges";
    qn_text_span *tokens = NULL, *merges = NULL;
    const qn_gguf_value *scores;
    int rc = qn_gguf_texts(m, tokens_key, &tokens, &v->n_tokens, e);
    v->tokens = tokens;
    if (!rc && !v->n_tokens)
        return qn_gguf_refuse(m, QUERN_E_FORMAT, tokens_key, "an array of strings",
                              qn_gguf_find(m, tokens_key), e);
    if (!rc) rc = find_column(m, "tokenizer.ggml.scores", v->n_tokens, &scores, e);
    if (!rc) rc = qn_gguf_texts(m, merges_key, &merges, &v->n_merges, e);
    v->merges = merges;
    if (!rc && !merges)
        return qn_gguf_refuse(m, QUERN_E_FORMAT, merges_key, "an array of strings", NULL, e);
    if (rc) return rc;
    uint8_t *kinds = malloc(v->n_tokens);
    v->kinds = kinds;
    if (!kinds) return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for its tokens", m->path);
    return read_kinds(m, v, kinds, e);
}

static int read_ids(const qn_gguf_metadata *m, qn_vocabulary *v, quern_error *e)
{
    const struct {
        const char *key;
        int32_t *id;
    } rows[] = {{"tokenizer.ggml.bos_token_id", &v->bos},
                {"tokenizer.ggml.eos_token_id", &v->eos},
                {"tokenizer.ggml.padding_token_id", &v->pad},
                {"tokenizer.ggml.unknown_token_id", &v->unknown}};
    const int64_t range[2] = {0, (int64_t)v->n_tokens - 1};
    int rc = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && !rc; i++) {
        int64_t id = -1;
        rc = qn_gguf_int(m, rows[i].key, range, &id, e);
        *rows[i].id = (int32_t)id;
    }
    return rc;
}

int qn_gguf_vocabulary(const qn_gguf *g, qn_vocabulary *out, quern_error *e)
{
    const qn_gguf_metadata *m = &g->metadata;
    *out = (qn_vocabulary){.path = m->path};
    int rc = check_model(m, e);
    if (!rc) rc = qn_gguf_text(m, "tokenizer.ggml.pre", &out->pre, e);
    if (!rc) rc = check_additions(m, e);
    if (!rc) rc = read_tokens(m, out, e);
    if (!rc) rc = read_ids(m, out, e);
    return rc ? rc : qn_gguf_text(m, "tokenizer.chat_template", &out->chat_template, e);
}

void qn_gguf_free_vocabulary(qn_vocabulary *v)
{
    free((void *)(uintptr_t)v->tokens);
    free((void *)(uintptr_t)v->merges);
    free((void *)(uintptr_t)v->kinds);
    *v = (qn_vocabulary){0};
}
