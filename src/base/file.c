// See file.h.
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// Opens without blocking on a FIFO and checks the kind of file.
static int open_regular(const char *path, int *fd, size_t *n_bytes, quern_error *e)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return qn_error_set(e, errno == ENOENT || errno == ENOTDIR ? QUERN_E_NOT_FOUND : QUERN_E_IO,
                            "%s: cannot open: %s", path, strerror(errno));
    struct stat st;
    if (fstat(*fd, &st) || !S_ISREG(st.st_mode) || st.st_size < 0 ||
        (uint64_t)st.st_size > SIZE_MAX / 2) {
        close(*fd);
        return qn_error_set(e, QUERN_E_IO, "%s: expected a regular file", path);
    }
    *n_bytes = (size_t)st.st_size;
    return 0;
}

static int read_all(int fd, const char *path, char *to, size_t n, quern_error *e)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = read(fd, to + done, n - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return qn_error_set(e, QUERN_E_IO, "%s: cannot read: %s", path, strerror(errno));
        if (got == 0)
            return qn_error_set(e, QUERN_E_IO, "%s: expected %zu bytes, found %zu", path, n, done);
        done += (size_t)got;
    }
    return 0;
}

int qn_file_read(const char *path, size_t max_bytes, char **out, size_t *n_bytes, quern_error *e)
{
    int fd;
    size_t n;
    int rc = open_regular(path, &fd, &n, e);
    if (rc) return rc;
    char *data = NULL;
    if (n > max_bytes)
        rc = qn_error_set(e, QUERN_E_LIMIT, "%s: expected at most %zu bytes, found %zu", path,
                          max_bytes, n);
    else if (!(data = malloc(n + 1)))
        rc = qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for %zu bytes", path, n);
    else
        rc = read_all(fd, path, data, n, e);
    close(fd);
    if (rc) {
        free(data);
        return rc;
    }
    data[n] = 0;
    *out = data;
    *n_bytes = n;
    return 0;
}

int qn_file_map(const char *path, bool copy, qn_mapping *out, quern_error *e)
{
    int fd;
    size_t n;
    int rc = open_regular(path, &fd, &n, e);
    if (rc) return rc;
    void *p = MAP_FAILED;
    int flags = copy ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_PRIVATE;
    if (n == 0)
        rc = qn_error_set(e, QUERN_E_FORMAT, "%s: the file is empty", path);
    else if ((p = mmap(NULL, n, copy ? PROT_READ | PROT_WRITE : PROT_READ, flags, copy ? -1 : fd,
                       0)) == MAP_FAILED)
        rc = qn_error_set(e, QUERN_E_MEMORY, "%s: cannot map %zu bytes: %s", path, n,
                          strerror(errno));
    else if (copy)
        rc = read_all(fd, path, p, n, e);
    close(fd);
    if (rc) {
        if (p != MAP_FAILED) munmap(p, n);
        return rc;
    }
    *out = (qn_mapping){p, n, copy};
    return 0;
}

void qn_file_unmap(qn_mapping *m)
{
    if (m->data) munmap((void *)(uintptr_t)m->data, m->n_bytes);
    *m = (qn_mapping){0};
}

bool qn_file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}
