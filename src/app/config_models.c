// Which models to serve: named ones, or all that lie in the models folder. See config.h.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "app/config.h"
#include "base/error.h"
#include "base/file.h"
#include "formats/gguf.h"

void qn_app_config_init(qn_app_config *c)
{
    *c = (qn_app_config){.port = -1, .monitoring = true};
}

void qn_app_config_free(qn_app_config *c)
{
    qn_arena_free(&c->arena);
}

int qn_app_config_add_model(qn_app_config *c, const char *name, const char *path,
                            const quern_model_options *options, quern_error *e)
{
    char *found = NULL;
    if (c->n_models == QN_MAX_MODELS)
        return qn_error_set(e, QUERN_E_LIMIT, "models: at most %d", QN_MAX_MODELS);
    int rc = qn_app_find_model(path, &found, e);
    if (rc) return rc;
    if (!name) { // a path given as a name is served under its last part
        size_t n = strlen(path);
        while (n > 1 && path[n - 1] == '/')
            n--;
        const char *start = path + n;
        while (start > path && start[-1] != '/')
            start--;
        size_t n_name = (size_t)(path + n - start);
        int part;
        qn_gguf_name_parts(start, &n_name, &part); // of a GGUF file: without its suffix
        name = qn_arena_text(&c->arena, start, n_name);
    } else {
        name = qn_arena_text(&c->arena, name, strlen(name));
    }
    const char *kept = qn_arena_text(&c->arena, found, strlen(found));
    free(found);
    if (!name || !kept) return qn_error_set(e, QUERN_E_MEMORY, "models: no memory");
    c->models[c->n_models++] = (qn_fleet_model){name, kept, *options};
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// A directory with config.json or one GGUF file, or such a file.
static bool is_model(const char *folder, const char *name)
{
    char path[4096], *gguf = NULL;
    size_t n_stem;
    int part, n = snprintf(path, sizeof path, "%s/%s/config.json", folder, name);
    if (name[0] == '.' || n <= 0 || (size_t)n >= sizeof path) return false;
    if (qn_gguf_name_parts(name, &n_stem, &part)) return part == 1;
    if (qn_file_exists(path)) return true;
    snprintf(path, sizeof path, "%s/%s/.", folder, name); // a directory, no other file
    bool found = !qn_gguf_locate(path, &gguf, NULL) && gguf;
    free(gguf);
    return found;
}

// Adds folder's models in the order of their names.
static int add_folder(qn_app_config *c, const char *folder, quern_error *e)
{
    char *names[QN_MAX_MODELS + 1];
    int n = 0, rc = 0;
    DIR *d = opendir(folder);
    if (!d) return 0;
    for (struct dirent *entry; (entry = readdir(d)) && n <= QN_MAX_MODELS;)
        if (is_model(folder, entry->d_name) && (names[n] = strdup(entry->d_name))) n++;
    closedir(d);
    qsort(names, (size_t)n, sizeof *names, compare_names);
    for (int i = 0; i < n; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (!rc) rc = qn_app_config_add_model(c, NULL, path, &c->model, e);
        free(names[i]);
    }
    return rc;
}

int qn_app_config_add_all(qn_app_config *c, quern_error *e)
{
    const char *own = getenv("QUERN_MODELS");
    int rc = add_folder(c, "models", e);
    if (!rc && !c->n_models && own && *own) rc = add_folder(c, own, e);
    if (!rc && !c->n_models)
        rc = qn_error_set(e, QUERN_E_NOT_FOUND,
                          "no models: ./models/*/config.json, ./models/*.gguf and the same in "
                          "$QUERN_MODELS were sought; name one with "
                          "--model NAME=PATH or --config FILE");
    return rc;
}
