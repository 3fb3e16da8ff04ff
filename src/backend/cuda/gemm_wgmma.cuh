// clang-format off
// wgmma m64nNk16, A from registers, B by its descriptor, float32 sums. TRANSPOSED: B lies as rows of K, not of N.
#ifndef QN_BACKEND_CUDA_GEMM_WGMMA_CUH
#define QN_BACKEND_CUDA_GEMM_WGMMA_CUH

// The sums' registers: as operands, and by their numbers in the text.
#define QN_SUMS_8(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), "+f"(c[i + 6]), "+f"(c[i + 7])
#define QN_SUMS_16 QN_SUMS_8(0), QN_SUMS_8(8)
#define QN_SUMS_32 QN_SUMS_16, QN_SUMS_8(16), QN_SUMS_8(24)
#define QN_SUMS_64 QN_SUMS_32, QN_SUMS_8(32), QN_SUMS_8(40), QN_SUMS_8(48), QN_SUMS_8(56)
#define QN_SUMS_128 QN_SUMS_64, QN_SUMS_8(64), QN_SUMS_8(72), QN_SUMS_8(80), QN_SUMS_8(88), QN_SUMS_8(96), QN_SUMS_8(104), QN_SUMS_8(112), QN_SUMS_8(120)
#define QN_NAMES_8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define QN_NAMES_16 QN_NAMES_8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define QN_NAMES_32 QN_NAMES_16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define QN_NAMES_64 QN_NAMES_32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define QN_NAMES_128 QN_NAMES_64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"

#define QN_WGMMA_OF(N, TYPES, NAMES, A, B, MORE, T, ...)                                                                 \
    asm volatile("{.reg .pred p; setp.ne.b32 p, " MORE ", 0; "                                                         \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPES " {" NAMES "}, "                              \
                 "{" A "}, " B ", p, 1, 1, " T ";}"                                                                    \
                 : __VA_ARGS__                                                                                         \
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "l"(b), "r"(more), "n"(TRANSPOSED))

// c = a · b + (more ? c : 0). TYPE: 1 F16, 2 BF16. Asynchronous: c and a are the units' until a wait.
template <int TYPE, int N, int TRANSPOSED = 0> struct qn_wgmma;

#define QN_WGMMA(N, NAMES, A, B, MORE, T, ...)                                                                         \
    template <int TYPE, int TRANSPOSED> struct qn_wgmma<TYPE, N, TRANSPOSED> {                                         \
        static __device__ __forceinline__ void run(float *c, uint4 a, ulong b, int more)                               \
        {                                                                                                              \
            if (TYPE == 1)                                                                                             \
                QN_WGMMA_OF(N, "f16.f16", NAMES, A, B, MORE, T, __VA_ARGS__);                                             \
            else                                                                                                       \
                QN_WGMMA_OF(N, "bf16.bf16", NAMES, A, B, MORE, T, __VA_ARGS__);                                           \
        }                                                                                                              \
    };
QN_WGMMA(16, QN_NAMES_8, "%8,%9,%10,%11", "%12", "%13", "%14", QN_SUMS_8(0))
QN_WGMMA(32, QN_NAMES_16, "%16,%17,%18,%19", "%20", "%21", "%22", QN_SUMS_16)
QN_WGMMA(64, QN_NAMES_32, "%32,%33,%34,%35", "%36", "%37", "%38", QN_SUMS_32)
QN_WGMMA(128, QN_NAMES_64, "%64,%65,%66,%67", "%68", "%69", "%70", QN_SUMS_64)
QN_WGMMA(256, QN_NAMES_128, "%128,%129,%130,%131", "%132", "%133", "%134", QN_SUMS_128)

#endif
