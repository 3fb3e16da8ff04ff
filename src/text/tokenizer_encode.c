// Encoding: added tokens are cut out, the rest is normalised, searched for added tokens of normalised text, cut into pieces
// and merged. All scratch belongs to the call, so that any number of threads may encode with one tokenizer.
#include "base/utf8.h"
#include "text/nfc.h"
#include "text/tokenizer_internal.h"

// More is no prompt; the offsets of bpe.c have 32 bits.
static const size_t MAX_TEXT_BYTES = (size_t)1 << 30;

typedef struct {
    const qn_tokenizer *t;
    qn_pretokenizer_run run;
    qn_bpe_work work;
    qn_buffer text, trusted; // of a section in form C
    qn_ids *out;
    quern_error *e;
} encoder;

static int no_memory(encoder *c, size_t n)
{
    return qn_error_set(c->e, QUERN_E_MEMORY, "no memory to encode %zu bytes of text", n);
}

// Text without added tokens, normalised.
static int encode_plain(encoder *c, const char *text, size_t n)
{
    if (n == 0) return 0;
    int rc = qn_pretokenizer_begin(&c->run, text, n, c->e);
    if (rc) return rc;
    size_t start, end;
    while ((rc = qn_pretokenizer_next(&c->run, &start, &end, c->e)) == 1)
        if (!qn_bpe_encode(&c->t->bpe, &c->work, text + start, end - start, c->out))
            return no_memory(c, n);
    return rc;
}

// What is done with the text between added tokens.
typedef int plain_text(encoder *c, const char *text, size_t n, const unsigned char *trusted);

// Hands the text between the tokens of a set to `plain`, and puts the tokens' ids between.
static int split(encoder *c, const qn_added_set *set, const char *text, size_t n,
                 const unsigned char *trusted, plain_text *plain)
{
    qn_added_walk walk = {
        .set = set, .tokens = c->t->added, .text = text, .n = n, .trusted = trusted};
    for (;;) {
        qn_added_match m = qn_added_next(&walk);
        if (m.start > m.before) {
            int rc =
                plain(c, text + m.before, m.start - m.before, trusted ? trusted + m.before : NULL);
            if (rc) return rc;
        }
        if (m.token < 0) return 0;
        if (!qn_ids_push(c->out, c->t->added[m.token].id)) return no_memory(c, n);
    }
}

static int plain_normalized(encoder *c, const char *text, size_t n, const unsigned char *trusted)
{
    (void)trusted;
    return encode_plain(c, text, n);
}

static int plain_raw(encoder *c, const char *text, size_t n, const unsigned char *trusted)
{
    if (c->t->nfc && qn_nfc_span(text, n) < n) {
        bool need_trust = trusted && c->t->normalized_special;
        qn_buffer_clear(&c->text);
        qn_buffer_clear(&c->trusted);
        if (!qn_nfc_append(text, n, &c->text, trusted, need_trust ? &c->trusted : NULL))
            return no_memory(c, n);
        text = c->text.data;
        n = c->text.length;
        trusted = need_trust ? (const unsigned char *)c->trusted.data : NULL;
    }
    return split(c, &c->t->normalized, text, n, trusted, plain_normalized);
}

int qn_tokenizer_encode(const qn_tokenizer *t, const char *text, size_t n,
                        const unsigned char *trusted, qn_ids *out, quern_error *e)
{
    if (n > MAX_TEXT_BYTES)
        return qn_error_set(e, QUERN_E_LIMIT, "text: expected at most %zu bytes, found %zu",
                            MAX_TEXT_BYTES, n);
    size_t valid = qn_utf8_check(text, n);
    if (valid < n) return qn_error_set(e, QUERN_E_ARGUMENT, "text: byte %zu is not UTF-8", valid);
    encoder c = {.t = t, .out = out, .e = e};
    int rc = qn_pretokenizer_open(t->pretokenizer, n, &c.run, e);
    if (rc) return rc;
    qn_bpe_work_init(&c.work, n);
    size_t n_before = out->n;
    rc = split(&c, &t->raw, text, n, trusted, plain_raw);
    if (rc) out->n = n_before;
    qn_bpe_work_free(&c.work);
    qn_pretokenizer_close(&c.run);
    qn_buffer_free(&c.text);
    qn_buffer_free(&c.trusted);
    return rc;
}
