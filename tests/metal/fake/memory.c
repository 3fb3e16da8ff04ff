// Memory as on Apple Silicon: mmap gives whole pages of 16 KiB at multiples of 16 KiB, and what is mapped is known. Linked with
// --wrap=mmap64 and --wrap=munmap, so that the program's own mappings come through here.
#include <pthread.h>
#include <sys/mman.h>

#include "fake/internal.h"

enum { MAX_REGIONS = 4096 };

static struct {
    char *from;
    size_t n_bytes; // rounded up
} regions[MAX_REGIONS];
static int n_regions;
static struct {
    const char *from;
    size_t n_bytes;
} wrapped[MAX_REGIONS]; // by buffers that are alive
static int n_wrapped;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void *__real_mmap64(void *address, size_t n, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *address, size_t n);
void *__wrap_mmap64(void *address, size_t n, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *address, size_t n);

static size_t rounded(size_t n)
{
    return (n + FAKE_PAGE - 1) / FAKE_PAGE * FAKE_PAGE;
}

static void remember(char *from, size_t n_bytes)
{
    pthread_mutex_lock(&lock);
    if (n_regions == MAX_REGIONS) fake_fail("over %d mappings", MAX_REGIONS);
    regions[n_regions].from = from;
    regions[n_regions++].n_bytes = n_bytes;
    pthread_mutex_unlock(&lock);
}

void *__wrap_mmap64(void *address, size_t n, int protection, int flags, int fd, off_t offset)
{
    const int anonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (address || n < FAKE_PAGE) return __real_mmap64(address, n, protection, flags, fd, offset);
    size_t whole = rounded(n) + FAKE_PAGE;
    char *base = __real_mmap64(NULL, whole, PROT_NONE, anonymous, -1, 0);
    if (base == MAP_FAILED) return base;
    char *at = (char *)(((uintptr_t)base + FAKE_PAGE - 1) & ~(uintptr_t)(FAKE_PAGE - 1));
    char *end = at + rounded(n);
    __real_mmap64(at, rounded(n), protection, anonymous | MAP_FIXED, -1, 0);
    if (__real_mmap64(at, n, protection, flags | MAP_FIXED, fd, offset) == MAP_FAILED)
        return MAP_FAILED;
    if (at > base) __real_munmap(base, (size_t)(at - base));
    if (base + whole > end) __real_munmap(end, (size_t)(base + whole - end));
    remember(at, rounded(n));
    return at;
}

static const char *end_of_wrapped(int i)
{
    return wrapped[i].from + wrapped[i].n_bytes;
}

int __wrap_munmap(void *address, size_t n)
{
    bool ours = false;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_wrapped; i++)
        if (wrapped[i].from < (char *)address + n && (char *)address < end_of_wrapped(i))
            fake_fail("munmap of %p, %zu bytes: a buffer of %zu bytes at %p wraps it", address, n,
                      wrapped[i].n_bytes, (const void *)wrapped[i].from);
    for (int i = 0; i < n_regions && !ours; i++)
        if (regions[i].from == address && regions[i].n_bytes == rounded(n)) {
            regions[i] = regions[--n_regions];
            ours = true;
        }
    pthread_mutex_unlock(&lock);
    return __real_munmap(address, ours ? rounded(n) : n);
}

bool fake_is_mapped(const void *from, size_t n_bytes)
{
    const char *at = from;
    bool found = false;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_regions && !found; i++) {
        const char *end = regions[i].from + regions[i].n_bytes;
        found = at >= regions[i].from && at < end && (size_t)(end - at) >= n_bytes;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

void fake_wrap_begins(const void *from, size_t n_bytes)
{
    pthread_mutex_lock(&lock);
    if (n_wrapped == MAX_REGIONS) fake_fail("over %d wrapped buffers", MAX_REGIONS);
    wrapped[n_wrapped].from = from;
    wrapped[n_wrapped++].n_bytes = n_bytes;
    pthread_mutex_unlock(&lock);
}

void fake_wrap_ends(const void *from, size_t n_bytes)
{
    int i = 0;
    pthread_mutex_lock(&lock);
    while (i < n_wrapped - 1 && (wrapped[i].from != from || wrapped[i].n_bytes != n_bytes))
        i++;
    wrapped[i] = wrapped[--n_wrapped];
    pthread_mutex_unlock(&lock);
}
