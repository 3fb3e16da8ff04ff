// What the files of the fake share: objects, their classes' methods, and failing.
#ifndef QN_FAKE_METAL_INTERNAL_H
#define QN_FAKE_METAL_INTERNAL_H
#include <objc/objc.h>
#include <objc/runtime.h>

#include "emulator/emulator.h"
#include "fake/fake.h"

enum { FAKE_MAX_INDEX = 31, FAKE_PAGE = 16384, FAKE_MAX_NAME = 64 };

typedef enum {
    FAKE_STRING,
    FAKE_ERROR,
    FAKE_OPTIONS,
    FAKE_DEVICE,
    FAKE_QUEUE,
    FAKE_LIBRARY,
    FAKE_FUNCTION,
    FAKE_PIPELINE,
    FAKE_BUFFER,
    FAKE_COMMAND,
    FAKE_ENCODER,
    FAKE_RESIDENCY_DESCRIPTOR,
    FAKE_RESIDENCY,
    FAKE_N_CLASSES
} fake_class;

typedef struct fake_object fake_object;
typedef void (*fake_function)(void);

// One argument of an encoder.
typedef struct {
    fake_object *buffer; // NULL: bytes, or unbound
    size_t offset;
    unsigned char *bytes;
    size_t n_bytes;
} fake_argument;

typedef struct {
    fake_object *pipeline;
    fake_argument arguments[FAKE_MAX_INDEX]; // bytes copied
    uint32_t n_groups[3], n_threads;
    bool barrier_before;
} fake_dispatch;

// Every object, of any class; which fields count depends on that. Never freed, so that a late message is noticed.
struct fake_object {
    Class isa;
    fake_class class_index;
    int n_references;
    bool shared;               // the device: lives as long as the process
    char *text;                // string, error; source of a library; name of function and pipeline
    long code;                 // error; options: what was set
    char *memory;              // buffer
    size_t n_bytes, n_mapped;  // n_mapped 0: wrapped
    unsigned writes;           // pipeline: a bit a buffer that the kernel may write
    int n_uses;                // buffer, pipeline: by command buffers that are not over
    fake_object *encoder;      // command
    fake_object *command;      // encoder
    fake_object *queue;        // command
    fake_object *next;         // command: committed behind it
    int state, n_polls;        // command
    bool ended;                // encoder
    fake_object *error;        // command
    fake_dispatch *dispatches; // encoder
    int n_dispatches, capacity;
    fake_argument bound[FAKE_MAX_INDEX];
    fake_object *pipeline;
    bool barrier;
    bool in_set, committed;   // buffer: added to the residency set; there since its last commit
    fake_object *next_member; // of the set: a buffer that is either
};

typedef struct {
    fake_class class_index;
    bool of_class; // a class method
    const char *selector, *encoding;
    fake_function function;
} fake_method;

// One table a file.
extern const fake_method fake_foundation_methods[], fake_device_methods[], fake_command_methods[],
    fake_encoder_methods[];
extern const char *const fake_class_names[FAKE_N_CLASSES];

__attribute__((format(printf, 1, 2), noreturn)) void fake_fail(const char *format, ...);

fake_object *fake_new(fake_class c); // retained once
id fake_autorelease(fake_object *o); // gives it to the innermost pool
void fake_release(fake_object *o);
fake_object *fake_check(id o, fake_class c, const char *what); // an argument of a message
fake_object *fake_string(const char *text);
id fake_error(long code, const char *text); // autoreleased
void fake_destroy_buffer(fake_object *o);
void fake_destroy_command(fake_object *o);
void fake_destroy_encoder(fake_object *o);

// memory.c
bool fake_is_mapped(const void *from, size_t n_bytes); // inside one mapping
// Between the two, the memory may not be unmapped.
void fake_wrap_begins(const void *from, size_t n_bytes);
void fake_wrap_ends(const void *from, size_t n_bytes);
// encoder.c: runs what a command buffer holds; 0, or fails
void fake_run(fake_object *command, int n_dispatches);

extern const char
    qn_emulated_text_hashes[]; // of the texts that the emulator's kernels were compiled from
uint64_t fake_hash(const char *text, size_t n);

#endif
