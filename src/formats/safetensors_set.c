// A directory's safetensors files as one set: which files belong to it, and that no tensor is in two. Headers: safetensors.c.
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "formats/json.h"
#include "formats/safetensors.h"

static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

static char *join(qn_arena *arena, const char *directory, const char *name)
{
    qn_buffer b = QN_BUFFER_INIT;
    char *path = NULL;
    if (qn_buffer_printf(&b, "%s/%s", directory, name))
        path = qn_arena_text(arena, b.data, b.length);
    qn_buffer_free(&b);
    return path;
}

static int no_memory(quern_error *e, const char *directory)
{
    return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for its list of files", directory);
}

static int add_file(qn_tensor_set *s, const char *directory, const char *name, quern_error *e)
{
    char *path = join(&s->arena, directory, name);
    return path ? qn_tensor_set_add_file(s, path, e) : no_memory(e, directory);
}

static bool is_safetensors(const char *name)
{
    size_t n = strlen(name), suffix = sizeof ".safetensors" - 1;
    return n > suffix && name[0] != '.' && !strcmp(name + n - suffix, ".safetensors");
}

// A shard is a plain name in the same directory. (It may be a symbolic link: Hugging Face's cache is made of them.)
static int check_shard_name(const char *path, const char *tensor, const json_t *value,
                            quern_error *e)
{
    const char *name = json_string_value(value);
    char text[64];
    if (name && !strchr(name, '/') && strlen(name) < 256 && is_safetensors(name)) return 0;
    return qn_error_set(
        e, QUERN_E_FORMAT,
        "%s: weight_map.%.200s: expected the name of a .safetensors file beside the "
        "index, found %s",
        path, tensor, qn_formats_json_found(value, text, sizeof text));
}

static int list_shards(qn_tensor_set *s, const char *directory, const char *path, const json_t *map,
                       quern_error *e)
{
    const char *tensor;
    json_t *value;
    if (!json_is_object(map) || !json_object_size(map)) {
        char text[64];
        return qn_error_set(e, QUERN_E_FORMAT,
                            "%s: weight_map: expected an object of tensors, found %s", path,
                            qn_formats_json_found(map, text, sizeof text));
    }
    json_object_foreach((json_t *)(uintptr_t)map, tensor, value)
    {
        int rc = check_shard_name(path, tensor, value, e);
        if (!rc) rc = add_file(s, directory, json_string_value(value), e);
        if (rc) return rc;
    }
    return 0;
}

// Every tensor must be in the shard that the index names.
static int check_index(const qn_tensor_set *s, const char *path, const char *directory,
                       const json_t *map, quern_error *e)
{
    size_t base = strlen(directory) + 1;
    const char *tensor;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, tensor, value)
    {
        const char *shard = json_string_value(value);
        const qn_stored_tensor *t = qn_tensor_set_find(s, tensor);
        const char *found = t ? s->files[t->file].path + base : "none";
        if (strcmp(found, shard))
            return qn_error_set(e, QUERN_E_FORMAT,
                                "%s: weight_map.%.200s: expected the tensor in %s, found it in %s",
                                path, tensor, shard, found);
    }
    return 0;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const qn_tensor_file *)a)->path, ((const qn_tensor_file *)b)->path);
}

static int list_directory(qn_tensor_set *s, const char *directory, quern_error *e)
{
    DIR *d = opendir(directory);
    if (!d)
        return qn_error_set(e, QUERN_E_NOT_FOUND, "%s: cannot open: %s", directory,
                            strerror(errno));
    int rc = 0;
    for (struct dirent *entry; !rc && (entry = readdir(d));)
        if (is_safetensors(entry->d_name)) rc = add_file(s, directory, entry->d_name, e);
    closedir(d);
    if (!rc && !s->n_files)
        return qn_error_set(e, QUERN_E_NOT_FOUND,
                            "%s: expected %s, %s or other *.safetensors files, found none",
                            directory, single_name, index_name);
    if (!rc) qsort(s->files, (size_t)s->n_files, sizeof *s->files, by_path);
    return rc;
}

static int read_headers(qn_tensor_set *s, quern_error *e)
{
    int rc = 0;
    for (int i = 0; i < s->n_files && !rc; i++) {
        qn_tensor_file *f = &s->files[i];
        qn_mapping head = {0};
        rc = qn_file_map_head(f->path, QN_SAFETENSORS_HEAD, &head, &f->n_bytes, e);
        int first = s->n_tensors;
        if (!rc) rc = qn_safetensors_parse(s, head.data, f->n_bytes, f->path, i, e);
        if (!rc) qn_tensor_set_note_header(s, i, first, &head);
        qn_file_unmap(&head);
    }
    return rc ? rc : qn_tensor_set_sort(s, e);
}

int qn_safetensors_open(const char *directory, qn_tensor_set *out, quern_error *e)
{
    *out = (qn_tensor_set)QN_TENSOR_SET_INIT;
    json_t *index = NULL;
    const json_t *map = NULL;
    char *single = join(&out->arena, directory, single_name);
    char *path = join(&out->arena, directory, index_name);
    int rc = 0;
    if (!single || !path)
        rc = no_memory(e, directory);
    else if (qn_file_exists(single))
        rc = add_file(out, directory, single_name, e);
    else if (qn_file_exists(path)) {
        rc = qn_formats_json_load(path, QN_SAFETENSORS_MAX_INDEX, &index, e);
        map = json_object_get(index, "weight_map");
        if (!rc) rc = list_shards(out, directory, path, map, e);
    } else
        rc = list_directory(out, directory, e);
    if (!rc) rc = read_headers(out, e);
    if (!rc && map) rc = check_index(out, path, directory, map, e);
    json_decref(index);
    if (rc) qn_tensor_set_close(out);
    return rc;
}
