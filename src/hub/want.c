// Which files of a listing are wanted. See listing.h.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "formats/json.h"
#include "hub/listing.h"
#include "hub/names.h"

enum { MAX_INDEX_BYTES = 64 << 20, MAX_PARTS = 9999, MOST_NAMED = 12 };

const char qn_hub_index_name[] = "model.safetensors.index.json";
static const char SINGLE[] = "model.safetensors";

// Beside the weights. None of them must be there but config.json.
static const char *const SMALL[] = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
};

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && !strcasecmp(text + n - n_end, end);
}

static bool want(const qn_hub_listing *l, const char *path)
{
    qn_hub_file *f = qn_hub_listing_find(l, path);
    if (f) f->wanted = true;
    return f != NULL;
}

// The first part of a split file stands for all.
static bool is_later_part(const char *path)
{
    unsigned part, of;
    const char *dash = path + strlen(path) - (ends_with(path, ".gguf") ? 20 : 0);
    return dash > path && *dash == '-' && sscanf(dash, "-%5u-of-%5u.", &part, &of) == 2 && part > 1;
}

// "a.gguf, b.gguf …" of those whose name contains `part` ("": all); how many there are.
static int name_ggufs(const qn_hub_listing *l, const char *part, qn_buffer *to,
                      const qn_hub_file **last)
{
    int n = 0;
    for (int i = 0; i < l->n_files; i++) {
        const char *path = l->files[i].path;
        if (!ends_with(path, ".gguf") || is_later_part(path) || !strcasestr(path, part)) continue;
        if (n < MOST_NAMED) qn_buffer_printf(to, "%s%s", n ? ", " : "", path);
        if (n == MOST_NAMED) qn_buffer_text(to, " …");
        if (last) *last = &l->files[i];
        n++;
    }
    return n;
}

static int no_model(const qn_hub_listing *l, const char *repository, const char *missing,
                    quern_error *e)
{
    qn_buffer names = QN_BUFFER_INIT;
    int n = name_ggufs(l, "", &names, NULL);
    int rc = qn_error_set(e, QUERN_E_UNSUPPORTED, "%s: there is no %s%s%s%s", repository, missing,
                          n ? "; name one of its .gguf files as " : "", n ? repository : "",
                          n ? ":FILE: " : "");
    if (n && e) {
        size_t at = strlen(e->message);
        snprintf(e->message + at, sizeof e->message - at, "%s", names.data ? names.data : "");
    }
    qn_buffer_free(&names);
    return rc;
}

int qn_hub_want_model(qn_hub_listing *l, const char *repository, quern_error *e)
{
    for (size_t i = 0; i < sizeof SMALL / sizeof *SMALL; i++)
        want(l, SMALL[i]);
    if (!qn_hub_listing_find(l, SMALL[0])) return no_model(l, repository, "config.json", e);
    if (want(l, qn_hub_index_name) || want(l, SINGLE)) return 0;
    return no_model(l, repository, "model.safetensors, nor an index of such files", e);
}

int qn_hub_want_shards(qn_hub_listing *l, const char *path, quern_error *e)
{
    json_t *root = NULL, *value;
    const char *key;
    int rc = qn_formats_json_load(path, MAX_INDEX_BYTES, &root, e);
    json_t *map = rc ? NULL : json_object_get(root, "weight_map");
    if (!rc && !json_object_size(map))
        rc = qn_error_set(e, QUERN_E_FORMAT, "%s: expected a weight_map", path);
    json_object_foreach(map, key, value)
    {
        const char *name = json_string_value(value);
        bool known = rc || (name && ends_with(name, ".safetensors") && want(l, name));
        if (!known)
            rc = qn_error_set(e, QUERN_E_FORMAT,
                              "%s: weight_map: expected .safetensors files of the repository, "
                              "found \"%.100s\"",
                              path, name ? name : "no name");
    }
    json_decref(root);
    return rc;
}

/* ---- one file ---- */

// All parts of NAME-00001-of-00003.gguf.
static int want_parts(const qn_hub_listing *l, const char *path, const qn_hub_file **first,
                      quern_error *e)
{
    unsigned part, of;
    size_t n = strlen(path);
    bool split = ends_with(path, ".gguf") && n > 20 &&
                 sscanf(path + n - 20, "-%5u-of-%5u.", &part, &of) == 2 && of && of <= MAX_PARTS;
    *first = qn_hub_listing_find(l, path);
    if (!split) return want(l, path), 0;
    for (unsigned i = 1; i <= of; i++) {
        char name[600];
        snprintf(name, sizeof name, "%.*s-%05u-of-%05u%s", (int)(n - 20), path, i, of,
                 path + n - 5);
        if (!want(l, name))
            return qn_error_set(e, QUERN_E_NOT_FOUND, "%s: its part %s is not there", path, name);
        if (i == 1) *first = qn_hub_listing_find(l, name);
    }
    return 0;
}

int qn_hub_want_file(qn_hub_listing *l, const char *file, const qn_hub_file **first, quern_error *e)
{
    qn_buffer names = QN_BUFFER_INIT;
    const qn_hub_file *found = qn_hub_listing_find(l, file);
    int n = found ? 1 : name_ggufs(l, file, &names, &found), rc;
    const char *text = names.data ? names.data : "";
    if (n == 1)
        rc = want_parts(l, found->path, first, e);
    else if (n > 1)
        rc = qn_error_set(e, QUERN_E_NOT_FOUND, "%s: names several files: %s", file, text);
    else if (name_ggufs(l, "", &names, NULL))
        rc = qn_error_set(e, QUERN_E_NOT_FOUND, "%s: no such file; there are %s", file, names.data);
    else
        rc = qn_error_set(e, QUERN_E_NOT_FOUND, "%s: no such file in the repository", file);
    qn_buffer_free(&names);
    return rc;
}
