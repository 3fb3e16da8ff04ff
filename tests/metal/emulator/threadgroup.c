// Where a kernel's threadgroup arrays are. clang makes them local symbols _ZZ<length><kernel>E<array>, msl_compile.sh puts them
// in the section qn_threadgroup; the program's own symbol table says which belong to which kernel. Of a stripped program all
// kernels' arrays are taken for each one's. Read once, under the lock of the run.
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

extern char __start_qn_threadgroup[] __attribute__((weak));
extern char __stop_qn_threadgroup[] __attribute__((weak));

typedef struct {
    const char *kernel; // in the mapped file, not terminated
    size_t length;
    char *begin, *end;
} arrays;

static struct {
    arrays *rows;
    size_t n;
    bool read, failed;
} table;

static int load_address(struct dl_phdr_info *info, size_t size, void *out)
{
    (void)size;
    *(uintptr_t *)out = info->dlpi_addr; // the first is the program
    return 1;
}

static arrays *row_of(const char *kernel, size_t length)
{
    for (size_t i = 0; i < table.n; i++)
        if (table.rows[i].length == length && !memcmp(table.rows[i].kernel, kernel, length))
            return &table.rows[i];
    return NULL;
}

static void add(const char *name, char *begin, char *end)
{
    char *after;
    size_t length = strncmp(name, "_ZZ", 3) ? 0 : strtoul(name + 3, &after, 10);
    if (!length || begin < __start_qn_threadgroup || end > __stop_qn_threadgroup) return;
    arrays *row = row_of(after, length);
    if (!row) {
        arrays *rows = realloc(table.rows, (table.n + 1) * sizeof(*rows));
        table.failed = table.failed || !rows;
        if (!rows) return;
        table.rows = rows;
        rows[table.n] = (arrays){after, length, begin, end};
        row = &rows[table.n++];
    }
    if (begin < row->begin) row->begin = begin;
    if (end > row->end) row->end = end;
}

static void read_symbols(const char *file)
{
    uintptr_t base = 0;
    const Elf64_Ehdr *head = (const void *)file;
    const Elf64_Shdr *sections = (const void *)(file + head->e_shoff);
    dl_iterate_phdr(load_address, &base);
    table.failed = true;
    for (int i = 0; i < head->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB) continue;
        const Elf64_Sym *s = (const void *)(file + sections[i].sh_offset);
        const char *names = file + sections[sections[i].sh_link].sh_offset;
        table.failed = false;
        for (size_t k = 0; k < sections[i].sh_size / sizeof(*s); k++)
            if (ELF64_ST_TYPE(s[k].st_info) == STT_OBJECT)
                add(names + s[k].st_name, (char *)(base + s[k].st_value),
                    (char *)(base + s[k].st_value + s[k].st_size));
    }
}

static void read_program(void)
{
    struct stat s;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    table.read = true;
    table.failed = fd < 0 || fstat(fd, &s);
    if (fd < 0) return;
    char *file =
        table.failed ? MAP_FAILED : mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    table.failed = file == MAP_FAILED;
    if (!table.failed) read_symbols(file); // stays mapped: the rows point into it
}

void qn_emulator_threadgroup_memory(const char *kernel, char **begin, size_t *n_bytes)
{
    *begin = __start_qn_threadgroup;
    *n_bytes = 0;
    if (!__start_qn_threadgroup) return;
    if (!table.read) read_program();
    *n_bytes = (size_t)(__stop_qn_threadgroup - __start_qn_threadgroup);
    if (table.failed) return;
    const arrays *row = row_of(kernel, strlen(kernel));
    *n_bytes = row ? (size_t)(row->end - row->begin) : 0;
    if (row) *begin = row->begin;
}
