// The mapping that memory lies in: Metal wraps whole pages of one mapping. Tests bring their own (a page of 16 KiB, as on Apple).
#ifndef QN_BACKEND_METAL_REGION_H
#define QN_BACKEND_METAL_REGION_H
#include <stddef.h>

size_t qn_metal_region_page_bytes(void);
// Where the mapping that holds `address` begins and ends; 0 where it cannot be told.
int qn_metal_region_of(const void *address, const char **begin, const char **end);

#endif
