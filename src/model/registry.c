// The model families. A new one: its file, and a row here.
#include <string.h>

#include "model/family.h"

extern const qn_family qn_qwen2_family, qn_qwen3_family;

static const qn_family *const families[] = {
    &qn_qwen2_family,
    &qn_qwen3_family,
};

const qn_family *qn_model_family(const char *name)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (!strcmp(families[i]->name, name)) return families[i];
    return NULL;
}

static const qn_family *family_at(int i)
{
    return i >= 0 && i < (int)(sizeof families / sizeof *families) ? families[i] : NULL;
}

const char *qn_model_family_name(int i)
{
    const qn_family *f = family_at(i);
    return f ? f->name : NULL;
}

const char *qn_model_family_about(int i)
{
    const qn_family *f = family_at(i);
    return f ? f->about : NULL;
}

const char *qn_model_family_gguf(int i, int j)
{
    const qn_family *f = family_at(i);
    return f ? qn_gguf_architecture(f->name, j) : NULL;
}
