// See options.h. Values are checked here; what they mean is the command's.
#include "app/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "base/log.h"
#include "base/units.h"

// One line a model, before it is loaded.
static void print_need(void *user, const quern_memory_need *n)
{
    char weights[16], state[16], scratch[16], all[16], left[16];
    (void)user;
    uint64_t sum = n->weights_bytes + n->state_bytes + n->scratch_bytes;
    fprintf(
        stderr, "quern: %s: weights %s + KV cache %s (%s, context %d) + scratch %s = %s of %s\n",
        n->name, qn_units_bytes(n->weights_bytes, weights), qn_units_bytes(n->state_bytes, state),
        n->kv_cache, n->n_context, qn_units_bytes(n->scratch_bytes, scratch),
        qn_units_bytes(sum, all), qn_units_bytes(n->left_bytes, left));
}

void qn_engine_options_rows(qn_engine_options *o, qn_option *rows)
{
    *o = (qn_engine_options){.runtime = {.log_fd = 2, .log_level = QUERN_LOG_WARN},
                             .model = {.on_memory = print_need}};
    const qn_option table[QN_ENGINE_OPTIONS] = {
        {"--backend", QN_OPTION_TEXT, &o->runtime.backend, "B",
         "cpu, cuda, metal, or auto: the first of cuda, metal and cpu that works here (default: "
         "auto)",
         0, 0},
        {"--threads", QN_OPTION_INT, &o->runtime.n_threads, "N",
         "compute threads (default: one a core)", 1, 1024},
        {"--memory", QN_OPTION_BYTES, &o->runtime.memory_bytes, "BYTES",
         "budget for weights, KV cache and scratch, e.g. 12G (default: what there is)", 0, 0},
        {"--prefill-chunk", QN_OPTION_INT, &o->model.prefill_chunk, "N",
         "most prompt tokens a step (default: 256, or what the device is best with)", 1, 65536},
        {"--kv-blocks", QN_OPTION_INT, &o->model.n_kv_blocks, "N",
         "blocks of 16 tokens in the KV cache (default: from memory)", 1, 1 << 24},
        {"--kv-cache", QN_OPTION_TEXT, &o->model.kv_cache, "T",
         "type of keys and values: f16, bf16, q8_0 (half the memory) or f32 (default: the "
         "weights')",
         0, 0},
        {"--context", QN_OPTION_INT, &o->model.n_context, "N",
         "most tokens of a sequence (default: the model's)", 1, 1 << 24},
        {"--max-batch", QN_OPTION_INT, &o->model.max_batch, "N",
         "most sequences at once (default: 32)", 1, 256},
        {"--max-queue", QN_OPTION_INT, &o->model.max_queue, "N",
         "most requests waiting (default: 256)", 1, 1 << 20},
        {"--no-mmap", QN_OPTION_FLAG, &o->model.no_mmap, NULL,
         "copy the weights into memory instead of mapping the file", 0, 0},
        {"--log-level", QN_OPTION_TEXT, &o->log_level, "L",
         "error, warn, info or debug (default: warn; serve: info)", 0, 0},
    };
    memcpy(rows, table, sizeof table);
}

static int wrong(const qn_command_line *line, const char *format, const char *a, const char *b)
{
    fprintf(stderr, "quern: ");
    fprintf(stderr, format, a, b);
    fprintf(stderr, "\nusage: %s\n", line->usage);
    return QN_EXIT_USAGE;
}

static void print_row(const char *name, const char *value, const char *help)
{
    char left[160];
    snprintf(left, sizeof left, "%s%s%s", name, value ? " " : "", value ? value : "");
    if (strlen(left) > 28)
        printf("  %s\n  %-28s %s\n", left, "", help);
    else
        printf("  %-28s %s\n", left, help);
}

// "max_tokens" → "--max-tokens"
static void option_name(const quern_field *f, char out[40])
{
    snprintf(out, 40, "--%s", f->name);
    for (char *c = out; *c; c++)
        if (*c == '_') *c = '-';
}

// "greedy|sampling|…"
static void choices_of(const quern_field *f, char *out, size_t size)
{
    for (int i = 0; f->choices[i]; i++) {
        size_t n = strlen(out);
        snprintf(out + n, size - n, "%s%s", i ? "|" : "", f->choices[i]);
    }
}

static void print_field(const quern_field *f)
{
    char name[40], value[120] = "";
    option_name(f, name);
    if (f->kind == QUERN_FIELD_CHOICE)
        choices_of(f, value, sizeof value);
    else if (f->kind != QUERN_FIELD_BOOL)
        snprintf(value, sizeof value, "%s", f->kind == QUERN_FIELD_FLOAT ? "X" : "N");
    print_row(name, *value ? value : NULL, f->help);
}

static int print_help(const qn_command_line *line)
{
    printf("usage: %s\n\n%s\n\noptions:\n", line->usage, line->about);
    for (int i = 0; i < line->n_options; i++)
        print_row(line->options[i].name, line->options[i].value, line->options[i].help);
    if (line->params) {
        size_t n;
        const quern_field *fields = quern_fields(&n);
        printf("\nof the request (the fields of POST /generate):\n");
        for (size_t i = 0; i < n; i++)
            print_field(&fields[i]);
    }
    return QN_EXIT_DONE;
}

static int parse_bytes(const char *s, uint64_t *out)
{
    char *end;
    errno = 0;
    double v = strtod(s, &end);
    const char *units = "KMGT", *unit = *end ? strchr(units, *end) : NULL;
    if (unit)
        for (int i = 0; i <= unit - units; i++)
            v *= 1024;
    if (unit) end++;
    if (end == s || *end || errno || !(v >= 1) || v > 1e18) return -1;
    *out = (uint64_t)v;
    return 0;
}

static int set_option(const qn_command_line *line, const qn_option *o, const char *value)
{
    char *end;
    switch (o->kind) {
    case QN_OPTION_FLAG:
        *(bool *)o->target = true;
        return QN_OPTIONS_GO;
    case QN_OPTION_INT: {
        errno = 0;
        long v = strtol(value, &end, 10);
        if (end == value || *end || errno || v < o->min || v > o->max) {
            char expected[120];
            snprintf(expected, sizeof expected, "%s: expected a whole number from %d to %d",
                     o->name, o->min, o->max);
            return wrong(line, "%s, found \"%s\"", expected, value);
        }
        *(int *)o->target = (int)v;
        return QN_OPTIONS_GO;
    }
    case QN_OPTION_BYTES:
        if (parse_bytes(value, o->target))
            return wrong(line, "%s: expected bytes such as 512M or 12G, found \"%s\"", o->name,
                         value);
        return QN_OPTIONS_GO;
    case QN_OPTION_TEXT:
        *(const char **)o->target = value;
        return QN_OPTIONS_GO;
    default: {
        qn_text_list *list = o->target;
        if (list->n == QN_MAX_LIST)
            return wrong(line, "%s: given too often (%s)", o->name, "at most 16 times");
        list->text[list->n++] = value;
        return QN_OPTIONS_GO;
    }
    }
}

static int field_value(const quern_field *f, const char *text, double *out)
{
    if (f->kind == QUERN_FIELD_CHOICE) {
        for (int i = 0; f->choices[i]; i++)
            if (!strcmp(text, f->choices[i])) return *out = i, 0;
        return -1;
    }
    char *end;
    *out = strtod(text, &end);
    bool whole = f->kind != QUERN_FIELD_INT || *out == floor(*out);
    return end == text || *end || !whole ? -1 : 0;
}

static int wrong_value(const qn_command_line *line, const quern_field *f, const char *name,
                       const char *value)
{
    char expected[160], choices[120] = "";
    if (f->kind == QUERN_FIELD_CHOICE) choices_of(f, choices, sizeof choices);
    snprintf(expected, sizeof expected, "%s: expected %s", name,
             *choices                     ? choices
             : f->kind == QUERN_FIELD_INT ? "a whole number"
                                          : "a number");
    return wrong(line, "%s, found \"%s\"", expected, value);
}

static int set_field(const qn_command_line *line, const quern_field *f, const char *name,
                     const char *value)
{
    quern_error e = {0};
    double v = 1;
    if (f->kind == QUERN_FIELD_SEED) {
        char *end;
        errno = 0;
        unsigned long long seed = strtoull(value, &end, 10);
        if (end == value || *end || errno || *value == '-' || seed > INT64_MAX)
            return wrong(line, "%s: expected a whole number, found \"%s\"", name, value);
        quern_params_set_seed(line->params, seed);
        return QN_OPTIONS_GO;
    }
    if (value && field_value(f, value, &v)) return wrong_value(line, f, name, value);
    if (quern_params_set(line->params, f, v, &e)) return wrong(line, "%s%s", e.message, "");
    return QN_OPTIONS_GO;
}

// The request field that `name` sets, or NULL. -n is --max-tokens.
static const quern_field *find_field(const qn_command_line *line, const char *name)
{
    if (!line->params) return NULL;
    size_t n;
    const quern_field *fields = quern_fields(&n);
    for (size_t i = 0; i < n; i++) {
        char option[40];
        option_name(&fields[i], option);
        bool short_form =
            !strcmp(name, "-n") && fields[i].offset == offsetof(quern_params, max_tokens);
        if (short_form || !strcmp(option, name)) return &fields[i];
    }
    return NULL;
}

static const qn_option *find_option(const qn_command_line *line, const char *name)
{
    for (int i = 0; i < line->n_options; i++)
        if (!strcmp(line->options[i].name, name)) return &line->options[i];
    return NULL;
}

// One "--name value", "--name=value" or "--flag" at argv[*i].
static int parse_one(const qn_command_line *line, int argc, char **argv, int *i)
{
    char name[64];
    const char *equals = strchr(argv[*i], '=');
    size_t n = equals ? (size_t)(equals - argv[*i]) : strlen(argv[*i]);
    snprintf(name, sizeof name, "%.*s", (int)(n < 63 ? n : 63), argv[*i]);
    const qn_option *o = find_option(line, name);
    const quern_field *f = o ? NULL : find_field(line, name);
    if (!o && !f) return wrong(line, "%s: unknown option%s", name, "");
    bool is_flag = o ? o->kind == QN_OPTION_FLAG : f->kind == QUERN_FIELD_BOOL;
    const char *value = equals ? equals + 1 : NULL;
    if (is_flag && value) return wrong(line, "%s: takes no value, found \"%s\"", name, value);
    if (!is_flag && !value) {
        if (++*i >= argc) return wrong(line, "%s: a value is missing%s", name, "");
        value = argv[*i];
    }
    return o ? set_option(line, o, value) : set_field(line, f, name, value);
}

static int check_log_level(const qn_command_line *line)
{
    const qn_option *o = find_option(line, "--log-level");
    const char *level = o ? *(const char **)o->target : NULL;
    if (level && qn_log_level_of(level) < 0)
        return wrong(line, "--log-level: expected error, warn, info or debug, found \"%s\"%s",
                     level, "");
    return QN_OPTIONS_GO;
}

int qn_options_parse(const qn_command_line *line, int argc, char **argv)
{
    bool only_positional = false;
    for (int i = 1; i < argc; i++) {
        if (!only_positional && !strcmp(argv[i], "--")) {
            only_positional = true;
        } else if (only_positional || argv[i][0] != '-' || !argv[i][1]) {
            if (line->positional->n == line->max_positional)
                return wrong(line, "unexpected \"%s\"%s", argv[i], "");
            line->positional->text[line->positional->n++] = argv[i];
        } else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            return print_help(line);
        } else {
            int rc = parse_one(line, argc, argv, &i);
            if (rc != QN_OPTIONS_GO) return rc;
        }
    }
    if (line->positional->n < line->min_positional)
        return wrong(line, "an argument is missing%s%s", "", "");
    return check_log_level(line);
}
