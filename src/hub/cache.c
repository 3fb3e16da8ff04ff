// See cache.h.
#include "hub/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "hub/names.h"

enum { MAX_REF_BYTES = 200 };

static int no_memory(quern_error *e)
{
    return qn_error_set(e, QUERN_E_MEMORY, "no memory for a path");
}

static int failed(quern_error *e, const char *path, const char *what)
{
    return qn_error_set(e, QUERN_E_IO, "%s: cannot %s: %s", path, what, strerror(errno));
}

int qn_hub_cache_open(const char *cache, const char *repository, qn_arena *arena, qn_hub_cache *out,
                      quern_error *e)
{
    const char *slash = strchr(repository, '/');
    int n = (int)(slash - repository);
    *out = (qn_hub_cache){
        arena, qn_hub_text(arena, "%s/models--%.*s--%s", cache, n, repository, slash + 1),
        qn_hub_text(arena, "%s/.locks/models--%.*s--%s", cache, n, repository, slash + 1)};
    return out->root && out->locks ? 0 : no_memory(e);
}

char *qn_hub_cache_blob(const qn_hub_cache *c, const char *hash, const char *suffix)
{
    return qn_hub_text(c->arena, "%s/blobs/%s%s", c->root, hash, suffix);
}

char *qn_hub_cache_file(const qn_hub_cache *c, const char *commit, const char *path)
{
    return qn_hub_text(c->arena, "%s/snapshots/%s/%s", c->root, commit, path);
}

// All folders above a file.
static int make_folders(char *path, quern_error *e)
{
    if (!path) return no_memory(e);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        int rc = mkdir(path, 0777) && errno != EEXIST ? failed(e, path, "make the folder") : 0;
        *slash = '/';
        if (rc) return rc;
    }
    return 0;
}

int qn_hub_cache_prepare(const qn_hub_cache *c, const char *commit, const char *path,
                         quern_error *e)
{
    int rc = make_folders(qn_hub_cache_file(c, commit, path), e);
    if (!rc) rc = make_folders(qn_hub_cache_blob(c, "", ""), e);
    if (!rc) rc = make_folders(qn_hub_text(c->arena, "%s/", c->locks), e);
    return rc;
}

int qn_hub_cache_link(const qn_hub_cache *c, const char *commit, const char *path, const char *hash,
                      quern_error *e)
{
    char target[4096], *link = qn_hub_cache_file(c, commit, path);
    size_t n = 0;
    if (!link) return no_memory(e);
    for (const char *at = path; at; at = strchr(at, '/'), at = at ? at + 1 : NULL)
        n += (size_t)snprintf(target + n, sizeof target - n, "../");
    snprintf(target + n, sizeof target - n, "../blobs/%s", hash);
    if (!symlink(target, link)) return 0;
    if (errno != EEXIST || unlink(link) || symlink(target, link))
        return failed(e, link, "make the link");
    return 0;
}

/* ---- refs ---- */

int qn_hub_cache_write_ref(const qn_hub_cache *c, const char *revision, const char *commit,
                           quern_error *e)
{
    char *path = qn_hub_text(c->arena, "%s/refs/%s", c->root, revision);
    char *new = qn_hub_text(c->arena, "%s/refs/%s.%ld.tmp", c->root, revision, (long)getpid());
    if (!strcmp(revision, commit)) return 0;
    if (!path || !new) return no_memory(e);
    int rc = make_folders(path, e);
    FILE *f = rc ? NULL : fopen(new, "wxe");
    if (!rc && !f) rc = failed(e, new, "write");
    bool written = f && fputs(commit, f) >= 0;
    if (f && (fclose(f) || !written)) rc = failed(e, new, "write");
    if (!rc && rename(new, path)) rc = failed(e, path, "write");
    if (f && rc) unlink(new);
    return rc;
}

int qn_hub_cache_read_ref(const qn_hub_cache *c, const char *revision, char commit[65],
                          quern_error *e)
{
    char *path = qn_hub_text(c->arena, "%s/refs/%s", c->root, revision), *text = NULL;
    size_t n = 0;
    if (!path) return no_memory(e);
    bool read = !qn_file_read(path, MAX_REF_BYTES, &text, &n, NULL);
    if (read && n >= 40 && qn_hub_is_hash(text, 40))
        snprintf(commit, 65, "%.40s", text);
    else if (strlen(revision) == 40 && qn_hub_is_hash(revision, 40))
        snprintf(commit, 65, "%s", revision);
    else
        *commit = 0;
    free(text);
    return *commit ? 0 : qn_error_set(e, QUERN_E_NOT_FOUND, "%s: not in the cache", path);
}

/* ---- locks ---- */

// Whoever ends a lock may remove its file: a lock on a removed one excludes nobody.
static bool is_current(int fd, const char *path)
{
    struct stat ours, theirs;
    return !fstat(fd, &ours) && !stat(path, &theirs) && ours.st_ino == theirs.st_ino &&
           ours.st_dev == theirs.st_dev;
}

int qn_hub_cache_lock(const qn_hub_cache *c, const char *hash, bool wait, int *fd, quern_error *e)
{
    char *path = qn_hub_text(c->arena, "%s/%s.lock", c->locks, hash);
    if (!path) return no_memory(e);
    for (;;) {
        *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (*fd < 0) return failed(e, path, "open the lock");
        int rc;
        do {
            rc = flock(*fd, LOCK_EX | (wait ? 0 : LOCK_NB));
        } while (rc && errno == EINTR);
        if (!rc && is_current(*fd, path)) return 0;
        int why = errno;
        close(*fd);
        *fd = -1;
        if (rc && why == EWOULDBLOCK)
            return qn_error_set(e, QUERN_E_BUSY, "%s: another process has the lock", path);
        if (rc && why != ENOLCK && why != ENOTSUP) return errno = why, failed(e, path, "lock");
        if (rc)
            return 0; // a file system without locks: whoever comes second verifies what it finds
    }
}
