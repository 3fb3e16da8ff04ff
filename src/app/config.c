// The YAML of `quern serve --config`: libyaml's document, read by a table of keys. See config.h.
#include "app/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "app/app.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

typedef struct {
    qn_app_config *config;
    const char *path;
    yaml_document_t *document;
    quern_error *error;
} reader;

static int refuse(const reader *r, const yaml_node_t *node, const char *key, const char *expected)
{
    bool scalar = node->type == YAML_SCALAR_NODE;
    return qn_error_set(r->error, QUERN_E_FORMAT, "%s: line %zu: %s: expected %s, found %s%.60s%s",
                        r->path, node->start_mark.line + 1, key, expected, scalar ? "\"" : "",
                        scalar ? (const char *)node->data.scalar.value
                               : (node->type == YAML_SEQUENCE_NODE ? "a list" : "a mapping"),
                        scalar ? "\"" : "");
}

static const char *text_of(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value : NULL;
}

// What a key sets: *target by kind, or a function for what is no plain value.
typedef enum { KEY_INT, KEY_BYTES, KEY_TEXT, KEY_CHOICE, KEY_OTHER } key_kind;
typedef struct key {
    const char *name;
    key_kind kind;
    void *target;
    long long min, max;
    const char *const *choices; // CHOICE: target is int *, the index
    int (*read)(const reader *r, const yaml_node_t *node, const struct key *key);
} key;

static int read_int(const reader *r, const yaml_node_t *node, const key *k)
{
    const char *s = text_of(node);
    char *end = NULL, expected[80];
    errno = 0;
    long long v = s ? strtoll(s, &end, 10) : 0;
    snprintf(expected, sizeof expected, "a whole number from %lld to %lld", k->min, k->max);
    if (!s || end == s || *end || errno || v < k->min || v > k->max)
        return refuse(r, node, k->name, expected);
    if (k->kind == KEY_BYTES)
        *(uint64_t *)k->target = (uint64_t)v;
    else
        *(int *)k->target = (int)v;
    return 0;
}

static int read_choice(const reader *r, const yaml_node_t *node, const key *k)
{
    const char *s = text_of(node);
    char expected[120] = "";
    for (int i = 0; k->choices[i]; i++) {
        if (s && !strcmp(s, k->choices[i])) return *(int *)k->target = i, 0;
        size_t n = strlen(expected);
        snprintf(expected + n, sizeof expected - n, "%s%s", i ? " or " : "", k->choices[i]);
    }
    return refuse(r, node, k->name, expected);
}

static int read_text(const reader *r, const yaml_node_t *node, const key *k)
{
    const char *s = text_of(node);
    if (!s || !*s) return refuse(r, node, k->name, "text");
    char *copy = qn_arena_text(&r->config->arena, s, strlen(s));
    if (!copy) return qn_error_set(r->error, QUERN_E_MEMORY, "%s: no memory", r->path);
    *(const char **)k->target = copy;
    return 0;
}

static int read_value(const reader *r, const yaml_node_t *node, const key *k)
{
    switch (k->kind) {
    case KEY_INT:
    case KEY_BYTES:
        return read_int(r, node, k);
    case KEY_TEXT:
        return read_text(r, node, k);
    case KEY_CHOICE:
        return read_choice(r, node, k);
    default:
        return k->read(r, node, k);
    }
}

// Reads a mapping by a table of keys (the last has no name); each key at most once.
static int read_mapping(const reader *r, const yaml_node_t *node, const key *keys)
{
    uint64_t seen = 0;
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top;
         p++) {
        yaml_node_t *name = yaml_document_get_node(r->document, p->key);
        yaml_node_t *value = yaml_document_get_node(r->document, p->value);
        const char *s = text_of(name);
        int i = 0;
        while (keys[i].name && (!s || strcmp(s, keys[i].name) != 0))
            i++;
        if (!keys[i].name) return refuse(r, name, "key", "one that docs/api.md lists");
        if (seen >> i & 1) return refuse(r, name, "key", "each key once");
        seen |= (uint64_t)1 << i;
        int rc = read_value(r, value, &keys[i]);
        if (rc) return rc;
    }
    return 0;
}

static int read_model(const reader *r, const yaml_node_t *node)
{
    const char *name = NULL, *path = NULL;
    quern_model_options o = r->config->model;
    const key keys[] = {
        {"name", KEY_TEXT, &name, 0, 0, NULL, NULL},
        {"path", KEY_TEXT, &path, 0, 0, NULL, NULL},
        {"context", KEY_INT, &o.n_context, 1, 1 << 24, NULL, NULL},
        {"kv_cache", KEY_TEXT, &o.kv_cache, 0, 0, NULL, NULL},
        {"kv_blocks", KEY_INT, &o.n_kv_blocks, 1, 1 << 24, NULL, NULL},
        {"prefill_chunk", KEY_INT, &o.prefill_chunk, 1, 65536, NULL, NULL},
        {"max_batch", KEY_INT, &o.max_batch, 1, 256, NULL, NULL},
        {"max_queue", KEY_INT, &o.max_queue, 1, 1 << 20, NULL, NULL},
        {0},
    };
    if (node->type == YAML_SCALAR_NODE) {
        name = text_of(node);
    } else if (node->type == YAML_MAPPING_NODE) {
        int rc = read_mapping(r, node, keys);
        if (rc) return rc;
    }
    if (!name || !*name) return refuse(r, node, "models", "a name or a mapping with a name");
    return qn_app_config_add_model(r->config, path ? name : NULL, path ? path : name, &o, r->error);
}

static int read_models(const reader *r, const yaml_node_t *node, const key *k)
{
    if (node->type != YAML_SEQUENCE_NODE ||
        node->data.sequence.items.start == node->data.sequence.items.top)
        return refuse(r, node, k->name, "a list of at least one name or mapping");
    int rc = 0;
    for (yaml_node_item_t *i = node->data.sequence.items.start;
         i < node->data.sequence.items.top && !rc; i++)
        rc = read_model(r, yaml_document_get_node(r->document, *i));
    return rc;
}

// An alias makes a node the child of two parents, which no configuration needs.
static bool has_alias(yaml_document_t *d)
{
    size_t n = (size_t)(d->nodes.top - d->nodes.start), n_children = 0;
    for (yaml_node_t *node = d->nodes.start; node < d->nodes.top; node++) {
        if (node->type == YAML_SEQUENCE_NODE)
            n_children += (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
        if (node->type == YAML_MAPPING_NODE)
            n_children +=
                2 * (size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start);
    }
    return n_children + 1 != n;
}

static int read_document(const reader *r, quern_error *e)
{
    static const char *const scalings[] = {"single", "horizontal", NULL};
    static const char *const monitorings[] = {"off", "real-time", NULL};
    static const char *const levels[] = {"error", "warn", "info", "debug", NULL};
    qn_app_config *c = r->config;
    int scaling = c->horizontal, monitoring = c->monitoring, level = -1;
    const key keys[] = {
        {"scaling", KEY_CHOICE, &scaling, 0, 0, scalings, NULL},
        {"monitoring", KEY_CHOICE, &monitoring, 0, 0, monitorings, NULL},
        {"routing", KEY_TEXT, &c->routing, 0, 0, NULL, NULL},
        {"host", KEY_TEXT, &c->host, 0, 0, NULL, NULL},
        {"port", KEY_INT, &c->port, 0, 65535, NULL, NULL},
        {"backend", KEY_TEXT, &c->runtime.backend, 0, 0, NULL, NULL},
        {"threads", KEY_INT, &c->runtime.n_threads, 1, 1024, NULL, NULL},
        {"memory", KEY_BYTES, &c->runtime.memory_bytes, 1, INT64_MAX, NULL, NULL},
        {"log_level", KEY_CHOICE, &level, 0, 0, levels, NULL},
        {"drain_seconds", KEY_INT, &c->drain_seconds, 1, 86400, NULL, NULL},
        {"long_text_tokens", KEY_INT, &c->long_text_tokens, 1, 1 << 24, NULL, NULL},
        {"models", KEY_OTHER, NULL, 0, 0, NULL, read_models},
        {0},
    };
    yaml_node_t *root = yaml_document_get_root_node(r->document);
    if (!root) return qn_error_set(e, QUERN_E_FORMAT, "%s: the file is empty", r->path);
    if (root->type != YAML_MAPPING_NODE) return refuse(r, root, "configuration", "a mapping");
    if (has_alias(r->document))
        return qn_error_set(e, QUERN_E_FORMAT, "%s: aliases are not accepted", r->path);
    int rc = read_mapping(r, root, keys);
    c->horizontal = scaling;
    c->monitoring = monitoring;
    if (level >= 0) c->log_level = levels[level];
    if (!rc && !c->n_models)
        rc = qn_error_set(e, QUERN_E_FORMAT, "%s: models: a key that must be there is missing",
                          r->path);
    return rc;
}

int qn_app_config_read(qn_app_config *c, const char *path, quern_error *e)
{
    char *text = NULL;
    size_t n;
    int rc = qn_file_read(path, 1 << 20, &text, &n, e);
    if (rc) return rc;
    yaml_parser_t parser;
    yaml_document_t document;
    if (!yaml_parser_initialize(&parser)) {
        free(text);
        return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory", path);
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
    if (!yaml_parser_load(&parser, &document)) {
        rc = qn_error_set(e, QUERN_E_FORMAT, "%s: line %zu: %s", path, parser.problem_mark.line + 1,
                          parser.problem ? parser.problem : "not YAML");
    } else {
        reader r = {c, path, &document, e};
        rc = read_document(&r, e);
        yaml_document_delete(&document);
    }
    yaml_parser_delete(&parser);
    free(text);
    return rc;
}
