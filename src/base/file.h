// Files: whole small ones into memory, large ones mapped. Any thread.
#ifndef QN_BASE_FILE_H
#define QN_BASE_FILE_H
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

// Reads a regular file of at most max_bytes; *out is malloc'd with a NUL behind its *n_bytes.
// Refuses what is no regular file (FIFO, directory, device). QUERN_E_NOT_FOUND, _IO, _LIMIT, _MEMORY.
int qn_file_read(const char *path, size_t max_bytes, char **out, size_t *n_bytes, quern_error *e);

typedef struct {
    const unsigned char *data; // page-aligned
    size_t n_bytes;
    bool copied; // read into memory instead of mapped
} qn_mapping;

// Maps a regular file read-only (or copies it with read(), where `copy`: for files that others may change).
int qn_file_map(const char *path, bool copy, qn_mapping *out, quern_error *e);
// Maps no more than its first max_bytes; *file_bytes is the size of the whole file.
int qn_file_map_head(const char *path, size_t max_bytes, qn_mapping *out, size_t *file_bytes,
                     quern_error *e);
void qn_file_unmap(qn_mapping *m);
bool qn_file_exists(const char *path);

#endif
