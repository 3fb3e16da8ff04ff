// Unicode normalization form C of valid UTF-8, in linear time whatever the text (utf8proc's own reordering is quadratic in
// a run of marks). Characters of utf8proc's tables, but younger ones than Unicode 9 stay as they are, as in Hugging Face
// tokenizers. Any thread.
#ifndef QN_TEXT_NFC_H
#define QN_TEXT_NFC_H
#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

// How many bytes at the beginning are certainly in form C whatever comes behind them; n: all.
size_t qn_nfc_span(const char *text, size_t n);
// Appends the form C of the n bytes at text. With trusted_out, appends to it for each byte written whether all bytes that it
// came from are nonzero in trusted. False: no memory.
bool qn_nfc_append(const char *text, size_t n, qn_buffer *out, const unsigned char *trusted,
                   qn_buffer *trusted_out);

#endif
