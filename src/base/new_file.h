// A file that is there whole or not at all: written under a temporary name in the same folder, renamed when it is complete.
// Opened, committed and abandoned by one thread; written by any.
#ifndef QN_BASE_NEW_FILE_H
#define QN_BASE_NEW_FILE_H
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct {
    int fd;
    const char *path; // borrowed until the end
    char *temporary;  // NULL once committed or abandoned
    bool replace;
} qn_new_file;

// What stands at `path` is refused unless `replace`, a folder or device always. QUERN_E_ARGUMENT, _IO, _MEMORY.
int qn_new_file_open(const char *path, bool replace, qn_new_file *out, quern_error *e);
// n bytes to `offset`; gaps are zeros. QUERN_E_IO names the path and the system's reason.
int qn_new_file_write(const qn_new_file *f, const void *bytes, size_t n, uint64_t offset,
                      quern_error *e);
// Waits until all is on the disk, then renames. On failure the temporary is removed.
int qn_new_file_commit(qn_new_file *f, quern_error *e);
// Removes the temporary, where there is one.
void qn_new_file_abandon(qn_new_file *f);

#endif
