// PTX as nvcc writes it (PTX ISA 9.0, of which what Quern's kernels use), read into instructions that warp.h runs.
// A module keeps its text; a function is read when it is first asked for. One thread. Errors are one line in ptx_module.error.
#ifndef QN_TEST_PTX_H
#define QN_TEST_PTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PTX_LANES = 32, PTX_MAX_OPERANDS = 144, PTX_MAX_PARAMETERS = 32 };

typedef struct warp warp;
typedef struct ptx_instruction ptx_instruction;
typedef void ptx_run(warp *w, const ptx_instruction *i, uint32_t lanes);

// Where 32 lanes' values of an operand lie: one of a warp's bases, and bytes from there. Lanes of 4 bytes (numbers of 8, 16 and 32
// bits), of 8 (of 64), or one mask of 32 lanes (predicates).
typedef int32_t ptx_operand;
typedef enum { PTX_IN_FRAME, PTX_IN_CONSTANTS, PTX_IN_SPECIALS, PTX_N_BASES } ptx_base;
enum { PTX_BASE_SHIFT = 28, PTX_NOWHERE = -1 };

typedef enum {
    PTX_PLAIN,
    PTX_MEET, // runs when all lanes of the warp are there
    PTX_BRANCH,
    PTX_CALL,
    PTX_RETURN,
} ptx_kind;

typedef enum {
    PTX_ANYWHERE,
    PTX_GLOBAL,
    PTX_SHARED,
    PTX_LOCAL,
    PTX_PARAMETER,
    PTX_LAUNCHED
} ptx_space;

struct ptx_instruction {
    ptx_run *run;
    const ptx_operand *operands;
    int64_t offset;    // of an address
    ptx_operand guard; // a predicate, or PTX_NOWHERE
    int32_t target;    // where a branch goes, which call a call is
    int32_t stride;    // bytes a lane has of local memory and parameters
    int32_t line;      // of the module's text
    int32_t hint;      // card.c's
    uint8_t kind, negated, n_operands;
    uint8_t space, wide_address; // memory: which; addresses of 8 bytes, not 4
    uint8_t shares; // others may too at the same time: relaxed, acquire, release, volatile
    uint8_t polls;  // a load that others may have to write before: the next turn is theirs
    uint8_t bytes, count, is_signed,
        wide; // memory: of an element, elements, how they become registers of 4 or 8 bytes
};

// A function's parameter, or what a call hands over: bytes a lane, and where they lie in the frame of the function (of the caller).
typedef struct {
    int32_t at, n_bytes, alignment;
} ptx_parameter;

typedef struct ptx_function ptx_function;

typedef struct {
    const char *callee_name;
    int name_length;
    ptx_function *callee; // found when the call first runs
    int n_arguments, n_results;
    ptx_parameter arguments[PTX_MAX_PARAMETERS], results[2];
} ptx_call;

struct ptx_function {
    const char *name, *text, *body; // text: behind the name; body: behind its {
    int name_length, line;
    bool is_entry, is_read, is_unknown; // unknown: it could not be read
    ptx_instruction *code;
    ptx_call *calls;
    int n_code, n_calls;
    int n_parameters, n_results;
    ptx_parameter parameters[PTX_MAX_PARAMETERS], results[2];
    int parameter_bytes; // of an entry, all together
    int frame_bytes;
    int shared_bytes; // of its own, by name: beside them a launch can't ask for more
    int n_threads;    // .maxntid, 0: not told
    int cluster;      // .reqnctapercluster, 1: none
};

typedef struct ptx_module ptx_module;

// text: ends with a 0, is copied; without the lines that hold `omitted` (NULL: with all; KERNEL/TEXT: those of a kernel). NULL: no PTX, see error (256 bytes).
ptx_module *ptx_module_new(const char *text, const char *omitted, char *error);
void ptx_module_free(ptx_module *m);
// The function, not read yet; NULL: there is none.
ptx_function *ptx_module_find(ptx_module *m, const char *name, int length);
// The function, read; NULL: there is none, or it holds what is not known here: see error (256 bytes).
ptx_function *ptx_module_function(ptx_module *m, const char *name, int length, char *error);
bool ptx_module_variable_holds(const ptx_module *m, uint64_t address, int n_bytes);
const char *ptx_module_constants(const ptx_module *m);

// What an instruction of this name does: fills in run, kind and what its suffixes say. operands: how each is read, a letter each (w: lanes of
// 4 bytes, q: of 8, p: a predicate, a: an address, l: a label, _: not read). NULL: not known.
const char *ptx_instruction_kind(const char *mnemonic, int length, ptx_instruction *i);

#endif
