// Loading "model" of tokenizer.json: the vocabulary and the merges of a byte-level BPE. Options that would change its results
// are refused by name; unk_token, fuse_unk and byte_fallback cannot, because every byte must have an entry.
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer_internal.h"

static int check_options(const qn_tokenizer_loader *l, const json_t *model)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const char *type = json_string_value(json_object_get(model, "type"));
    char shown[48];
    if (!type || strcmp(type, "BPE") != 0)
        return qn_error_set(l->e, QUERN_E_UNSUPPORTED, "%s: model.type: expected BPE, found %s",
                            l->path, type ? qn_tokenizer_show(type, strlen(type), shown) : "none");
    for (size_t i = 0; i < 2; i++) {
        const json_t *v = json_object_get(model, affixes[i]);
        if (v && !json_is_null(v) && !(json_is_string(v) && json_string_length(v) == 0))
            return qn_error_set(l->e, QUERN_E_UNSUPPORTED, "%s: model.%s is not supported", l->path,
                                affixes[i]);
    }
    const json_t *dropout = json_object_get(model, "dropout");
    if (dropout && !json_is_null(dropout) && json_number_value(dropout) != 0.0)
        return qn_error_set(l->e, QUERN_E_UNSUPPORTED, "%s: model.dropout is not supported",
                            l->path);
    return qn_tokenizer_bool(l, model, "ignore_merges", false, &l->t->bpe.ignore_merges);
}

// The ids' range, and how many bytes all pieces have at most.
static int measure(const qn_tokenizer_loader *l, size_t *n_ids, size_t *n_bytes)
{
    const char *piece;
    const json_t *v;
    char shown[48];
    *n_ids = *n_bytes = 0;
    json_object_foreach((json_t *)(uintptr_t)l->vocab, piece, v)
    {
        size_t n = strlen(piece);
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id >= QN_BPE_MAX_IDS)
            return qn_error_set(l->e, QUERN_E_FORMAT,
                                "%s: model.vocab: \"%s\": expected an id from 0 to %d", l->path,
                                qn_tokenizer_show(piece, n, shown), QN_BPE_MAX_IDS - 1);
        if (n == 0 || n > QN_BPE_MAX_PIECE_BYTES)
            return qn_error_set(
                l->e, n ? QUERN_E_LIMIT : QUERN_E_FORMAT,
                "%s: model.vocab: id %d: expected an entry of 1 to %d bytes, found %zu", l->path,
                (int)id, QN_BPE_MAX_PIECE_BYTES, n);
        if ((size_t)id >= *n_ids) *n_ids = (size_t)id + 1;
        *n_bytes += n;
    }
    return 0;
}

int qn_tokenizer_put_entry(const qn_tokenizer_loader *l, const char *field, int32_t id,
                           const char *piece, size_t n, char *scratch)
{
    qn_bpe *b = &l->t->bpe;
    size_t n_raw;
    char shown[48];
    if (b->pieces[id].flags)
        return qn_error_set(l->e, QUERN_E_FORMAT, "%s: %s: \"%s\": id %d has another entry already",
                            l->path, field, qn_tokenizer_show(piece, n, shown), id);
    bool mapped = qn_tokenizer_unmap(piece, n, scratch, &n_raw);
    if (!qn_bpe_put(b, id, mapped ? scratch : piece, mapped ? n_raw : n, mapped))
        return qn_error_set(l->e, QUERN_E_MEMORY, "%s: no memory", l->path);
    if (!mapped) b->pieces[id].flags |= QN_BPE_FOREIGN;
    return 0;
}

static int load_vocab(const qn_tokenizer_loader *l, char *scratch)
{
    const char *piece;
    const json_t *v;
    int rc = 0;
    json_object_foreach((json_t *)(uintptr_t)l->vocab, piece, v)
    {
        int32_t id = (int32_t)json_integer_value(v);
        if (!rc) rc = qn_tokenizer_put_entry(l, "model.vocab", id, piece, strlen(piece), scratch);
    }
    return rc;
}

// The two parts of a merge, "a b" or ["a", "b"]. False where they are not two.
static bool parts_of(const json_t *merge, qn_text_span *left, qn_text_span *right)
{
    if (json_is_string(merge)) {
        const char *s = json_string_value(merge), *space = strchr(s, ' ');
        if (!space || strchr(space + 1, ' ')) return false;
        *left = (qn_text_span){s, (size_t)(space - s)};
        *right = (qn_text_span){space + 1, strlen(space + 1)};
        return true;
    }
    const json_t *a = json_array_get(merge, 0), *b = json_array_get(merge, 1);
    if (json_array_size(merge) != 2 || !json_is_string(a) || !json_is_string(b)) return false;
    *left = (qn_text_span){json_string_value(a), json_string_length(a)};
    *right = (qn_text_span){json_string_value(b), json_string_length(b)};
    return true;
}

// The id of a merge's part, whose raw bytes go to `raw`; -1 where it is no entry.
static int32_t part_id(const qn_bpe *b, const char *part, size_t n, char *raw, size_t *n_raw)
{
    bool known = n <= QN_BPE_MAX_PIECE_BYTES && qn_tokenizer_unmap(part, n, raw, n_raw);
    return known ? qn_bpe_find(b, raw, *n_raw) : -1;
}

static int unknown_part(const qn_tokenizer_loader *l, const char *field, size_t at,
                        qn_text_span part)
{
    char shown[48];
    return qn_error_set(l->e, QUERN_E_FORMAT, "%s: %s[%zu]: \"%s\" is not in the vocabulary",
                        l->path, field, at, qn_tokenizer_show(part.data, part.n, shown));
}

int qn_tokenizer_put_merge(const qn_tokenizer_loader *l, const char *field, size_t at,
                           qn_text_span left, qn_text_span right, char *scratch)
{
    qn_bpe *b = &l->t->bpe;
    size_t raw_left, raw_right;
    int32_t left_id = part_id(b, left.data, left.n, scratch, &raw_left);
    if (left_id < 0) return unknown_part(l, field, at, left);
    int32_t right_id = part_id(b, right.data, right.n, scratch + raw_left, &raw_right);
    if (right_id < 0) return unknown_part(l, field, at, right);
    if (qn_bpe_put_merge(b, left_id, right_id, scratch, raw_left + raw_right)) return 0;
    return qn_error_set(l->e, QUERN_E_FORMAT, "%s: %s[%zu]: what it makes is not in the vocabulary",
                        l->path, field, at);
}

int qn_tokenizer_finish_merges(const qn_tokenizer_loader *l, const char *vocabulary_field)
{
    int missing = qn_bpe_finish(&l->t->bpe);
    if (missing == -2) return qn_error_set(l->e, QUERN_E_MEMORY, "%s: no memory", l->path);
    if (missing < 0) return 0;
    return qn_error_set(l->e, QUERN_E_FORMAT, "%s: %s: no entry for the byte 0x%02x", l->path,
                        vocabulary_field, (unsigned)missing);
}

static int load_merges(const qn_tokenizer_loader *l, const json_t *merges, char *scratch)
{
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const json_t *merge = json_array_get(merges, i);
        const char *line =
            json_string_value(merge); // of merges.txt: its heading may have come along
        qn_text_span left, right;
        if (line && strncmp(line, "#version", 8) == 0) continue;
        if (!parts_of(merge, &left, &right))
            return qn_error_set(
                l->e, QUERN_E_FORMAT,
                "%s: model.merges[%zu]: expected two parts, \"a b\" or [\"a\", \"b\"]", l->path, i);
        int rc = qn_tokenizer_put_merge(l, "model.merges", i, left, right, scratch);
        if (rc) return rc;
    }
    return qn_tokenizer_finish_merges(l, "model.vocab");
}

int qn_tokenizer_load_model(qn_tokenizer_loader *l, const json_t *model)
{
    const json_t *merges = json_object_get(model, "merges");
    int rc = check_options(l, model);
    if (rc) return rc;
    if (!json_is_object(l->vocab) || json_object_size(l->vocab) == 0)
        return qn_error_set(l->e, QUERN_E_FORMAT, "%s: model.vocab: expected an object with ids",
                            l->path);
    if (!json_is_array(merges))
        return qn_error_set(l->e, QUERN_E_FORMAT, "%s: model.merges: expected an array", l->path);
    size_t n_ids, n_bytes;
    rc = measure(l, &n_ids, &n_bytes);
    if (rc) return rc;
    char *scratch = malloc(2 * QN_BPE_MAX_PIECE_BYTES);
    if (!scratch || !qn_bpe_reserve(&l->t->bpe, n_ids, n_bytes, json_object_size(l->vocab),
                                    json_array_size(merges)))
        rc = qn_error_set(l->e, QUERN_E_MEMORY, "%s: no memory", l->path);
    if (!rc) rc = load_vocab(l, scratch);
    if (!rc) rc = load_merges(l, merges, scratch);
    free(scratch);
    return rc;
}
