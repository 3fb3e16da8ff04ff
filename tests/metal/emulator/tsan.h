// ThreadSanitizer's view of the fibers. Each GPU thread is a TSan fiber; switching orders nothing; barriers release and
// acquire. Without QN_EMULATOR_TSAN all of this is nothing. The emulator itself is never compiled with -fsanitize=thread.
#ifndef QN_EMULATOR_TSAN_H
#define QN_EMULATOR_TSAN_H

#include <stddef.h>

#ifdef QN_EMULATOR_TSAN
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void __tsan_acquire(void *address);
void __tsan_release(void *address);
void __tsan_java_init(unsigned long heap_begin, unsigned long heap_bytes);
void __tsan_java_alloc(unsigned long address, unsigned long n_bytes);
void __tsan_java_free(unsigned long address, unsigned long n_bytes);

static inline void *qn_emulator_tsan_self(void)
{
    return __tsan_get_current_fiber();
}
static inline void *qn_emulator_tsan_create(void)
{
    return __tsan_create_fiber(0);
}
static inline void qn_emulator_tsan_destroy(void *fiber)
{
    __tsan_destroy_fiber(fiber);
}
static inline void qn_emulator_tsan_switch(void *fiber)
{
    __tsan_switch_to_fiber(fiber, 1); // 1: the switch orders nothing
}
static inline void qn_emulator_tsan_acquire(void *address)
{
    __tsan_acquire(address);
}
static inline void qn_emulator_tsan_release(void *address)
{
    __tsan_release(address);
}
// Memory that a new threadgroup uses as if fresh: earlier accesses and synchronisation are forgotten. 8-byte aligned.
// TSan offers this for the heaps of managed languages only, hence the names.
static inline void qn_emulator_tsan_forget(const void *address, size_t n_bytes)
{
    static int ready;
    unsigned long begin = ((unsigned long)address + 7) & ~7ul,
                  n = ((unsigned long)address + n_bytes - begin) & ~7ul;
    if (!ready) {
        __tsan_java_init(begin, n);
        ready = 1;
    }
    if (n) {
        __tsan_java_free(begin, n);
        __tsan_java_alloc(begin, n);
    }
}
#else
static inline void *qn_emulator_tsan_self(void)
{
    return NULL;
}
static inline void *qn_emulator_tsan_create(void)
{
    return NULL;
}
static inline void qn_emulator_tsan_destroy(void *fiber)
{
    (void)fiber;
}
static inline void qn_emulator_tsan_switch(void *fiber)
{
    (void)fiber;
}
static inline void qn_emulator_tsan_acquire(void *address)
{
    (void)address;
}
static inline void qn_emulator_tsan_release(void *address)
{
    (void)address;
}
static inline void qn_emulator_tsan_forget(const void *address, size_t n_bytes)
{
    (void)address, (void)n_bytes;
}
#endif

#endif
