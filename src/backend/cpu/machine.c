// What the system says of itself; see machine.h.
#include "backend/cpu/machine.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#else
#include <pthread.h>
#endif
#if defined(__APPLE__)
#include <pthread/qos.h>
#include <sys/sysctl.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if defined(__linux__)
// Processors that the control group's quota comes to, at least 1; INT_MAX without one.
static int group_limit_cpus(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    long long quota = 0, period = 0;
    if (!f) return INT_MAX;
    int n = fscanf(f, "%lld %lld", &quota, &period); // "max 100000" where there is none
    fclose(f);
    if (n != 2 || quota <= 0 || period <= 0) return INT_MAX;
    long long cpus = (quota + period - 1) / period;
    return cpus < INT_MAX ? (int)cpus : INT_MAX;
}

// The memory limit of the control group, or UINT64_MAX.
static uint64_t group_limit_bytes(void)
{
    FILE *f = fopen("/sys/fs/cgroup/memory.max", "re");
    if (!f) return UINT64_MAX;
    char text[32] = "";
    unsigned long long limit = 0;
    if (fgets(text, sizeof text, f)) limit = strtoull(text, NULL, 10); // "max" gives 0
    fclose(f);
    return limit ? limit : UINT64_MAX;
}
#endif

int qn_machine_n_cpus(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
#if defined(__linux__)
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) n = CPU_COUNT(&allowed);
    if (group_limit_cpus() < n) n = group_limit_cpus();
#endif
    return n > 0 && n < 1024 ? (int)n : 1;
}

uint64_t qn_machine_memory_bytes(void)
{
#if defined(__APPLE__)
    uint64_t bytes = 0;
    size_t size = sizeof bytes;
    return sysctlbyname("hw.memsize", &bytes, &size, NULL, 0) == 0 ? bytes : 0;
#else
    uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
#if defined(__linux__)
    uint64_t limit = group_limit_bytes();
    if (limit < bytes) bytes = limit;
#endif
    return bytes;
#endif
}

void qn_machine_name(char *out, size_t n_bytes)
{
    char name[64] = "";
#if defined(__x86_64__)
    unsigned highest, r[12] = {0};
    if (__get_cpuid(0x80000000u, &highest, &r[1], &r[2], &r[3]) && highest >= 0x80000004u) {
        for (unsigned i = 0; i < 3; i++)
            __get_cpuid(0x80000002u + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]);
        memcpy(name, r, sizeof r);
    }
#elif defined(__APPLE__)
    size_t size = sizeof name;
    if (sysctlbyname("machdep.cpu.brand_string", name, &size, NULL, 0) != 0) name[0] = 0;
#elif defined(__aarch64__)
    memcpy(name, "Arm 64-bit", sizeof "Arm 64-bit");
#endif
    const char *start = name + strspn(name, " ");
    size_t length = strlen(start);
    while (length && start[length - 1] == ' ')
        length--;
    if (!length) start = "processor", length = strlen(start);
    snprintf(out, n_bytes, "%.*s", (int)length, start);
}

void qn_machine_prepare_worker(void)
{
#if defined(__APPLE__)
    pthread_set_qos_class_self_np(QOS_CLASS_USER_INITIATED, 0); // performance cores
#endif
}

#if defined(__linux__)
void qn_machine_sleep(const atomic_uint *value, unsigned seen)
{
    syscall(SYS_futex, value, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

void qn_machine_wake(const atomic_uint *value)
{
    syscall(SYS_futex, value, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
#else
static pthread_mutex_t sleep_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;

void qn_machine_sleep(const atomic_uint *value, unsigned seen)
{
    pthread_mutex_lock(&sleep_mutex);
    if (atomic_load(value) == seen) pthread_cond_wait(&woken, &sleep_mutex);
    pthread_mutex_unlock(&sleep_mutex);
}

void qn_machine_wake(const atomic_uint *value)
{
    (void)value;
    pthread_mutex_lock(&sleep_mutex);
    pthread_cond_broadcast(&woken);
    pthread_mutex_unlock(&sleep_mutex);
}
#endif

void *qn_machine_map(size_t n_bytes)
{
    void *p = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (p == MAP_FAILED) return NULL;
#if defined(__linux__)
    madvise(p, n_bytes, MADV_HUGEPAGE); // a wish: small pages do as well
#endif
    return p;
}

void qn_machine_unmap(void *address, size_t n_bytes)
{
    munmap(address, n_bytes);
}
