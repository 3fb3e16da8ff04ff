// What the Metal backend uses of it (tools/metal/cross_macho.sh).
#pragma once
#include <stddef.h>
void *calloc(size_t, size_t);
void *malloc(size_t);
void *realloc(void *, size_t);
void free(void *);
int setenv(const char *, const char *, int);
