// The vocabulary of a model that is a GGUF file; see model.h.
#include <stdlib.h>

#include "base/error.h"
#include "formats/gguf_vocabulary.h"
#include "model/model.h"

typedef struct {
    qn_vocabulary vocabulary; // first: its address is the holder's
    qn_gguf file;             // which its spans point into
} holder;

int qn_model_read_vocabulary(const char *path, const qn_vocabulary **out, quern_error *e)
{
    char *file;
    *out = NULL;
    int rc = qn_gguf_locate(path, &file, e);
    if (rc || !file) return rc;
    holder *h = calloc(1, sizeof *h);
    rc = h ? qn_gguf_open(file, &h->file, e)
           : qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for its vocabulary", path);
    if (!rc) rc = qn_gguf_vocabulary(&h->file, &h->vocabulary, e);
    free(file);
    if (rc)
        qn_model_free_vocabulary(h ? &h->vocabulary : NULL);
    else
        *out = &h->vocabulary;
    return rc;
}

void qn_model_free_vocabulary(const qn_vocabulary *v)
{
    if (!v) return;
    holder *h = (holder *)(uintptr_t)v;
    qn_gguf_free_vocabulary(&h->vocabulary);
    qn_gguf_close(&h->file);
    free(h);
}
