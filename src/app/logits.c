// quern logits: the logits after each token of a sequence, as a NumPy file.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "app/report.h"
#include "base/checked.h"
#include "base/error.h"

// NumPy's format 1.0: magic, header length, a Python dict padded to a multiple of 64, the data.
static int write_npy(const char *path, const float *data, size_t rows, size_t columns,
                     quern_error *e)
{
    char header[118], dict[118];
    int n =
        snprintf(dict, sizeof dict,
                 "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", rows, columns);
    memset(header, ' ', sizeof header);
    memcpy(header, dict, (size_t)n);
    header[sizeof header - 1] = '\n';
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, f) == 10 &&
              fwrite(header, 1, sizeof header, f) == sizeof header &&
              fwrite(data, sizeof *data * columns, rows, f) == rows;
    if (f && fclose(f)) ok = false;
    return ok ? 0 : qn_error_set(e, QUERN_E_IO, "%s: cannot write: %s", path, strerror(errno));
}

static int compute(const char *model, const qn_engine_options *o, const char *tokens,
                   const char *out, quern_error *e)
{
    qn_app_session s = {0};
    int32_t *ids = NULL;
    float *logits = NULL;
    size_t n = 0;
    quern_model_info info = {0};
    uint64_t bytes = 0;
    int rc = qn_app_parse_ids(tokens, &ids, &n, e);
    if (!rc && !n) rc = qn_error_set(e, QUERN_E_ARGUMENT, "--tokens: expected at least one id");
    if (!rc) rc = qn_app_open(model, o, &s, e);
    if (!rc) {
        quern_model_get_info(s.model, &info);
        bool fits = qn_checked_mul(n * sizeof(float), (uint64_t)info.n_vocab, &bytes);
        logits = fits ? malloc((size_t)bytes) : NULL;
        if (!logits)
            rc = qn_error_set(e, QUERN_E_MEMORY, "no memory for %zu rows of %d logits", n,
                              info.n_vocab);
    }
    if (!rc) rc = quern_logits(s.model, ids, n, logits, e);
    if (!rc) rc = write_npy(out, logits, n, (size_t)info.n_vocab, e);
    qn_app_close(&s);
    free(logits);
    free(ids);
    return rc;
}

int qn_app_logits(int argc, char **argv)
{
    qn_engine_options engine;
    const char *tokens = NULL, *out = NULL;
    qn_text_list words = {0};
    qn_option rows[QN_ENGINE_OPTIONS + 2] = {
        {"--tokens", QN_OPTION_TEXT, &tokens, "IDS", "the sequence, \"1 2 3\"", 0, 0},
        {"--out", QN_OPTION_TEXT, &out, "F.npy", "the file to write", 0, 0},
    };
    qn_engine_options_rows(&engine, rows + 2);
    qn_command_line line = {
        "quern logits MODEL --tokens \"1 2 3\" --out F.npy [options]",
        "Writes float32 logits [n_tokens, n_vocab]; row i is what follows token i.",
        rows,
        QN_ENGINE_OPTIONS + 2,
        NULL,
        &words,
        1,
        1};
    int rc = qn_options_parse(&line, argc, argv);
    if (rc != QN_OPTIONS_GO) return rc;
    if (!tokens || !out) {
        fprintf(stderr, "quern: --tokens and --out are needed\nusage: %s\n", line.usage);
        return QN_EXIT_USAGE;
    }
    quern_error e = {0};
    return compute(words.text[0], &engine, tokens, out, &e) ? qn_app_fail(&e) : QN_EXIT_DONE;
}
