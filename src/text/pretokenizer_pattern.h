// Which patterns mean the same to PCRE2 as to Oniguruma, for which tokenizer files are written. Any thread.
#ifndef QN_TEXT_PRETOKENIZER_PATTERN_H
#define QN_TEXT_PRETOKENIZER_PATTERN_H
#include <stddef.h>

#include "base/error.h"

// Refuses, with its offset, the first construct that the two understand differently or that Quern has no need of.
int qn_pretokenizer_pattern_check(const char *where, const char *pattern, size_t n, quern_error *e);

#endif
