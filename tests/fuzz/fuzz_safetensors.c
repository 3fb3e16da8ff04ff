// Fuzz target: one safetensors file from memory. Every view that it accepts must lie within the input.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char *copy = malloc(size ? size : 1); // exact, so that ASan sees a byte too many
    qn_tensor_set s = QN_TENSOR_SET_INIT;
    quern_error e;
    volatile unsigned char last;
    if (!copy) return 0;
    if (size) memcpy(copy, data, size);
    int rc = qn_safetensors_parse(&s, copy, size, "fuzz", 0, &e);
    if (!rc) rc = qn_tensor_set_sort(&s, &e);
    for (int i = 0; i < s.n_tensors && !rc; i++) {
        const qn_stored_tensor *t = qn_tensor_set_find(&s, s.tensors[i].name);
        if (!t) abort();
        if (t->n_bytes) last = copy[t->begin + t->n_bytes - 1];
    }
    (void)last;
    qn_tensor_set_close(&s);
    free(copy);
    return 0;
}
