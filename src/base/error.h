// Errors: how every module reports one. The type and the codes are the public ones (quern.h).
// Thread-safe: an error belongs to its caller.
#ifndef QN_BASE_ERROR_H
#define QN_BASE_ERROR_H
#include "quern.h"

// Fills *e (may be NULL) with code and a formatted one-line message; returns code, so that callers
// write `return qn_error_set(e, QUERN_E_FORMAT, "%s: …", path)`.
int qn_error_set(quern_error *e, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Puts "prefix: " before the message that *e already holds; returns e->code (0 where e is NULL).
int qn_error_prefix(quern_error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
