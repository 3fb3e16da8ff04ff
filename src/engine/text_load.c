// See text_load.h.
#include "engine/text_load.h"

#include "model/model.h"

int qn_engine_load_tokenizer(const char *path, qn_tokenizer **out, quern_error *e)
{
    const qn_vocabulary *v;
    int rc = qn_model_read_vocabulary(path, &v, e);
    if (rc) return rc;
    rc = v ? qn_tokenizer_from_vocabulary(v, out, e) : qn_tokenizer_load(path, out, e);
    qn_model_free_vocabulary(v);
    return rc;
}

// (Of a GGUF file's tokens the reader has seen to that already.)
int qn_engine_check_tokenizer(const qn_tokenizer *t, const char *path, int n_vocab, quern_error *e)
{
    if (qn_tokenizer_n_ids(t) <= n_vocab) return 0;
    return qn_error_set(e, QUERN_E_FORMAT,
                        "%s/tokenizer.json: expected ids below the model's vocab_size (%d), found "
                        "%d",
                        path, n_vocab, qn_tokenizer_n_ids(t) - 1);
}

int qn_engine_load_template(const char *path, qn_chat_template **out, quern_error *e)
{
    const qn_vocabulary *v;
    int rc = qn_model_read_vocabulary(path, &v, e);
    if (rc) return rc;
    rc = v ? qn_chat_template_from_vocabulary(v, out, e) : qn_chat_template_load(path, out, e);
    qn_model_free_vocabulary(v);
    return rc;
}
