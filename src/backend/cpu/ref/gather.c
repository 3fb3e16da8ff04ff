// gather in plain C; see ops/gather.h.
#include "backend/ops/gather.h"

#include <string.h>

#include "backend/cpu/ref/ref.h"

int qn_ref_gather_supports(const void *args)
{
    const qn_gather_args *a = args;
    return qn_cpu_is_f32(&a->y) && qn_cpu_is_f32(&a->x) && a->y.dim[1] == a->x.dim[1];
}

void qn_ref_gather(const void *args, const qn_cpu_task *task)
{
    const qn_gather_args *a = args;
    for (int i, end; qn_cpu_take_rows(task, a->counts->n_outputs, &i, &end);)
        for (; i < end; i++)
            memcpy(qn_cpu_row(&a->y, i), qn_cpu_row(&a->x, a->outputs[i].row),
                   (size_t)a->x.dim[1] * sizeof(float));
}
