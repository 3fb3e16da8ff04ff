// Where a model lies: a path, or a name sought in the places that DESIGN.md §4 names.
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "app/app.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"

static char *join(const char *a, const char *b)
{
    qn_buffer path = QN_BUFFER_INIT;
    qn_buffer_printf(&path, "%s/%s", a, b);
    return qn_buffer_take(&path);
}

char *qn_app_hub_cache(void)
{
    const char *hub = getenv("HF_HUB_CACHE"), *home = getenv("HF_HOME"), *user = getenv("HOME");
    const char *caches = getenv("XDG_CACHE_HOME");
    if (hub && *hub) return strdup(hub);
    if (home && *home) return join(home, "hub");
    if (caches && *caches) return join(caches, "huggingface/hub");
    return user && *user ? join(user, ".cache/huggingface/hub") : NULL;
}

// True where the folder models--ORG--NAME of the cache is the one asked for, by NAME or by ORG/NAME.
static bool folder_is(const char *folder, const char *name)
{
    if (strncmp(folder, "models--", 8) != 0) return false;
    const char *org = folder + 8, *base = strstr(org, "--");
    const char *slash = strchr(name, '/');
    if (!base) return false;
    if (!slash) return !strcasecmp(base + 2, name);
    size_t n = (size_t)(base - org);
    return n == (size_t)(slash - name) && !strncasecmp(org, name, n) &&
           !strcasecmp(base + 2, slash + 1);
}

// The only entry of a folder that is none of "." and ".."; NULL where there are none or several.
static char *only_entry(const char *folder)
{
    char *found = NULL;
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        if (entry->d_name[0] == '.') continue;
        if (!n++) found = join(folder, entry->d_name);
    }
    if (d) closedir(d);
    if (n == 1) return found;
    free(found);
    return NULL;
}

// The snapshot that refs/main of a cached repository names; without one (another revision was downloaded) the only one.
static char *snapshot_of(const char *repository)
{
    char *ref = join(repository, "refs/main"), *text = NULL, *path = NULL;
    size_t n;
    if (ref && !qn_file_read(ref, 200, &text, &n, NULL)) {
        while (n && isspace((unsigned char)text[n - 1]))
            text[--n] = 0;
        char *snapshots = join(repository, "snapshots");
        if (snapshots && !strchr(text, '/')) path = join(snapshots, text);
        free(snapshots);
    } else {
        char *snapshots = join(repository, "snapshots");
        if (snapshots) path = only_entry(snapshots);
        free(snapshots);
    }
    free(text);
    free(ref);
    return path;
}

// Of several organisations' models of one name, the first in order of the folders' names.
static char *find_in_hub(const char *hub, const char *name)
{
    char *folder = NULL;
    DIR *d = opendir(hub);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        if (!folder_is(entry->d_name, name)) continue;
        if (folder && strcmp(folder, entry->d_name) < 0) continue;
        free(folder);
        folder = strdup(entry->d_name);
    }
    if (d) closedir(d);
    char *repository = folder ? join(hub, folder) : NULL;
    char *found = repository ? snapshot_of(repository) : NULL;
    free(repository);
    free(folder);
    return found;
}

// base/name or base/name.gguf where it exists.
static char *find_under(const char *base, const char *name)
{
    qn_buffer path = QN_BUFFER_INIT;
    if (!base || !*base) return NULL;
    qn_buffer_printf(&path, "%s/%s", base, name);
    if (!path.failed && qn_file_exists(path.data)) return qn_buffer_take(&path);
    qn_buffer_text(&path, ".gguf");
    if (!path.failed && qn_file_exists(path.data)) return qn_buffer_take(&path);
    qn_buffer_free(&path);
    return NULL;
}

int qn_app_find_model(const char *name, char **out, quern_error *e)
{
    if (!*name) return qn_error_set(e, QUERN_E_ARGUMENT, "model: expected a name or a path");
    if (qn_file_exists(name)) {
        *out = strdup(name);
        return *out ? 0 : qn_error_set(e, QUERN_E_MEMORY, "no memory");
    }
    const char *own = getenv("QUERN_MODELS");
    char *hub = qn_app_hub_cache();
    char *found = find_under("models", name);
    if (!found) found = find_under(own, name);
    if (!found && hub) found = find_in_hub(hub, name);
    *out = found;
    int rc =
        found
            ? 0
            : qn_error_set(e, QUERN_E_NOT_FOUND,
                           "model \"%s\" not found: sought as a path, ./models/%s, %s/%s and in %s",
                           name, name, own && *own ? own : "$QUERN_MODELS", name,
                           hub ? hub : "the Hugging Face cache");
    free(hub);
    return rc;
}
