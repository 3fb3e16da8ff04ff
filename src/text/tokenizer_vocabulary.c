// Loading a tokenizer from tables instead of a tokenizer.json: what a GGUF file has. It names its pre-tokenizer instead of
// spelling it out, and marks each token with a kind; what both leave out is put back here, so that ids are the same.
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer_internal.h"

enum { MAX_ADDED = 1 << 16 }; // a hundred times what exists

static const char TOKENS[] = "tokenizer.ggml.tokens", MERGES[] = "tokenizer.ggml.merges";

// "normalizer" and "pre_tokenizer" of the tokenizer.json that a name stands for.
static const struct {
    const char *name;
    bool nfc;
    const char *pattern;
} pre_tokenizers[] = {
    {"qwen2", true,
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
     "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
};

const char *qn_tokenizer_pre_name(bool nfc, const char *pattern, size_t n)
{
    for (size_t i = 0; i < sizeof pre_tokenizers / sizeof *pre_tokenizers; i++)
        if (nfc == pre_tokenizers[i].nfc && n == strlen(pre_tokenizers[i].pattern) &&
            !memcmp(pattern, pre_tokenizers[i].pattern, n))
            return pre_tokenizers[i].name;
    return NULL;
}

// A file from before pre-tokenizers had names (April 2024) means Qwen's, the only one then of these models.
static int load_pre_tokenizer(const qn_tokenizer_loader *l, qn_text_span pre)
{
    char shown[48];
    for (size_t i = 0; i < sizeof pre_tokenizers / sizeof *pre_tokenizers; i++)
        if (!pre.data || qn_vocabulary_is(pre, pre_tokenizers[i].name)) {
            l->t->nfc = pre_tokenizers[i].nfc;
            l->t->pre = pre_tokenizers[i].name;
            return qn_pretokenizer_new(l->path, pre_tokenizers[i].pattern,
                                       strlen(pre_tokenizers[i].pattern), &l->t->pretokenizer,
                                       l->e);
        }
    return qn_error_set(l->e, QUERN_E_UNSUPPORTED,
                        "%s: tokenizer.ggml.pre: expected qwen2, found \"%s\"", l->path,
                        qn_tokenizer_show(pre.data, pre.n, shown));
}

typedef struct {
    size_t n_ids, n_bytes, n_entries, n_added;
} measures;

// Unused tokens at the end are no part of the vocabulary, as in a tokenizer.json.
static int measure(const qn_tokenizer_loader *l, const qn_vocabulary *v, measures *out)
{
    *out = (measures){0};
    if (v->n_tokens > QN_BPE_MAX_IDS)
        return qn_error_set(l->e, QUERN_E_LIMIT, "%s: %s: expected at most %d, found %zu", l->path,
                            TOKENS, QN_BPE_MAX_IDS, v->n_tokens);
    for (size_t i = 0; i < v->n_tokens; i++) {
        size_t n = v->tokens[i].n;
        if (v->kinds[i] == QN_TOKEN_UNUSED) continue;
        if (v->kinds[i] == QN_TOKEN_BYTE)
            return qn_error_set(l->e, QUERN_E_UNSUPPORTED,
                                "%s: %s[%zu]: a token of the kind \"byte\" is not supported",
                                l->path, TOKENS, i);
        bool entry = v->kinds[i] == QN_TOKEN_NORMAL;
        size_t max = entry ? QN_BPE_MAX_PIECE_BYTES : QN_ADDED_MAX_BYTES;
        if (n == 0 || n > max || (!entry && memchr(v->tokens[i].data, 0, n)))
            return qn_error_set(l->e, QUERN_E_FORMAT,
                                "%s: %s[%zu]: expected 1 to %zu bytes without NUL, found %zu",
                                l->path, TOKENS, i, max, n);
        out->n_ids = i + 1;
        out->n_bytes += n;
        out->n_entries += entry;
        out->n_added += !entry;
    }
    if (out->n_added <= MAX_ADDED) return 0;
    return qn_error_set(
        l->e, QUERN_E_LIMIT,
        "%s: tokenizer.ggml.token_type: expected at most %d added tokens, found %zu", l->path,
        MAX_ADDED, out->n_added);
}

static int load_entries(const qn_tokenizer_loader *l, const qn_vocabulary *v, char *scratch)
{
    qn_bpe *b = &l->t->bpe;
    for (size_t i = 0; i < v->n_tokens; i++) {
        qn_text_span token = v->tokens[i];
        size_t n_raw;
        char shown[48];
        if (v->kinds[i] != QN_TOKEN_NORMAL) continue;
        if (!qn_tokenizer_unmap(token.data, token.n, scratch, &n_raw))
            return qn_error_set(l->e, QUERN_E_FORMAT,
                                "%s: %s[%zu]: \"%s\" has a character that stands for no byte",
                                l->path, TOKENS, i, qn_tokenizer_show(token.data, token.n, shown));
        if (qn_bpe_find(b, scratch, n_raw) >= 0)
            return qn_error_set(l->e, QUERN_E_FORMAT,
                                "%s: %s[%zu]: expected another entry than all before, found \"%s\"",
                                l->path, TOKENS, i, qn_tokenizer_show(token.data, token.n, shown));
        int rc = qn_tokenizer_put_entry(l, TOKENS, (int32_t)i, token.data, token.n, scratch);
        if (rc) return rc;
    }
    return 0;
}

static int load_merges(const qn_tokenizer_loader *l, const qn_vocabulary *v, char *scratch)
{
    for (size_t i = 0; i < v->n_merges; i++) {
        qn_text_span merge = v->merges[i];
        const char *space = memchr(merge.data, ' ', merge.n);
        size_t n_left = space ? (size_t)(space - merge.data) : 0;
        if (!space || memchr(space + 1, ' ', merge.n - n_left - 1))
            return qn_error_set(l->e, QUERN_E_FORMAT, "%s: %s[%zu]: expected two parts, \"a b\"",
                                l->path, MERGES, i);
        int rc = qn_tokenizer_put_merge(l, MERGES, i, (qn_text_span){merge.data, n_left},
                                        (qn_text_span){space + 1, merge.n - n_left - 1}, scratch);
        if (rc) return rc;
    }
    return qn_tokenizer_finish_merges(l, TOKENS);
}

// Converters call every token that looks like <|…|> a control token; these are text in the tokenizer.json of all Qwen models.
static bool is_special(qn_text_span token, uint8_t kind)
{
    static const char *const text[] = {"<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
                                       "<|fim_pad|>",    "<|repo_name|>",  "<|file_sep|>"};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        if (qn_vocabulary_is(token, text[i])) return false;
    return kind != QN_TOKEN_USER_DEFINED;
}

static int load_added(qn_tokenizer_loader *l, const qn_vocabulary *v)
{
    char content[QN_ADDED_MAX_BYTES + 1], shown[48];
    for (size_t i = 0; i < v->n_tokens; i++) {
        qn_text_span token = v->tokens[i];
        if (v->kinds[i] == QN_TOKEN_NORMAL || v->kinds[i] == QN_TOKEN_UNUSED) continue;
        memcpy(content, token.data, token.n);
        content[token.n] = 0;
        if (json_object_get(l->added, content))
            return qn_error_set(l->e, QUERN_E_FORMAT,
                                "%s: %s[%zu]: expected another token than all before, found \"%s\"",
                                l->path, TOKENS, i, qn_tokenizer_show(content, token.n, shown));
        qn_added_token added = {.id = (int32_t)i, .special = is_special(token, v->kinds[i])};
        int rc = qn_tokenizer_put_added(l, added, content, token.n);
        if (rc) return rc;
    }
    return 0;
}

static int build(qn_tokenizer_loader *l, const qn_vocabulary *v)
{
    measures m;
    int rc = load_pre_tokenizer(l, v->pre);
    if (!rc) rc = measure(l, v, &m);
    if (rc) return rc;
    char *scratch = malloc(2 * QN_BPE_MAX_PIECE_BYTES);
    l->added = json_object();
    if (!scratch || !l->added || !qn_tokenizer_reserve_added(l->t, m.n_added) ||
        !qn_bpe_reserve(&l->t->bpe, m.n_ids, m.n_bytes, m.n_entries, v->n_merges))
        rc = qn_error_set(l->e, QUERN_E_MEMORY, "%s: no memory", l->path);
    if (!rc) rc = load_entries(l, v, scratch);
    if (!rc) rc = load_merges(l, v, scratch);
    if (!rc) rc = load_added(l, v);
    free(scratch);
    return rc ? rc : qn_tokenizer_load_sets(l);
}

int qn_tokenizer_from_vocabulary(const qn_vocabulary *v, qn_tokenizer **out, quern_error *e)
{
    qn_tokenizer_loader l = {.t = calloc(1, sizeof *l.t), .path = v->path, .e = e};
    if (!l.t) return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory", v->path);
    l.t->max_added = -1;
    int rc = build(&l, v);
    json_decref(l.added);
    if (rc)
        qn_tokenizer_free(l.t);
    else
        *out = l.t;
    return rc;
}
