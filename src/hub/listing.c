// See listing.h: what the server tells. Which files are wanted: want.c.
#include "hub/listing.h"

#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "hub/names.h"

#define MAX_FILE_BYTES ((int64_t)1 << 46)

static int wrong(quern_error *e, const char *repository, const char *path, const char *expected)
{
    return qn_error_set(e, QUERN_E_FORMAT, "%s: the server's list of files: %.80s: expected %s",
                        repository, path, expected);
}

// Large files are named by lfs.sha256 and lfs.size, small ones by git's hash.
static int take_hash(const json_t *entry, qn_hub_file *f)
{
    const json_t *lfs = json_object_get(entry, "lfs");
    const char *hash = json_string_value(json_object_get(lfs, "sha256"));
    size_t n_expected = hash ? 64 : 40;
    if (!hash) hash = json_string_value(json_object_get(entry, "blobId"));
    const json_t *size = json_object_get(lfs, "size");
    if (!size) size = json_object_get(entry, "size");
    int64_t n = json_is_integer(size) ? json_integer_value(size) : -1;
    if (!hash || strlen(hash) != n_expected || !qn_hub_is_hash(hash, n_expected)) return -1;
    if (n < 0 || n > MAX_FILE_BYTES) return -1;
    memcpy(f->hash, hash, n_expected + 1);
    f->size = (uint64_t)n;
    return 0;
}

static int take_file(const json_t *entry, const char *repository, qn_arena *arena, qn_hub_file *f,
                     quern_error *e)
{
    const json_t *name = json_object_get(entry, "rfilename");
    const char *path = json_string_value(name);
    if (!path || strlen(path) != json_string_length(name) || !qn_hub_is_path(path))
        return wrong(e, repository, path ? path : "siblings",
                     "relative paths without \"..\" (rfilename)");
    if (take_hash(entry, f)) *f->hash = 0; // no matter where the file is not wanted
    f->path = qn_arena_text(arena, path, strlen(path));
    return f->path ? 0 : qn_error_set(e, QUERN_E_MEMORY, "no memory for a list of files");
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const qn_hub_file *)a)->path, ((const qn_hub_file *)b)->path);
}

static int take_all(const json_t *root, const char *repository, qn_arena *arena,
                    qn_hub_listing *out, quern_error *e)
{
    const json_t *files = json_object_get(root, "siblings");
    const char *commit = json_string_value(json_object_get(root, "sha"));
    size_t n = json_array_size(files);
    if (!commit || strlen(commit) != 40 || !qn_hub_is_hash(commit, 40))
        return wrong(e, repository, "sha", "a commit of 40 hexadecimal digits");
    if (!n) return wrong(e, repository, "siblings", "files");
    memcpy(out->commit, commit, 41);
    out->files = qn_arena_take_array(arena, n, sizeof *out->files);
    if (!out->files) return qn_error_set(e, QUERN_E_MEMORY, "no memory for a list of files");
    for (size_t i = 0; i < n; i++) {
        int rc = take_file(json_array_get(files, i), repository, arena, &out->files[i], e);
        if (rc) return rc;
    }
    out->n_files = (int)n;
    qsort(out->files, n, sizeof *out->files, by_path);
    return 0;
}

int qn_hub_listing_parse(const char *text, size_t n, const char *repository, qn_arena *arena,
                         qn_hub_listing *out, quern_error *e)
{
    json_t *root = NULL;
    *out = (qn_hub_listing){0};
    int rc = qn_formats_json_parse(text, n, repository, &root, e);
    if (!rc) rc = take_all(root, repository, arena, out, e);
    json_decref(root);
    return rc;
}

qn_hub_file *qn_hub_listing_find(const qn_hub_listing *l, const char *path)
{
    qn_hub_file key = {.path = path};
    return l->n_files ? bsearch(&key, l->files, (size_t)l->n_files, sizeof key, by_path) : NULL;
}
