// See folder.h. On a system with /dev/shm nothing is written to a disk.
#include "folder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/dev/shm/quern-fuzz-XXXXXX", elsewhere[] = "/tmp/quern-fuzz-XXXXXX";
static const char *made;

static void path_of(const char *name, char path[512])
{
    snprintf(path, 512, "%s/%s", made, name);
}

static void remove_all(void)
{
    char path[512];
    DIR *d = opendir(made);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        path_of(entry->d_name, path);
        unlink(path); // "." and ".." stay
    }
    if (d) closedir(d);
    rmdir(made);
}

const char *fuzz_folder(void)
{
    if (made) return made;
    made = mkdtemp(folder);
    if (!made) made = mkdtemp(elsewhere);
    if (!made || atexit(remove_all)) abort();
    return made;
}

void fuzz_folder_write(const char *name, const void *data, size_t n)
{
    char path[512];
    fuzz_folder();
    path_of(name, path);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, n, file) != n || fclose(file)) abort();
}
