// See detokenizer.h. Invalid bytes become U+FFFD by Rust's rule (String::from_utf8_lossy): one for each longest beginning of
// a character, one for each byte that begins none.
#include "text/detokenizer.h"

void qn_detokenizer_init(qn_detokenizer *d, const qn_tokenizer *t, bool keep_special)
{
    *d = (qn_detokenizer){.tokenizer = t, .keep_special = keep_special};
}

// How many bytes the character has that begins with `first`; 0 where none does.
static int length_of(unsigned char first)
{
    if (first < 0x80) return 1;
    if (first < 0xc2 || first > 0xf4) return 0;
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

// Whether `next` can stand behind the n bytes held, which begin a character.
static bool continues(const char held[4], int n, unsigned char next)
{
    unsigned char first = (unsigned char)held[0], least = 0x80, most = 0xbf;
    if (n == 1) {
        if (first == 0xe0) least = 0xa0; // shorter forms exist
        if (first == 0xed) most = 0x9f;  // surrogates
        if (first == 0xf0) least = 0x90;
        if (first == 0xf4) most = 0x8f; // above U+10FFFF
    }
    return next >= least && next <= most;
}

static bool replace(qn_buffer *out)
{
    return qn_buffer_append(out, "\xef\xbf\xbd", 3);
}

static bool push_byte(qn_detokenizer *d, unsigned char byte, qn_buffer *out)
{
    if (d->n_held && !continues(d->held, d->n_held, byte)) {
        d->n_held = 0;
        if (!replace(out)) return false;
    }
    if (!d->n_held && !length_of(byte)) return replace(out);
    d->held[d->n_held++] = (char)byte;
    if (d->n_held < length_of((unsigned char)d->held[0])) return true;
    size_t n = (size_t)d->n_held;
    d->n_held = 0;
    return qn_buffer_append(out, d->held, n);
}

bool qn_detokenizer_push(qn_detokenizer *d, int32_t id, qn_buffer *out)
{
    if (!d->keep_special && qn_tokenizer_is_special(d->tokenizer, id)) return true;
    size_t n;
    const char *bytes = qn_tokenizer_bytes(d->tokenizer, id, &n);
    for (size_t i = 0; i < n; i++)
        if (!push_byte(d, (unsigned char)bytes[i], out)) return false;
    return true;
}

bool qn_detokenizer_finish(qn_detokenizer *d, qn_buffer *out)
{
    if (!d->n_held) return true;
    d->n_held = 0;
    return replace(out);
}
