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

int qn_engine_load_template(const char *path, qn_chat_template **out, quern_error *e)
{
    const qn_vocabulary *v;
    int rc = qn_model_read_vocabulary(path, &v, e);
    if (rc) return rc;
    rc = v ? qn_chat_template_from_vocabulary(v, out, e) : qn_chat_template_load(path, out, e);
    qn_model_free_vocabulary(v);
    return rc;
}
