// What a loaded model tells about itself, and its text functions. Any thread; the model is read-only here but for figures.
#include <stdlib.h>
#include <string.h>

#include "engine/runtime.h"

void quern_model_get_info(const quern_model *m, quern_model_info *out)
{
    *out = (quern_model_info){.name = m->name,
                              .path = m->path,
                              .architecture = m->facts->architecture,
                              .dtype = qn_format_of(m->facts->dtype)->name,
                              .kv_cache = qn_format_of(qn_model_cache_dtype(m->weights))->name,
                              .backend = m->runtime->executor.backend->name,
                              .n_parameters = m->facts->n_parameters,
                              .weight_bytes = m->facts->weight_bytes,
                              .active_bytes = m->facts->active_bytes,
                              .n_layers = m->facts->n_layers,
                              .n_vocab = m->facts->n_vocab,
                              .n_context = m->n_context,
                              .max_batch = m->max_batch,
                              .max_queue = m->max_queue,
                              .has_text = m->tokenizer != NULL,
                              .has_chat_template = m->chat_template != NULL};
}

void quern_model_get_stats(const quern_model *m, quern_model_stats *out)
{
    qn_stats_read(&m->stats, out);
    out->blocks_total = m->n_blocks_total;
}

static int no_text(quern_error *e)
{
    return qn_error_set(e, QUERN_E_UNSUPPORTED, "the model has no tokenizer");
}

int quern_tokenize(const quern_model *m, const char *text, size_t n, bool special, int32_t **ids,
                   size_t *n_ids, quern_error *e)
{
    qn_ids found = {0};
    unsigned char *trusted = NULL;
    if (!m->tokenizer) return no_text(e);
    if (special) {
        trusted = malloc(n + 1);
        if (!trusted) return qn_error_set(e, QUERN_E_MEMORY, "no memory for %zu bytes", n);
        memset(trusted, 1, n + 1);
    }
    int rc = qn_tokenizer_encode(m->tokenizer, text, n, trusted, &found, e);
    free(trusted);
    if (rc) {
        qn_ids_free(&found);
        return rc;
    }
    *ids = found.data;
    *n_ids = found.n;
    return QUERN_OK;
}

int quern_detokenize(const quern_model *m, const int32_t *ids, size_t n_ids, char **text, size_t *n,
                     quern_error *e)
{
    qn_buffer out = QN_BUFFER_INIT;
    if (!m->tokenizer) return no_text(e);
    for (size_t i = 0; i < n_ids && !out.failed; i++) {
        size_t n_bytes;
        const char *bytes = qn_tokenizer_bytes(m->tokenizer, ids[i], &n_bytes);
        if (n_bytes) qn_buffer_append(&out, bytes, n_bytes);
    }
    *n = out.length;
    *text = out.failed || !qn_buffer_append(&out, "", 0) ? NULL : qn_buffer_take(&out);
    if (*text) return QUERN_OK;
    qn_buffer_free(&out);
    return qn_error_set(e, QUERN_E_MEMORY, "no memory for the text");
}
