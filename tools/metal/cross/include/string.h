// What the Metal backend uses of it (tools/metal/cross_macho.sh).
#pragma once
#include <stddef.h>
void *memcpy(void *, const void *, size_t);
void *memmove(void *, const void *, size_t);
void *memset(void *, int, size_t);
int memcmp(const void *, const void *, size_t);
int strcmp(const char *, const char *);
char *strstr(const char *, const char *);
size_t strlen(const char *);
