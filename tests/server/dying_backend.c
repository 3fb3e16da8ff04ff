// A registry of one backend, for tests of what `quern serve` does when its device dies: the CPU's, dead from the step on at which the
// file $QUERN_DYING is found. The file is removed, so that the next process lives; one that says "always" stays, and so does one
// that says "open": then the device cannot be opened. $QUERN_DYING_OPEN_MS: how long opening takes.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/cpu/cpu.h"

static qn_backend backend;
static int dead;

static int file_says(const char *what)
{
    const char *path = getenv("QUERN_DYING");
    char text[16] = "";
    FILE *f = path ? fopen(path, "r") : NULL;
    if (!f) return 0;
    if (!fgets(text, sizeof text, f)) *text = 0;
    fclose(f);
    return !strncmp(text, what, strlen(what));
}

static int open_device(const qn_device_options *options, qn_device **out, quern_error *e)
{
    const char *ms = getenv("QUERN_DYING_OPEN_MS");
    long n = ms ? atol(ms) : 0;
    nanosleep(&(struct timespec){n / 1000, n % 1000 * 1000000}, NULL);
    if (file_says("open")) return qn_error_set(e, QUERN_E_DEVICE, "dying: the device is not there");
    return qn_cpu_backend.open(options, out, e);
}

static int poll_device(qn_device *d, qn_ticket t)
{
    if (!dead && file_says("")) {
        dead = 1;
        if (!file_says("always") && !file_says("open")) unlink(getenv("QUERN_DYING"));
    }
    return dead ? QUERN_E_DEVICE : qn_cpu_backend.poll(d, t);
}

// What a device that is dead does with a goodbye: it hangs.
static void close_device(qn_device *d)
{
    while (dead)
        sleep(1);
    qn_cpu_backend.close(d);
}

static const char *failure(qn_device *d)
{
    (void)d;
    return "DYING_AS_TOLD";
}

const qn_backend *qn_backend_at(int i)
{
    if (i) return NULL;
    backend = qn_cpu_backend;
    backend.name = "dying";
    backend.open = open_device;
    backend.close = close_device;
    backend.poll = poll_device;
    backend.failure = failure;
    return &backend;
}

const qn_backend *qn_backend_by_name(const char *name)
{
    return !name || !strcmp(name, "auto") || !strcmp(name, "dying") ? qn_backend_at(0) : NULL;
}
