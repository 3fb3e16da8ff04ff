// Recording: see plan.h.
#include "backend/plan.h"

#include <string.h>

void qn_plan_init(qn_plan *p, int max_rows, const qn_batch *batch)
{
    *p = (qn_plan){.max_rows = max_rows, .batch = *batch};
}

void qn_plan_free(qn_plan *p)
{
    if (!p) return;
    qn_arena_free(&p->arena);
    *p = (qn_plan){0};
}

static int grow(qn_plan *p)
{
    int capacity = p->capacity ? 2 * p->capacity : 64;
    // The old array stays in the arena until the plan is freed: together they take less than twice the last one.
    qn_record *records = qn_arena_take_array(&p->arena, (size_t)capacity, sizeof *records);
    if (!records) return QUERN_E_MEMORY;
    if (p->n_records) memcpy(records, p->records, (size_t)p->n_records * sizeof *records);
    p->records = records;
    p->capacity = capacity;
    return 0;
}

void qn_plan_add(qn_plan *p, qn_op op, const void *args)
{
    size_t bytes = qn_op_get(op)->args_bytes;
    if (p->failed) return;
    void *copy = qn_arena_take(&p->arena, bytes);
    if (!copy || (p->n_records == p->capacity && grow(p) != 0)) {
        p->failed = 1;
        return;
    }
    memcpy(copy, args, bytes);
    p->records[p->n_records++] = (qn_record){op, copy};
}

int qn_access_bytes(qn_access *accesses, int n, const void *from, size_t n_bytes, int write)
{
    if (!from || !n_bytes) return n;
    accesses[n] = (qn_access){from, n_bytes, write};
    return n + 1;
}

int qn_access_tensor(qn_access *accesses, int n, const qn_tensor *t, int write)
{
    return t->data ? qn_access_bytes(accesses, n, t->data, qn_tensor_bytes(t), write) : n;
}
