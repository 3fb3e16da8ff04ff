// How PTX is read: words, names, constants and declarations, for parse.c. What is not understood ends the reading (reader_fail).
#ifndef QN_TEST_READER_H
#define QN_TEST_READER_H
#include <setjmp.h>

#include "ptx.h"

enum {
    MAX_CLASSES = 16,
    MAX_NAMES = 160,
    MAX_LABELS = 8192,
    NAME_BYTES = 200,
    CONSTANT_BYTES = 256,
    MAX_CONSTANTS = 1 << 14
};

typedef struct {
    char name[NAME_BYTES];
    int length, at, width; // a register's bytes a lane (0: a predicate); at: in the frame
    ptx_space space;       // PTX_ANYWHERE: a register
    int64_t value;         // of a shared or global variable
    int stride, n_bytes;
} name;

typedef struct {
    char prefix[16];
    int length, at, n, width, bytes;
} register_class;

typedef struct {
    char name[32];
    int at;
} label;

struct ptx_module {
    char *text;
    ptx_function *functions;
    int n_functions;
    name *variables; // of the module
    int n_variables;
    char *constants; // of a fixed size, so that operands stay
    int n_constants;
    struct {
        uint64_t value;
        int width, at;         // at: 1 + which constant
    } seen[4 * MAX_CONSTANTS]; // by a hash of the value
    char *error;
};

// What is known while a function is read.
typedef struct {
    ptx_module *m;
    ptx_function *f;
    const char *at;
    int line;
    register_class classes[MAX_CLASSES];
    int n_classes;
    name names[MAX_NAMES];
    int n_names, scopes[8], n_scopes;
    label *labels;
    int n_labels;
    struct {
        char name[32];
        int instruction;
    } * jumps;
    int n_jumps, room_for_code;
    jmp_buf failed;
} reader;

typedef struct {
    ptx_operand operand;
    int width; // 0: a predicate
} found_register;

typedef struct {
    const char *name;
    int length, n_bytes, alignment;
} declared;

// One line, with the line of the text, into the module's error.
_Noreturn void reader_fail(reader *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Past spaces and comments; then what begins there.
void reader_skip(reader *r);
bool reader_takes(reader *r, char c);
void reader_expect(reader *r, char c);
int reader_word(const char *at); // its length, 0: none
int reader_next_word(reader *r);
bool reader_is(const char *at, int n, const char *what);

// 32 times the same, each of them kept once. width: bytes a lane.
ptx_operand reader_constant(reader *r, uint64_t value, int width);
ptx_operand reader_number(reader *r, int width);

// Room in the function's frame.
int reader_take_room(reader *r, int bytes, int alignment);
name *reader_add_name(reader *r, const char *text, int n);
const name *reader_find_in(const name *names, int n_names, const char *text, int n);
const name *reader_find_name(const reader *r, const char *text,
                             int n); // the function's, then the module's
bool reader_find_register(const reader *r, const char *text, int n, found_register *out);
bool reader_find_special(const char *text, int n, found_register *out);

void reader_declare_registers(reader *r); // after .reg
// After .param, .local, .shared or .global: [.align A] .type name[ [n] ].
declared reader_declaration(reader *r);
// Memory that each lane has for itself.
name *reader_declare_in_frame(reader *r, ptx_space space);

#endif
