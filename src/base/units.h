// Sizes for people to read. Any thread.
#ifndef QN_BASE_UNITS_H
#define QN_BASE_UNITS_H
#include <stdint.h>

// "512 B", "1.5 GiB"; returns text.
const char *qn_units_bytes(uint64_t n, char text[16]);

#endif
