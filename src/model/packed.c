// The layouts of packed weights, and what they share: finding a matrix's parts, checking them, running a layout's repacking on several
// threads. See packed.h.
#include "model/packed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parallel.h"

static const qn_packing *const packings[QN_HF_SCHEMES] = {
    [QN_HF_MLX] = &qn_packing_mlx,
    [QN_HF_GPTQ] = &qn_packing_gptq,
    [QN_HF_AWQ] = &qn_packing_awq,
    [QN_HF_FP8] = &qn_packing_fp8,
};

// The module of a tensor's name and its last name; false where it has none or is too long.
static bool split(const char *tensor, char module[QN_PACKED_NAME], const char **last)
{
    const char *point = strrchr(tensor, '.');
    if (!point || point - tensor >= QN_PACKED_NAME) return false;
    memcpy(module, tensor, (size_t)(point - tensor));
    module[point - tensor] = 0;
    *last = point + 1;
    return true;
}

static const qn_stored_tensor *find_part(const qn_model *m, const char *module, const char *last)
{
    char name[2 * QN_PACKED_NAME];
    snprintf(name, sizeof name, "%s.%s", module, last);
    return qn_tensor_set_find(m->files, name);
}

void qn_packed_find(const qn_model *m, const char *name, const int64_t dim[2], qn_packed *out)
{
    const qn_packing *packing = packings[m->quantization.scheme];
    const char *last;
    *out = (qn_packed){.model = m, .rows = dim[0], .columns = dim[1]};
    if (!packing || !split(name, out->module, &last) || strcmp(last, "weight")) return;
    qn_hf_grouping grouping = qn_hf_quantization_of(&m->quantization, out->module);
    if (!grouping.bits) return;
    for (int i = 0; i < QN_PACKED_PARTS && packing->parts[i]; i++) {
        const qn_stored_tensor *t = find_part(m, out->module, packing->parts[i]);
        out->part[i] = t;
        if (t && (strcmp(packing->parts[i], last) || t->dtype == QN_DTYPE_COUNT))
            out->packing = packing;
    }
    out->bits = grouping.bits;
    out->group = grouping.group ? grouping.group : dim[1];
    out->n_groups = (dim[1] + out->group - 1) / out->group;
}

int qn_packed_check(qn_packed *p, quern_error *e)
{
    return p->packing->check(p, e);
}

bool qn_packed_has(const qn_model *m, const char *name, const char *tensor)
{
    static const int64_t any[2] = {1, 1};
    const char *point = strrchr(name, '.');
    size_t n = point ? (size_t)(point + 1 - name) : 0;
    qn_packed p;
    if (strncmp(name, tensor, n)) return false;
    qn_packed_find(m, name, any, &p);
    if (!p.packing) return !strcmp(name, tensor);
    const char *last = tensor + n;
    for (int i = 0; i < QN_PACKED_PARTS && p.packing->parts[i]; i++)
        if (!strcmp(last, p.packing->parts[i])) return true;
    return p.packing->zero_biases && !strcmp(last, "bias");
}

int qn_packed_check_bias(const qn_model *m, const qn_stored_tensor *bias, quern_error *e)
{
    int64_t n = 1;
    for (int i = 0; i < bias->rank; i++)
        n *= bias->dim[i];
    for (int64_t i = 0; i < n; i++) {
        float value = qn_dtype_is_plain(bias->dtype) ? qn_packed_number(bias, i) : 1;
        if (value != 0)
            return qn_error_set(
                e, QUERN_E_UNSUPPORTED,
                "%s: %s: expected zeros where the model has no bias, found %g at %lld",
                m->files->files[bias->file].path, bias->name, (double)value, (long long)i);
    }
    return 0;
}

/* ---- repacking ---- */

typedef struct {
    const qn_packed *p;
    uint8_t *to;
} job;

static void repack_rows(void *context, int64_t first, int64_t end)
{
    const job *j = context;
    j->p->packing->repack(j->p, j->to, first, end);
}

int qn_packed_repack(const qn_packed *p, void **out, quern_error *e)
{
    int rc = p->packing->verify ? p->packing->verify(p, e) : 0;
    if (rc) return rc;
    size_t n_bytes =
        qn_format_bytes(qn_format_of(p->dtype), (uint64_t)p->rows * (uint64_t)p->columns);
    *out = malloc(n_bytes);
    if (!*out)
        return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for %zu bytes to repack it into",
                            p->module, n_bytes);
    qn_parallel_for(p->rows, p->packing->row_step, repack_rows, &(job){p, *out});
    return 0;
}

/* ---- for the layouts ---- */

static bool is_among(const char *type, const char *types)
{
    size_t n = strlen(type);
    for (const char *at = strstr(types, type); at; at = strstr(at + 1, type))
        if ((at == types || at[-1] == ' ') && (!at[n] || at[n] == ' ')) return true;
    return false;
}

const char *qn_packed_path(const qn_packed *p)
{
    int file = 0;
    for (int i = 0; i < QN_PACKED_PARTS; i++)
        if (p->part[i]) file = p->part[i]->file;
    return p->model->files->files[file].path;
}

int qn_packed_expect(const qn_packed *p, int part, const char *types, const int64_t dim[2],
                     quern_error *e)
{
    const qn_stored_tensor *t = p->part[part];
    const char *last = p->packing->parts[part];
    const qn_tensor_set *s = p->model->files;
    int rank = dim[1] ? 2 : 1;
    char expected[64], found[192];
    qn_loader_print_shape(dim, rank, expected, sizeof expected);
    if (!t)
        return qn_error_set(e, QUERN_E_FORMAT, "%s: %s.%s: expected a tensor %s, found none",
                            qn_packed_path(p), p->module, last, expected);
    const char *path = s->files[t->file].path;
    if (!is_among(t->type, types))
        return qn_error_set(e, QUERN_E_FORMAT, "%s: %s: expected one of the types %s, found %s",
                            path, t->name, types, t->type);
    if (t->rank == rank && !memcmp(t->dim, dim, (size_t)rank * sizeof *dim)) return 0;
    qn_loader_print_shape(t->dim, t->rank, found, sizeof found);
    return qn_error_set(e, QUERN_E_FORMAT,
                        "%s: %s: expected shape %s (%d bits, groups of %lld), found %s", path,
                        t->name, expected, p->bits, (long long)p->group, found);
}

int qn_packed_affine(const qn_packed *p, qn_dtype *out, quern_error *e)
{
    for (int64_t n = 128; n >= 32; n /= 2)
        if (p->group % n == 0 && p->columns % n == 0) {
            *out = qn_dtype_affine(p->bits, n);
            return 0;
        }
    return qn_error_set(e, QUERN_E_UNSUPPORTED,
                        "%s: %s: expected rows and groups of a multiple of 32, found rows of %lld "
                        "in groups of %lld",
                        qn_packed_path(p), p->module, (long long)p->columns, (long long)p->group);
}

uint8_t *qn_packed_head(uint8_t *block, float scale, float bias)
{
    memcpy(block, &scale, sizeof scale);
    memcpy(block + 4, &bias, sizeof bias);
    return block + 8;
}
