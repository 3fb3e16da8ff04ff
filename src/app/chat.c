// quern chat: a conversation in the terminal. libedit reads lines from a terminal, stdio from a pipe.
#include <histedit.h>
#include <jansson.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/app.h"
#include "app/report.h"
#include "base/buffer.h"
#include "base/error.h"

typedef struct {
    EditLine *editor; // NULL: stdin is no terminal
    History *history;
    char *line; // of getline
    size_t capacity;
} input;

static char *show_prompt(EditLine *editor)
{
    (void)editor;
    static char prompt[] = "> "; // ASCII: libedit dies of what the locale cannot decode
    return prompt;
}

// libedit decodes what is typed by the locale; a message is UTF-8 whatever the system is set to.
static void use_utf8(void)
{
    static const char *const names[] = {"", "C.UTF-8", "en_US.UTF-8"};
    for (int i = 0; i < 3; i++)
        if (setlocale(LC_CTYPE, names[i]) && MB_CUR_MAX > 1) return;
}

static void input_open(input *in)
{
    *in = (input){0};
    if (!isatty(0)) return;
    HistEvent event;
    use_utf8();
    in->editor = el_init("quern", stdin, stdout, stderr);
    in->history = history_init();
    if (in->history) history(in->history, &event, H_SETSIZE, 200);
    if (!in->editor) return;
    el_set(in->editor, EL_PROMPT, show_prompt);
    el_set(in->editor, EL_EDITOR, "emacs");
    el_set(in->editor, EL_SIGNAL, 0);
    if (in->history) el_set(in->editor, EL_HIST, history, in->history);
}

static void input_close(input *in)
{
    if (in->editor) el_end(in->editor);
    if (in->history) history_end(in->history);
    free(in->line);
}

// The next line without its end, borrowed; NULL at the end of input.
static const char *input_next(input *in, size_t *n)
{
    HistEvent event;
    int length = 0;
    ssize_t got;
    const char *text;
    if (in->editor) {
        text = el_gets(in->editor, &length);
        if (!text || length <= 0) return NULL;
        if (in->history && length > 1) history(in->history, &event, H_ENTER, text);
        got = length;
    } else {
        got = getline(&in->line, &in->capacity, stdin);
        if (got < 0) return NULL;
        text = in->line;
    }
    *n = (size_t)got;
    while (*n && (text[*n - 1] == '\n' || text[*n - 1] == '\r'))
        --*n;
    return text;
}

static void print_token(void *user, const quern_token *token)
{
    qn_buffer_append(user, token->text, token->n_text);
    fwrite(token->text, 1, token->n_text, stdout);
    fflush(stdout);
}

static void print_end(void *user, const quern_result *r)
{
    (void)user;
    printf("\n");
    if (isatty(1))
        printf("\033[2m%d tokens, %.1f tokens/s, first after %.0f ms%s\033[0m\n",
               r->completion_tokens, r->tokens_per_second, r->queue_ms + r->prefill_ms,
               r->finish == QUERN_FINISH_CANCELLED ? ", stopped" : "");
}

// One turn: the messages so far in, the answer appended to them.
static int answer(quern_model *m, json_t *messages, quern_params *params, quern_error *e)
{
    json_t *variables = json_pack("{s:O,s:b}", "messages", messages, "add_generation_prompt", 1);
    char *chat = variables ? json_dumps(variables, JSON_COMPACT) : NULL;
    qn_buffer text = QN_BUFFER_INIT;
    int rc = chat ? 0 : qn_error_set(e, QUERN_E_MEMORY, "no memory");
    params->chat_json = chat;
    params->n_chat_bytes = chat ? strlen(chat) : 0;
    qn_app_listener listener = {print_token, print_end, &text, &qn_app_interrupted};
    qn_app_catch_interrupt();
    if (!rc) rc = qn_app_generate(m, params, &listener, e);
    signal(SIGINT, SIG_IGN);
    if (!rc)
        json_array_append_new(messages,
                              json_pack("{s:s,s:o}", "role", "assistant", "content",
                                        qn_report_text(text.data ? text.data : "", text.length)));
    qn_buffer_free(&text);
    free(chat);
    json_decref(variables);
    return rc;
}

static json_t *start(const char *system)
{
    json_t *messages = json_array();
    if (system)
        json_array_append_new(messages,
                              json_pack("{s:s,s:s}", "role", "system", "content", system));
    return messages;
}

// In a terminal one goes on after an error; from a pipe the exit code tells that there was one.
static int converse(quern_model *m, const char *system, quern_params *params)
{
    input in;
    quern_error e = {0};
    bool failed = false;
    json_t *messages = start(system);
    input_open(&in);
    if (in.editor) printf("/reset begins anew, /quit or Ctrl-D ends, Ctrl-C stops an answer.\n");
    size_t n;
    for (const char *line; (line = input_next(&in, &n));) {
        if (!n) continue;
        if (n == 5 && !memcmp(line, "/quit", 5)) break;
        if (n == 6 && !memcmp(line, "/reset", 6)) {
            json_decref(messages);
            messages = start(system);
            continue;
        }
        json_t *text = json_stringn(line, n);
        if (!text) {
            fprintf(stderr, "quern: expected UTF-8 text\n");
            failed = true;
            continue;
        }
        json_array_append_new(messages, json_pack("{s:s,s:o}", "role", "user", "content", text));
        if (answer(m, messages, params, &e)) {
            qn_app_fail(&e);
            failed = true;
            json_array_remove(messages, json_array_size(messages) - 1);
        }
    }
    bool piped = !in.editor;
    input_close(&in);
    json_decref(messages);
    return failed && piped ? QN_EXIT_FAILED : QN_EXIT_DONE;
}

int qn_app_chat(int argc, char **argv)
{
    qn_engine_options engine;
    const char *system = NULL;
    quern_params params;
    qn_text_list words = {0};
    qn_option rows[QN_ENGINE_OPTIONS + 1] = {
        {"--system", QN_OPTION_TEXT, &system, "TEXT", "a system message to begin with", 0, 0},
    };
    qn_engine_options_rows(&engine, rows + 1);
    if (!isatty(STDERR_FILENO)) engine.model.on_memory = NULL; // the log still tells
    quern_params_init(&params);
    qn_command_line line = {"quern chat MODEL [options]",
                            "A conversation in the terminal; from a pipe, each line is a message.",
                            rows,
                            QN_ENGINE_OPTIONS + 1,
                            &params,
                            &words,
                            1,
                            1};
    int rc = qn_options_parse(&line, argc, argv);
    if (rc != QN_OPTIONS_GO) return rc;
    quern_error e = {0};
    qn_app_session s;
    if (qn_app_open(words.text[0], &engine, &s, &e)) return qn_app_fail(&e);
    signal(SIGINT, SIG_IGN); // but for answers
    rc = converse(s.model, system, &params);
    qn_app_close(&s);
    return rc;
}
