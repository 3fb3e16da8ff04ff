// See restart.h.
#include "app/restart.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#ifdef __APPLE__
#include <mach-o/dyld.h>
#endif

#include "base/clock.h"

#define VARIABLE "QUERN_RESTARTED"

enum { MAX_DESCRIPTORS = 1 << 20 };

extern char **environ;

static double now_s(void)
{
    return qn_clock_ms() * 1e-3;
}

/* ---- the process that comes ---- */

static void note_inherited(qn_restart *r)
{
    for (int fd = 3; fd < QN_RESTART_INHERITED; fd++)
        if (fcntl(fd, F_GETFD) >= 0) r->inherited[fd / 8] |= (unsigned char)(1u << fd % 8);
}

static void forget_old(qn_restart *r)
{
    int n_old = 0;
    while (n_old < r->n && r->at_s[n_old] < now_s() - QN_RESTART_WINDOW_S)
        n_old++;
    memmove(r->at_s, r->at_s + n_old, (size_t)(r->n - n_old) * sizeof *r->at_s);
    r->n -= n_old;
}

// "pid=41 fd=7 backend=cuda at=100.250,160.000"; at most QN_RESTART_MOST times, in order.
static bool parse(const char *text, qn_restart *r)
{
    int n = 0;
    if (sscanf(text, "pid=%*d fd=%6d backend=%15[a-z0-9] at=%n", &r->fd, r->backend, &n) != 2 ||
        !n || r->fd < 3)
        return false;
    for (const char *at = text + n;; at++) {
        char *end;
        double s = strtod(at, &end);
        bool rises = !r->n || s >= r->at_s[r->n - 1];
        if (end == at || !(s >= 0 && s <= now_s()) || !rises || r->n == QN_RESTART_MOST)
            return false;
        r->at_s[r->n++] = s;
        at = end;
        if (*at != ',') return !*at;
    }
}

int qn_restart_read(qn_restart *r, quern_error *e)
{
    *r = (qn_restart){0};
    note_inherited(r);
    const char *text = getenv(VARIABLE);
    if (!text) return 0;
    char copy[200], *end = copy;
    snprintf(copy, sizeof copy, "%s", text);
    unsetenv(VARIABLE);
    bool ours = !strncmp(copy, "pid=", 4) && strtol(copy + 4, &end, 10) == (long)getpid();
    if (!ours) return 0; // a child of such a process, say
    if (!parse(copy, r))
        return qn_error_set(e, QUERN_E_ARGUMENT,
                            VARIABLE ": is set by quern for itself; found \"%s\"", copy);
    if (r->fd < QN_RESTART_INHERITED) r->inherited[r->fd / 8] &= (unsigned char)~(1u << r->fd % 8);
    forget_old(r);
    return 0;
}

void qn_restart_pause(const qn_restart *r)
{
    if (r->n > 1) nanosleep(&(struct timespec){r->n == 2 ? 1 : 4, 0}, NULL);
}

/* ---- the process that goes ---- */

// All that is not the caller's, the standard streams' or `keep` is closed by the execution.
static void close_at_execution(const qn_restart *r, int keep)
{
    struct rlimit l;
    int n = getrlimit(RLIMIT_NOFILE, &l) || l.rlim_cur > MAX_DESCRIPTORS ? MAX_DESCRIPTORS
                                                                         : (int)l.rlim_cur;
    for (int fd = 3; fd < n; fd++) {
        bool inherited = fd < QN_RESTART_INHERITED && (r->inherited[fd / 8] >> fd % 8 & 1);
        if (!inherited) fcntl(fd, F_SETFD, fd == keep ? 0 : FD_CLOEXEC);
    }
}

static void path_of_program(char *path, size_t n)
{
#ifdef __APPLE__
    uint32_t size = (uint32_t)n;
    if (_NSGetExecutablePath(path, &size)) *path = 0;
#else
    // By its own name, so that tools show it; a program that was replaced meanwhile is only to be had by the link.
    ssize_t length = readlink("/proc/self/exe", path, n - 1);
    path[length > 0 ? length : 0] = 0;
    if (length <= 0 || access(path, X_OK)) snprintf(path, n, "/proc/self/exe");
#endif
}

static void describe(const qn_restart *r, int fd, char *text, size_t n)
{
    int at =
        snprintf(text, n, VARIABLE "=pid=%ld fd=%d backend=%s at=", (long)getpid(), fd, r->backend);
    for (int i = 0; i < r->n; i++)
        at += snprintf(text + at, n - (size_t)at, "%s%.3f", i ? "," : "", r->at_s[i]);
}

// The environment with `entry` more; malloc'd, and its strings borrowed.
static char **environment_with(char *entry)
{
    size_t n = 0;
    while (environ[n])
        n++;
    char **all = malloc((n + 2) * sizeof *all);
    if (!all) return NULL;
    memcpy(all, environ, n * sizeof *all);
    all[n] = entry;
    all[n + 1] = NULL;
    return all;
}

int qn_restart_check(qn_restart *r, quern_error *e)
{
    forget_old(r);
    if (r->n < QN_RESTART_MOST) return 0;
    return qn_error_set(e, QUERN_E_DEVICE,
                        "the device has failed again after %d restarts within %d minutes: the "
                        "server gives up",
                        r->n, QN_RESTART_WINDOW_S / 60);
}

int qn_restart_execute(qn_restart *r, int fd, char **argv, quern_error *e)
{
    char path[4096], entry[300];
    r->at_s[r->n++] = now_s();
    path_of_program(path, sizeof path);
    describe(r, fd, entry, sizeof entry);
    char **all = environment_with(entry);
    if (!all) return qn_error_set(e, QUERN_E_MEMORY, "no memory to start afresh");
    close_at_execution(r, fd);
    fflush(stdout);
    execve(path, argv, all);
    int why = errno;
    free(all);
    return qn_error_set(e, QUERN_E_IO, "%s: cannot be executed anew: %s", path, strerror(why));
}
