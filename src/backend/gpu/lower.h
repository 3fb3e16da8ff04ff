// Lowering: how each operation becomes tasks. Private to backend/gpu; a file lower_<what>.c has one row or a few of the table in lower.c.
#ifndef QN_BACKEND_GPU_LOWER_H
#define QN_BACKEND_GPU_LOWER_H
#include "backend/gpu/args.h"
#include "backend/gpu/task.h"

typedef struct {
    const qn_plan *plan;
    const qn_gpu_options *options;
    qn_gpu_list *list;
} qn_gpu_lowering;

// One operation. `args` is its argument struct (ops/<op>.h).
typedef struct {
    int (*supports)(const void *args);
    size_t (*scratch)(const qn_plan *p, const void *args); // bytes between its tasks; NULL: none
    void (*lower)(qn_gpu_lowering *l, const void *args);
} qn_gpu_rule;

extern const qn_gpu_rule qn_gpu_attention_rule;
extern const qn_gpu_rule qn_gpu_sample_rule;
extern const qn_gpu_rule qn_gpu_matmul_rule;

// Appends a task with a grid of nx · ny · nz groups and a copy of its argument struct. Never NULL: when memory ran out the list
// has failed, and a spare task is given. Buffers are added afterwards, in the order of the kernel's parameters.
qn_gpu_task *qn_gpu_task_add(qn_gpu_list *l, qn_gpu_kernel kernel, const uint32_t n_groups[3],
                             const void *args, size_t args_bytes);
// write: 0 read, 1 written, 2 both. An absent buffer (NULL) is bound to the counts, which are always there.
void qn_gpu_task_bytes(qn_gpu_task *t, const qn_plan *p, const void *address, size_t n_bytes,
                       int write);
void qn_gpu_task_tensor(qn_gpu_task *t, const qn_plan *p, const qn_tensor *tensor, int write);
void qn_gpu_task_counts(qn_gpu_task *t, const qn_plan *p);  // const qn_step_counts
void qn_gpu_task_rows(qn_gpu_task *t, const qn_plan *p);    // const qn_row [max_rows]
void qn_gpu_task_outputs(qn_gpu_task *t, const qn_plan *p); // const qn_output [max_outputs]
void qn_gpu_task_tokens(qn_gpu_task *t, const qn_plan *p,
                        int write);                                  // int [max_slots][max_context]
void qn_gpu_task_table(qn_gpu_task *t, const qn_plan *p, int write); // int [max_slots][max_blocks]
void qn_gpu_task_params(qn_gpu_task *t, const qn_plan *p, int write); // qn_slot_params [max_slots]

// Plans of few rows (fuse_rows): lowers a sequence of records that begins at i as fewer tasks (fuse.c); how many records those were, 0: none.
int qn_gpu_fuse(qn_gpu_lowering *l, int i);

// Checks of shapes that several operations share.
int qn_gpu_is_f32(const qn_tensor *t);               // a matrix of float32 activations
int qn_gpu_is_vector(const qn_tensor *t, int64_t n); // n numbers of a type that kernels read
// Rows of n weights: of a plain type, or of whole blocks that lie as kernels read them.
int qn_gpu_is_weights(const qn_tensor *t, int64_t n);
uint32_t qn_gpu_groups(int64_t n, int64_t each); // ceil(n / each)

#endif
