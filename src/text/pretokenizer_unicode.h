// One Unicode for every PCRE2: the characters that Hugging Face tokenizers (Unicode 16) and the PCRE2 libraries in use (10.42:
// Unicode 14) put into different classes. A pattern reads a text in which each of them is replaced by an older character of
// the same class and the same length, so that pieces do not depend on the library's version. Any thread.
#ifndef QN_TEXT_PRETOKENIZER_UNICODE_H
#define QN_TEXT_PRETOKENIZER_UNICODE_H
#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

// If text holds such characters: *out becomes the text with stand-ins, and *text points into it. False: no memory.
bool qn_pretokenizer_stand_in(const char **text, size_t n, qn_buffer *out);

#endif
