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
