// See driver.h.
#include "backend/cuda/driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

static qn_cuda_driver driver;
static int loaded;

static int find(void *library, const char *name, void *to)
{
    void *function = dlsym(library, name);
    memcpy(to, &function, sizeof function); // ISO C has no cast from data to function
    return function != NULL;
}

// The library stays open: the driver does not bear being unloaded.
static void load(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    int all = library != NULL;
#define FIND(name, arguments) all = all && find(library, #name, &driver.name);
    QN_CUDA_FUNCTIONS(FIND)
#undef FIND
    loaded = all && driver.cuInit(0) == CUDA_SUCCESS;
}

const qn_cuda_driver *qn_cuda_driver_get(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return loaded ? &driver : NULL;
}

int qn_cuda_driver_check(CUresult result, const char *what, quern_error *e)
{
    const char *name = NULL;
    if (result == CUDA_SUCCESS) return 0;
    if (driver.cuGetErrorName(result, &name) != CUDA_SUCCESS || !name) name = "unknown error";
    int code = result == CUDA_ERROR_OUT_OF_MEMORY ? QUERN_E_MEMORY : QUERN_E_DEVICE;
    return qn_error_set(e, code, "cuda: %s: %s", what, name);
}
