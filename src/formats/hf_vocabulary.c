// See hf_vocabulary.h.
#include "formats/hf_vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "formats/json.h"

enum { MAX_TOKENIZER_BYTES = 64 << 20, MAX_CONFIG_BYTES = 16 << 20, MAX_TEMPLATE_BYTES = 1 << 20 };

typedef struct {
    const char *directory;
    qn_hf_vocabulary *out;
    json_t *tokenizer, *config, *model_config; // NULL: no such file
    quern_error *e;
} reader;

static int no_memory(const reader *r)
{
    return qn_error_set(r->e, QUERN_E_MEMORY, "%s: no memory for its vocabulary", r->directory);
}

static int bad(const reader *r, const char *file, const char *field, const char *expected)
{
    return qn_error_set(r->e, QUERN_E_FORMAT, "%s/%s: %s: expected %s", r->directory, file, field,
                        expected);
}

/* ---- files ---- */

static int load(const reader *r, const char *name, size_t max_bytes, bool needed, json_t **out)
{
    qn_buffer path = QN_BUFFER_INIT;
    int rc = 0;
    if (!qn_buffer_printf(&path, "%s/%s", r->directory, name)) return no_memory(r);
    if (needed || qn_file_exists(path.data))
        rc = qn_formats_json_load(path.data, max_bytes, out, r->e);
    qn_buffer_free(&path);
    return rc;
}

static bool keep(reader *r, const char *text, size_t n, qn_text_span *out)
{
    *out = (qn_text_span){qn_arena_text(&r->out->arena, text, n), n};
    return out->data != NULL;
}

/* ---- tokens ---- */

static bool begins(const char *s, size_t n, const char *with)
{
    size_t k = strlen(with);
    return n >= k && !memcmp(s, with, k);
}

static bool ends(const char *s, size_t n, const char *with)
{
    size_t k = strlen(with);
    return n >= k && !memcmp(s + n - k, with, k);
}

// does_token_look_special of the converter: some files mark control tokens as text.
static bool looks_special(const char *s, size_t n)
{
    static const char *const words[] = {"<pad>", "<mask>", "<2mass>", "[@BOS@]"};
    static const char *const marks[][2] = {
        {"<|", "|>"}, {"<\xef\xbd\x9c", "\xef\xbd\x9c>"}, {"<unused", ">"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (n == strlen(words[i]) && begins(s, n, words[i])) return true;
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (begins(s, n, marks[i][0]) && ends(s, n, marks[i][1])) return true;
    return false;
}

static int put_token(reader *r, const char *field, json_int_t id, const char *text, size_t n,
                     qn_token_kind kind)
{
    qn_hf_vocabulary *v = r->out;
    if (id < 0 || (size_t)id >= v->n_tokens)
        return qn_error_set(r->e, QUERN_E_FORMAT,
                            "%s/tokenizer.json: %s: expected ids below %zu, the embedding's rows, "
                            "found %lld",
                            r->directory, field, v->n_tokens, (long long)id);
    v->kinds[id] = (uint8_t)kind;
    return keep(r, text, n, &v->tokens[id]) ? 0 : no_memory(r);
}

static int read_entries(reader *r, const json_t *vocab)
{
    const char *text;
    const json_t *id;
    int rc = 0;
    if (!json_is_object(vocab)) return bad(r, "tokenizer.json", "model.vocab", "an object");
    json_object_foreach((json_t *)(uintptr_t)vocab, text, id)
    {
        if (!rc)
            rc = put_token(r, "model.vocab", json_integer_value(id), text, strlen(text),
                           QN_TOKEN_NORMAL);
    }
    return rc;
}

static int read_added(reader *r, const char *field, json_int_t id, const json_t *token)
{
    const json_t *content = json_object_get(token, "content");
    const char *text = json_string_value(content);
    size_t n = json_string_length(content);
    if (!text) return bad(r, "tokenizer.json", field, "tokens with a content");
    bool special = json_is_true(json_object_get(token, "special")) || looks_special(text, n);
    bool was = id >= 0 && (size_t)id < r->out->n_tokens && r->out->kinds[id] == QN_TOKEN_CONTROL;
    return put_token(r, field, id, text, n,
                     special || was ? QN_TOKEN_CONTROL : QN_TOKEN_USER_DEFINED);
}

// Those of tokenizer.json, and those that stand in tokenizer_config.json alone.
static int read_all_added(reader *r)
{
    const json_t *list = json_object_get(r->tokenizer, "added_tokens"), *token;
    const json_t *decoder = json_object_get(r->config, "added_tokens_decoder");
    const char *key;
    size_t i;
    int rc = 0;
    json_array_foreach((json_t *)(uintptr_t)list, i, token)
    {
        const json_t *id = json_object_get(token, "id");
        if (!rc) rc = read_added(r, "added_tokens", json_integer_value(id), token);
    }
    json_object_foreach((json_t *)(uintptr_t)decoder, key, token)
    {
        if (!rc) rc = read_added(r, "added_tokens_decoder", strtol(key, NULL, 10), token);
    }
    return rc;
}

// What the embedding has rows for and no token.
static int fill_gaps(reader *r)
{
    qn_hf_vocabulary *v = r->out;
    char text[32];
    for (size_t i = 0; i < v->n_tokens; i++) {
        if (v->tokens[i].data) continue;
        int n = snprintf(text, sizeof text, "[PAD%zu]", i);
        v->kinds[i] = QN_TOKEN_UNUSED;
        if (!keep(r, text, (size_t)n, &v->tokens[i])) return no_memory(r);
    }
    return 0;
}

/* ---- merges ---- */

// "left right", or ["left", "right"] as newer files have it.
static int read_merge(reader *r, const json_t *merge, qn_text_span *out)
{
    const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
    if (json_is_string(merge))
        return keep(r, json_string_value(merge), json_string_length(merge), out) ? 0 : no_memory(r);
    if (!json_is_string(left) || !json_is_string(right))
        return bad(r, "tokenizer.json", "model.merges", "pairs of strings");
    size_t n = json_string_length(left), m = json_string_length(right);
    char *text = qn_arena_take(&r->out->arena, n + m + 2);
    if (!text) return no_memory(r);
    memcpy(text, json_string_value(left), n);
    text[n] = ' ';
    memcpy(text + n + 1, json_string_value(right), m);
    *out = (qn_text_span){text, n + m + 1};
    return 0;
}

static int read_merges(reader *r, const json_t *merges)
{
    qn_hf_vocabulary *v = r->out;
    int rc = 0;
    v->merges = qn_arena_take_array(&v->arena, json_array_size(merges) + 1, sizeof *v->merges);
    if (!v->merges) return no_memory(r);
    for (size_t i = 0; i < json_array_size(merges) && !rc; i++) {
        const json_t *merge = json_array_get(merges, i);
        const char *line = json_string_value(merge);
        if (line && begins(line, strlen(line), "#version")) continue; // the heading of merges.txt
        rc = read_merge(r, merge, &v->merges[v->n_merges++]);
    }
    return rc;
}

/* ---- special ids, chat template ---- */

// The id of a token that tokenizer_config.json names, by its content or {"content": …}; -1 where none of tokenizer.json's has it.
static json_int_t id_named(const reader *r, const json_t *named)
{
    const json_t *list = json_object_get(r->tokenizer, "added_tokens"), *token;
    const char *content =
        json_string_value(json_is_object(named) ? json_object_get(named, "content") : named);
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)list, i, token)
    {
        const char *text = json_string_value(json_object_get(token, "content"));
        if (content && text && !strcmp(content, text))
            return json_integer_value(json_object_get(token, "id"));
    }
    return -1;
}

static void read_special(reader *r)
{
    static const char *const names[QN_SPECIAL_COUNT] = {"bos", "eos", "unk", "sep",
                                                        "pad", "cls", "mask"};
    for (int i = 0; i < QN_SPECIAL_COUNT; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s_token", names[i]);
        json_int_t id = id_named(r, json_object_get(r->config, key));
        snprintf(key, sizeof key, "%s_token_id", names[i]);
        const json_t *number = json_object_get(r->model_config, key);
        if (id < 0 && json_is_integer(number)) id = json_integer_value(number);
        r->out->ids[i] = id < 0 || (size_t)id >= r->out->n_tokens ? -1 : (int32_t)id;
    }
    r->out->tells_bos = json_is_boolean(json_object_get(r->config, "add_bos_token"));
}

// "chat_template" of tokenizer_config.json: a string, or a list in which one is named "default".
static const json_t *template_of(const json_t *config)
{
    const json_t *found = json_object_get(config, "chat_template"), *item;
    size_t i;
    if (!json_is_array(found)) return found;
    json_array_foreach((json_t *)(uintptr_t)found, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && !strcmp(name, "default")) return json_object_get(item, "template");
    }
    return NULL;
}

static int read_template(reader *r)
{
    qn_buffer path = QN_BUFFER_INIT;
    const json_t *source = template_of(r->config);
    char *text = NULL;
    size_t n = 0;
    int rc = 0;
    if (!qn_buffer_printf(&path, "%s/chat_template.jinja", r->directory)) return no_memory(r);
    if (qn_file_exists(path.data))
        rc = qn_file_read(path.data, MAX_TEMPLATE_BYTES, &text, &n, r->e);
    if (!rc && text && !keep(r, text, n, &r->out->chat_template)) rc = no_memory(r);
    if (!rc && !text && json_is_string(source) &&
        !keep(r, json_string_value(source), json_string_length(source), &r->out->chat_template))
        rc = no_memory(r);
    free(text);
    qn_buffer_free(&path);
    return rc;
}

int qn_hf_vocabulary_read(const char *directory, size_t n_tokens, qn_hf_vocabulary *out,
                          quern_error *e)
{
    reader r = {.directory = directory, .out = out, .e = e};
    *out = (qn_hf_vocabulary){.n_tokens = n_tokens};
    out->tokens = qn_arena_take_array(&out->arena, n_tokens, sizeof *out->tokens);
    out->kinds = qn_arena_take_array(&out->arena, n_tokens, sizeof *out->kinds);
    int rc = out->tokens && out->kinds ? 0 : no_memory(&r);
    if (!rc) rc = load(&r, "tokenizer.json", MAX_TOKENIZER_BYTES, true, &r.tokenizer);
    if (!rc) rc = load(&r, "tokenizer_config.json", MAX_CONFIG_BYTES, false, &r.config);
    if (!rc) rc = load(&r, "config.json", MAX_CONFIG_BYTES, false, &r.model_config);
    const json_t *model = json_object_get(r.tokenizer, "model");
    if (!rc) rc = read_entries(&r, json_object_get(model, "vocab"));
    if (!rc) rc = read_all_added(&r);
    if (!rc) rc = fill_gaps(&r);
    if (!rc) rc = read_merges(&r, json_object_get(model, "merges"));
    if (!rc) read_special(&r);
    if (!rc) rc = read_template(&r);
    json_decref(r.tokenizer);
    json_decref(r.config);
    json_decref(r.model_config);
    return rc;
}

void qn_hf_vocabulary_free(qn_hf_vocabulary *v)
{
    qn_arena_free(&v->arena);
    *v = (qn_hf_vocabulary){0};
}
