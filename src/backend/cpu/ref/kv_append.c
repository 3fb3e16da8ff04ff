// kv_append in plain C; see ops/kv_append.h. The caches' rows are converted by their formats' own functions.
#include "backend/ops/kv_append.h"

#include "backend/cpu/ref/ref.h"

int qn_ref_kv_append_supports(const void *args)
{
    const qn_kv_append_args *a = args;
    const qn_tensor *k = &a->k_cache, *v = &a->v_cache;
    for (int i = 0; i < QN_MAX_RANK; i++)
        if (k->dim[i] != v->dim[i] || k->dim[i] <= 0) return 0;
    return k->data && v->data && k->rank == 4 && v->rank == 4 && k->dtype == v->dtype &&
           qn_kv_cache_supports(k->dtype, k->dim[3]) && k->dim[2] == QN_BLOCK_TOKENS &&
           qn_cpu_is_f32(&a->k) && qn_cpu_is_f32(&a->v) && a->k.dim[1] == k->dim[1] * k->dim[3] &&
           a->v.dim[1] == a->k.dim[1];
}

static void append(const qn_tensor *cache, const float *from, int64_t block, int64_t entry)
{
    const qn_format *format = qn_format_of(cache->dtype);
    int64_t n_heads = cache->dim[1], n = cache->dim[3];
    int64_t record_bytes = (int64_t)qn_format_bytes(format, (uint64_t)n);
    char *to = (char *)cache->data + (block * n_heads * QN_BLOCK_TOKENS + entry) * record_bytes;
    for (int64_t h = 0; h < n_heads; h++)
        format->from_f32(from + h * n, to + h * QN_BLOCK_TOKENS * record_bytes, (size_t)n);
}

void qn_ref_kv_append(const void *args, const qn_cpu_task *task)
{
    const qn_kv_append_args *a = args;
    for (int row, end; qn_cpu_take_rows(task, a->counts->n_rows, &row, &end);)
        for (; row < end; row++) {
            qn_row r = a->rows[row];
            int64_t block =
                a->slots
                    .table[(int64_t)r.slot * a->slots.max_blocks + r.position / QN_BLOCK_TOKENS];
            append(&a->k_cache, qn_cpu_row(&a->k, row), block, r.position % QN_BLOCK_TOKENS);
            append(&a->v_cache, qn_cpu_row(&a->v, row), block, r.position % QN_BLOCK_TOKENS);
        }
}
