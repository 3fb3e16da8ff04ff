// embed in plain C; see ops/embed.h.
#include "backend/ops/embed.h"

#include <string.h>

#include "backend/cpu/ref/ref.h"

int qn_ref_embed_supports(const void *args)
{
    const qn_embed_args *a = args;
    return qn_cpu_is_f32(&a->y) && qn_cpu_is_matrix(&a->table, a->y.dim[1]);
}

static void embed_row(const qn_embed_args *a, int row)
{
    const qn_format *format = qn_format_of(a->table.dtype);
    qn_row r = a->rows[row];
    size_t width = (size_t)a->y.dim[1], row_bytes = qn_tensor_row_bytes(&a->table);
    int32_t token =
        a->slots.tokens[(size_t)r.slot * (size_t)a->slots.max_context + (size_t)r.position];
    float *y = qn_cpu_row(&a->y, row);
    if (token < 0 || token >= a->table.dim[0])
        memset(y, 0, width * sizeof *y);
    else
        format->to_f32((const char *)a->table.data + (size_t)token * row_bytes, y, width);
}

void qn_ref_embed(const void *args, const qn_cpu_task *task)
{
    const qn_embed_args *a = args;
    for (int row, end; qn_cpu_take_rows(task, a->counts->n_rows, &row, &end);)
        for (; row < end; row++)
            embed_row(a, row);
}
