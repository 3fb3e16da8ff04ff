// quern formats: what loads, from the tables by which files are read and products taken: containers, architectures, tensor
// types. README.md holds its Markdown (tools/check/check.py compares them).
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "backend/support.h"
#include "base/buffer.h"
#include "formats/containers.h"
#include "model/model.h"

enum { COLUMNS = 6, MAX_ROWS = 128 };
_Static_assert((int)QN_DTYPE_COUNT < (int)MAX_ROWS, "a row for each tensor type and the heading");

// A table: row 0 is the heading. Cells are owned.
typedef struct {
    const char *key[COLUMNS]; // of the columns in JSON
    int n_columns, n_rows;
    char *cell[MAX_ROWS][COLUMNS];
} table;

static void put(table *t, int row, int column, const char *text)
{
    t->cell[row][column] = strdup(text);
}

static void add_column(table *t, const char *key, const char *title)
{
    t->n_rows = 1;
    t->key[t->n_columns] = key;
    put(t, 0, t->n_columns++, title);
}

static void table_free(table *t)
{
    for (int i = 0; i < t->n_rows; i++)
        for (int k = 0; k < t->n_columns; k++)
            free(t->cell[i][k]);
}

// "F32, F16, …" in the order of the container's own table.
static char *types_of(const qn_container *c)
{
    qn_buffer b = QN_BUFFER_INIT;
    if (c->types) qn_buffer_text(&b, c->types);
    for (int i = 0; c->type_at && c->type_at(i); i++)
        qn_buffer_printf(&b, "%s%s", b.length ? ", " : "", c->type_at(i));
    return qn_buffer_take(&b);
}

static void containers(table *t)
{
    const qn_container *c;
    add_column(t, "name", "container");
    add_column(t, "what", "what it is");
    add_column(t, "types", "tensor types");
    add_column(t, "text", "tokenizer and chat template");
    for (int i = 0; (c = qn_container_at(i)) && t->n_rows < MAX_ROWS; i++) {
        int row = t->n_rows++;
        put(t, row, 0, c->name);
        put(t, row, 1, c->what);
        t->cell[row][2] = types_of(c);
        put(t, row, 3, c->text);
    }
}

static void architectures(table *t)
{
    add_column(t, "name", "architecture (`model_type`)");
    add_column(t, "models", "models");
    add_column(t, "gguf", "in GGUF files");
    for (int i = 0; qn_model_family_name(i) && t->n_rows < MAX_ROWS; i++) {
        int row = t->n_rows++;
        qn_buffer gguf = QN_BUFFER_INIT;
        for (int j = 0; qn_model_family_gguf(i, j); j++)
            qn_buffer_printf(&gguf, "%s%s", j ? ", " : "", qn_model_family_gguf(i, j));
        put(t, row, 0, qn_model_family_name(i));
        put(t, row, 1, qn_model_family_about(i));
        put(t, row, 2, gguf.length ? gguf.data : "no");
        qn_buffer_free(&gguf);
    }
}

static double bits_of(const qn_format *f)
{
    return 8.0 * f->block_bytes / f->block_elements;
}

static void types(table *t)
{
    add_column(t, "name", "type");
    add_column(t, "bits", "bits a weight");
    add_column(t, "block", "weights a block");
    int first = t->n_columns;
    for (int i = 0; qn_support_name(i) && t->n_columns < COLUMNS; i++)
        add_column(t, qn_support_name(i), qn_support_name(i));
    for (int i = 0; i < QN_DTYPE_COUNT; i++) {
        const qn_format *f = qn_format_of((qn_dtype)i);
        char text[32];
        int row = t->n_rows++;
        put(t, row, 0, f->name);
        snprintf(text, sizeof text, "%.6g", bits_of(f));
        put(t, row, 1, text);
        snprintf(text, sizeof text, "%d", f->block_elements);
        put(t, row, 2, text);
        for (int k = first; k < t->n_columns; k++)
            put(t, row, k, qn_support_weights(k - first, (qn_dtype)i) ? "yes" : "no");
    }
}

// Whether a type's name ends in the size of its blocks, and what comes before that is as in the other's: affine4_32, affine4_64.
static bool is_of_family(const table *t, int row, int other)
{
    const char *name = t->cell[row][0], *end = strrchr(name, '_');
    size_t n = end ? (size_t)(end - name) + 1 : 0;
    bool same = end && !strcmp(end + 1, t->cell[row][2]) && !strncmp(name, t->cell[other][0], n);
    for (int k = 3; k < t->n_columns && same; k++)
        same = !strcmp(t->cell[row][k], t->cell[other][k]);
    return same;
}

// For people: types of one family in one row, "affine4_32, _64, _128".
static void join_families(table *t)
{
    int last = 0;
    for (int i = 1; i < t->n_rows; i++) {
        bool joins = last > 0 && is_of_family(t, i, last);
        if (!joins) last++;
        for (int k = 0; k < t->n_columns; k++) {
            char *cell = t->cell[i][k];
            if (!joins) {
                t->cell[last][k] = cell;
            } else {
                qn_buffer both = QN_BUFFER_INIT;
                qn_buffer_text(&both, t->cell[last][k]);
                if (k < 3)
                    qn_buffer_printf(&both, k ? " / %s" : ", %s", k ? cell : strrchr(cell, '_'));
                free(cell);
                free(t->cell[last][k]);
                t->cell[last][k] = qn_buffer_take(&both);
            }
        }
    }
    t->n_rows = last + 1;
}

static int width_of(const table *t, int column)
{
    int widest = 0;
    for (int i = 0; i < t->n_rows; i++) {
        int n = (int)strlen(t->cell[i][column]);
        widest = n > widest ? n : widest;
    }
    return widest;
}

static void print_markdown(const table *t)
{
    for (int i = 0; i < t->n_rows; i++) {
        for (int k = 0; k < t->n_columns; k++)
            printf("| %s ", t->cell[i][k]);
        puts("|");
        for (int k = 0; k < t->n_columns && i == 0; k++)
            fputs(k + 1 < t->n_columns ? "|---" : "|---|\n", stdout);
    }
}

// Columns, or, where these would be too wide, a row's cells one below another.
static void print_text(const table *t)
{
    int total = 0;
    for (int k = 0; k < t->n_columns; k++)
        total += width_of(t, k) + 2;
    bool wide = total > 120;
    for (int i = wide ? 1 : 0; i < t->n_rows; i++)
        for (int k = 0; k < t->n_columns; k++) {
            bool last = k + 1 == t->n_columns;
            if (wide)
                printf("%s%s\n", k ? "  " : "", t->cell[i][k]);
            else
                printf("%-*s%s", last ? 0 : width_of(t, k), t->cell[i][k], last ? "\n" : "  ");
        }
}

// A number or a truth where the cell is one.
static json_t *value_of(const char *cell)
{
    if (!strcmp(cell, "yes") || !strcmp(cell, "no")) return json_boolean(*cell == 'y');
    json_t *number = json_loads(cell, JSON_DECODE_ANY, NULL);
    if (json_is_number(number)) return number;
    json_decref(number);
    return json_string(cell);
}

static json_t *to_json(const table *t)
{
    json_t *list = json_array();
    for (int i = 1; i < t->n_rows; i++) {
        json_t *row = json_object();
        for (int k = 0; k < t->n_columns; k++)
            json_object_set_new(row, t->key[k], value_of(t->cell[i][k]));
        json_array_append_new(list, row);
    }
    return list;
}

int qn_app_formats(int argc, char **argv)
{
    bool json = false, markdown = false;
    qn_option rows[] = {
        {"--json", QN_OPTION_FLAG, &json, NULL, "as JSON", 0, 0},
        {"--markdown", QN_OPTION_FLAG, &markdown, NULL, "as Markdown, as README.md has it", 0, 0},
    };
    qn_text_list words = {0};
    qn_command_line line = {"quern formats [--json | --markdown]",
                            "Prints what loads: the containers that weights come in, the "
                            "architectures, and the tensor types with\ntheir bits a weight and "
                            "the backends that compute with them.",
                            rows,
                            2,
                            NULL,
                            &words,
                            0,
                            0};
    int rc = qn_options_parse(&line, argc, argv);
    if (rc != QN_OPTIONS_GO) return rc;
    static const char *const keys[] = {"containers", "architectures", "types"};
    void (*const fill[])(table *) = {containers, architectures, types};
    json_t *all = json_object();
    for (int i = 0; i < 3; i++) {
        table t = {0};
        fill[i](&t);
        if (fill[i] == types && !json) join_families(&t);
        if (i && !json) putchar('\n');
        if (json)
            json_object_set_new(all, keys[i], to_json(&t));
        else if (markdown)
            print_markdown(&t);
        else
            print_text(&t);
        table_free(&t);
    }
    if (json) json_dumpf(all, stdout, JSON_INDENT(1));
    if (json) putchar('\n');
    json_decref(all);
    return QN_EXIT_DONE;
}
