// quern template: the prompt that a chat renders to, not a byte more.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "app/app.h"
#include "app/report.h"
#include "base/error.h"
#include "engine/text_load.h"

static int render(const char *model, const char *file, quern_error *e)
{
    char *path = NULL, *text = NULL;
    size_t n = 0;
    json_t *variables = NULL;
    qn_chat_template *t = NULL;
    qn_buffer out = QN_BUFFER_INIT;
    json_error_t where = {0};
    int rc = qn_app_find_model(model, &path, e);
    if (!rc) rc = qn_engine_load_template(path, &t, e);
    if (!rc) rc = qn_app_read_input(file, &text, &n, e);
    if (!rc && !(variables = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where)))
        rc = qn_error_set(e, QUERN_E_FORMAT, "%s: line %d: %s", file, where.line, where.text);
    if (!rc && !json_is_object(variables))
        rc = qn_error_set(e, QUERN_E_FORMAT, "%s: expected a JSON object of template variables",
                          file);
    if (!rc) rc = qn_chat_template_render(t, variables, (double)time(NULL), &out, NULL, e);
    if (!rc) fwrite(out.data ? out.data : "", 1, out.length, stdout);
    qn_buffer_free(&out);
    qn_chat_template_free(t);
    json_decref(variables);
    free(text);
    free(path);
    return rc;
}

int qn_app_template(int argc, char **argv)
{
    qn_text_list words = {0};
    qn_command_line line = {
        "quern template MODEL FILE",
        "Renders the chat of FILE, a JSON object {messages, tools, add_generation_prompt, …} (- is "
        "standard\n"
        "input), with the model's chat_template.jinja, else the template of tokenizer_config.json; "
        "or "
        "a GGUF\nfile's own.",
        NULL,
        0,
        NULL,
        &words,
        2,
        2};
    int rc = qn_options_parse(&line, argc, argv);
    if (rc != QN_OPTIONS_GO) return rc;
    quern_error e = {0};
    return render(words.text[0], words.text[1], &e) ? qn_app_fail(&e) : QN_EXIT_DONE;
}
