// A pull: the list of files, which are wanted, one after the other. See hub.h.
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/buffer.h"
#include "base/file.h"
#include "hub/fetch.h"
#include "hub/names.h"

enum { MAX_LIST_BYTES = 16 << 20 };
// Of the file system, for what else is written there.
#define SPARE_BYTES ((uint64_t)16 << 20)

static const char *revision_of(const qn_hub_options *o)
{
    return o->revision ? o->revision : "main";
}

static int check_options(const qn_hub_options *o, quern_error *e)
{
    if (!qn_hub_is_repository(o->repository))
        return qn_error_set(e, QUERN_E_ARGUMENT, "repository: expected ORG/REPO, found \"%.100s\"",
                            o->repository);
    if (!qn_hub_is_revision(revision_of(o)))
        return qn_error_set(e, QUERN_E_ARGUMENT,
                            "revision: expected a branch, tag or commit, found \"%.100s\"",
                            o->revision);
    if (o->file && !qn_hub_is_path(o->file))
        return qn_error_set(e, QUERN_E_ARGUMENT,
                            "file: expected a path in the repository, found \"%.100s\"", o->file);
    if (!qn_hub_is_endpoint(o->endpoint))
        return qn_error_set(e, QUERN_E_ARGUMENT,
                            "endpoint: expected https://HOST, found \"%.100s\"", o->endpoint);
    if (o->token && !qn_hub_is_token(o->token))
        return qn_error_set(e, QUERN_E_ARGUMENT, "token: expected printable characters only");
    return 0;
}

static int start(qn_hub_session *s, const qn_hub_options *o, quern_error *e)
{
    *s = (qn_hub_session){.options = o};
    int rc = check_options(o, e);
    return rc ? rc : qn_hub_cache_open(o->cache, o->repository, &s->arena, &s->cache, e);
}

/* ---- the list ---- */

static int restart_list(void *user, const qn_hub_answer *answer, quern_error *e)
{
    (void)answer;
    (void)e;
    qn_buffer_clear(user);
    return 0;
}

static int add_to_list(void *user, const char *bytes, size_t n, quern_error *e)
{
    qn_buffer *b = user;
    if (b->length + n > MAX_LIST_BYTES)
        return qn_error_set(e, QUERN_E_LIMIT, "the server's list of files: more than %d MiB",
                            MAX_LIST_BYTES >> 20);
    if (!qn_buffer_append(b, bytes, n))
        return qn_error_set(e, QUERN_E_MEMORY, "no memory for a list of files");
    return 0;
}

static int get_list(qn_hub_session *s, const char *url, qn_buffer *to, quern_error *e)
{
    const qn_hub_options *o = s->options;
    qn_hub_get get = {url, o->repository, 0, NULL, restart_list, add_to_list, to};
    qn_hub_answer answer;
    for (int n_failed = 1;; n_failed++) {
        int rc = qn_hub_http_get(s->http, &get, &answer, e);
        if (!rc || !qn_hub_rest(s, &answer, n_failed, NULL, e)) return rc;
    }
}

static int list(qn_hub_session *s, quern_error *e)
{
    const qn_hub_options *o = s->options;
    qn_buffer url = QN_BUFFER_INIT, text = QN_BUFFER_INIT;
    qn_buffer_printf(&url, "%s/api/models/%s/revision/", o->endpoint, o->repository);
    qn_hub_escape(&url, revision_of(o), false);
    qn_buffer_text(&url, "?blobs=true");
    int rc = url.failed ? qn_error_set(e, QUERN_E_MEMORY, "no memory for a URL")
                        : get_list(s, url.data, &text, e);
    if (!rc)
        rc = qn_hub_listing_parse(text.data ? text.data : "", text.length, o->repository, &s->arena,
                                  &s->list, e);
    qn_buffer_free(&url);
    qn_buffer_free(&text);
    return rc;
}

/* ---- the files ---- */

static int count(qn_hub_session *s, quern_error *e)
{
    s->n_files = 0;
    s->total_bytes = 0;
    for (int i = 0; i < s->list.n_files; i++) {
        const qn_hub_file *f = &s->list.files[i];
        if (!f->wanted) continue;
        if (!*f->hash)
            return qn_error_set(e, QUERN_E_FORMAT,
                                "%s: the server's list of files: %s: expected its size and hash "
                                "(blobId or lfs.sha256)",
                                s->options->repository, f->path);
        s->n_files++;
        s->total_bytes += f->size;
    }
    return 0;
}

// Said before hours of downloading, not after.
static int check_room(const qn_hub_session *s, quern_error *e)
{
    struct statvfs fs;
    uint64_t needed = 0;
    for (int i = 0; i < s->list.n_files; i++) {
        const qn_hub_file *f = &s->list.files[i];
        if (f->wanted) needed += f->size - qn_hub_bytes_there(s, f);
    }
    if (!needed || statvfs(s->options->cache, &fs)) return 0;
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (needed + SPARE_BYTES <= free_bytes) return 0;
    return qn_error_set(e, QUERN_E_IO, "%s: no room: %.1f GiB are needed, %.1f GiB are free",
                        s->options->cache, (double)needed / (1 << 30),
                        (double)free_bytes / (1 << 30));
}

static int fetch_one(qn_hub_session *s, const qn_hub_file *f, quern_error *e)
{
    bool was_there = qn_hub_bytes_there(s, f) == f->size;
    int rc = qn_hub_has(s, f) ? 0 : qn_hub_fetch(s, f, e);
    if (rc) return rc;
    s->bytes += f->size;
    qn_hub_event event = {QN_HUB_FILE, f->path,  s->list.commit, NULL,       f->size,
                          f->size,     s->bytes, s->total_bytes, s->n_files, was_there};
    if (s->options->on_event) s->options->on_event(s->options->user, &event);
    return 0;
}

static int fetch_all(qn_hub_session *s, quern_error *e)
{
    int rc = count(s, e);
    if (!rc) rc = qn_hub_cache_prepare(&s->cache, s->list.commit, "", e);
    if (!rc) rc = check_room(s, e);
    if (!rc) qn_hub_tell(s, QN_HUB_LISTED, NULL, 0, NULL);
    s->bytes = 0;
    for (int i = 0; i < s->list.n_files && !rc; i++)
        if (s->list.files[i].wanted) rc = fetch_one(s, &s->list.files[i], e);
    return rc;
}

// The index says which weight files there are: it comes first.
static int fetch_model(qn_hub_session *s, quern_error *e)
{
    int rc = qn_hub_want_model(&s->list, s->options->repository, e);
    const qn_hub_file *index = qn_hub_listing_find(&s->list, qn_hub_index_name);
    if (!rc && index && index->wanted) {
        rc = *index->hash ? 0 : count(s, e);
        if (!rc && !qn_hub_has(s, index)) rc = qn_hub_fetch(s, index, e);
        char *path = qn_hub_cache_file(&s->cache, s->list.commit, index->path);
        if (!rc && !path) rc = qn_error_set(e, QUERN_E_MEMORY, "no memory for a path");
        if (!rc) rc = qn_hub_want_shards(&s->list, path, e);
    }
    return rc ? rc : fetch_all(s, e);
}

static int give_path(const qn_hub_session *s, const char *file, char **path, quern_error *e)
{
    char *found = qn_hub_cache_file(&s->cache, s->list.commit, file ? file : "");
    if (found && !file) found[strlen(found) - 1] = 0;
    *path = found ? strdup(found) : NULL;
    return *path ? 0 : qn_error_set(e, QUERN_E_MEMORY, "no memory for a path");
}

int qn_hub_pull(const qn_hub_options *o, char **path, quern_error *e)
{
    qn_hub_session s;
    const qn_hub_file *first = NULL;
    *path = NULL;
    int rc = start(&s, o, e);
    if (!rc) rc = qn_hub_http_open(o->endpoint, o->token, &s.http, e);
    if (!rc) rc = list(&s, e);
    if (!rc && o->file) rc = qn_hub_want_file(&s.list, o->file, &first, e);
    if (!rc) rc = o->file ? fetch_all(&s, e) : fetch_model(&s, e);
    if (!rc) rc = qn_hub_cache_write_ref(&s.cache, revision_of(o), s.list.commit, e);
    if (!rc) rc = give_path(&s, first ? first->path : NULL, path, e);
    qn_hub_http_close(s.http);
    qn_arena_free(&s.arena);
    return rc;
}

int qn_hub_find(const qn_hub_options *o, char **path, quern_error *e)
{
    qn_hub_session s;
    *path = NULL;
    int rc = start(&s, o, e);
    if (!rc) rc = qn_hub_cache_read_ref(&s.cache, revision_of(o), s.list.commit, e);
    char *needed =
        rc ? NULL : qn_hub_cache_file(&s.cache, s.list.commit, o->file ? o->file : "config.json");
    if (!rc && (!needed || !qn_file_exists(needed)))
        rc = qn_error_set(e, QUERN_E_NOT_FOUND, "%s: not in the cache", needed ? needed : o->file);
    if (!rc) rc = give_path(&s, o->file, path, e);
    qn_arena_free(&s.arena);
    return rc;
}
