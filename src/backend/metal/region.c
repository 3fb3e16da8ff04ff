// See region.h. The kernel's calls are declared here, so that no SDK is needed to compile this.
#ifdef __APPLE__
#include "backend/metal/region.h"

#include <stdint.h>
#include <unistd.h>

// <mach/mach_vm.h>, <mach/vm_region.h>
enum { VM_REGION_BASIC_INFO_64 = 9, BASIC_INFO_WORDS = 9 };
extern uint32_t mach_task_self_;
extern int mach_vm_region(uint32_t task, uint64_t *address, uint64_t *n_bytes, int flavor,
                          int *info, uint32_t *n_words, uint32_t *object);

size_t qn_metal_region_page_bytes(void)
{
    return (size_t)getpagesize();
}

int qn_metal_region_of(const void *address, const char **begin, const char **end)
{
    uint64_t at = (uint64_t)(uintptr_t)address, n_bytes = 0;
    int info[BASIC_INFO_WORDS];
    uint32_t n_words = BASIC_INFO_WORDS, object = 0;
    if (mach_vm_region(mach_task_self_, &at, &n_bytes, VM_REGION_BASIC_INFO_64, info, &n_words,
                       &object) != 0)
        return 0;
    *begin = (const char *)(uintptr_t)at;
    *end = *begin + n_bytes;
    return at <= (uint64_t)(uintptr_t)address; // else the next one
}
#else
typedef int qn_metal_region_is_not_here; // a translation unit is not empty
#endif
