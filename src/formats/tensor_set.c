// See tensor_set.h.
#include "formats/tensor_set.h"

#include <stdlib.h>
#include <string.h>

int qn_tensor_set_add_file(qn_tensor_set *s, const char *path, quern_error *e)
{
    for (int i = 0; i < s->n_files; i++)
        if (!strcmp(s->files[i].path, path)) return 0;
    if (s->n_files == QN_TENSOR_SET_MAX_FILES)
        return qn_error_set(e, QUERN_E_LIMIT, "%s: expected at most %d weight files, found more",
                            path, QN_TENSOR_SET_MAX_FILES);
    if (!s->files) s->files = calloc(QN_TENSOR_SET_MAX_FILES, sizeof *s->files);
    char *kept = s->files ? qn_arena_text(&s->arena, path, strlen(path)) : NULL;
    if (!kept) return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for a list of files", path);
    s->files[s->n_files++].path = kept;
    return 0;
}

int qn_tensor_set_add(qn_tensor_set *s, const qn_stored_tensor *t, const char *name, size_t n,
                      const char *path, quern_error *e)
{
    if (s->n_tensors == QN_TENSOR_SET_MAX_TENSORS)
        return qn_error_set(e, QUERN_E_LIMIT, "%s: expected at most %d tensors, found more", path,
                            QN_TENSOR_SET_MAX_TENSORS);
    if (s->n_tensors == s->tensors_capacity) {
        int capacity = s->tensors_capacity ? 2 * s->tensors_capacity : 512;
        qn_stored_tensor *more = realloc(s->tensors, (size_t)capacity * sizeof *more);
        if (!more) goto no_memory;
        s->tensors = more;
        s->tensors_capacity = capacity;
    }
    const char *kept = qn_arena_text(&s->arena, name, n);
    if (!kept) goto no_memory;
    s->tensors[s->n_tensors] = *t;
    s->tensors[s->n_tensors++].name = kept;
    return 0;
no_memory:
    return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for its table of tensors", path);
}

bool qn_tensor_set_sane_name(const char *name, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f) return false;
        if (n - i >= 3 && !memcmp(name + i, "../", 3)) return false;
    }
    return n > 0;
}

// FNV-1a: tells that a header has changed, not who changed it.
static uint64_t sum_of(const unsigned char *data, size_t n)
{
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < n; i++)
        h = (h ^ data[i]) * 0x100000001b3;
    return h;
}

void qn_tensor_set_note_header(qn_tensor_set *s, int file, int first, const qn_mapping *head)
{
    size_t n = head->n_bytes;
    for (int i = first; i < s->n_tensors; i++)
        if (s->tensors[i].begin < n) n = (size_t)s->tensors[i].begin;
    s->files[file].header_bytes = n;
    s->files[file].header_sum = sum_of(head->data, n);
}

static int check_unchanged(const qn_tensor_file *f, quern_error *e)
{
    if (f->mapping.n_bytes != f->n_bytes)
        return qn_error_set(e, QUERN_E_IO,
                            "%s: expected %zu bytes as when its header was read, found %zu",
                            f->path, f->n_bytes, f->mapping.n_bytes);
    if (sum_of(f->mapping.data, f->header_bytes) != f->header_sum)
        return qn_error_set(e, QUERN_E_IO,
                            "%s: bytes 0 to %zu: expected the header as it was read, found another",
                            f->path, f->header_bytes);
    return 0;
}

int qn_tensor_set_map(qn_tensor_set *s, bool copy, quern_error *e)
{
    for (int i = 0; i < s->n_files; i++) {
        qn_tensor_file *f = &s->files[i];
        int rc = qn_file_map(f->path, copy, &f->mapping, e);
        if (!rc) rc = check_unchanged(f, e);
        if (rc) return rc;
    }
    for (int i = 0; i < s->n_tensors; i++) {
        qn_stored_tensor *t = &s->tensors[i];
        t->data = s->files[t->file].mapping.data + t->begin;
    }
    return 0;
}

void qn_tensor_set_close(qn_tensor_set *s)
{
    if (!s) return;
    for (int i = 0; i < s->n_files; i++)
        qn_file_unmap(&s->files[i].mapping);
    free(s->files);
    free(s->tensors);
    qn_arena_free(&s->arena);
    *s = (qn_tensor_set)QN_TENSOR_SET_INIT;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const qn_stored_tensor *)a)->name, ((const qn_stored_tensor *)b)->name);
}

int qn_tensor_set_sort(qn_tensor_set *s, quern_error *e)
{
    if (s->n_tensors) qsort(s->tensors, (size_t)s->n_tensors, sizeof *s->tensors, by_name);
    for (int i = 1; i < s->n_tensors; i++) {
        const qn_stored_tensor *a = &s->tensors[i - 1], *b = &s->tensors[i];
        if (!strcmp(a->name, b->name))
            return qn_error_set(e, QUERN_E_FORMAT,
                                "%s: %s: expected the tensor once, found it %s%s",
                                s->n_files ? s->files[b->file].path : "header", b->name,
                                a->file == b->file ? "twice" : "in ",
                                a->file == b->file ? "" : s->files[a->file].path);
    }
    return 0;
}

const qn_stored_tensor *qn_tensor_set_find(const qn_tensor_set *s, const char *name)
{
    qn_stored_tensor key = {.name = name};
    if (!s->n_tensors) return NULL;
    return bsearch(&key, s->tensors, (size_t)s->n_tensors, sizeof key, by_name);
}
