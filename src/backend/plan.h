// Plan: a forward pass, recorded. The model file calls qn_<operation>(plan, …) once a class of step at load; each call appends
// one plain record. Recording cannot fail: lack of memory is kept in the plan and reported by compile.
// A plan is used by one thread and read-only once recorded.
#ifndef QN_BACKEND_PLAN_H
#define QN_BACKEND_PLAN_H
#include "backend/step.h"
#include "base/arena.h"
#include "base/error.h"
#include "tensor/tensor.h"

// The operations; the order is that of the table in ops.c. A new one: a value here, ops/<op>.h, cpu/ref/<op>.c, a row in ops.c.
typedef enum {
    QN_OP_STEP_BEGIN,
    QN_OP_COPY_BLOCKS,
    QN_OP_EMBED,
    QN_OP_RMS_NORM,
    QN_OP_MATMUL,
    QN_OP_ROPE,
    QN_OP_QK_NORM_ROPE,
    QN_OP_KV_APPEND,
    QN_OP_ATTENTION,
    QN_OP_SWIGLU,
    QN_OP_GATHER,
    QN_OP_SAMPLE,
    QN_OP_ALL_REDUCE,
    QN_OP_ALL_GATHER,
    QN_OP_COUNT
} qn_op;

// Bytes that a record reads or writes: dependencies follow from where ranges meet.
typedef struct {
    const void *from;
    size_t n_bytes;
    int write; // 0 read, 1 written, 2 both
} qn_access;
enum { QN_MAX_ACCESSES = 10 };

// One row of ops.c.
typedef struct {
    const char *name;
    size_t args_bytes;
    // Fills out (room for QN_MAX_ACCESSES) and returns how many. Tables read through an index count as read whole.
    int (*accesses)(const void *args, qn_access *out);
} qn_op_info;
const qn_op_info *qn_op_get(qn_op op);

typedef struct {
    qn_op op;
    const void *args; // the operation's argument struct, owned by the plan
} qn_record;

// What every record of a plan shares: fixed device addresses. Row counts are read on the device.
typedef struct {
    qn_step_limits limits;
    qn_step_view step; // the device's step block
    qn_slot_table slots;
    qn_step_result *results; // [limits.max_outputs]
} qn_batch;

typedef struct {
    qn_arena arena;
    qn_record *records;
    int n_records, capacity;
    int failed;   // memory ran out while recording
    int max_rows; // the class: no step that runs this plan has more rows
    qn_batch batch;
} qn_plan;

void qn_plan_init(qn_plan *p, int max_rows, const qn_batch *batch);
void qn_plan_free(qn_plan *p);
// Copies args (qn_op_get(op)->args_bytes of them) into a new record.
void qn_plan_add(qn_plan *p, qn_op op, const void *args);

// Adds a tensor's range to accesses[n]; returns n + 1 (n where the tensor is absent: data NULL).
int qn_access_tensor(qn_access *accesses, int n, const qn_tensor *t, int write);
int qn_access_bytes(qn_access *accesses, int n, const void *from, size_t n_bytes, int write);

// What caches of keys and values can be: plain numbers, or Q8_0 where heads are of whole blocks.
static inline bool qn_kv_cache_supports(qn_dtype dtype, int64_t head_dim)
{
    if (qn_dtype_is_plain(dtype)) return true;
    return dtype == QN_DTYPE_Q8_0 && head_dim % qn_format_of(dtype)->block_elements == 0;
}

// A plan in which every fused record that `supports` refuses is written as plain ones (the same results, bit for bit). 0 or
// QUERN_E_UNSUPPORTED where a record can neither be run nor rewritten, QUERN_E_MEMORY. *out is initialised by this, and empty
// on failure.
int qn_plan_compose(const qn_plan *in, int (*supports)(void *context, const qn_record *r),
                    void *context, qn_plan *out, quern_error *e);

#endif
