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

// macOS refuses to read more than INT_MAX bytes in one call.
enum { READ_BYTES = 1 << 30 };

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
        size_t left = n - done;
        ssize_t got = read(fd, to + done, left < READ_BYTES ? left : READ_BYTES);
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

// Shared: of a private mapping macOS makes copies where the pages are wired for the GPU. But some file systems (FUSE) have only private ones.
static void *map_file(int fd, size_t n)
{
    void *p = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0);
    return p == MAP_FAILED ? mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0) : p;
}

// The first n bytes of an open file.
static int map_bytes(int fd, const char *path, size_t n, bool copy, qn_mapping *out, quern_error *e)
{
    if (n == 0) return qn_error_set(e, QUERN_E_FORMAT, "%s: the file is empty", path);
    void *p = copy ? mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                   : map_file(fd, n);
    if (p == MAP_FAILED)
        return qn_error_set(e, QUERN_E_MEMORY, "%s: cannot map %zu bytes: %s", path, n,
                            strerror(errno));
    int rc = copy ? read_all(fd, path, p, n, e) : 0;
    if (rc)
        munmap(p, n);
    else
        *out = (qn_mapping){p, n, copy};
    return rc;
}

int qn_file_map(const char *path, bool copy, qn_mapping *out, quern_error *e)
{
    int fd;
    size_t n;
    int rc = open_regular(path, &fd, &n, e);
    if (rc) return rc;
    rc = map_bytes(fd, path, n, copy, out, e);
    close(fd);
    return rc;
}

int qn_file_map_head(const char *path, size_t max_bytes, qn_mapping *out, size_t *file_bytes,
                     quern_error *e)
{
    int fd;
    int rc = open_regular(path, &fd, file_bytes, e);
    if (rc) return rc;
    rc = map_bytes(fd, path, *file_bytes < max_bytes ? *file_bytes : max_bytes, false, out, e);
    close(fd);
    return rc;
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
