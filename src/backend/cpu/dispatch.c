// The tables of kernels and what the processor says of itself; see dispatch.h.
#include "backend/cpu/dispatch.h"

#include <string.h>

#include "backend/cpu/kernels.h"
#include "backend/cpu/ref/ref.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

// ---- ref: every operation has a row ----

#define REF(op)                                                                                    \
    {                                                                                              \
        qn_ref_##op##_supports, qn_ref_##op                                                        \
    }
static const struct {
    int (*supports)(const void *args);
    qn_cpu_kernel kernel;
} ref[QN_OP_COUNT] = {
    [QN_OP_STEP_BEGIN] = REF(step_begin),
    [QN_OP_COPY_BLOCKS] = REF(copy_blocks),
    [QN_OP_EMBED] = REF(embed),
    [QN_OP_RMS_NORM] = REF(rms_norm),
    [QN_OP_MATMUL] = REF(matmul),
    [QN_OP_ROPE] = REF(rope),
    [QN_OP_QK_NORM_ROPE] = REF(qk_norm_rope),
    [QN_OP_KV_APPEND] = REF(kv_append),
    [QN_OP_ATTENTION] = REF(attention),
    [QN_OP_SWIGLU] = REF(swiglu),
    [QN_OP_GATHER] = REF(gather),
    [QN_OP_SAMPLE] = REF(sample),
    [QN_OP_ALL_REDUCE] = REF(all_reduce),
    [QN_OP_ALL_GATHER] = REF(all_gather),
};
#undef REF

// ---- instruction sets, best first ----

static int always(void)
{
    return 1;
}

static const qn_cpu_isa portable = {.name = "portable"};

#if defined(__x86_64__)
static int has_avx2(void)
{
    unsigned a, b, c = 0, d;
    int f16c = __get_cpuid(1, &a, &b, &c, &d) && c & 1u << 29;
    return f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

static const struct {
    const qn_cpu_isa *isa;
    int (*present)(void);
} isas[] = {
#if defined(__x86_64__)
    {&qn_kernels_avx512, has_avx512},
    {&qn_kernels_avx2, has_avx2},
#elif defined(__aarch64__)
    {&qn_kernels_neon, always},
#endif
    {&portable, always},
};

const qn_cpu_isa *qn_dispatch_isa(int i)
{
    for (size_t row = 0; row < sizeof isas / sizeof *isas; row++)
        if (isas[row].present() && i-- == 0) return isas[row].isa;
    return NULL;
}

const qn_cpu_isa *qn_dispatch_isa_by_name(const char *name)
{
    const qn_cpu_isa *isa = qn_dispatch_isa(0);
    for (int i = 1; isa && name && strcmp(isa->name, name) != 0; i++)
        isa = qn_dispatch_isa(i);
    return isa;
}

int qn_dispatch_supports(const qn_record *r)
{
    return (unsigned)r->op < QN_OP_COUNT && ref[r->op].supports(r->args);
}

qn_cpu_kernel qn_dispatch_kernel(const qn_cpu_isa *isa, qn_op op)
{
    return isa->kernels[op] ? isa->kernels[op] : ref[op].kernel;
}
