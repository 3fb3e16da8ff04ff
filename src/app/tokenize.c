// quern tokenize, quern detokenize: text to ids and back. They need only the tokenizer's files.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "app/report.h"
#include "base/error.h"
#include "engine/text_load.h"
#include "text/detokenizer.h"

static int open_tokenizer(const char *model, qn_tokenizer **out, quern_error *e)
{
    char *path = NULL;
    int rc = qn_app_find_model(model, &path, e);
    if (!rc) rc = qn_engine_load_tokenizer(path, out, e);
    free(path);
    return rc;
}

static void print_ids(const qn_ids *ids)
{
    putchar('[');
    for (size_t i = 0; i < ids->n; i++)
        printf("%s%d", i ? "," : "", ids->data[i]);
    puts("]");
}

static int tokenize_text(const qn_tokenizer *t, const char *text, size_t n, bool special,
                         quern_error *e)
{
    qn_ids ids = {0};
    unsigned char *trusted = special ? malloc(n + 1) : NULL;
    if (special && !trusted) return qn_error_set(e, QUERN_E_MEMORY, "no memory for %zu bytes", n);
    if (trusted) memset(trusted, 1, n + 1);
    int rc = qn_tokenizer_encode(t, text, n, trusted, &ids, e);
    if (!rc) print_ids(&ids);
    free(trusted);
    qn_ids_free(&ids);
    return rc;
}

// A JSON string a line in, an array a line out.
static int tokenize_lines(const qn_tokenizer *t, const char *text, size_t n_text, bool special,
                          quern_error *e)
{
    int number = 1, rc = 0;
    for (const char *line = text, *end = text + n_text; line < end && !rc; number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((stop ? stop : end) - line);
        json_error_t where;
        json_t *j = json_loadb(line, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &where);
        if (!json_is_string(j))
            rc = qn_error_set(e, QUERN_E_ARGUMENT, "line %d: expected a JSON string", number);
        else
            rc = tokenize_text(t, json_string_value(j), json_string_length(j), special, e);
        json_decref(j);
        line += n + (stop != NULL);
    }
    return rc;
}

int qn_app_tokenize(int argc, char **argv)
{
    bool jsonl = false, special = false;
    qn_text_list words = {0};
    qn_option rows[] = {
        {"--jsonl", QN_OPTION_FLAG, &jsonl, NULL, "a JSON string a line in, an array a line out", 0,
         0},
        {"--special", QN_OPTION_FLAG, &special, NULL,
         "template text: special tokens are parsed (else they are plain text, as in what a user "
         "writes)",
         0, 0},
    };
    qn_command_line line = {"quern tokenize MODEL [FILE] [--jsonl] [--special]",
                            "Prints the ids of a text (FILE, or standard input) as one JSON array.",
                            rows,
                            2,
                            NULL,
                            &words,
                            1,
                            2};
    int rc = qn_options_parse(&line, argc, argv);
    if (rc != QN_OPTIONS_GO) return rc;
    quern_error e = {0};
    qn_tokenizer *t = NULL;
    char *text = NULL;
    size_t n = 0;
    rc = open_tokenizer(words.text[0], &t, &e);
    if (!rc) rc = qn_app_read_input(words.n > 1 ? words.text[1] : NULL, &text, &n, &e);
    if (!rc && jsonl)
        rc = tokenize_lines(t, text, n, special, &e);
    else if (!rc)
        rc = tokenize_text(t, text, n, special, &e);
    free(text);
    qn_tokenizer_free(t);
    return rc ? qn_app_fail(&e) : QN_EXIT_DONE;
}

static int print_text(const qn_tokenizer *t, const int32_t *ids, size_t n, quern_error *e)
{
    qn_detokenizer d;
    qn_buffer text = QN_BUFFER_INIT;
    qn_detokenizer_init(&d, t, true);
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++)
        ok = qn_detokenizer_push(&d, ids[i], &text);
    ok = ok && qn_detokenizer_finish(&d, &text);
    if (ok) fwrite(text.data ? text.data : "", 1, text.length, stdout);
    qn_buffer_free(&text);
    return ok ? 0 : qn_error_set(e, QUERN_E_MEMORY, "no memory");
}

int qn_app_detokenize(int argc, char **argv)
{
    qn_text_list words = {0};
    qn_command_line line = {
        "quern detokenize MODEL [FILE]",
        "Prints the text of token ids (FILE, or standard input: 1 2 3 or [1,2,3]), "
        "not a byte more.",
        NULL,
        0,
        NULL,
        &words,
        1,
        2};
    int rc = qn_options_parse(&line, argc, argv);
    if (rc != QN_OPTIONS_GO) return rc;
    quern_error e = {0};
    qn_tokenizer *t = NULL;
    char *text = NULL;
    int32_t *ids = NULL;
    size_t n = 0, n_ids = 0;
    rc = open_tokenizer(words.text[0], &t, &e);
    if (!rc) rc = qn_app_read_input(words.n > 1 ? words.text[1] : NULL, &text, &n, &e);
    if (!rc) rc = qn_app_parse_ids(text, &ids, &n_ids, &e);
    if (!rc) rc = print_text(t, ids, n_ids, &e);
    free(ids);
    free(text);
    qn_tokenizer_free(t);
    return rc ? qn_app_fail(&e) : QN_EXIT_DONE;
}
