// Pre-tokenizer: cuts a text into pieces by the pattern of the tokenizer's file (each match is a piece, and so is what lies
// between two), with PCRE2 and its JIT. A compiled pattern is read-only: any thread. A run belongs to one encode call.
#ifndef QN_TEXT_PRETOKENIZER_H
#define QN_TEXT_PRETOKENIZER_H
#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

typedef struct qn_pretokenizer qn_pretokenizer;

// `where` stands in messages (file and field). pattern NULL: a text is one piece.
int qn_pretokenizer_new(const char *where, const char *pattern, size_t n, qn_pretokenizer **out,
                        quern_error *e);
void qn_pretokenizer_free(qn_pretokenizer *p);
// False where the system refused just-in-time compilation (or there is none): slower, the same pieces.
bool qn_pretokenizer_is_fast(const qn_pretokenizer *p);

typedef struct {
    const qn_pretokenizer *pattern;
    void *match, *context, *stack; // PCRE2's match data, match context and JIT stack
    qn_buffer copy;                // the text with stand-ins, see pretokenizer_unicode.h
    const char *text;              // what PCRE2 reads
    size_t n;
    size_t search, last_end,
        previous; // where to search; the end of the last match; what has been given out
    size_t held_start, held_end; // a match that waits behind the gap before it
    bool matched, held;
} qn_pretokenizer_run;

// Once an encode call; text_bytes: the whole text, for the limits of a match.
int qn_pretokenizer_open(const qn_pretokenizer *p, size_t text_bytes, qn_pretokenizer_run *r,
                         quern_error *e);
void qn_pretokenizer_close(qn_pretokenizer_run *r);
// Starts on n bytes of valid UTF-8, which stay until the last piece.
int qn_pretokenizer_begin(qn_pretokenizer_run *r, const char *text, size_t n, quern_error *e);
// The next piece [*start, *end), never empty: 1; 0 at the end; a QUERN_E code: the pattern took too many steps.
int qn_pretokenizer_next(qn_pretokenizer_run *r, size_t *start, size_t *end, quern_error *e);

#endif
