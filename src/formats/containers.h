// Containers: the forms in which weights come, for `quern formats` and the README's table. A new one is a row. Read-only.
#ifndef QN_FORMATS_CONTAINERS_H
#define QN_FORMATS_CONTAINERS_H

typedef struct {
    const char *name, *what; // "GGUF", "a file …"
    const char *types; // of the tensors that it holds, in words; NULL: those that type_at tells
    // The name of its i'th type that Quern computes with, from 0 on; NULL past the last.
    const char *(*type_at)(int i);
    const char *text; // where its tokenizer and chat template are found
} qn_container;

// Row i, from 0 on; NULL past the last.
const qn_container *qn_container_at(int i);

#endif
