// Fuzz target: tokenizer.json from memory; a tokenizer that loads must then encode and decode without a fault.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/detokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char TEXT[] =
    "Hello  world, it's 1234 <|im_start|>\n\n e\xcc\x81\xcc\xa3 \xe6\xbc\xa2"
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

// An id is in range, and its bytes are where they are said to be.
static void decode(const qn_tokenizer *t, const qn_ids *ids)
{
    qn_detokenizer d;
    qn_buffer out = QN_BUFFER_INIT;
    qn_detokenizer_init(&d, t, true);
    for (size_t i = 0; i < ids->n; i++) {
        if (ids->data[i] < 0 || ids->data[i] >= qn_tokenizer_n_ids(t)) abort();
        qn_detokenizer_push(&d, ids->data[i], &out);
    }
    qn_detokenizer_finish(&d, &out);
    qn_buffer_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    qn_tokenizer *t = NULL;
    qn_ids ids = {0};
    quern_error e = {0};
    char *copy = malloc(size ? size : 1); // exact, so that ASan sees a byte too many
    unsigned char trusted[sizeof TEXT];
    memset(trusted, 1, sizeof trusted);
    if (!copy) return 0;
    if (size) memcpy(copy, data, size);
    int rc = qn_tokenizer_parse("fuzz", copy, size, &t, &e);
    if (rc && (!e.message[0] || e.code != rc)) abort();
    if (!rc) {
        qn_tokenizer_encode(t, TEXT, sizeof TEXT - 1, NULL, &ids, &e);
        qn_tokenizer_encode(t, TEXT, sizeof TEXT - 1, trusted, &ids, &e);
        decode(t, &ids);
        qn_tokenizer_id_of(t, "Hello");
    }
    qn_ids_free(&ids);
    qn_tokenizer_free(t);
    free(copy);
    return 0;
}
