// Program: a plan as the CPU's pool walks it: kernels and arguments, in phases that end only where ranges meet.
#ifndef QN_BACKEND_CPU_PROGRAM_H
#define QN_BACKEND_CPU_PROGRAM_H
#include "backend/backend.h"
#include "backend/cpu/dispatch.h"
#include "backend/cpu/pool.h"

// observer (NULL: none): a record of its own before each product. QUERN_E_UNSUPPORTED naming the operation, QUERN_E_MEMORY.
int qn_program_make(const qn_cpu_isa *isa, const qn_observer *observer, const qn_plan *plan,
                    qn_program **out, quern_error *e);
void qn_program_free(qn_program *p); // takes NULL

// Takes the step block over, runs every record and writes the results out. `scratch`: QN_CPU_SCRATCH_BYTES a worker.
// QUERN_E_INTERNAL where the block's counts exceed the plan's limits; nothing has been done then.
int qn_program_run(qn_program *p, qn_pool *pool, char *scratch, const qn_launch *step);

#endif
