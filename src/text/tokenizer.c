// Tokenizer: its life and its tables' readers; see tokenizer.h. Loading is in tokenizer_load.c, _model.c and _pipeline.c,
// encoding in tokenizer_encode.c.
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/tokenizer_internal.h"

// ---- ids ----

bool qn_ids_append(qn_ids *ids, const int32_t *more, size_t n)
{
    if (n > ids->capacity - ids->n) {
        size_t capacity = ids->capacity ? ids->capacity : 64;
        while (capacity - ids->n < n) {
            if (capacity > SIZE_MAX / 16) return false;
            capacity *= 2;
        }
        int32_t *p = realloc(ids->data, capacity * sizeof *p);
        if (!p) return false;
        ids->data = p;
        ids->capacity = capacity;
    }
    for (size_t i = 0; i < n; i++)
        ids->data[ids->n + i] = more[i];
    ids->n += n;
    return true;
}

bool qn_ids_push(qn_ids *ids, int32_t id)
{
    return qn_ids_append(ids, &id, 1);
}

void qn_ids_free(qn_ids *ids)
{
    free(ids->data);
    *ids = (qn_ids){0};
}

// ---- byte-level strings ----

// Printable bytes stand for themselves; the 68 others, in order, for U+0100 and on.
static int byte_of(uint32_t c)
{
    if ((c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff))
        return (int)c;
    if (c < 0x100 || c >= 0x100 + 68) return -1;
    c -= 0x100;
    return (int)(c < 33 ? c : c < 67 ? c - 33 + 0x7f : 0xad);
}

bool qn_tokenizer_unmap(const char *s, size_t n, char *out, size_t *n_out)
{
    size_t written = 0;
    for (size_t i = 0; i < n;) {
        uint32_t c = (unsigned char)s[i];
        int length = c < 0x80 ? 1 : qn_utf8_decode(s + i, n - i, &c);
        int byte = length ? byte_of(c) : -1;
        if (byte < 0) return false;
        out[written++] = (char)byte;
        i += (size_t)length;
    }
    *n_out = written;
    return true;
}

const char *qn_tokenizer_show(const char *s, size_t n, char out[48])
{
    size_t i = 0;
    for (; i < n && i < 40; i++)
        out[i] = s[i] >= 0x20 && s[i] < 0x7f ? s[i] : '?';
    memcpy(out + i, n > i ? "..." : "", n > i ? 4 : 1);
    return out;
}

// ---- readers ----

void qn_tokenizer_free(qn_tokenizer *t)
{
    if (!t) return;
    qn_bpe_free(&t->bpe);
    qn_pretokenizer_free(t->pretokenizer);
    for (size_t i = 0; i < t->n_added; i++)
        free(t->added[i].content);
    free(t->added);
    qn_added_free(&t->raw);
    qn_added_free(&t->normalized);
    free(t);
}

bool qn_tokenizer_is_fast(const qn_tokenizer *t)
{
    return qn_pretokenizer_is_fast(t->pretokenizer);
}

const char *qn_tokenizer_pre(const qn_tokenizer *t)
{
    return t->pre;
}

int qn_tokenizer_n_ids(const qn_tokenizer *t)
{
    return t->bpe.n_ids;
}

int32_t qn_tokenizer_id_of(const qn_tokenizer *t, const char *content)
{
    size_t n = strlen(content);
    for (size_t i = 0; i < t->n_added; i++)
        if (t->added[i].n_bytes == n && memcmp(t->added[i].content, content, n) == 0)
            return t->added[i].id;
    if (n > 4 * QN_BPE_MAX_PIECE_BYTES) return -1;
    char *bytes = malloc(n + 1);
    size_t n_bytes;
    int32_t id = -1;
    if (bytes && qn_tokenizer_unmap(content, n, bytes, &n_bytes))
        id = qn_bpe_find(&t->bpe, bytes, n_bytes);
    free(bytes);
    return id;
}

const char *qn_tokenizer_bytes(const qn_tokenizer *t, int32_t id, size_t *n)
{
    *n = 0;
    if (id < 0 || id >= t->bpe.n_ids) return "";
    const qn_bpe_piece *p = &t->bpe.pieces[id];
    *n = p->n_bytes;
    return t->bpe.bytes + p->start;
}

bool qn_tokenizer_is_special(const qn_tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->bpe.n_ids && t->bpe.pieces[id].flags & QN_BPE_SPECIAL;
}
