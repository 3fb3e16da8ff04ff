// See text_stream.h.
#include "engine/text_stream.h"

#include "base/error.h"

void qn_text_stream_init(qn_text_stream *t, const qn_tokenizer *tokenizer, qn_stop *stop,
                         int stop_after)
{
    *t = (qn_text_stream){.tokenizer = tokenizer, .stop = stop, .stop_after = stop_after};
    if (tokenizer) qn_detokenizer_init(&t->detokenizer, tokenizer, false);
}

void qn_text_stream_free(qn_text_stream *t)
{
    qn_stop_free(t->stop);
    t->stop = NULL;
    qn_buffer_free(&t->text);
}

static bool look_for_stop(qn_text_stream *t, size_t from)
{
    if (!t->stop_begun) t->stop_from = from;
    t->stop_begun = true;
    if (from == t->text.length) return false;
    size_t end = 0;
    bool found = qn_stop_push(t->stop, t->text.data + from, t->text.length - from, &end);
    t->n_shown = t->stop_from + end;
    return found;
}

int qn_text_stream_push(qn_text_stream *t, const qn_text_push *token)
{
    if (!t->tokenizer) return 0;
    size_t from = t->text.length;
    bool good = token->silent || qn_detokenizer_push(&t->detokenizer, token->id, &t->text);
    if (good && token->last) good = qn_detokenizer_finish(&t->detokenizer, &t->text);
    if (!good) return QUERN_E_MEMORY;
    if (t->stop && token->index >= t->stop_after) {
        if (look_for_stop(t, from)) return 1;
        if (token->last) t->n_shown = t->text.length;
        return 0;
    }
    t->n_shown = t->text.length;
    return 0;
}
