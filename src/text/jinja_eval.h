// Running a program: frames of variables, expressions, statements, and the built-in filters, tests, functions and methods
// with their one calling convention. Private to src/text/jinja_*.c and chat_template.c. One thread a rendering.
#ifndef QN_TEXT_JINJA_EVAL_H
#define QN_TEXT_JINJA_EVAL_H
#include "text/jinja_ast.h"

typedef struct {
    uint32_t name;
    qn_jinja_value value;
} qn_jinja_variable;

typedef struct qn_jinja_frame {
    struct qn_jinja_frame *parent;
    qn_jinja_variable *variables;
    uint32_t n, capacity;
} qn_jinja_frame;

typedef struct qn_jinja_macro {
    const qn_jinja_signature *signature;
    qn_jinja_frame *frame; // where it was defined
    bool is_caller;
} qn_jinja_macro;

typedef struct qn_jinja_loop {
    qn_jinja_value *items;
    size_t n, index;
    qn_jinja_value changed; // last arguments of loop.changed()
} qn_jinja_loop;

typedef struct {
    const qn_jinja_value *positional;
    size_t n;
    const qn_jinja_string *const *names; // of named
    const qn_jinja_value *named;
    size_t n_named;
} qn_jinja_args;

enum { QN_JINJA_MAX_SLOTS = 5 };

typedef struct {
    qn_jinja_value self;                     // what is filtered or tested; the object of a method
    qn_jinja_value slot[QN_JINJA_MAX_SLOTS]; // arguments by parameter; ABSENT where not given
    qn_jinja_args args;                      // as they were written
} qn_jinja_call;

typedef int qn_jinja_function(qn_jinja_run *r, qn_jinja_call *c, qn_jinja_value *out);

typedef struct qn_jinja_builtin {
    const char *name;
    qn_jinja_function *function;
    const char *parameters; // names in order, one space between; "*": any, left in args
    int n_required;
} qn_jinja_builtin;

typedef struct qn_jinja_method {
    const qn_jinja_builtin *builtin;
    qn_jinja_value self;
} qn_jinja_method;

// Positive results of statements beside 0 and errors.
enum { QN_JINJA_BROKE = 1, QN_JINJA_CONTINUED = 2 };

// Runs r->program into the output.
int qn_jinja_execute(qn_jinja_run *r, qn_buffer *text, qn_buffer *trusted);
int qn_jinja_execute_body(qn_jinja_run *r, qn_jinja_frame *f, qn_jinja_builder *out,
                          const qn_jinja_nodes *body);
int qn_jinja_evaluate(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_node *node,
                      qn_jinja_value *out);
int qn_jinja_evaluate_args(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_arguments *in,
                           qn_jinja_args *out);
// Applies n suffixes to *value, one after the other.
int qn_jinja_apply_suffixes(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_suffix *list,
                            uint32_t n, qn_jinja_value *value);
// Calls a value: macro, method or function.
int qn_jinja_invoke(qn_jinja_run *r, const qn_jinja_value *callee, const qn_jinja_args *args,
                    qn_jinja_value *out);
int qn_jinja_invoke_macro(qn_jinja_run *r, const qn_jinja_macro *m, const qn_jinja_args *args,
                          qn_jinja_value *out);
// Binds args to the parameters of b and runs it.
int qn_jinja_invoke_builtin(qn_jinja_run *r, const qn_jinja_builtin *b, const qn_jinja_value *self,
                            const qn_jinja_args *args, qn_jinja_value *out);
int qn_jinja_frame_new(qn_jinja_run *r, qn_jinja_frame *parent, qn_jinja_frame **out);
int qn_jinja_frame_set(qn_jinja_run *r, qn_jinja_frame *f, uint32_t name, qn_jinja_value v);
int qn_jinja_frame_get(qn_jinja_run *r, const qn_jinja_frame *f, uint32_t name,
                       qn_jinja_value *out);
int qn_jinja_assign(qn_jinja_run *r, qn_jinja_frame *f, const qn_jinja_node *target,
                    const qn_jinja_value *v);

// The messages as Hugging Face hands them to a template: reasoning under each of the names that templates read.
int qn_jinja_alias_reasoning(qn_jinja_run *r, qn_jinja_value *messages);

// NULL where there is none of that name.
const qn_jinja_builtin *qn_jinja_find_filter(const char *name, size_t n);
const qn_jinja_builtin *qn_jinja_find_test(const char *name, size_t n);
const qn_jinja_builtin *qn_jinja_find_global(const char *name, size_t n);
const qn_jinja_builtin *qn_jinja_find_method(const qn_jinja_value *object, const char *name,
                                             size_t n);
// A method that exists in Python and that the sandbox withholds (list.append …).
bool qn_jinja_withheld(const qn_jinja_value *object, const char *name, size_t n);
// Parts of the filters' and methods' tables, one a file.
typedef struct {
    const qn_jinja_builtin *rows;
    size_t n;
} qn_jinja_table;
extern const qn_jinja_table qn_jinja_text_filters, qn_jinja_list_filters, qn_jinja_pick_filters,
    qn_jinja_text_methods, qn_jinja_form_methods;
// The row of that name, or NULL.
const qn_jinja_builtin *qn_jinja_row(const qn_jinja_table *table, const char *name, size_t n);

// ---- shared by filters and methods (jinja_text.c, jinja_number.c, jinja_sort.c) ----

typedef enum {
    QN_JINJA_UPPER,
    QN_JINJA_LOWER,
    QN_JINJA_CAPITALIZE,
    QN_JINJA_TITLE, // str.title
    QN_JINJA_SWAP,
    QN_JINJA_TITLE_FILTER // the filter: words begin after white space, - ( { [ <
} qn_jinja_case;
// Changes case character by character (no mapping to several but for ß).
int qn_jinja_change_case(qn_jinja_run *r, const qn_jinja_string *s, qn_jinja_case how,
                         qn_jinja_value *out);
typedef struct {
    qn_jinja_string old, new;
    int64_t count; // at most so many; < 0: all
} qn_jinja_replacement;
int qn_jinja_replace(qn_jinja_run *r, const qn_jinja_string *s, const qn_jinja_replacement *how,
                     qn_jinja_value *out);
// The lines of s as str.splitlines gives them.
int qn_jinja_split_lines(qn_jinja_run *r, const qn_jinja_string *s, bool keep_ends,
                         qn_jinja_value *out);
// As qn_jinja_trim, with its cost charged; set may be NULL.
int qn_jinja_strip(qn_jinja_run *r, const qn_jinja_string *s, const qn_jinja_value *set,
                   const bool sides[2], qn_jinja_value *out);
// A list that grows; out becomes its value when it is complete.
int qn_jinja_push(qn_jinja_run *r, qn_jinja_list *list, size_t *capacity, qn_jinja_value v);
// s in a field of at least `width` characters; sides[0]: filled on the left, sides[1]: on the right.
int qn_jinja_pad(qn_jinja_run *r, const qn_jinja_string *s, int64_t width,
                 const qn_jinja_string *filler, const bool sides[2], qn_jinja_value *out);
// islower, isupper (the test and the method).
bool qn_jinja_has_case(const qn_jinja_string *s, bool upper);

// int(text, base): false where Python raises ValueError (or the value exceeds 64 bits).
bool qn_jinja_parse_int(const qn_jinja_string *s, int64_t base, int64_t *out);
bool qn_jinja_parse_real(const qn_jinja_string *s, double *out);
int qn_jinja_real_to_int(qn_jinja_run *r, double d, qn_jinja_value *out);

// The stable order of n keys: order[i] is the number of the i-th smallest (largest, where `reverse`).
int qn_jinja_sort(qn_jinja_run *r, const qn_jinja_value *keys, size_t n, bool reverse,
                  uint32_t **order);

// ---- arguments of built-ins ----

static inline bool qn_jinja_given(const qn_jinja_value *v)
{
    return v->kind != QN_JINJA_ABSENT && v->kind != QN_JINJA_NONE;
}
// An optional integer (None counts as absent) or string; a TypeError for other types.
int qn_jinja_int_argument(qn_jinja_run *r, const qn_jinja_value *v, int64_t otherwise,
                          int64_t *out);
int qn_jinja_string_argument(qn_jinja_run *r, const qn_jinja_value *v, const char *otherwise,
                             qn_jinja_string *out);

#endif
