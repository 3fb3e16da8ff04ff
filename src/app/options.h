// Command-line options: a table a command, from which both parsing and --help are made.
#ifndef QN_APP_OPTIONS_H
#define QN_APP_OPTIONS_H
#include <stddef.h>

#include "quern.h"

typedef enum {
    QN_OPTION_FLAG,  // bool *
    QN_OPTION_INT,   // int *, within min … max
    QN_OPTION_BYTES, // uint64_t *: a number with K, M, G (powers of 1,024)
    QN_OPTION_TEXT,  // const char **
    QN_OPTION_LIST,  // qn_text_list *: may be given several times
} qn_option_kind;

enum { QN_MAX_LIST = 16 };
typedef struct {
    const char *text[QN_MAX_LIST];
    int n;
} qn_text_list;

typedef struct {
    const char *name; // "--threads"
    qn_option_kind kind;
    void *target;
    const char *value, *help; // "N", "compute threads (default: one a core)"
    int min, max;
} qn_option;

// The options of everything that runs a model.
typedef struct {
    quern_runtime_options runtime;
    quern_model_options model;
    const char *log_level;
} qn_engine_options;
enum { QN_ENGINE_OPTIONS = 11 };
// Fills rows (QN_ENGINE_OPTIONS of them) that set *o, after giving it its defaults: what a model takes of memory is told on stderr.
void qn_engine_options_rows(qn_engine_options *o, qn_option *rows);

typedef struct {
    const char *usage; // "quern run MODEL (\"prompt\" | --tokens \"1 2 3\") [options]"
    const char *about; // a paragraph
    const qn_option *options;
    int n_options;
    quern_params *params;     // not NULL: the request fields are options too (--num-beams …)
    qn_text_list *positional; // what is no option
    int min_positional, max_positional;
} qn_command_line;

// QN_OPTIONS_GO, or the exit code to end with (--help: 0; wrong usage: 2, said on stderr).
enum { QN_OPTIONS_GO = -1 };
int qn_options_parse(const qn_command_line *line, int argc, char **argv);

#endif
