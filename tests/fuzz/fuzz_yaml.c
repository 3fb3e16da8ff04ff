// Fuzz target: the YAML file of `quern serve --config`. A refusal is one line that names the file; what is accepted has models.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/config.h"
#include "folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready && chdir(fuzz_folder())) abort(); // a model "m" is beside the file
    if (!ready) fuzz_folder_write("m", "", 0);
    ready = true;
    fuzz_folder_write("c.yaml", data, size);
    qn_app_config c;
    quern_error e = {0};
    qn_app_config_init(&c);
    int rc = qn_app_config_read(&c, "c.yaml", &e);
    if (rc ? !e.message[0] || strchr(e.message, '\n') != NULL : c.n_models < 1) abort();
    qn_app_config_free(&c);
    return 0;
}
