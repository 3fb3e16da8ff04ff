// What the Metal backend uses of it (tools/metal/cross_macho.sh).
#pragma once
#include <stdarg.h>
#include <stddef.h>
int snprintf(char *, size_t, const char *, ...) __attribute__((format(printf, 3, 4)));
int vsnprintf(char *, size_t, const char *, va_list);
