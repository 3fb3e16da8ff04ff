// A folder of a fuzz target's own, for parsers that open files: made at the first use, removed at the end of the process.
#ifndef QN_FUZZ_FOLDER_H
#define QN_FUZZ_FOLDER_H
#include <stddef.h>

// Its path.
const char *fuzz_folder(void);
// Writes a file there, over what it held.
void fuzz_folder_write(const char *name, const void *data, size_t n);

#endif
