// Calls a kernel on the current fiber: pointers in the order of [[buffer(n)]], then the four ids of the dialect's tail.
#include "internal.h"

// uint3 of Metal and of clang: 16 bytes in a vector register.
typedef uint32_t qn_uint3 __attribute__((vector_size(16)));

#define TYPES1 void *
#define TYPES2 TYPES1, void *
#define TYPES3 TYPES2, void *
#define TYPES4 TYPES3, void *
#define TYPES5 TYPES4, void *
#define TYPES6 TYPES5, void *
#define TYPES7 TYPES6, void *
#define TYPES8 TYPES7, void *
#define TYPES9 TYPES8, void *
#define TYPES10 TYPES9, void *
#define TYPES11 TYPES10, void *
#define TYPES12 TYPES11, void *
#define TYPES13 TYPES12, void *
#define TYPES14 TYPES13, void *
#define TYPES15 TYPES14, void *
#define TYPES16 TYPES15, void *
#define POINTERS1 p[0]
#define POINTERS2 POINTERS1, p[1]
#define POINTERS3 POINTERS2, p[2]
#define POINTERS4 POINTERS3, p[3]
#define POINTERS5 POINTERS4, p[4]
#define POINTERS6 POINTERS5, p[5]
#define POINTERS7 POINTERS6, p[6]
#define POINTERS8 POINTERS7, p[7]
#define POINTERS9 POINTERS8, p[8]
#define POINTERS10 POINTERS9, p[9]
#define POINTERS11 POINTERS10, p[10]
#define POINTERS12 POINTERS11, p[11]
#define POINTERS13 POINTERS12, p[12]
#define POINTERS14 POINTERS13, p[13]
#define POINTERS15 POINTERS14, p[14]
#define POINTERS16 POINTERS15, p[15]
#define CALL(n)                                                                                    \
    case n:                                                                                        \
        ((void (*)(TYPES##n, qn_uint3, qn_uint3, uint16_t, uint16_t))now->function)(               \
            POINTERS##n, group, thread, lane, simdgroup);                                          \
        break;

void qn_emulator_call_kernel(void)
{
    qn_emulator_state *now = &qn_emulator_now;
    uint32_t t = (uint32_t)(now->current - now->fibers);
    qn_uint3 group = {now->group[0], now->group[1], now->group[2]}, thread = {t};
    uint16_t lane = (uint16_t)(t % QN_EMULATOR_LANES),
             simdgroup = (uint16_t)(t / QN_EMULATOR_LANES);
    void **p = now->pointers;
    switch (now->n_pointers) {
        CALL(1)
        CALL(2)
        CALL(3)
        CALL(4)
        CALL(5)
        CALL(6)
        CALL(7)
        CALL(8)
        CALL(9)
        CALL(10)
        CALL(11)
        CALL(12)
        CALL(13)
        CALL(14)
        CALL(15)
        CALL(16)
    }
}
