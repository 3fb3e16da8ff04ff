// Seeded random weights for a built-in shape, so that anyone can see what a machine will do before a download. A tile of
// numbers is drawn once and repeated: its length is a prime (in blocks), so that rows do not repeat in step with any width.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/checked.h"
#include "model/family.h"

enum { TILE_ELEMENTS = 1048573, TILES_OF_32 = 32749, TILES_OF_256 = 4093, ALIGN = 64 };
static const float amplitude =
    0.0346f; // of a uniform distribution with the deviation 0.02 of initializer_range

typedef struct {
    char *data;
    size_t n_blocks, block_bytes;
} tile;

typedef struct {
    qn_model *model;
    qn_dtype dtype; // of the matrices
    tile matrices, vectors,
        ones;       // random numbers in the types of both, and a one for each of norms
    char *at;       // the next tensor
    uint64_t total; // bytes of all tensors, each aligned
    size_t phase;   // block of the tile that the next tensor starts with
    quern_error *e;
} filler;

static uint64_t next_random(uint64_t *state) // splitmix64 (Steele et al. 2014)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static int convert(filler *f, qn_dtype dtype, const float *numbers, tile *out)
{
    const qn_format *format = qn_format_of(dtype);
    out->block_bytes = (size_t)format->block_bytes;
    out->n_blocks = format->block_elements == 1    ? TILE_ELEMENTS
                    : format->block_elements == 32 ? TILES_OF_32
                                                   : TILES_OF_256;
    if (!format->from_f32)
        return qn_error_set(f->e, QUERN_E_UNSUPPORTED, "random weights: %s is read only",
                            format->name);
    out->data = malloc(out->n_blocks * out->block_bytes);
    if (!out->data)
        return qn_error_set(f->e, QUERN_E_MEMORY, "no memory for a tile of random numbers");
    format->from_f32(numbers, out->data, out->n_blocks * (size_t)format->block_elements);
    return 0;
}

static int draw_tiles(filler *f)
{
    qn_dtype of_vectors = qn_weights_dtype(f->dtype, 1);
    float *numbers = malloc(TILE_ELEMENTS * sizeof *numbers);
    if (!numbers) return qn_error_set(f->e, QUERN_E_MEMORY, "no memory for random numbers");
    uint64_t state = 1;
    for (int i = 0; i < TILE_ELEMENTS; i++)
        numbers[i] = amplitude * ((float)(next_random(&state) >> 40) * 0x1p-23f - 1.0f);
    int rc = convert(f, f->dtype, numbers, &f->matrices);
    if (!rc) rc = convert(f, of_vectors, numbers, &f->vectors);
    for (int i = 0; i < TILE_ELEMENTS; i++)
        numbers[i] = 1.0f;
    if (!rc) rc = convert(f, of_vectors, numbers, &f->ones);
    free(numbers);
    return rc;
}

static qn_tensor view_of(const filler *f, const qn_weight_spec *spec)
{
    qn_tensor t = {.data = f->at};
    t.rank = qn_weights_shape(&f->model->config, spec, t.dim);
    t.dtype = qn_weights_dtype(f->dtype, t.rank);
    return t;
}

static size_t aligned_bytes(const filler *f, const qn_weight_spec *spec)
{
    qn_tensor t = view_of(f, spec);
    return (qn_tensor_bytes(&t) + ALIGN - 1) / ALIGN * ALIGN;
}

static int add_size(void *context, const qn_weight_spec *spec, int layer)
{
    filler *f = context;
    (void)layer;
    f->total += aligned_bytes(f, spec);
    return 0;
}

static void repeat(const tile *t, size_t phase, char *to, size_t n_bytes)
{
    size_t tile_bytes = t->n_blocks * t->block_bytes, from = phase % t->n_blocks * t->block_bytes;
    while (n_bytes) {
        size_t n = tile_bytes - from < n_bytes ? tile_bytes - from : n_bytes;
        memcpy(to, t->data + from, n);
        to += n;
        n_bytes -= n;
        from = 0;
    }
}

static int fill_one(void *context, const qn_weight_spec *spec, int layer)
{
    filler *f = context;
    qn_tensor t = view_of(f, spec);
    bool norm = strstr(spec->name, "norm.weight") != NULL;
    repeat(norm          ? &f->ones
           : t.rank == 1 ? &f->vectors
                         : &f->matrices,
           f->phase, f->at, qn_tensor_bytes(&t));
    f->at += aligned_bytes(f, spec);
    f->phase = (f->phase + 65537) % TILE_ELEMENTS;
    return qn_loader_place(f->model, spec, &t, true, qn_weights_slot(f->model, spec, layer), f->e);
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
    qn_memory_lend(f->model, &f->model->random);
    f->at = p;
    return 0;
}

int qn_random_fill(qn_model *m, quern_error *e)
{
    filler f = {.model = m, .dtype = m->ends.embed.dtype, .e = e};
    int rc = draw_tiles(&f);
    if (!rc) {
        qn_weights_each(&m->config, m->family, add_size, &f);
        rc = reserve(&f);
    }
    if (!rc) rc = qn_weights_each(&m->config, m->family, fill_one, &f);
    free(f.matrices.data);
    free(f.vectors.data);
    free(f.ones.data);
    return rc;
}
