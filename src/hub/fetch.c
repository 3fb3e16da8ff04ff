// See fetch.h. The unfinished blob is HASH.incomplete, huggingface_hub's name (it may be its own, too); beside it lies the ETag of the
// server that sent it, for If-Range. Whatever the pieces: the hash over all of it decides.
#include "hub/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "hub/hash.h"
#include "hub/names.h"

enum { READ_BYTES = 1 << 18, MAX_ETAG = 135 };

typedef struct {
    qn_hub_session *session;
    const qn_hub_file *file;
    char *blob, *incomplete, *etag_path, *url;
    int fd, lock;
    uint64_t have; // bytes in the incomplete blob, all in the hash
    qn_hub_hash *hash;
    char etag[MAX_ETAG + 1];
    bool in_pieces; // it did not come in one answer
} fetch;

/* ---- telling ---- */

void qn_hub_tell(const qn_hub_session *s, qn_hub_event_kind kind, const qn_hub_file *f,
                 uint64_t bytes, const char *why)
{
    qn_hub_event event = {.kind = kind,
                          .file = f ? f->path : "",
                          .commit = s->list.commit,
                          .why = why,
                          .file_bytes = bytes,
                          .file_size = f ? f->size : 0,
                          .bytes = s->bytes + (kind == QN_HUB_BYTES ? bytes : 0),
                          .total_bytes = s->total_bytes,
                          .n_files = s->n_files};
    if (s->options->on_event) s->options->on_event(s->options->user, &event);
}

bool qn_hub_rest(const qn_hub_session *s, const qn_hub_answer *answer, int n_failed,
                 const qn_hub_file *f, const quern_error *e)
{
    int ms = qn_hub_http_pause_ms(answer, n_failed);
    if (ms < 0) return false;
    qn_hub_tell(s, QN_HUB_RETRIES, f, 0, e->message);
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&t, &t) && errno == EINTR)
        continue;
    return true;
}

static uint64_t size_of(const char *path)
{
    struct stat st;
    return path && !stat(path, &st) && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : UINT64_MAX;
}

bool qn_hub_has(const qn_hub_session *s, const qn_hub_file *f)
{
    return size_of(qn_hub_cache_file(&s->cache, s->list.commit, f->path)) == f->size;
}

uint64_t qn_hub_bytes_there(const qn_hub_session *s, const qn_hub_file *f)
{
    if (qn_hub_has(s, f) || size_of(qn_hub_cache_blob(&s->cache, f->hash, "")) == f->size)
        return f->size;
    uint64_t n = size_of(qn_hub_cache_blob(&s->cache, f->hash, ".incomplete"));
    return n <= f->size ? n : 0;
}

/* ---- the incomplete blob ---- */

static int disk_failed(const fetch *x, const char *what, quern_error *e)
{
    if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
        return qn_error_set(e, QUERN_E_IO,
                            "%s: no room for %s (%s): %llu bytes are still to come; what is there "
                            "will be resumed",
                            x->incomplete, x->file->path, strerror(errno),
                            (unsigned long long)(x->file->size - x->have));
    return qn_error_set(e, QUERN_E_IO, "%s: cannot %s: %s", x->incomplete, what, strerror(errno));
}

static int start_over(fetch *x, quern_error *e)
{
    x->have = 0;
    x->in_pieces = false;
    if (ftruncate(x->fd, 0)) return disk_failed(x, "truncate", e);
    return qn_hub_hash_restart(x->hash)
               ? 0
               : qn_error_set(e, QUERN_E_MEMORY, "%s: no hash", x->file->path);
}

static void read_etag(fetch *x)
{
    char *text = NULL;
    size_t n = 0;
    if (!qn_file_read(x->etag_path, MAX_ETAG, &text, &n, NULL) && n > 2 && text[0] == '"')
        memcpy(x->etag, text, n + 1);
    for (char *c = x->etag; *c; c++)
        if (*c < 0x20 || *c == 0x7f) *x->etag = 0;
    free(text);
}

// Without it a later process resumes all the same, and the hash decides.
static void write_etag(const fetch *x)
{
    int fd = open(x->etag_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) return;
    bool written = write(fd, x->etag, strlen(x->etag)) >= 0;
    close(fd);
    if (!written) unlink(x->etag_path);
}

// Hashes what an earlier process left.
static int take_up(fetch *x, quern_error *e)
{
    struct stat st;
    x->fd = open(x->incomplete, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (x->fd < 0 || fstat(x->fd, &st)) return disk_failed(x, "open", e);
    char *bytes = malloc(READ_BYTES);
    if (!bytes) return qn_error_set(e, QUERN_E_MEMORY, "no memory for a buffer");
    bool usable = S_ISREG(st.st_mode) && (uint64_t)st.st_size <= x->file->size;
    ssize_t n = usable ? 1 : -1;
    while (n > 0 && (n = pread(x->fd, bytes, READ_BYTES, (off_t)x->have)) > 0) {
        if (!qn_hub_hash_add(x->hash, bytes, (size_t)n)) n = -1;
        if (n > 0) x->have += (uint64_t)n;
        qn_hub_tell(x->session, QN_HUB_BYTES, x->file, x->have, NULL);
    }
    free(bytes);
    if (n < 0 || x->have > x->file->size) return start_over(x, e);
    x->in_pieces = x->have > 0;
    if (x->in_pieces) read_etag(x);
    return 0;
}

/* ---- the answer ---- */

static int on_head(void *user, const qn_hub_answer *a, quern_error *e)
{
    fetch *x = user;
    const qn_hub_file *f = x->file;
    bool goes_on = a->status == 206;
    int64_t expected = (int64_t)(f->size - (goes_on ? x->have : 0));
    bool fits = !goes_on || (a->from == (int64_t)x->have && a->whole == (int64_t)f->size);
    if (!fits || (a->length >= 0 && a->length != expected))
        return qn_error_set(
            e, QUERN_E_FORMAT, "%s: expected %llu bytes as the list of files says, found %lld",
            f->path, (unsigned long long)f->size, (long long)(goes_on ? a->whole : a->length));
    x->in_pieces |= goes_on;
    // 200: the server does not resume, or has another content now.
    int rc = goes_on ? 0 : start_over(x, e);
    if (rc) return rc;
    memcpy(x->etag, a->etag, sizeof a->etag);
    write_etag(x);
    return 0;
}

static int on_body(void *user, const char *bytes, size_t n, quern_error *e)
{
    fetch *x = user;
    if (n > x->file->size - x->have)
        return qn_error_set(e, QUERN_E_FORMAT, "%s: expected %llu bytes, found more", x->file->path,
                            (unsigned long long)x->file->size);
    for (size_t done = 0; done < n;) {
        ssize_t put = pwrite(x->fd, bytes + done, n - done, (off_t)(x->have + done));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return disk_failed(x, "write", e);
        done += (size_t)put;
    }
    if (!qn_hub_hash_add(x->hash, bytes, n))
        return qn_error_set(e, QUERN_E_MEMORY, "%s: no hash", x->file->path);
    x->have += n;
    qn_hub_tell(x->session, QN_HUB_BYTES, x->file, x->have, NULL);
    return 0;
}

static int download(fetch *x, quern_error *e)
{
    qn_hub_answer answer;
    int n_failed = 0, rc = 0;
    while (x->have < x->file->size) {
        uint64_t had = x->have;
        qn_hub_get get = {x->url, x->file->path, (int64_t)had, x->etag, on_head, on_body, x};
        rc = qn_hub_http_get(x->session->http, &get, &answer, e);
        if (answer.status == 416 && had) {
            rc = start_over(x, e);
            if (rc) return rc;
            continue;
        }
        n_failed = x->have > had ? 1 : n_failed + 1;
        if (!rc && x->have == x->file->size) break;
        if (!rc) { // an end before the end that was announced
            rc = qn_error_set(e, QUERN_E_IO, "%s: the server ended after %llu of %llu bytes",
                              x->file->path, (unsigned long long)x->have,
                              (unsigned long long)x->file->size);
            answer.again = true;
        }
        if (!qn_hub_rest(x->session, &answer, n_failed, x->file, e)) return rc;
    }
    return 0;
}

/* ---- the end ---- */

static int verify(fetch *x, bool *good, char found[65], quern_error *e)
{
    if (!qn_hub_hash_finish(x->hash, found))
        return qn_error_set(e, QUERN_E_MEMORY, "%s: no hash", x->file->path);
    *good = !strcmp(found, x->file->hash);
    return 0;
}

// Pieces of different contents, or of another process, may be at fault: once more from the beginning.
static int download_and_verify(fetch *x, quern_error *e)
{
    char found[65] = "";
    for (int i = 0; i < 2; i++) {
        bool good = false;
        int rc = download(x, e);
        if (!rc) rc = verify(x, &good, found, e);
        if (rc || good) return rc;
        if (!x->in_pieces || i) break;
        qn_hub_tell(x->session, QN_HUB_RETRIES, x->file, 0, "its pieces do not belong together");
        rc = start_over(x, e);
        if (rc) return rc;
    }
    unlink(x->incomplete);
    unlink(x->etag_path);
    return qn_error_set(e, QUERN_E_FORMAT, "%s: expected the %s %s, found %s: discarded",
                        x->file->path, strlen(x->file->hash) == 64 ? "SHA-256" : "git hash",
                        x->file->hash, found);
}

static int keep(fetch *x, quern_error *e)
{
    if (fsync(x->fd)) return disk_failed(x, "write", e);
    if (rename(x->incomplete, x->blob)) return disk_failed(x, "rename", e);
    unlink(x->etag_path);
    return 0;
}

static int open_fetch(fetch *x, quern_error *e)
{
    const qn_hub_options *o = x->session->options;
    const qn_hub_cache *c = &x->session->cache;
    const qn_hub_file *f = x->file;
    qn_buffer path = QN_BUFFER_INIT;
    qn_hub_escape(&path, f->path, true);
    x->blob = qn_hub_cache_blob(c, f->hash, "");
    x->incomplete = qn_hub_cache_blob(c, f->hash, ".incomplete");
    x->etag_path = qn_hub_cache_blob(c, f->hash, ".incomplete.etag");
    x->url = qn_hub_text(c->arena, "%s/%s/resolve/%s/%s", o->endpoint, o->repository,
                         x->session->list.commit, path.data ? path.data : "");
    bool whole = !path.failed && x->blob && x->incomplete && x->etag_path && x->url;
    qn_buffer_free(&path);
    return whole ? qn_hub_cache_prepare(c, x->session->list.commit, f->path, e)
                 : qn_error_set(e, QUERN_E_MEMORY, "no memory for a path");
}

static int lock(fetch *x, quern_error *e)
{
    const qn_hub_cache *c = &x->session->cache;
    int rc = qn_hub_cache_lock(c, x->file->hash, false, &x->lock, e);
    if (rc != QUERN_E_BUSY) return rc;
    qn_hub_tell(x->session, QN_HUB_WAITS, x->file, 0, NULL);
    return qn_hub_cache_lock(c, x->file->hash, true, &x->lock, e);
}

// With the lock; another process may have brought the file meanwhile.
static int make_blob(fetch *x, quern_error *e)
{
    if (size_of(x->blob) == x->file->size) return 0;
    x->hash = qn_hub_hash_new(strlen(x->file->hash), x->file->size);
    if (!x->hash) return qn_error_set(e, QUERN_E_MEMORY, "%s: no hash", x->file->path);
    int rc = take_up(x, e);
    if (!rc) rc = download_and_verify(x, e);
    return rc ? rc : keep(x, e);
}

int qn_hub_fetch(qn_hub_session *s, const qn_hub_file *f, quern_error *e)
{
    fetch x = {.session = s, .file = f, .fd = -1, .lock = -1};
    int rc = open_fetch(&x, e);
    if (!rc) rc = lock(&x, e);
    if (!rc) rc = make_blob(&x, e);
    if (!rc) rc = qn_hub_cache_link(&s->cache, s->list.commit, f->path, f->hash, e);
    qn_hub_hash_free(x.hash);
    if (x.fd >= 0) close(x.fd);
    if (x.lock >= 0) close(x.lock);
    return rc;
}
