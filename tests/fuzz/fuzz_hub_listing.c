// Fuzz target: the hub's list of a repository's files. Every path that is kept can be joined to a folder, and what is wanted of
// it is found.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hub/listing.h"
#include "hub/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(const quern_error *e)
{
    if (!e->message[0] || strchr(e->message, '\n')) abort();
}

static void use(qn_hub_listing *l)
{
    const qn_hub_file *first;
    quern_error e = {0};
    for (int i = 0; i < l->n_files; i++)
        if (!qn_hub_is_path(l->files[i].path) || !qn_hub_listing_find(l, l->files[i].path)) abort();
    if (qn_hub_want_model(l, "a/b", &e)) check_error(&e);
    const char *const names[] = {"Q4_K_M", "q8_0.gguf", "model-00001-of-00002.gguf", ""};
    for (int i = 0; i < 4; i++) {
        e = (quern_error){0};
        if (qn_hub_want_file(l, names[i], &first, &e))
            check_error(&e);
        else if (!first->wanted)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size ? size : 1); // exact, so that ASan sees a byte too many
    qn_arena arena = {0};
    qn_hub_listing l;
    quern_error e = {0};
    if (!copy) return 0;
    if (size) memcpy(copy, data, size);
    if (qn_hub_listing_parse(copy, size, "a/b", &arena, &l, &e))
        check_error(&e);
    else
        use(&l);
    qn_arena_free(&arena);
    free(copy);
    return 0;
}
