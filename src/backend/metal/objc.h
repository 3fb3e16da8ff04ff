// Objective-C messages from plain C, on Apple's runtime and on GNU's (tests on Linux). A CALLn row of calls.h makes one typed
// function of a selector: no varargs, which arm64 passes in another way. The runtime's few functions are declared here, so that
// no SDK is needed to compile this folder.
#ifndef QN_BACKEND_METAL_OBJC_H
#define QN_BACKEND_METAL_OBJC_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct objc_object *qn_metal_id;
typedef const struct objc_selector *qn_metal_selector;
typedef struct {
    unsigned long width, height, depth;
} qn_metal_size; // MTLSize

extern qn_metal_selector sel_registerName(const char *name);
extern qn_metal_id objc_getClass(const char *name);
// A pool takes what a message returns without giving it away; popping it releases those.
extern void *objc_autoreleasePoolPush(void);
extern void objc_autoreleasePoolPop(void *pool);
extern qn_metal_id MTLCreateSystemDefaultDevice(void); // retained
extern unsigned CGMainDisplayID(void);

typedef void (*qn_metal_function)(void);
#ifdef __APPLE__
extern void objc_msgSend(void);
#define QN_METAL_FUNCTION(object, selector) ((void)(object), (void)(selector), objc_msgSend)
#else
extern qn_metal_function objc_msg_lookup(qn_metal_id object, qn_metal_selector selector);
#define QN_METAL_FUNCTION(object, selector) objc_msg_lookup(object, selector)
#endif

// Tests define QN_METAL_CHECKED and look at every message before it is sent: the types of a call as Objective-C encodes them,
// return type first.
#ifdef QN_METAL_CHECKED
extern void qn_metal_check(qn_metal_id object, const char *selector, const char *const *codes,
                           int n_codes);
#define QN_METAL_CODE(T)                                                                           \
    _Generic((T *)0, void *                                                                        \
             : "v", qn_metal_id *                                                                  \
             : "@", qn_metal_selector *                                                            \
             : ":", bool *                                                                         \
             : "B", long *                                                                         \
             : "q", unsigned long *                                                                \
             : "Q", void **                                                                        \
             : "^v", const void **                                                                 \
             : "r^v", const char **                                                                \
             : "r*", qn_metal_id **                                                                \
             : "^@", qn_metal_size *                                                               \
             : "{?=QQQ}", qn_metal_block *                                                         \
             : "@?")
#define QN_METAL_CHECK(o, s, ...)                                                                  \
    do {                                                                                           \
        static const char *const codes_[] = {__VA_ARGS__};                                         \
        qn_metal_check(o, s, codes_, (int)(sizeof codes_ / sizeof *codes_));                       \
    } while (0)
#else
#define QN_METAL_CODE(T) 0
#define QN_METAL_CHECK(o, s, ...)
#endif
typedef struct qn_metal_block_object *qn_metal_block; // a block; only NULL is passed

static inline qn_metal_selector qn_metal_selector_of(_Atomic(qn_metal_selector) *kept,
                                                     const char *name)
{
    qn_metal_selector s = atomic_load_explicit(kept, memory_order_relaxed);
    if (s) return s;
    s = sel_registerName(name);
    atomic_store_explicit(kept, s, memory_order_relaxed);
    return s;
}

// CALLn(return type, C name, selector, argument types …): `name(object, arguments …)` sends it.
#define CALL0(R, name, sel)                                                                        \
    static inline R name(qn_metal_id o)                                                            \
    {                                                                                              \
        static _Atomic(qn_metal_selector) kept;                                                    \
        qn_metal_selector s = qn_metal_selector_of(&kept, sel);                                    \
        QN_METAL_CHECK(o, sel, QN_METAL_CODE(R));                                                  \
        return ((R(*)(qn_metal_id, qn_metal_selector))QN_METAL_FUNCTION(o, s))(o, s);              \
    }
#define CALL1(R, name, sel, A)                                                                     \
    static inline R name(qn_metal_id o, A a)                                                       \
    {                                                                                              \
        static _Atomic(qn_metal_selector) kept;                                                    \
        qn_metal_selector s = qn_metal_selector_of(&kept, sel);                                    \
        QN_METAL_CHECK(o, sel, QN_METAL_CODE(R), QN_METAL_CODE(A));                                \
        return ((R(*)(qn_metal_id, qn_metal_selector, A))QN_METAL_FUNCTION(o, s))(o, s, a);        \
    }
#define CALL2(R, name, sel, A, B)                                                                  \
    static inline R name(qn_metal_id o, A a, B b)                                                  \
    {                                                                                              \
        static _Atomic(qn_metal_selector) kept;                                                    \
        qn_metal_selector s = qn_metal_selector_of(&kept, sel);                                    \
        QN_METAL_CHECK(o, sel, QN_METAL_CODE(R), QN_METAL_CODE(A), QN_METAL_CODE(B));              \
        return ((R(*)(qn_metal_id, qn_metal_selector, A, B))QN_METAL_FUNCTION(o, s))(o, s, a, b);  \
    }
#define CALL3(R, name, sel, A, B, C)                                                               \
    static inline R name(qn_metal_id o, A a, B b, C c)                                             \
    {                                                                                              \
        static _Atomic(qn_metal_selector) kept;                                                    \
        qn_metal_selector s = qn_metal_selector_of(&kept, sel);                                    \
        QN_METAL_CHECK(o, sel, QN_METAL_CODE(R), QN_METAL_CODE(A), QN_METAL_CODE(B),               \
                       QN_METAL_CODE(C));                                                          \
        return ((R(*)(qn_metal_id, qn_metal_selector, A, B, C))QN_METAL_FUNCTION(o, s))(o, s, a,   \
                                                                                        b, c);     \
    }
#define CALL4(R, name, sel, A, B, C, D)                                                            \
    static inline R name(qn_metal_id o, A a, B b, C c, D d)                                        \
    {                                                                                              \
        static _Atomic(qn_metal_selector) kept;                                                    \
        qn_metal_selector s = qn_metal_selector_of(&kept, sel);                                    \
        QN_METAL_CHECK(o, sel, QN_METAL_CODE(R), QN_METAL_CODE(A), QN_METAL_CODE(B),               \
                       QN_METAL_CODE(C), QN_METAL_CODE(D));                                        \
        return ((R(*)(qn_metal_id, qn_metal_selector, A, B, C, D))QN_METAL_FUNCTION(o, s))(        \
            o, s, a, b, c, d);                                                                     \
    }

#endif
