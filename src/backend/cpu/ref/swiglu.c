// swiglu in plain C; see ops/swiglu.h.
#include "backend/ops/swiglu.h"

#include "backend/cpu/ref/ref.h"
#include "backend/cpu/scalar.h"

int qn_ref_swiglu_supports(const void *args)
{
    const qn_swiglu_args *a = args;
    return qn_cpu_is_f32(&a->y) && qn_cpu_is_f32(&a->gate) && qn_cpu_is_f32(&a->up) &&
           a->y.dim[1] == a->gate.dim[1] && a->y.dim[1] == a->up.dim[1];
}

void qn_ref_swiglu(const void *args, const qn_cpu_task *task)
{
    const qn_swiglu_args *a = args;
    for (int row, end; qn_cpu_take_rows(task, *a->n_rows, &row, &end);)
        for (; row < end; row++) {
            float *y = qn_cpu_row(&a->y, row);
            const float *gate = qn_cpu_row(&a->gate, row), *up = qn_cpu_row(&a->up, row);
            for (int64_t i = 0; i < a->y.dim[1]; i++)
                y[i] = qn_scalar_silu(gate[i]) * up[i];
        }
}
