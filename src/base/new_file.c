// See new_file.h.
#include "base/new_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"

static int check_place(const char *path, bool replace, quern_error *e)
{
    struct stat st;
    if (stat(path, &st) && lstat(path, &st)) return 0;
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
        return qn_error_set(e, QUERN_E_ARGUMENT, "%s: expected the name of a file, found a %s",
                            path, S_ISDIR(st.st_mode) ? "folder" : "device");
    if (replace) return 0;
    return qn_error_set(e, QUERN_E_ARGUMENT, "%s: is there already: --force replaces it", path);
}

static int fail(const qn_new_file *f, const char *what, quern_error *e)
{
    return qn_error_set(e, QUERN_E_IO, "%s: cannot %s: %s", f->path, what, strerror(errno));
}

int qn_new_file_open(const char *path, bool replace, qn_new_file *out, quern_error *e)
{
    qn_buffer name = QN_BUFFER_INIT;
    *out = (qn_new_file){.fd = -1, .path = path, .replace = replace};
    int rc = check_place(path, replace, e);
    if (rc) return rc;
    qn_buffer_printf(&name, "%s.XXXXXX", path);
    out->temporary = qn_buffer_take(&name);
    if (!out->temporary) return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory", path);
    out->fd = mkstemp(out->temporary);
    if (out->fd >= 0) return 0;
    rc = fail(out, "write", e);
    free(out->temporary);
    out->temporary = NULL;
    return rc;
}

int qn_new_file_write(const qn_new_file *f, const void *bytes, size_t n, uint64_t offset,
                      quern_error *e)
{
    for (const char *at = bytes; n > 0;) {
        ssize_t written = pwrite(f->fd, at, n, (off_t)offset);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return fail(f, "write", e);
        at += written;
        n -= (size_t)written;
        offset += (uint64_t)written;
    }
    return 0;
}

int qn_new_file_commit(qn_new_file *f, quern_error *e)
{
    mode_t mask = umask(0);
    umask(mask);
    int rc = fchmod(f->fd, 0666 & ~mask) || fsync(f->fd) ? fail(f, "write", e) : 0;
    int closed = close(f->fd);
    f->fd = -1;
    if (!rc && closed) rc = fail(f, "write", e);
    if (!rc) rc = check_place(f->path, f->replace, e); // it may have come meanwhile
    if (!rc && rename(f->temporary, f->path)) rc = fail(f, "rename to it", e);
    if (!rc) {
        free(f->temporary);
        f->temporary = NULL;
    }
    qn_new_file_abandon(f);
    return rc;
}

void qn_new_file_abandon(qn_new_file *f)
{
    if (f->fd >= 0 && f->temporary) close(f->fd);
    f->fd = -1;
    if (f->temporary) unlink(f->temporary);
    free(f->temporary);
    f->temporary = NULL;
}
