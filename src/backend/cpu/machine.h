// Machine: what the processor and its operating system are. The only file of the CPU backend that asks the system.
#ifndef QN_BACKEND_CPU_MACHINE_H
#define QN_BACKEND_CPU_MACHINE_H
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

// Processors that this process may use.
int qn_machine_n_cpus(void);
// Physical memory, or a smaller limit that the system sets for this process's group.
uint64_t qn_machine_memory_bytes(void);
// The processor's name.
void qn_machine_name(char *out, size_t n_bytes);

// Called once by each compute thread that the pool makes: what the system wants to know of it.
void qn_machine_prepare_worker(void);

// Zeroed memory straight from the system, in large pages where it has them; NULL where there is none.
void *qn_machine_map(size_t n_bytes);
void qn_machine_unmap(void *address, size_t n_bytes);

// Sleeps while *value is `seen`; may return earlier. wake: all that sleep on it. On Linux (a futex) neither waits for a thread that
// has been woken and does not run yet, as a condition variable may.
void qn_machine_sleep(const atomic_uint *value, unsigned seen);
void qn_machine_wake(const atomic_uint *value);

// A pause inside a spinning loop: some tens of nanoseconds.
static inline void qn_machine_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

#endif
