// The backends, in order of preference for "auto". The only file with #ifdefs of backends.
#include <string.h>

#include "backend/backend.h"
#include "backend/cpu/cpu.h"
#ifdef QN_HAVE_CUDA
#include "backend/cuda/cuda.h"
#endif
#ifdef QN_HAVE_METAL
#include "backend/metal/metal.h"
#endif

static const qn_backend *const backends[] = {
#ifdef QN_HAVE_CUDA
    &qn_cuda_backend,
#endif
#ifdef QN_HAVE_METAL
    &qn_metal_backend,
#endif
    &qn_cpu_backend,
};
enum { N_BACKENDS = sizeof backends / sizeof *backends };

const qn_backend *qn_backend_at(int i)
{
    return i >= 0 && i < N_BACKENDS ? backends[i] : NULL;
}

const qn_backend *qn_backend_by_name(const char *name)
{
    int any = !name || strcmp(name, "auto") == 0;
    for (int i = 0; i < N_BACKENDS; i++)
        if ((any || strcmp(name, backends[i]->name) == 0) && backends[i]->available())
            return backends[i];
    return NULL;
}
