// quern run: one prompt, the answer on stdout as it comes, or the whole result as JSON.
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "app/report.h"
#include "base/error.h"

typedef struct {
    qn_engine_options engine;
    const char *tokens;
    bool json, chat;
    qn_text_list stop;
} run_options;

int qn_app_parse_ids(const char *text, int32_t **out, size_t *n_out, quern_error *e)
{
    size_t n = 0, capacity = strlen(text) / 2 + 1;
    int32_t *ids = malloc(capacity * sizeof *ids);
    if (!ids) return qn_error_set(e, QUERN_E_MEMORY, "no memory");
    for (const char *p = text;;) {
        p += strspn(p, " \t\r\n,[]");
        if (!*p) break;
        char *end;
        errno = 0;
        long id = strtol(p, &end, 10);
        if (end == p || errno || id < 0 || id > INT32_MAX) {
            free(ids);
            return qn_error_set(e, QUERN_E_ARGUMENT,
                                "tokens: expected ids such as \"1 2 3\", found \"%.20s\"", p);
        }
        ids[n++] = (int32_t)id;
        p = end;
    }
    *out = ids;
    *n_out = n;
    return 0;
}

static void print_token(void *user, const quern_token *token)
{
    (void)user;
    fwrite(token->text, 1, token->n_text, stdout);
    fflush(stdout);
}

static void print_end(void *user, const quern_result *result)
{
    (void)user;
    if (!result->n_text || result->text[result->n_text - 1] != '\n') putchar('\n');
}

static void keep_logprob(void *logprobs, const quern_token *token)
{
    json_array_append_new(logprobs, qn_report_logprob(token));
}

static void print_json(void *logprobs, const quern_result *result)
{
    json_t *j = qn_report_result(result);
    if (json_array_size(logprobs)) json_object_set(j, "logprobs", logprobs);
    json_dumpf(j, stdout, JSON_REAL_PRECISION(9) | JSON_INDENT(1));
    putchar('\n');
    json_decref(j);
}

// {"messages":[{"role":"user","content":prompt}],"add_generation_prompt":true}
static char *chat_of(const char *prompt)
{
    json_t *j = json_pack("{s:[{s:s,s:s}],s:b}", "messages", "role", "user", "content", prompt,
                          "add_generation_prompt", 1);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    return text;
}

static bool wants_logprobs(const quern_params *p)
{
    size_t n;
    const quern_field *fields = quern_fields(&n);
    for (size_t i = 0; i < n; i++)
        if (fields[i].offset == offsetof(quern_params, logprobs)) return p->given >> i & 1;
    return false;
}

static int generate(const run_options *o, const char *model, const char *prompt,
                    quern_params *params, quern_error *e)
{
    qn_app_session session = {0};
    int32_t *ids = NULL;
    char *chat = NULL;
    int rc = 0;
    if (o->tokens) {
        rc = qn_app_parse_ids(o->tokens, &ids, &params->n_ids, e);
        params->ids = ids;
    } else if (o->chat) {
        if (!(chat = chat_of(prompt)))
            rc = qn_error_set(e, QUERN_E_ARGUMENT, "prompt: expected UTF-8 text");
        params->chat_json = chat;
        params->n_chat_bytes = chat ? strlen(chat) : 0;
    } else {
        params->prompt = prompt;
        params->n_prompt_bytes = strlen(prompt);
    }
    params->stop = o->stop.text;
    params->n_stop = (size_t)o->stop.n;
    if (!rc) rc = qn_app_open(model, &o->engine, &session, e);
    json_t *logprobs = json_array();
    qn_app_listener listener = {print_token, print_end, NULL, &qn_app_interrupted};
    if (o->json)
        listener = (qn_app_listener){wants_logprobs(params) ? keep_logprob : NULL, print_json,
                                     logprobs, &qn_app_interrupted};
    qn_app_catch_interrupt();
    if (!rc) rc = qn_app_generate(session.model, params, &listener, e);
    qn_app_close(&session);
    json_decref(logprobs);
    free(chat);
    free(ids);
    return rc;
}

int qn_app_run(int argc, char **argv)
{
    run_options o = {0};
    quern_params params;
    qn_text_list words = {0};
    qn_option rows[QN_ENGINE_OPTIONS + 4] = {
        {"--tokens", QN_OPTION_TEXT, &o.tokens, "IDS", "a prompt of token ids, \"1 2 3\"", 0, 0},
        {"--chat", QN_OPTION_FLAG, &o.chat, NULL,
         "the prompt is a user's message: apply the chat template", 0, 0},
        {"--stop", QN_OPTION_LIST, &o.stop, "TEXT", "end before this text (may be repeated)", 0, 0},
        {"--json", QN_OPTION_FLAG, &o.json, NULL, "print the whole result as JSON", 0, 0},
    };
    qn_engine_options_rows(&o.engine, rows + 4);
    quern_params_init(&params);
    qn_command_line line = {
        "quern run MODEL (\"prompt\" | --tokens \"1 2 3\") [-n 64] [options]",
        "Continues a prompt as it stands, or with --chat answers it as a user's message.",
        rows,
        QN_ENGINE_OPTIONS + 4,
        &params,
        &words,
        1,
        2};
    int rc = qn_options_parse(&line, argc, argv);
    if (rc != QN_OPTIONS_GO) return rc;
    if ((words.n == 2) == (o.tokens != NULL)) {
        fprintf(stderr, "quern: expected either a prompt or --tokens\nusage: %s\n", line.usage);
        return QN_EXIT_USAGE;
    }
    quern_error e = {0};
    if (generate(&o, words.text[0], words.n == 2 ? words.text[1] : NULL, &params, &e))
        return qn_app_fail(&e);
    return QN_EXIT_DONE;
}
