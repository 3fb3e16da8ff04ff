// Fuzz target: model.safetensors.index.json beside two sound shards. What is accepted names only tensors that are there, in the
// shard where they lie, and no file outside the folder.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "folder.h"
#include "formats/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const SHARDS[] = {"a.safetensors", "b.safetensors"};

// One tensor, x0 or x1, of four bytes.
static void write_shard(int i)
{
    char text[96] =
        "\0\0\0\0\0\0\0\0{\"x0\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    size_t n = strlen(text + 8);
    text[0] = (char)n;
    text[11] = (char)('0' + i);
    fuzz_folder_write(SHARDS[i], text, 8 + n + 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    for (int i = 0; i < 2 && !ready; i++)
        write_shard(i);
    ready = true;
    fuzz_folder_write("model.safetensors.index.json", data, size);
    qn_tensor_set s;
    quern_error e = {0};
    int rc = qn_safetensors_open(fuzz_folder(), &s, &e);
    if (rc) {
        if (!e.message[0] || strchr(e.message, '\n')) abort();
        return 0;
    }
    for (int i = 0; i < s.n_files; i++) {
        const char *name = strrchr(s.files[i].path, '/') + 1;
        if (strcmp(name, SHARDS[0]) && strcmp(name, SHARDS[1])) abort();
    }
    if (s.n_tensors != s.n_files || qn_tensor_set_map(&s, false, &e)) abort();
    qn_tensor_set_close(&s);
    return 0;
}
