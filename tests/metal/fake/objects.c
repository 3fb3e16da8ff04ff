// Objects and their lifetimes: references, autorelease pools, and the check of every message before it is sent.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake/internal.h"

enum {
    MAX_OBJECTS = 1 << 20,
    MAX_POOLED = 1 << 14,
    MAX_METHODS = 256,
    EXIT_BROKEN = 86,
    EXIT_LEAKS = 87
};

const char *const fake_class_names[FAKE_N_CLASSES] = {
    "NSString",        "NSError",           "MTLCompileOptions",  "FakeDevice",
    "FakeQueue",       "FakeLibrary",       "FakeFunction",       "FakePipeline",
    "FakeBuffer",      "FakeCommandBuffer", "FakeComputeEncoder", "MTLResidencySetDescriptor",
    "FakeResidencySet"};

static Class classes[FAKE_N_CLASSES];
static fake_object *objects[MAX_OBJECTS]; // open addressing by address
static int n_objects;
static _Thread_local fake_object *pooled[MAX_POOLED];
static _Thread_local int n_pooled, n_pools;
static const fake_method *methods[MAX_METHODS];
static int n_methods;
static bool sent[MAX_METHODS];

void fake_fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("fake metal: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    _exit(EXIT_BROKEN);
}

// ---- objects ----

static unsigned place_of(const void *o)
{
    unsigned at = (unsigned)((uintptr_t)o >> 4) * 2654435761u % MAX_OBJECTS;
    while (objects[at] && (void *)objects[at] != o)
        at = (at + 1) % MAX_OBJECTS;
    return at;
}

fake_object *fake_new(fake_class c)
{
    fake_object *o = calloc(1, sizeof *o);
    if (!o || n_objects > MAX_OBJECTS / 2) fake_fail("no memory for objects of the fake");
    o->isa = classes[c];
    o->class_index = c;
    o->n_references = 1;
    objects[place_of(o)] = o;
    n_objects++;
    fake_metal_count()->n_live++;
    return o;
}

static void end(fake_object *o)
{
    if (o->class_index == FAKE_BUFFER) fake_destroy_buffer(o);
    if (o->class_index == FAKE_COMMAND) fake_destroy_command(o);
    if (o->class_index == FAKE_ENCODER) fake_destroy_encoder(o);
    if (o->n_uses)
        fake_fail("%s ended while a command buffer uses it", fake_class_names[o->class_index]);
    free(o->text);
    o->text = NULL;
    fake_metal_count()->n_live--;
}

void fake_release(fake_object *o)
{
    if (o->n_references <= 0)
        fake_fail("a %s is released more often than retained", fake_class_names[o->class_index]);
    if (--o->n_references == 0 && !o->shared) end(o);
}

id fake_autorelease(fake_object *o)
{
    if (!n_pools)
        fake_fail("a %s is autoreleased without a pool", fake_class_names[o->class_index]);
    if (n_pooled == MAX_POOLED) fake_fail("over %d objects in the pools", MAX_POOLED);
    pooled[n_pooled++] = o;
    return (id)o;
}

void *objc_autoreleasePoolPush(void);
void objc_autoreleasePoolPop(void *pool);

void *objc_autoreleasePoolPush(void)
{
    n_pools++;
    return (void *)(uintptr_t)((unsigned)n_pooled * 1024u + (unsigned)n_pools);
}

void objc_autoreleasePoolPop(void *pool)
{
    unsigned at = (unsigned)(uintptr_t)pool;
    if ((int)(at % 1024) != n_pools)
        fake_fail("autorelease pools are popped in another order than pushed");
    while (n_pooled > (int)(at / 1024))
        fake_release(pooled[--n_pooled]);
    n_pools--;
}

static fake_object *object_of(id o)
{
    fake_object *found = objects[place_of(o)];
    return (void *)found == (void *)o ? found : NULL;
}

fake_object *fake_check(id o, fake_class c, const char *what)
{
    fake_object *found = o ? object_of(o) : NULL;
    if (!found) fake_fail("%s: not an object", what);
    if (found->class_index != c)
        fake_fail("%s: expected a %s, found a %s", what, fake_class_names[c],
                  fake_class_names[found->class_index]);
    if (found->n_references <= 0)
        fake_fail("%s: a %s that was released", what, fake_class_names[c]);
    return found;
}

// ---- messages ----

static int class_of(id o, bool *of_class)
{
    for (int i = 0; i < FAKE_N_CLASSES; i++)
        if ((void *)classes[i] == (void *)o) {
            *of_class = true;
            return i;
        }
    const fake_object *found = object_of(o);
    *of_class = false;
    return found ? (int)found->class_index : -1;
}

static int find_method(int class_index, bool of_class, const char *selector)
{
    for (int i = 0; i < n_methods; i++)
        if ((int)methods[i]->class_index == class_index && methods[i]->of_class == of_class &&
            strcmp(methods[i]->selector, selector) == 0)
            return i;
    return -1;
}

void qn_metal_check(id o, const char *selector, const char *const *codes, int n_codes);

// The host's hook: receiver alive, selector known, types as the method's encoding.
void qn_metal_check(id o, const char *selector, const char *const *codes, int n_codes)
{
    bool of_class;
    char encoding[128];
    if (!o) fake_fail("%s is sent to nil", selector);
    int c = class_of(o, &of_class);
    if (c < 0) fake_fail("%s is sent to what is no object", selector);
    if (!of_class && object_of(o)->n_references <= 0)
        fake_fail("-[%s %s] of an object that was released", fake_class_names[c], selector);
    int m = find_method(c, of_class, selector);
    if (m < 0)
        fake_fail("%c[%s %s]: unknown selector", of_class ? '+' : '-', fake_class_names[c],
                  selector);
    int n = snprintf(encoding, sizeof encoding, "%s@:", codes[0]);
    for (int i = 1; i < n_codes; i++)
        n += snprintf(encoding + n, sizeof encoding - (size_t)n, "%s", codes[i]);
    const char *expected = methods[m]->encoding;
    if (strcmp(encoding, expected + (*expected == 'V'))) // oneway
        fake_fail("-[%s %s] is sent as %s, its encoding is %s", fake_class_names[c], selector,
                  encoding, expected);
    sent[m] = true;
}

void fake_metal_each_sent(void (*visit)(const char *class_name, const char *selector,
                                        const char *encoding))
{
    for (int i = 0; i < n_methods; i++)
        if (sent[i])
            visit(fake_class_names[methods[i]->class_index], methods[i]->selector,
                  methods[i]->encoding);
}

// ---- NSObject ----

static id retain(id o, SEL s)
{
    (void)s;
    object_of(o)->n_references++;
    return o;
}

static void release(id o, SEL s)
{
    (void)s;
    fake_release(object_of(o));
}

static bool responds(id o, SEL s, SEL asked)
{
    bool of_class;
    const char *name = sel_getName(asked);
    (void)s;
    bool is_new =
        !strcmp(name, "setMathMode:") || !strcmp(name, "newResidencySetWithDescriptor:error:");
    return find_method(class_of(o, &of_class), false, name) >= 0 && !(fake_metal()->old && is_new);
}

// ---- registration ----

static void add_method(const fake_method *m)
{
    Class c = classes[m->class_index];
    if (n_methods == MAX_METHODS) fake_fail("over %d methods", MAX_METHODS);
    methods[n_methods++] = m;
    class_addMethod(m->of_class ? object_getClass((id)c) : c, sel_registerName(m->selector),
                    (IMP)m->function, m->encoding);
}

static fake_method object_methods[3 * FAKE_N_CLASSES];

__attribute__((constructor)) static void register_classes(void)
{
    static const fake_method *const tables[] = {fake_foundation_methods, fake_device_methods,
                                                fake_command_methods, fake_encoder_methods};
    for (int i = 0; i < FAKE_N_CLASSES; i++) {
        classes[i] = objc_allocateClassPair(Nil, fake_class_names[i], 0);
        fake_method *m = &object_methods[3 * i];
        m[0] = (fake_method){(fake_class)i, false, "retain", "@@:", (fake_function)retain};
        m[1] = (fake_method){(fake_class)i, false, "release", "Vv@:", (fake_function)release};
        m[2] = (fake_method){(fake_class)i, false,
                             "respondsToSelector:", "B@::", (fake_function)responds};
        objc_registerClassPair(classes[i]);
        for (int j = 0; j < 3; j++)
            add_method(&m[j]);
    }
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (const fake_method *m = tables[i]; m->selector; m++)
            add_method(m);
}

// Registered first, so it runs last.
void fake_metal_end(void)
{
    int n = fake_metal_count()->n_live;
    if (n) {
        fprintf(stderr, "fake metal: %d objects are still alive:", n);
        for (int i = 0; i < MAX_OBJECTS; i++)
            if (objects[i] && objects[i]->n_references > 0 && !objects[i]->shared)
                fprintf(stderr, " %s", fake_class_names[objects[i]->class_index]);
        fputc('\n', stderr);
    }
    if (n_pools) fprintf(stderr, "fake metal: %d autorelease pools are still open\n", n_pools);
    if (n || n_pools) _exit(EXIT_LEAKS);
}

__attribute__((constructor)) static void watch_exit(void)
{
    atexit(fake_metal_end);
}
