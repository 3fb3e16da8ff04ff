// Chat templates: where they are found in a model's directory, and rendering with the interpreter of jinja_*.c.
// Any thread may render with a template; a rendering's memory is its own. See chat_template.h.
#include "text/chat_template.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "text/jinja_eval.h"

enum { MAX_CONFIG_BYTES = 32 << 20 };

struct qn_chat_template {
    qn_jinja_program program;
    json_t *tokens; // bos_token …; NULL: none
};

int qn_chat_template_compile(const char *name, const char *source, size_t n, qn_chat_template **out,
                             quern_error *e)
{
    *out = NULL;
    qn_chat_template *t = calloc(1, sizeof *t);
    if (!t) return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for the template", name);
    int code = qn_jinja_parse(name, source, n, &t->program, e);
    if (code) {
        free(t);
        return code;
    }
    *out = t;
    return 0;
}

void qn_chat_template_free(qn_chat_template *t)
{
    if (!t) return;
    qn_jinja_program_free(&t->program);
    json_decref(t->tokens);
    free(t);
}

int qn_chat_template_render(const qn_chat_template *t, const json_t *variables, double now_unix,
                            qn_buffer *text, qn_buffer *trusted, quern_error *e)
{
    size_t n_text = text->length, n_trusted = trusted ? trusted->length : 0;
    qn_jinja_run run = {.program = &t->program,
                        .variables = variables,
                        .tokens = t->tokens,
                        .now_unix = now_unix,
                        .error = e,
                        .line = 1};
    int code = qn_jinja_execute(&run, text, trusted);
    qn_arena_free(&run.arena);
    if (!code) return 0;
    text->length = n_text; // a failed rendering leaves nothing
    if (text->data) text->data[n_text] = 0;
    if (trusted) trusted->length = n_trusted;
    if (trusted && trusted->data) trusted->data[n_trusted] = 0;
    return code;
}

// ---- loading ----

static char *path_of(const char *directory, const char *name)
{
    qn_buffer b = QN_BUFFER_INIT;
    qn_buffer_printf(&b, "%s/%s", directory, name);
    return qn_buffer_take(&b);
}

static int read_config(const char *path, json_t **out, quern_error *e)
{
    char *data;
    size_t n;
    json_error_t error;
    int code = qn_file_read(path, MAX_CONFIG_BYTES, &data, &n, e);
    if (code) return code;
    *out = json_loadb(data, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    free(data);
    if (!*out) {
        return qn_error_set(e, QUERN_E_FORMAT, "%s: line %d: %s", path, error.line, error.text);
    }
    if (json_is_object(*out)) return 0;
    json_decref(*out);
    *out = NULL;
    return qn_error_set(e, QUERN_E_FORMAT, "%s: expected an object", path);
}

// The string, or the content of an added token; NULL otherwise.
static json_t *token_content(json_t *token)
{
    if (json_is_object(token)) token = json_object_get(token, "content");
    return json_is_string(token) ? token : NULL;
}

// The special tokens that Hugging Face hands to templates by name.
static int collect_tokens(const json_t *config, const char *path, json_t **out, quern_error *e)
{
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
    bool failed = !(*out = json_object());
    for (size_t i = 0; !failed && i < sizeof names / sizeof *names; i++) {
        json_t *content = token_content(json_object_get(config, names[i]));
        if (content) failed = json_object_set(*out, names[i], content) < 0;
    }
    json_t *extra = json_object_get(config, "additional_special_tokens");
    if (!failed && json_is_array(extra)) {
        json_t *list = json_array(), *item;
        size_t i;
        json_array_foreach(extra, i, item)
        {
            json_t *content = token_content(item);
            if (content) failed |= json_array_append(list, content) < 0;
        }
        failed |= json_object_set_new(*out, "additional_special_tokens", list) < 0;
    }
    if (!failed) return 0;
    json_decref(*out);
    *out = NULL;
    return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory", path);
}

// chat_template of tokenizer_config.json: a string, or a list of {name, template}.
static int template_of(const json_t *config, const char *path, const json_t **out, quern_error *e)
{
    const json_t *found = json_object_get(config, "chat_template");
    if (json_is_array(found)) {
        const json_t *list = found, *item;
        size_t i;
        found = NULL;
        json_array_foreach(list, i, item)
        {
            const char *name = json_string_value(json_object_get(item, "name"));
            if (!name)
                return qn_error_set(e, QUERN_E_FORMAT,
                                    "%s: chat_template[%zu].name: expected a string", path, i);
            if (!strcmp(name, "default")) found = json_object_get(item, "template");
        }
    }
    if (!found || json_is_null(found)) {
        return qn_error_set(e, QUERN_E_NOT_FOUND, "%s: no chat_template", path);
    }
    *out = found;
    if (json_is_string(found)) return 0;
    return qn_error_set(e, QUERN_E_FORMAT, "%s: chat_template: expected a string", path);
}

static int compile_file(const char *path, qn_chat_template **out, quern_error *e)
{
    char *data;
    size_t n;
    int code = qn_file_read(path, QN_JINJA_MAX_SOURCE_BYTES, &data, &n, e);
    if (code) return code;
    code = qn_chat_template_compile(path, data, n, out, e);
    free(data);
    return code;
}

static int compile_config(const json_t *config, const char *path, qn_chat_template **out,
                          quern_error *e)
{
    const json_t *source = NULL;
    qn_buffer name = QN_BUFFER_INIT;
    int code = template_of(config, path, &source, e);
    if (!code && !qn_buffer_printf(&name, "%s: chat_template", path))
        code = qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for the template", path);
    if (!code)
        code = qn_chat_template_compile(name.data, json_string_value(source),
                                        json_string_length(source), out, e);
    qn_buffer_free(&name);
    return code;
}

int qn_chat_template_load(const char *directory, qn_chat_template **out, quern_error *e)
{
    char *file = path_of(directory, "chat_template.jinja");
    char *config_path = path_of(directory, "tokenizer_config.json");
    json_t *config = NULL;
    int code = 0;
    *out = NULL;
    if (!file || !config_path) {
        code = qn_error_set(e, QUERN_E_MEMORY, "%s: no memory", directory);
        goto out;
    }
    if (qn_file_exists(config_path)) code = read_config(config_path, &config, e);
    if (code) goto out;
    if (qn_file_exists(file)) {
        code = compile_file(file, out, e);
    } else {
        code = compile_config(config, config_path, out, e);
    }
    if (!code && config) code = collect_tokens(config, config_path, &(*out)->tokens, e);
    if (code) {
        qn_chat_template_free(*out);
        *out = NULL;
    }
out:
    json_decref(config);
    free(config_path);
    free(file);
    return code;
}

/* ---- of a model file ---- */

// Qwen's templates have no bos_token: the id that a file names so is the one of training, not of text.
static int collect_ids(const qn_vocabulary *v, json_t **out, quern_error *e)
{
    const struct {
        const char *name;
        int32_t id;
    } rows[] = {{"eos_token", v->eos}, {"pad_token", v->pad}, {"unk_token", v->unknown}};
    bool failed = !(*out = json_object());
    for (size_t i = 0; i < sizeof rows / sizeof *rows && !failed; i++)
        if (rows[i].id >= 0) {
            const qn_text_span *token = &v->tokens[rows[i].id];
            failed = json_object_set_new(*out, rows[i].name, json_stringn(token->data, token->n));
        }
    if (!failed) return 0;
    json_decref(*out);
    *out = NULL;
    return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for the template", v->path);
}

int qn_chat_template_from_vocabulary(const qn_vocabulary *v, qn_chat_template **out, quern_error *e)
{
    qn_buffer name = QN_BUFFER_INIT;
    *out = NULL;
    if (!v->chat_template.data)
        return qn_error_set(e, QUERN_E_NOT_FOUND, "%s: no tokenizer.chat_template", v->path);
    int code =
        qn_buffer_printf(&name, "%s: tokenizer.chat_template", v->path)
            ? qn_chat_template_compile(name.data, v->chat_template.data, v->chat_template.n, out, e)
            : qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for the template", v->path);
    if (!code) code = collect_ids(v, &(*out)->tokens, e);
    if (code) {
        qn_chat_template_free(*out);
        *out = NULL;
    }
    qn_buffer_free(&name);
    return code;
}
