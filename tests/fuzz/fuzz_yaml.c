// Fuzz target: the YAML file of `quern serve --config`. A refusal is one line that names the file; what is accepted has models.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/config.h"
#include "folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// A model "m", and nothing else to be found.
static void make_model(void)
{
    fuzz_folder_write("m", "", 0);
    if (setenv("QUERN_MODELS", fuzz_folder(), 1) || setenv("HF_HUB_CACHE", fuzz_folder(), 1))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    char path[300];
    if (!ready) make_model();
    ready = true;
    snprintf(path, sizeof path, "%s/c.yaml", fuzz_folder());
    fuzz_folder_write("c.yaml", data, size);
    qn_app_config c;
    quern_error e = {0};
    qn_app_config_init(&c);
    int rc = qn_app_config_read(&c, path, &e);
    if (rc ? !e.message[0] || strchr(e.message, '\n') != NULL : c.n_models < 1) abort();
    qn_app_config_free(&c);
    return 0;
}
