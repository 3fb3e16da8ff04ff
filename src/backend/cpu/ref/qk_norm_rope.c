// qk_norm_rope in plain C; see ops/qk_norm_rope.h.
#include "backend/ops/qk_norm_rope.h"

#include "backend/cpu/ref/norm.h"
#include "backend/cpu/ref/ref.h"

int qn_ref_qk_norm_rope_supports(const void *args)
{
    const qn_qk_norm_rope_args *a = args;
    return qn_ref_rope_supports(&a->rope) && qn_cpu_is_vector(&a->weight, a->rope.head_dim);
}

void qn_ref_qk_norm_rope(const void *args, const qn_cpu_task *task)
{
    const qn_qk_norm_rope_args *a = args;
    for (int row, end; qn_cpu_take_rows(task, a->rope.counts->n_rows, &row, &end);)
        for (; row < end; row++) {
            float *x = qn_cpu_row(&a->rope.x, row);
            for (int h = 0; h < a->rope.n_heads; h++, x += a->rope.head_dim)
                qn_ref_norm_group(x, x, &a->weight, a->eps);
            qn_ref_rope_row(&a->rope, row);
        }
}
