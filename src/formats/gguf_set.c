// Which files make up a GGUF model: one, or a split NAME-00001-of-0000N.gguf whose parts name their number and how many there
// are. Headers: gguf.c.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "formats/gguf.h"

static const char suffix[] = ".gguf";
enum { SPLIT_END = sizeof "-00001-of-00002.gguf" - 1 };

static bool is_gguf(const char *name)
{
    size_t n = strlen(name), k = sizeof suffix - 1;
    return n > k && !strcmp(name + n - k, suffix);
}

// The part's number and the parts, both from 1 on, where the name is one of a split.
static bool split_of(const char *name, int *part, int *n_parts)
{
    size_t n = strlen(name);
    int end = 0;
    return n > SPLIT_END &&
           sscanf(name + n - SPLIT_END, "-%5d-of-%5d.gguf%n", part, n_parts, &end) == 2 &&
           end == SPLIT_END;
}

bool qn_gguf_name_parts(const char *name, size_t *n_stem, int *part)
{
    int n_parts;
    if (!is_gguf(name)) return false;
    *n_stem = strlen(name) - (sizeof suffix - 1);
    *part = 1;
    if (split_of(name, part, &n_parts)) *n_stem = strlen(name) - SPLIT_END;
    return true;
}

/* ---- a model's path ---- */

// The one GGUF file of a directory; how many there are, each split counted by its first part.
static int look_into(const char *directory, char *name, size_t name_bytes, int *n, quern_error *e)
{
    DIR *d = opendir(directory);
    if (!d)
        return qn_error_set(e, QUERN_E_NOT_FOUND, "%s: cannot open: %s", directory,
                            strerror(errno));
    *n = 0;
    for (struct dirent *entry; (entry = readdir(d));) {
        size_t n_stem;
        int part;
        if (entry->d_name[0] == '.' || !qn_gguf_name_parts(entry->d_name, &n_stem, &part)) continue;
        if (part != 1) continue;
        ++*n;
        snprintf(name, name_bytes, "%s", entry->d_name);
    }
    closedir(d);
    return 0;
}

static int locate_in(const char *directory, char **out, quern_error *e)
{
    qn_buffer path = QN_BUFFER_INIT;
    char name[256] = "";
    int n = 0, rc = 0;
    bool hugging_face =
        qn_buffer_printf(&path, "%s/config.json", directory) && qn_file_exists(path.data);
    qn_buffer_clear(&path);
    if (!hugging_face) rc = look_into(directory, name, sizeof name, &n, e);
    if (!rc && n > 1)
        rc = qn_error_set(e, QUERN_E_NOT_FOUND,
                          "%s: expected config.json or one GGUF file, found %d: name one of them",
                          directory, n);
    if (!rc && n == 1) {
        qn_buffer_printf(&path, "%s/%s", directory, name);
        *out = qn_buffer_take(&path);
        if (!*out) rc = qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for its path", directory);
    }
    qn_buffer_free(&path);
    return rc;
}

int qn_gguf_locate(const char *path, char **out, quern_error *e)
{
    struct stat st;
    bool there = stat(path, &st) == 0;
    *out = NULL;
    if (there && S_ISDIR(st.st_mode)) return locate_in(path, out, e);
    if (!there && !is_gguf(path)) return 0;
    *out = strdup(path);
    return *out ? 0 : qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for its path", path);
}

/* ---- a file, or a split ---- */

// Reads the header of file i of the set; the mapping that the values point into stays.
static int read_header(qn_tensor_set *s, int i, qn_gguf_metadata *m, qn_mapping *head,
                       quern_error *e)
{
    qn_tensor_file *f = &s->files[i];
    m->path = f->path;
    int rc = qn_file_map_head(f->path, QN_GGUF_MAX_HEADER, head, &f->n_bytes, e);
    int first = s->n_tensors;
    if (!rc) rc = qn_gguf_parse(head->data, head->n_bytes, f->n_bytes, i, m, s, e);
    if (!rc) qn_tensor_set_note_header(s, i, first, head);
    return rc;
}

typedef struct {
    int64_t number, count, n_tensors; // split.no, split.count, split.tensors.count; -1: absent
} split;

static int read_split(const qn_gguf_metadata *m, split *out, quern_error *e)
{
    static const int64_t number_range[2] = {0, QN_TENSOR_SET_MAX_FILES - 1};
    static const int64_t count_range[2] = {1, QN_TENSOR_SET_MAX_FILES};
    static const int64_t tensors_range[2] = {0, QN_TENSOR_SET_MAX_TENSORS};
    *out = (split){-1, -1, -1};
    int rc = qn_gguf_int(m, "split.no", number_range, &out->number, e);
    if (!rc) rc = qn_gguf_int(m, "split.count", count_range, &out->count, e);
    if (!rc) rc = qn_gguf_int(m, "split.tensors.count", tensors_range, &out->n_tensors, e);
    return rc;
}

static int check_part(const qn_gguf_metadata *m, const split *first, int number, quern_error *e)
{
    split part;
    int rc = read_split(m, &part, e);
    if (rc) return rc;
    if (part.number != number)
        return qn_error_set(e, QUERN_E_FORMAT, "%s: split.no: expected %d, found %lld", m->path,
                            number, (long long)part.number);
    if (part.count == first->count) return 0;
    return qn_error_set(e, QUERN_E_FORMAT,
                        "%s: split.count: expected %lld as in the first file, found %lld", m->path,
                        (long long)first->count, (long long)part.count);
}

// The parts behind the first, which stand beside it.
static int read_parts(qn_tensor_set *s, const char *path, const split *first, quern_error *e)
{
    int part, n_parts, stem = (int)strlen(path) - SPLIT_END, rc = 0;
    if (!split_of(path, &part, &n_parts) || part != 1 || n_parts != first->count)
        return qn_error_set(e, QUERN_E_FORMAT,
                            "%s: split.count: expected a name that ends in -00001-of-%05lld.gguf",
                            path, (long long)first->count);
    qn_buffer next = QN_BUFFER_INIT;
    for (int i = 1; i < n_parts && !rc; i++) {
        qn_gguf_metadata m = {0};
        qn_mapping head = {0};
        qn_buffer_clear(&next);
        if (!qn_buffer_printf(&next, "%.*s-%05d-of-%05d.gguf", stem, path, i + 1, n_parts))
            rc = qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for its parts", path);
        if (!rc) rc = qn_tensor_set_add_file(s, next.data, e);
        if (!rc) rc = read_header(s, i, &m, &head, e);
        if (!rc) rc = check_part(&m, first, i, e);
        qn_gguf_free_metadata(&m);
        qn_file_unmap(&head);
    }
    qn_buffer_free(&next);
    return rc;
}

static int read_files(const char *path, qn_gguf *g, quern_error *e)
{
    split first;
    int rc = qn_tensor_set_add_file(&g->set, path, e);
    if (!rc) rc = read_header(&g->set, 0, &g->metadata, &g->head, e);
    if (!rc) rc = read_split(&g->metadata, &first, e);
    if (rc) return rc;
    if (first.number > 0)
        return qn_error_set(e, QUERN_E_FORMAT,
                            "%s: split.no: expected 0, of the first file of a split, found %lld: "
                            "name the first",
                            path, (long long)first.number);
    if (first.count > 1 && first.number < 0)
        return qn_error_set(e, QUERN_E_FORMAT,
                            "%s: split.no: expected 0 beside split.count, found "
                            "none",
                            path);
    if (first.count > 1) rc = read_parts(&g->set, path, &first, e);
    if (!rc && first.n_tensors >= 0 && first.n_tensors != g->set.n_tensors)
        rc = qn_error_set(e, QUERN_E_FORMAT,
                          "%s: split.tensors.count: expected %d as in all files, found %lld", path,
                          g->set.n_tensors, (long long)first.n_tensors);
    return rc ? rc : qn_tensor_set_sort(&g->set, e);
}

int qn_gguf_open(const char *path, qn_gguf *out, quern_error *e)
{
    *out = (qn_gguf){0};
    int rc = read_files(path, out, e);
    if (rc) qn_gguf_close(out);
    return rc;
}

void qn_gguf_close(qn_gguf *g)
{
    qn_gguf_free_metadata(&g->metadata);
    qn_file_unmap(&g->head);
    qn_tensor_set_close(&g->set);
}
