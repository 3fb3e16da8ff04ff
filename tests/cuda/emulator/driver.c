// libcuda.so.1 for tests: the functions of the driver's API that Quern calls (backend/cuda/driver.h), on a card that runs PTX here
// (grid.h). What is launched is over when the call comes back. One lock: any thread may call. An error stays, as on a card, and is
// told on stderr. Environment:
// QUERN_CARD_PROCESSORS  multiprocessors (default 8)
// QUERN_CARD_CAPABILITY  what it says it is (default 90, for sm_90); it runs the same PTX whatever that is
// QUERN_CARD_SEED        of the order of warps, lanes and copies (default 1)
// QUERN_CARD_OMIT        lines of PTX that hold this are left out; KERNEL/TEXT: those of one kernel
// QUERN_CARD_DEAD        a path: what is launched while something is there finds the card dead
// QUERN_CARD_LOG         a file that gets a line for each launch: the kernel's name
// QUERN_CARD_MEMORY      bytes on the card (default 8 GiB)
#include <cuda.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "grid.h"

#undef cuDeviceTotalMem
#undef cuDevicePrimaryCtxRelease
#undef cuMemAlloc
#undef cuMemFree
#undef cuMemcpyDtoH
#undef cuMemcpyDtoDAsync
#undef cuMemcpyHtoDAsync
#undef cuStreamDestroy
#undef cuStreamBeginCapture
#undef cuEventDestroy
#undef cuGraphInstantiate

enum { PATIENCE = 150000000 }; // see grid.h
enum { CAPABILITY = 90, SHARED_OPTIN = 232448, SHARED_PLAIN = 49152 };

typedef enum { LAUNCH, COPY, FILL } work_kind;

// What a stream is asked to do.
typedef struct {
    work_kind kind;
    grid_launch launch;
    char *parameters;
    char *to;
    const char *from;
    bool to_card, from_card; // which of them must lie where the card reaches
    size_t n_bytes;
    unsigned char filling;
} work;

struct CUgraph_st {
    work *list;
    int n, room;
};
struct CUgraphExec_st {
    work *list;
    int n;
};
struct CUstream_st {
    struct CUgraph_st *captures; // NULL: does what it is asked
};
struct CUmod_st {
    ptx_module *ptx;
};
struct CUfunc_st {
    struct CUmod_st *module;
    ptx_function *entry;
    int shared_most;
    struct CUfunc_st *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static CUresult sticky;
static struct CUfunc_st *functions;

static int number(const char *name, int otherwise)
{
    const char *text = getenv(name);
    int n = text ? atoi(text) : 0;
    return n > 0 ? n : otherwise;
}

static size_t memory(void)
{
    const char *text = getenv("QUERN_CARD_MEMORY");
    return text ? strtoull(text, NULL, 10) : (size_t)8 << 30;
}

static CUresult fails(CUresult rc, const char *what)
{
    fprintf(stderr, "emulated card: %s\n", what);
    return sticky = rc;
}

/* ---- the device ---- */

CUresult cuInit(unsigned flags)
{
    (void)flags;
    grid_seed((uint64_t)number("QUERN_CARD_SEED", 1));
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetCount(int *n)
{
    *n = 1;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGet(CUdevice *d, int n)
{
    *d = 0;
    return n ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}
CUresult cuDeviceGetName(char *name, int n_bytes, CUdevice d)
{
    (void)d;
    snprintf(name, (size_t)n_bytes, "emulated card");
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute what, CUdevice d)
{
    (void)d;
    switch (what) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        *value = number("QUERN_CARD_CAPABILITY", CAPABILITY) / 10;
        break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        *value = number("QUERN_CARD_CAPABILITY", CAPABILITY) % 10;
        break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        *value = number("QUERN_CARD_PROCESSORS", 8);
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        *value = SHARED_OPTIN;
        break;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem_v2(size_t *n_bytes, CUdevice d)
{
    (void)d;
    *n_bytes = memory();
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice d)
{
    static int context;
    (void)d;
    *c = (CUcontext)(void *)&context;
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice d)
{
    (void)d;
    return CUDA_SUCCESS;
}
CUresult cuCtxSetCurrent(CUcontext c)
{
    (void)c;
    return CUDA_SUCCESS;
}
CUresult cuGetErrorName(CUresult rc, const char **name)
{
    *name = rc == CUDA_SUCCESS               ? "CUDA_SUCCESS"
            : rc == CUDA_ERROR_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY"
            : rc == CUDA_ERROR_LAUNCH_FAILED ? "CUDA_ERROR_LAUNCH_FAILED"
            : rc == CUDA_ERROR_INVALID_PTX   ? "CUDA_ERROR_INVALID_PTX"
            : rc == CUDA_ERROR_NOT_FOUND     ? "CUDA_ERROR_NOT_FOUND"
            : rc == CUDA_ERROR_INVALID_VALUE ? "CUDA_ERROR_INVALID_VALUE"
                                             : "CUDA_ERROR_UNKNOWN";
    return CUDA_SUCCESS;
}

/* ---- memory ---- */

static CUresult take(size_t n_bytes, bool on_card, void **out)
{
    pthread_mutex_lock(&lock);
    *out = sticky || (on_card && card_taken() + n_bytes > memory()) ? NULL
                                                                    : card_alloc(n_bytes, on_card);
    CUresult rc = *out ? CUDA_SUCCESS : sticky ? sticky : CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_unlock(&lock);
    return rc;
}
static CUresult give_back(void *p)
{
    pthread_mutex_lock(&lock);
    CUresult rc = card_free(p) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
    pthread_mutex_unlock(&lock);
    return rc;
}
CUresult cuMemAlloc_v2(CUdeviceptr *p, size_t n_bytes)
{
    void *at;
    CUresult rc = take(n_bytes, true, &at);
    *p = (CUdeviceptr)(uintptr_t)at;
    return rc;
}
CUresult cuMemFree_v2(CUdeviceptr p)
{
    return give_back((void *)(uintptr_t)p);
}
CUresult cuMemHostAlloc(void **p, size_t n_bytes, unsigned flags)
{
    (void)flags;
    return take(n_bytes, false, p);
}
CUresult cuMemFreeHost(void *p)
{
    return give_back(p);
}

/* ---- work ---- */

static bool is_reached(const char *at, size_t n_bytes)
{
    return card_holds((uint64_t)(uintptr_t)at, n_bytes);
}

// Under the lock, as all that follows it here.
static CUresult do_launch(const grid_launch *l)
{
    char error[512];
    const char *dead = getenv("QUERN_CARD_DEAD"), *log = getenv("QUERN_CARD_LOG");
    FILE *to = log ? fopen(log, "a") : NULL;
    if (to) fprintf(to, "%.*s\n", l->entry->name_length, l->entry->name);
    if (to) fclose(to);
    if (dead && !access(dead, F_OK)) return fails(CUDA_ERROR_LAUNCH_FAILED, "dead, as told");
    return grid_run(l, error) ? fails(CUDA_ERROR_LAUNCH_FAILED, error) : CUDA_SUCCESS;
}

static CUresult do_work(const work *a)
{
    if ((a->to_card && !is_reached(a->to, a->n_bytes)) ||
        (a->from_card && !is_reached(a->from, a->n_bytes)))
        return fails(CUDA_ERROR_INVALID_VALUE, "a copy or a filling where no memory is");
    switch (a->kind) {
    case FILL:
        memset(a->to, a->filling, a->n_bytes);
        break;
    case COPY:
        memcpy(a->to, a->from, a->n_bytes);
        break;
    case LAUNCH:
        return do_launch(&a->launch);
    }
    return CUDA_SUCCESS;
}

static void free_work(const work *list, int n)
{
    for (int k = 0; k < n; k++)
        free(list[k].parameters);
}

static void record(struct CUgraph_st *g, const work *a)
{
    if (g->n == g->room) {
        g->room = g->room ? 2 * g->room : 64;
        g->list = realloc(g->list, (size_t)g->room * sizeof *g->list);
        if (!g->list) abort();
    }
    g->list[g->n++] = *a;
}

static CUresult ask(CUstream s, const work *a)
{
    pthread_mutex_lock(&lock);
    CUresult rc = sticky;
    if (!rc && s && s->captures) {
        record(s->captures, a);
    } else {
        if (!rc) rc = do_work(a);
        free(a->parameters);
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t n_bytes, CUstream s)
{
    return ask(s, &(work){.kind = FILL,
                          .to = (char *)(uintptr_t)to,
                          .to_card = true,
                          .filling = value,
                          .n_bytes = n_bytes});
}
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t n_bytes)
{
    return ask(NULL, &(work){.kind = COPY,
                             .to = to,
                             .from = (const char *)(uintptr_t)from,
                             .from_card = true,
                             .n_bytes = n_bytes});
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t n_bytes, CUstream s)
{
    return ask(s, &(work){.kind = COPY,
                          .to = (char *)(uintptr_t)to,
                          .to_card = true,
                          .from = (const char *)(uintptr_t)from,
                          .from_card = true,
                          .n_bytes = n_bytes});
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t n_bytes, CUstream s)
{
    return ask(s, &(work){.kind = COPY,
                          .to = (char *)(uintptr_t)to,
                          .to_card = true,
                          .from = from,
                          .n_bytes = n_bytes});
}

/* ---- modules ---- */

CUresult cuModuleLoadData(CUmodule *out, const void *image)
{
    char error[256];
    *out = calloc(1, sizeof **out);
    if (!*out) return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    (*out)->ptx = ptx_module_new(image, getenv("QUERN_CARD_OMIT"), error);
    pthread_mutex_unlock(&lock);
    if ((*out)->ptx) return CUDA_SUCCESS;
    free(*out);
    *out = NULL;
    fprintf(stderr, "emulated card: %s\n", error);
    return CUDA_ERROR_INVALID_PTX;
}
CUresult cuModuleUnload(CUmodule m)
{
    pthread_mutex_lock(&lock);
    for (struct CUfunc_st **at = &functions; *at;) {
        struct CUfunc_st *f = *at;
        if (f->module != m) {
            at = &f->next;
            continue;
        }
        *at = f->next;
        free(f);
    }
    ptx_module_free(m->ptx);
    free(m);
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}
// The function's text is read when it is first launched.
CUresult cuModuleGetFunction(CUfunction *out, CUmodule m, const char *name)
{
    struct CUfunc_st *f = calloc(1, sizeof *f);
    if (!f) return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    f->entry = ptx_module_find(m->ptx, name, (int)strlen(name));
    *f = (struct CUfunc_st){m, f->entry, SHARED_PLAIN, functions};
    if (f->entry)
        functions = *out = f;
    else
        free(f), *out = NULL;
    pthread_mutex_unlock(&lock);
    return *out ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
CUresult cuFuncSetAttribute(CUfunction f, CUfunction_attribute what, int value)
{
    if (what != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value > SHARED_OPTIN)
        return CUDA_ERROR_INVALID_VALUE;
    f->shared_most = value;
    return CUDA_SUCCESS;
}

/* ---- launches ---- */

// What is asked for, and whether the function may have it. Under the lock.
static CUresult prepare(CUfunction f, const grid_launch *asked, const unsigned n_threads[3],
                        work *out)
{
    char error[256];
    ptx_function *e =
        ptx_module_function(f->module->ptx, f->entry->name, f->entry->name_length, error);
    if (sticky) return sticky;
    if (!e) return fails(CUDA_ERROR_INVALID_PTX, error);
    if (n_threads[1] != 1 || n_threads[2] != 1)
        return fails(CUDA_ERROR_INVALID_VALUE, "threads of more than one dimension");
    if (asked->shared_bytes > f->shared_most)
        return fails(CUDA_ERROR_INVALID_VALUE, "more shared memory than the function may have");
    *out = (work){.kind = LAUNCH, .launch = *asked};
    out->launch.module = f->module->ptx;
    out->launch.entry = e;
    out->launch.n_threads = n_threads[0];
    out->launch.n_processors = number("QUERN_CARD_PROCESSORS", 8);
    out->launch.patience = PATIENCE;
    out->launch.parameters = out->parameters = calloc(1, (size_t)e->parameter_bytes + 8);
    return out->parameters ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult launch(CUfunction f, const grid_launch *asked, const unsigned n_threads[3],
                       CUstream s, void **parameters)
{
    work a;
    pthread_mutex_lock(&lock);
    CUresult rc = prepare(f, asked, n_threads, &a);
    pthread_mutex_unlock(&lock);
    if (rc) return rc;
    for (int k = 0; k < a.launch.entry->n_parameters; k++) {
        const ptx_parameter *p = &a.launch.entry->parameters[k];
        memcpy(a.parameters + p->at, parameters[k], (size_t)p->n_bytes);
    }
    return ask(s, &a);
}
CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned tx,
                        unsigned ty, unsigned tz, unsigned shared_bytes, CUstream s,
                        void **parameters, void **more)
{
    (void)more;
    return launch(f, &(grid_launch){.n_groups = {gx, gy, gz}, .shared_bytes = (int)shared_bytes},
                  (unsigned[]){tx, ty, tz}, s, parameters);
}
CUresult cuLaunchKernelEx(const CUlaunchConfig *c, CUfunction f, void **parameters, void **more)
{
    (void)more;
    return launch(f,
                  &(grid_launch){.n_groups = {c->gridDimX, c->gridDimY, c->gridDimZ},
                                 .shared_bytes = (int)c->sharedMemBytes},
                  (unsigned[]){c->blockDimX, c->blockDimY, c->blockDimZ}, c->hStream, parameters);
}

/* ---- streams, events, graphs ---- */

CUresult cuStreamCreate(CUstream *s, unsigned flags)
{
    (void)flags;
    *s = calloc(1, sizeof **s);
    return *s ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuStreamDestroy_v2(CUstream s)
{
    free(s);
    return CUDA_SUCCESS;
}
CUresult cuStreamSynchronize(CUstream s)
{
    (void)s;
    return sticky;
}
CUresult cuStreamBeginCapture_v2(CUstream s, CUstreamCaptureMode mode)
{
    (void)mode;
    s->captures = calloc(1, sizeof *s->captures);
    return s->captures ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuStreamEndCapture(CUstream s, CUgraph *g)
{
    *g = s->captures;
    s->captures = NULL;
    return *g ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec *out, CUgraph g, unsigned long long flags)
{
    (void)flags;
    *out = calloc(1, sizeof **out);
    if (!*out) return CUDA_ERROR_OUT_OF_MEMORY;
    **out = (struct CUgraphExec_st){g->list, g->n};
    *g = (struct CUgraph_st){0};
    return CUDA_SUCCESS;
}
CUresult cuGraphLaunch(CUgraphExec g, CUstream s)
{
    (void)s;
    pthread_mutex_lock(&lock);
    CUresult rc = sticky;
    for (int k = 0; k < g->n && !rc; k++)
        rc = do_work(&g->list[k]);
    pthread_mutex_unlock(&lock);
    return rc;
}
CUresult cuGraphDestroy(CUgraph g)
{
    free_work(g->list, g->n);
    free(g->list);
    free(g);
    return CUDA_SUCCESS;
}
CUresult cuGraphExecDestroy(CUgraphExec g)
{
    free_work(g->list, g->n);
    free(g->list);
    free(g);
    return CUDA_SUCCESS;
}
CUresult cuEventCreate(CUevent *e, unsigned flags)
{
    static int event;
    (void)flags;
    *e = (CUevent)(void *)&event;
    return CUDA_SUCCESS;
}
CUresult cuEventDestroy_v2(CUevent e)
{
    (void)e;
    return CUDA_SUCCESS;
}
CUresult cuEventRecord(CUevent e, CUstream s)
{
    (void)e, (void)s;
    return sticky;
}
CUresult cuEventQuery(CUevent e)
{
    (void)e;
    return sticky;
}
CUresult cuEventSynchronize(CUevent e)
{
    (void)e;
    return sticky;
}
