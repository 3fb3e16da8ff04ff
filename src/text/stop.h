// Stop strings over a stream of text: finds the first occurrence of any, also across the borders of pieces, and says how
// much text is certain not to belong to one. Linear time (Aho–Corasick or KMP a string). One a sequence, one thread at a time.
#ifndef QN_TEXT_STOP_H
#define QN_TEXT_STOP_H
#include <stdbool.h>
#include <stddef.h>

typedef struct qn_stop qn_stop;

// n strings, each NUL-terminated and not empty, copied. NULL: no memory.
qn_stop *qn_stop_new(const char *const *strings, size_t n);
void qn_stop_free(qn_stop *s);
// Reads the next piece. True: a stop string ended in it; *text_end is then where the visible text ends, as an offset from the
// start of the stream. False: *text_end is the end of what can be shown now (the rest may become a stop string). On a match of
// several the one that begins first wins.
bool qn_stop_push(qn_stop *s, const char *piece, size_t n, size_t *text_end);

#endif
