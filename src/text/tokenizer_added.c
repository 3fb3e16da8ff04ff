// Loading added tokens, from tokenizer.json and tokenizer_config.json. Hugging Face tokenizers numbers them itself: an entry of
// the vocabulary keeps its id, any other gets the next free one. A file that says otherwise contradicts itself.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/nfc.h"
#include "text/tokenizer_internal.h"

static int no_memory(const qn_tokenizer_loader *l)
{
    return qn_error_set(l->e, QUERN_E_MEMORY, "%s: no memory", l->path);
}

// The id that the content must have.
static json_int_t expected_id(const qn_tokenizer_loader *l, const char *content)
{
    const json_t *v = json_object_get(l->vocab, content);
    if (v) return json_integer_value(v);
    json_int_t next = (json_int_t)json_object_size(l->vocab);
    return l->t->max_added >= next ? l->t->max_added + 1 : next;
}

static int read_flags(const qn_tokenizer_loader *l, const json_t *from, qn_added_token *to)
{
    char where[4160];
    snprintf(where, sizeof where, "%s: the added token with id %d", l->path, to->id);
    const qn_tokenizer_loader at = {.path = where, .e = l->e};
    int rc = qn_tokenizer_bool(&at, from, "special", false, &to->special);
    if (!rc) rc = qn_tokenizer_bool(&at, from, "normalized", !to->special, &to->normalized);
    if (!rc) rc = qn_tokenizer_bool(&at, from, "single_word", false, &to->single_word);
    if (!rc) rc = qn_tokenizer_bool(&at, from, "lstrip", false, &to->lstrip);
    return rc ? rc : qn_tokenizer_bool(&at, from, "rstrip", false, &to->rstrip);
}

// What a token is sought as: its content, normalised if it is marked so.
static bool sought_as(const qn_tokenizer *t, const qn_added_token *token, const char *content,
                      size_t n, qn_buffer *text)
{
    return token->normalized && t->nfc ? qn_nfc_append(content, n, text, NULL, NULL)
                                       : qn_buffer_append(text, content, n);
}

// The bytes that the token decodes to: as Hugging Face, of what it is sought as, byte-level coding undone where it is one.
static bool put_bytes(qn_tokenizer *t, const qn_added_token *token, const char *content, size_t n)
{
    qn_buffer text = QN_BUFFER_INIT, raw = QN_BUFFER_INIT;
    size_t n_raw;
    bool ok = sought_as(t, token, content, n, &text) && qn_buffer_reserve(&raw, text.length);
    if (ok) {
        bool mapped = qn_tokenizer_unmap(text.data, text.length, raw.data, &n_raw);
        ok = qn_bpe_put(&t->bpe, token->id, mapped ? raw.data : text.data,
                        mapped ? n_raw : text.length, false);
    }
    qn_buffer_free(&text);
    qn_buffer_free(&raw);
    return ok;
}

int qn_tokenizer_put_added(qn_tokenizer_loader *l, qn_added_token token, const char *content,
                           size_t n)
{
    qn_tokenizer *t = l->t;
    if (!qn_bpe_grow(&t->bpe, (size_t)token.id + 1)) return no_memory(l);
    bool has_bytes = t->bpe.pieces[token.id].flags & QN_BPE_PRESENT;
    if (!has_bytes && !put_bytes(t, &token, content, n)) return no_memory(l);
    token.content = malloc(n + 1);
    if (!token.content) return no_memory(l);
    memcpy(token.content, content, n + 1);
    token.n_bytes = n;
    t->bpe.pieces[token.id].flags |= QN_BPE_ADDED;
    if (token.id > t->max_added) t->max_added = token.id;
    t->added[t->n_added++] = token;
    if (json_object_set_new(l->added, content, json_integer((json_int_t)t->n_added - 1)))
        return no_memory(l);
    return 0;
}

// One token, with the id that its file gives it.
static int load_token(qn_tokenizer_loader *l, const json_t *v, json_int_t id)
{
    const json_t *text = json_object_get(v, "content");
    size_t n = json_string_length(text);
    if (!json_is_string(text) || n == 0)
        return qn_error_set(
            l->e, QUERN_E_FORMAT,
            "%s: the added token with id %lld: content: expected a string, not empty", l->path,
            (long long)id);
    if (n > QN_ADDED_MAX_BYTES)
        return qn_error_set(
            l->e, QUERN_E_LIMIT,
            "%s: the added token with id %lld: expected at most %d bytes, found %zu", l->path,
            (long long)id, QN_ADDED_MAX_BYTES, n);
    const char *content = json_string_value(text);
    char shown[48];
    qn_tokenizer_show(content, n, shown);
    const json_t *known = json_object_get(l->added, content);
    qn_added_token token = {.id = (int32_t)id};
    int rc = read_flags(l, v, &token);
    if (rc) return rc;
    json_int_t expected =
        known ? l->t->added[json_integer_value(known)].id : expected_id(l, content);
    if (id != expected || id >= QN_BPE_MAX_IDS)
        return qn_error_set(l->e, QUERN_E_FORMAT,
                            "%s: the added token \"%s\": expected the id %lld, found %lld", l->path,
                            shown, (long long)expected, (long long)id);
    if (known) {
        l->t->added[json_integer_value(known)].special |= token.special;
        return 0;
    }
    if (id < l->t->bpe.n_ids && l->t->bpe.pieces[id].flags & QN_BPE_PRESENT &&
        !json_object_get(l->vocab, content))
        return qn_error_set(l->e, QUERN_E_FORMAT,
                            "%s: the added token \"%s\": id %lld has another entry already",
                            l->path, shown, (long long)id);
    return qn_tokenizer_put_added(l, token, content, n);
}

bool qn_tokenizer_reserve_added(qn_tokenizer *t, size_t more)
{
    qn_added_token *p = realloc(t->added, (t->n_added + more + 1) * sizeof *p);
    if (p) t->added = p;
    return p != NULL;
}

int qn_tokenizer_load_added(qn_tokenizer_loader *l, const json_t *tokens)
{
    if (!tokens || json_is_null(tokens)) return 0;
    if (!json_is_array(tokens))
        return qn_error_set(l->e, QUERN_E_FORMAT, "%s: added_tokens: expected an array", l->path);
    if (!qn_tokenizer_reserve_added(l->t, json_array_size(tokens))) return no_memory(l);
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const json_t *v = json_array_get(tokens, i), *id = json_object_get(v, "id");
        const char *content = json_string_value(json_object_get(v, "content"));
        if (!json_is_integer(id))
            return qn_error_set(l->e, QUERN_E_FORMAT, "%s: added_tokens[%zu].id: expected an id",
                                l->path, i);
        if (content && json_object_get(l->added, content))
            return qn_error_set(l->e, QUERN_E_FORMAT,
                                "%s: added_tokens[%zu].content: the same as of another", l->path,
                                i);
        int rc = load_token(l, v, json_integer_value(id));
        if (rc) return rc;
    }
    return 0;
}

typedef struct {
    long id;
    const json_t *value;
} numbered;

static int by_id(const void *a, const void *b)
{
    long x = ((const numbered *)a)->id, y = ((const numbered *)b)->id;
    return x < y ? -1 : x > y;
}

int qn_tokenizer_load_decoder(qn_tokenizer_loader *l, const json_t *tokens)
{
    if (!tokens || json_is_null(tokens)) return 0;
    if (!json_is_object(tokens))
        return qn_error_set(l->e, QUERN_E_FORMAT, "%s: added_tokens_decoder: expected an object",
                            l->path);
    size_t n = 0, n_tokens = json_object_size(tokens);
    numbered *sorted = calloc(n_tokens + 1, sizeof *sorted);
    int rc = sorted && qn_tokenizer_reserve_added(l->t, n_tokens) ? 0 : no_memory(l);
    const char *key;
    const json_t *v;
    json_object_foreach((json_t *)(uintptr_t)tokens, key, v)
    {
        char *end, shown[48];
        long id = strtol(key, &end, 10);
        if (!rc && (end == key || *end || id < 0 || id >= QN_BPE_MAX_IDS))
            rc = qn_error_set(l->e, QUERN_E_FORMAT,
                              "%s: added_tokens_decoder: expected ids as keys, found \"%s\"",
                              l->path, qn_tokenizer_show(key, strlen(key), shown));
        if (!rc) sorted[n++] = (numbered){id, v};
    }
    if (!rc) qsort(sorted, n, sizeof *sorted, by_id);
    for (size_t i = 0; !rc && i < n; i++)
        rc = load_token(l, sorted[i].value, sorted[i].id);
    free(sorted);
    return rc;
}

// Puts a token where it is sought.
static int put(const qn_tokenizer_loader *l, size_t i)
{
    qn_tokenizer *t = l->t;
    const qn_added_token *token = &t->added[i];
    qn_added_set *set = token->normalized ? &t->normalized : &t->raw;
    qn_buffer text = QN_BUFFER_INIT;
    int rc = sought_as(t, token, token->content, token->n_bytes, &text)
                 ? qn_added_put(set, text.data, text.length, (int32_t)i)
                 : QUERN_E_MEMORY;
    qn_buffer_free(&text);
    if (rc == QUERN_E_MEMORY) return no_memory(l);
    return rc ? qn_error_set(l->e, rc,
                             "%s: added_tokens: id %d is the same as another after normalization",
                             l->path, token->id)
              : 0;
}

int qn_tokenizer_load_sets(qn_tokenizer_loader *l)
{
    qn_tokenizer *t = l->t;
    for (size_t i = 0; i < t->n_added; i++) {
        const qn_added_token *token = &t->added[i];
        if (token->special) t->bpe.pieces[token->id].flags |= QN_BPE_SPECIAL;
        t->normalized_special = t->normalized_special || (token->normalized && token->special);
        int rc = put(l, i);
        if (rc) return rc;
    }
    for (int32_t id = 0; id < t->bpe.n_ids; id++)
        if ((t->bpe.pieces[id].flags & (QN_BPE_FOREIGN | QN_BPE_ADDED)) == QN_BPE_FOREIGN)
            return qn_error_set(l->e, QUERN_E_FORMAT,
                                "%s: model.vocab: id %d: an entry with a character that stands for "
                                "no byte",
                                l->path, id);
    return 0;
}
