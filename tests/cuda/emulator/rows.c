// Instructions by their names. See ptx.h.
#include <stdlib.h>
#include <string.h>

#include "warp.h"

enum { MOST = 512 };

static const ptx_row *sorted[MOST];
static int n_sorted;

static int compare(const void *a, const void *b)
{
    return strcmp((*(const ptx_row *const *)a)->name, (*(const ptx_row *const *)b)->name);
}

static void sort(void)
{
    static const ptx_row *const tables[] = {ptx_integer_rows, ptx_float_rows,  ptx_memory_rows,
                                            ptx_warp_rows,    ptx_matrix_rows, ptx_copy_rows};
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const ptx_row *row = tables[t]; row->name; row++) {
            if (n_sorted == MOST) abort();
            sorted[n_sorted++] = row;
        }
    qsort(sorted, (size_t)n_sorted, sizeof *sorted, compare);
}

const char *ptx_instruction_kind(const char *mnemonic, int length, ptx_instruction *i)
{
    char name[128];
    ptx_row key = {.name = name};
    const ptx_row *at = &key;
    const char *letters = ptx_memory_kind(mnemonic, length, i);
    if (letters || length >= (int)sizeof name) return letters;
    if (!n_sorted) sort();
    memcpy(name, mnemonic, (size_t)length);
    name[length] = 0;
    const ptx_row *const *found = bsearch(&at, sorted, (size_t)n_sorted, sizeof *sorted, compare);
    if (!found) return NULL;
    i->run = (*found)->run;
    i->kind = (uint8_t)(*found)->kind;
    return (*found)->operands;
}
