// Text stream: generated ids in, text that may be shown out: detokenised, special tokens and the ending EOS left out, held back
// where it may become a stop string, cut where it did. The text depends on the ids alone, not on when they come.
// One a generated text; one thread at a time.
#ifndef QN_ENGINE_TEXT_STREAM_H
#define QN_ENGINE_TEXT_STREAM_H
#include "text/detokenizer.h"
#include "text/stop.h"

typedef struct {
    const qn_tokenizer *tokenizer; // NULL: no text at all
    qn_detokenizer detokenizer;
    qn_stop *stop;    // NULL: none
    int stop_after;   // stop strings are looked for in the text of the tokens from this index on
    qn_buffer text;   // all that was detokenised …
    size_t n_shown;   // … of which this much may be shown
    size_t stop_from; // where in it the stop strings began to be looked for
    bool stop_begun;
} qn_text_stream;

// What is known of a token when it is pushed.
typedef struct {
    int index;
    int32_t id;
    bool last;   // nothing follows: what is held back comes out
    bool silent; // the EOS that ended the text
} qn_text_push;

// Takes over `stop`.
void qn_text_stream_init(qn_text_stream *t, const qn_tokenizer *tokenizer, qn_stop *stop,
                         int stop_after);
void qn_text_stream_free(qn_text_stream *t);
// 1: a stop string is complete, the text ends at n_shown. 0: not so. QUERN_E_MEMORY.
int qn_text_stream_push(qn_text_stream *t, const qn_text_push *token);

#endif
