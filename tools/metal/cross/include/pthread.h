// What the Metal backend uses of it (tools/metal/cross_macho.sh).
#pragma once
#include <time.h>
typedef struct {
    long words[6];
} pthread_cond_t;
typedef struct {
    long words[8];
} pthread_mutex_t;
int pthread_cond_timedwait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
