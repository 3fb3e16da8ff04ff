// Values of the template interpreter: what a Jinja expression can be, and the memory of one rendering.
// All values of a rendering live in its arena and die with it; they are immutable but for namespaces, iterators and
// loops. A string knows, byte by byte, whether the template wrote it ("trusted") or it came from a variable.
// Private to src/text/jinja_*.c and chat_template.c. One thread a rendering. Knows nothing of files.
#ifndef QN_TEXT_JINJA_VALUE_H
#define QN_TEXT_JINJA_VALUE_H
#include <jansson.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"

enum {
    QN_JINJA_MAX_SOURCE_BYTES = 1 << 20,
    QN_JINJA_MAX_PARSE_DEPTH = 64, // nested blocks and brackets in a template's source
    QN_JINJA_MAX_CALL_DEPTH = 64,  // macros inside macros
    QN_JINJA_MAX_EVAL_DEPTH = 192, // expressions and blocks being evaluated: bounds the C stack
    QN_JINJA_MAX_DATA_DEPTH = 128, // lists and dicts inside one another
    QN_JINJA_MAX_STEPS = 1000000,  // nodes evaluated, items visited
    QN_JINJA_BYTES_A_STEP = 256,   // bytes of text handled cost one step for so many
    QN_JINJA_MAX_OUTPUT_BYTES = 8 << 20,
    QN_JINJA_MAX_MEMORY_BYTES = 128 << 20,
    QN_JINJA_MAX_RANGE = 100000, // as Jinja2's sandbox
};

typedef enum {
    QN_JINJA_ABSENT, // no value at all: an argument not given; templates never see it
    QN_JINJA_UNDEFINED,
    QN_JINJA_NONE,
    QN_JINJA_BOOL,
    QN_JINJA_INT,
    QN_JINJA_FLOAT,
    QN_JINJA_STRING,
    QN_JINJA_LIST, // every sequence but a string: see qn_jinja_flavour
    QN_JINJA_DICT,
    QN_JINJA_NAMESPACE,
    QN_JINJA_LOOP,
    QN_JINJA_MACRO,
    QN_JINJA_METHOD,  // a built-in bound to its object
    QN_JINJA_FUNCTION // range, namespace …
} qn_jinja_kind;

// Valid UTF-8, borrowed: from the template, from the JSON of the variables, or from the arena.
typedef struct {
    const char *data;
    const unsigned char *trust; // one byte for each of data; NULL: all of them are `trusted`
    size_t n;
    bool trusted;
    bool
        markup; // what safe and escape gave: + escapes what is added to it, as Python's Markup does
} qn_jinja_string;

typedef enum {
    QN_JINJA_PLAIN_LIST,
    QN_JINJA_TUPLE,
    QN_JINJA_RANGE,
    QN_JINJA_ITERATOR, // what map, select, reverse … give: no length, no index, consumed once
    QN_JINJA_KEYS,
    QN_JINJA_VALUES,
    QN_JINJA_ITEMS
} qn_jinja_flavour;

typedef struct qn_jinja_value qn_jinja_value;
typedef struct qn_jinja_list qn_jinja_list;
typedef struct qn_jinja_dict qn_jinja_dict;
typedef struct qn_jinja_run qn_jinja_run;

// What is known of a value that is not there, for the message when it is used.
typedef struct qn_jinja_undefined qn_jinja_undefined;

struct qn_jinja_value {
    qn_jinja_kind kind;
    union {
        bool boolean;
        int64_t integer;
        double real;
        const qn_jinja_string *string;
        qn_jinja_list *list;
        qn_jinja_dict *dict; // DICT and NAMESPACE
        struct qn_jinja_loop *loop;
        const struct qn_jinja_macro *macro;
        const struct qn_jinja_method *method;
        const struct qn_jinja_builtin *function;
        const qn_jinja_undefined *undefined;
    };
};

struct qn_jinja_undefined {
    const char *hint;      // the whole message, or NULL: made from object and name
    qn_jinja_value object; // whose attribute or element; ABSENT for a variable
    qn_jinja_value name;
    bool unsafe; // the sandbox withholds it
};

struct qn_jinja_list {
    qn_jinja_value *items;
    size_t n;
    size_t next;       // ITERATOR: the first item not yet consumed
    int64_t bounds[3]; // RANGE: start, stop, step, for its repr
    qn_jinja_flavour flavour;
};

typedef struct {
    qn_jinja_value key, value;
} qn_jinja_entry;

// Insertion order. Keys are compared as Python does (1 == 1.0 == True).
struct qn_jinja_dict {
    qn_jinja_entry *entries;
    size_t n, capacity;
    uint32_t *index; // open addressing, entry number + 1; NULL while the dict is small
    size_t index_size;
};

// ---- the rendering (jinja_run.c) ----

struct qn_jinja_run {
    const struct qn_jinja_program *program;
    const json_t *variables; // untrusted
    const json_t *tokens;    // the model's own bos_token …: trusted
    double now_unix;
    quern_error *error;
    int code; // the first failure
    qn_arena arena;
    uint64_t steps;
    int depth, call_depth, line;
    char *text; // the chunk that strings are built in, and beside it their trust
    unsigned char *text_trust;
    size_t text_used, text_size;
    qn_jinja_value *globals; // by name id; ABSENT: not looked up yet
};

// Records a failure as Python would name it ("TypeError"); returns the code, QUERN_E_ARGUMENT.
int qn_jinja_fail(qn_jinja_run *r, const char *error_class, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// Makes the message of *e (may be NULL) valid UTF-8 where cutting it to its room, or a name, broke it.
void qn_jinja_mend_message(quern_error *e);
// How many bytes of a name a message shows.
static inline int qn_jinja_at_most(size_t n, int most)
{
    return n > (size_t)most ? most : (int)n;
}
// A limit was reached: QUERN_E_LIMIT.
int qn_jinja_limit(qn_jinja_run *r, const char *what);
// Counts steps; QUERN_E_LIMIT when they are used up.
int qn_jinja_charge(qn_jinja_run *r, uint64_t n_steps);
int qn_jinja_charge_bytes(qn_jinja_run *r, uint64_t n_bytes);
// Zeroed memory, or NULL with the failure recorded in r->code.
void *qn_jinja_take(qn_jinja_run *r, size_t n, size_t size);

// ---- strings (jinja_string.c) ----

typedef struct {
    qn_jinja_run *run;
    char *data;
    unsigned char *trust;
    size_t n, capacity;
    qn_buffer *root,
        *root_trust; // the rendering's output instead of the arena; root_trust may be NULL
} qn_jinja_builder;

// A builder keeps the first failure in run->code, so only the end needs a check.
void qn_jinja_add(qn_jinja_builder *b, const qn_jinja_string *s);
void qn_jinja_add_text(qn_jinja_builder *b, const char *text, size_t n, bool trusted);
int qn_jinja_build(qn_jinja_builder *b, qn_jinja_value *out);

qn_jinja_string qn_jinja_literal(const char *text, bool trusted); // a view of a C string
qn_jinja_string qn_jinja_view(const qn_jinja_string *s, size_t from, size_t to);
int qn_jinja_string_value(qn_jinja_run *r, const qn_jinja_string *s, qn_jinja_value *out);
int qn_jinja_concat(qn_jinja_run *r, const qn_jinja_string *a, const qn_jinja_string *b,
                    qn_jinja_value *out);
// s with & < > " ' as entities, unless it is markup; the result is.
int qn_jinja_escape(qn_jinja_run *r, const qn_jinja_string *s, qn_jinja_value *out);
bool qn_jinja_same(const qn_jinja_string *a, const qn_jinja_string *b);
bool qn_jinja_is(const qn_jinja_string *s, const char *text);
int qn_jinja_order(const qn_jinja_string *a, const qn_jinja_string *b); // -1, 0, 1 by code point
// Trusted at byte i, i < n.
static inline bool qn_jinja_trust_at(const qn_jinja_string *s, size_t i)
{
    return s->trust ? s->trust[i] : s->trusted;
}
// Bytes of the character at i and its code; never 0 inside a string.
size_t qn_jinja_character(const qn_jinja_string *s, size_t i, uint32_t *code);
size_t qn_jinja_count(const qn_jinja_string *s);                       // characters
size_t qn_jinja_offset(const qn_jinja_string *s, size_t n_characters); // bytes that they take
bool qn_jinja_is_space(uint32_t code);                                 // as str.isspace
// Without white space, or without characters of `set` where it is given.
qn_jinja_string qn_jinja_trim(const qn_jinja_string *s, const qn_jinja_string *set, bool left,
                              bool right);
// Offset of needle at or after `from`, or SIZE_MAX.
size_t qn_jinja_find(const qn_jinja_string *s, const qn_jinja_string *needle, size_t from);

// ---- values (jinja_value.c) ----

static inline qn_jinja_value qn_jinja_none(void)
{
    return (qn_jinja_value){.kind = QN_JINJA_NONE};
}
static inline qn_jinja_value qn_jinja_bool(bool b)
{
    return (qn_jinja_value){.kind = QN_JINJA_BOOL, .boolean = b};
}
static inline qn_jinja_value qn_jinja_int(int64_t i)
{
    return (qn_jinja_value){.kind = QN_JINJA_INT, .integer = i};
}
static inline qn_jinja_value qn_jinja_float(double d)
{
    return (qn_jinja_value){.kind = QN_JINJA_FLOAT, .real = d};
}

int qn_jinja_undefined_hint(qn_jinja_run *r, const char *hint, qn_jinja_value *out);
int qn_jinja_undefined_of(qn_jinja_run *r, qn_jinja_value object, qn_jinja_value name, bool unsafe,
                          qn_jinja_value *out);
// Fails as the use of an undefined value does.
int qn_jinja_fail_undefined(qn_jinja_run *r, const qn_jinja_value *v);
const char *qn_jinja_type(const qn_jinja_value *v); // Python's name of the type
bool qn_jinja_truth(const qn_jinja_value *v);
// bool, int → *out. False for other kinds.
bool qn_jinja_as_int(const qn_jinja_value *v, int64_t *out);
bool qn_jinja_as_real(const qn_jinja_value *v, double *out); // bool, int, float
// A list of n items (undefined contents) to be filled by the caller.
int qn_jinja_new_list(qn_jinja_run *r, size_t n, qn_jinja_flavour flavour, qn_jinja_value *out);
// What a for loop visits: the items of a sequence, keys of a dict, characters of a string. Consumes an iterator.
int qn_jinja_iterate(qn_jinja_run *r, const qn_jinja_value *v, qn_jinja_value **items, size_t *n);
bool qn_jinja_iterable(const qn_jinja_value *v);
bool qn_jinja_length(const qn_jinja_value *v, size_t *n); // false where Python's len() fails
int qn_jinja_from_json(qn_jinja_run *r, const json_t *json, bool trusted, qn_jinja_value *out);

// ---- dicts (jinja_dict.c) ----

int qn_jinja_new_dict(qn_jinja_run *r, size_t capacity, qn_jinja_value *out);
// TypeError for a key that cannot be hashed.
int qn_jinja_dict_set(qn_jinja_run *r, qn_jinja_dict *d, qn_jinja_value key, qn_jinja_value value);
// *out is NULL where there is no such key.
int qn_jinja_dict_get(qn_jinja_run *r, qn_jinja_dict *d, const qn_jinja_value *key,
                      const qn_jinja_value **out);
int qn_jinja_dict_find(qn_jinja_run *r, qn_jinja_dict *d, const char *key,
                       const qn_jinja_value **out);
bool qn_jinja_hashable(const qn_jinja_value *v);

// ---- comparison and operators (jinja_compare.c, jinja_ops.c) ----

int qn_jinja_equal(qn_jinja_run *r, const qn_jinja_value *a, const qn_jinja_value *b, bool *out);
// Both are the same object, as Python's `is`.
bool qn_jinja_identical(const qn_jinja_value *a, const qn_jinja_value *b);
typedef enum {
    QN_JINJA_EQ,
    QN_JINJA_NE,
    QN_JINJA_LT,
    QN_JINJA_LE,
    QN_JINJA_GT,
    QN_JINJA_GE,
    QN_JINJA_IN,
    QN_JINJA_NOT_IN,
    QN_JINJA_ADD,
    QN_JINJA_SUB,
    QN_JINJA_MUL,
    QN_JINJA_DIV,
    QN_JINJA_FLOOR,
    QN_JINJA_MOD,
    QN_JINJA_POW
} qn_jinja_operator;
int qn_jinja_compare(qn_jinja_run *r, qn_jinja_operator op, const qn_jinja_value *a,
                     const qn_jinja_value *b, bool *out);
int qn_jinja_contains(qn_jinja_run *r, const qn_jinja_value *item, const qn_jinja_value *in,
                      bool *out);
int qn_jinja_calculate(qn_jinja_run *r, qn_jinja_operator op, const qn_jinja_value *a,
                       const qn_jinja_value *b, qn_jinja_value *out);
int qn_jinja_negate(qn_jinja_run *r, const qn_jinja_value *v, bool minus, qn_jinja_value *out);
// "%s %05d" % values, Python's.
int qn_jinja_percent(qn_jinja_run *r, const qn_jinja_string *format, const qn_jinja_value *values,
                     qn_jinja_value *out);

// ---- text of values (jinja_repr.c, jinja_json.c) ----

// str(v): strings as they are, undefined as nothing, the rest as Python shows it (untrusted).
void qn_jinja_add_str(qn_jinja_builder *b, const qn_jinja_value *v);
void qn_jinja_add_repr(qn_jinja_builder *b, const qn_jinja_value *v);
int qn_jinja_to_string(qn_jinja_run *r, const qn_jinja_value *v, qn_jinja_string *out);
// repr(float); returns the length.
size_t qn_jinja_format_real(double d, char out[32]);

typedef struct {
    bool ensure_ascii, sort_keys;
    const qn_jinja_string *indent; // NULL: on one line
    qn_jinja_string item_separator, key_separator;
} qn_jinja_json_style;
int qn_jinja_to_json(qn_jinja_run *r, const qn_jinja_value *v, const qn_jinja_json_style *style,
                     qn_jinja_value *out);

// ---- access (jinja_access.c) ----

int qn_jinja_attribute(qn_jinja_run *r, const qn_jinja_value *object, const qn_jinja_value *name,
                       qn_jinja_value *out); // object.name
int qn_jinja_item(qn_jinja_run *r, const qn_jinja_value *object, const qn_jinja_value *key,
                  qn_jinja_value *out); // object[key]
// object[bounds[0]:bounds[1]:bounds[2]]; None where a bound is not given.
int qn_jinja_slice(qn_jinja_run *r, const qn_jinja_value *object, const qn_jinja_value bounds[3],
                   qn_jinja_value *out);
// "a.b.0" as the attribute arguments of filters use it.
int qn_jinja_path(qn_jinja_run *r, const qn_jinja_value *object, const qn_jinja_value *path,
                  qn_jinja_value *out);

#endif
