// Seeded random weights for a built-in shape, so that anyone can see what a machine will do before a download. A block of
// numbers is drawn once and tiled: its length is a prime, so that rows do not repeat in step with any width.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/checked.h"
#include "model/family.h"

enum { TILE_ELEMENTS = 1048573, ALIGN = 64 };
static const float amplitude =
    0.0346f; // of a uniform distribution with the deviation 0.02 of initializer_range

typedef struct {
    qn_model *model;
    qn_dtype dtype;
    char *random, *ones; // TILE_ELEMENTS each, in the type
    size_t element_bytes;
    char *at;       // the next tensor
    uint64_t total; // bytes of all tensors, each aligned
    size_t phase;   // element of the block that the next tensor starts with
    quern_error *e;
} filler;

static uint64_t next_random(uint64_t *state) // splitmix64 (Steele et al. 2014)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static int draw_tiles(filler *f)
{
    const qn_format *format = qn_format_of(f->dtype);
    f->element_bytes = (size_t)format->block_bytes;
    float *numbers = malloc(TILE_ELEMENTS * sizeof *numbers);
    f->random = malloc(TILE_ELEMENTS * f->element_bytes);
    f->ones = malloc(TILE_ELEMENTS * f->element_bytes);
    int rc = numbers && f->random && f->ones
                 ? 0
                 : qn_error_set(f->e, QUERN_E_MEMORY, "no memory for a block of random numbers");
    uint64_t state = 1;
    for (int i = 0; i < TILE_ELEMENTS && !rc; i++)
        numbers[i] = amplitude * ((float)(next_random(&state) >> 40) * 0x1p-23f - 1.0f);
    if (!rc) format->from_f32(numbers, f->random, TILE_ELEMENTS);
    for (int i = 0; i < TILE_ELEMENTS && !rc; i++)
        numbers[i] = 1.0f;
    if (!rc) format->from_f32(numbers, f->ones, TILE_ELEMENTS);
    free(numbers);
    return rc;
}

static size_t aligned_bytes(const filler *f, const qn_weight_spec *spec)
{
    int64_t dim[2];
    qn_weights_shape(&f->model->config, spec, dim);
    size_t n = (size_t)dim[0] * (size_t)dim[1] * f->element_bytes;
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static int add_size(void *context, const qn_weight_spec *spec, int layer)
{
    filler *f = context;
    (void)layer;
    f->total += aligned_bytes(f, spec);
    return 0;
}

static void tile(const char *block, size_t element_bytes, size_t phase, char *to, size_t n_bytes)
{
    size_t block_bytes = TILE_ELEMENTS * element_bytes, from = phase * element_bytes;
    while (n_bytes) {
        size_t n = block_bytes - from < n_bytes ? block_bytes - from : n_bytes;
        memcpy(to, block + from, n);
        to += n;
        n_bytes -= n;
        from = 0;
    }
}

static int fill_one(void *context, const qn_weight_spec *spec, int layer)
{
    filler *f = context;
    qn_tensor t = {f->at, f->dtype, 0, {0}};
    t.rank = qn_weights_shape(&f->model->config, spec, t.dim);
    bool norm = strstr(spec->name, "norm.weight") != NULL;
    tile(norm ? f->ones : f->random, f->element_bytes, f->phase, f->at, qn_tensor_bytes(&t));
    f->at += aligned_bytes(f, spec);
    f->phase = (f->phase + 65537) % TILE_ELEMENTS;
    return qn_loader_place(f->model, spec, &t, qn_weights_slot(f->model, spec, layer), f->e);
}

// What the device does not have is refused here: the system would lend it and kill us while we fill it.
static int reserve(filler *f)
{
    const qn_model_options *o = &f->model->options;
    qn_device_info info = {.memory_bytes = 0};
    if (o->backend) o->backend->info(o->device, &info);
    if (f->total > SIZE_MAX / 2 || (info.memory_bytes && f->total >= info.memory_bytes))
        return qn_error_set(f->e, QUERN_E_MEMORY,
                            "random weights: expected %llu bytes of memory, found %llu in all",
                            (unsigned long long)f->total, (unsigned long long)info.memory_bytes);
    void *p =
        mmap(NULL, (size_t)f->total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return qn_error_set(f->e, QUERN_E_MEMORY, "random weights: cannot map %llu bytes: %s",
                            (unsigned long long)f->total, strerror(errno));
#ifdef MADV_HUGEPAGE
    madvise(p, (size_t)f->total, MADV_HUGEPAGE); // a hint: faster to fill
#endif
    f->model->random = (qn_mapping){p, (size_t)f->total, true};
    f->at = p;
    return 0;
}

int qn_random_fill(qn_model *m, qn_dtype dtype, quern_error *e)
{
    filler f = {.model = m, .dtype = dtype, .e = e};
    int rc = draw_tiles(&f);
    if (!rc) {
        qn_weights_each(&m->config, m->family, add_size, &f);
        rc = reserve(&f);
    }
    if (!rc) rc = qn_weights_each(&m->config, m->family, fill_one, &f);
    free(f.random);
    free(f.ones);
    return rc;
}
