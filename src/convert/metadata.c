// See metadata.h.
#include "convert/metadata.h"

#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "formats/hf_config.h"
#include "formats/hf_vocabulary.h"
#include "text/tokenizer.h"

// What configurations default to (model/config.c).
static const double default_theta = 10000, default_eps = 1e-6;

/* ---- from a GGUF file ---- */

static bool is_of_the_making(qn_text_span key)
{
    static const char *const keys[] = {"general.file_type", "general.quantization_version"};
    static const char *const prefixes[] = {"split.", "quantize.imatrix."};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (qn_vocabulary_is(key, keys[i])) return true;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (key.n >= strlen(prefixes[i]) && !memcmp(key.data, prefixes[i], strlen(prefixes[i])))
            return true;
    return false;
}

void qn_metadata_carry(const qn_gguf *from, qn_gguf_writer *w)
{
    const qn_gguf_value *alignment = qn_gguf_find(&from->metadata, "general.alignment");
    if (alignment) w->alignment = (uint64_t)qn_gguf_int_at(alignment, 0);
    for (size_t i = 0; i < from->metadata.n_values; i++)
        if (!is_of_the_making(from->metadata.values[i].key))
            qn_gguf_put_value(w, &from->metadata.values[i]);
}

/* ---- from a Hugging Face directory ---- */

typedef struct {
    const char *directory;
    const qn_model_facts *facts;
    qn_hf_config config;
    qn_gguf_writer *w;
    char key[96];
    quern_error *e;
} maker;

static const char *key_of(maker *m, const char *name)
{
    snprintf(m->key, sizeof m->key, "%s.%s", m->facts->architecture, name);
    return m->key;
}

static void put_u32(maker *m, const char *name, int64_t value)
{
    qn_gguf_put_u32(m->w, key_of(m, name), (uint32_t)value);
}

static void put_f32(maker *m, const char *name, double value)
{
    qn_gguf_put_f32(m->w, key_of(m, name), (float)value);
}

static void put_word(qn_gguf_writer *w, const char *key, const char *word)
{
    qn_gguf_put_text(w, key, (qn_text_span){word, strlen(word)});
}

// "7.6B", "494M": two digits at least, as gguf-py's utility.py rounds them.
static void put_size_label(maker *m)
{
    static const struct {
        double unit;
        char suffix;
    } rows[] = {{1e12, 'T'}, {1e9, 'B'}, {1e6, 'M'}, {1e3, 'K'}};
    double n = (double)m->facts->n_parameters;
    size_t i = 0;
    char text[32];
    while (i < 3 && n <= rows[i].unit)
        i++;
    n /= rows[i].unit;
    snprintf(text, sizeof text, n < 9.5 ? "%.1f%c" : "%.0f%c", n, rows[i].suffix);
    put_word(m->w, "general.size_label", text);
}

static int unsupported(const maker *m, const char *what)
{
    return qn_error_set(m->e, QUERN_E_UNSUPPORTED,
                        "%s/config.json: %s: expected none, since GGUF has no key for it",
                        m->directory, what);
}

static int put_rope(maker *m)
{
    const qn_hf_rope *rope = &m->config.rope;
    int64_t original = rope->original_max_position;
    int64_t context = m->config.max_position ? m->config.max_position : m->facts->n_context;
    put_f32(m, "rope.freq_base", rope->theta > 0 ? rope->theta : default_theta);
    if (rope->type == QN_ROPE_DEFAULT) return 0;
    if (rope->has_attention_factor || rope->mscale != 0 || rope->mscale_all_dim != 0 ||
        !rope->truncate)
        return unsupported(m, "attention_factor, mscale or truncate of the RoPE");
    if (!original) original = context;
    put_word(m->w, key_of(m, "rope.scaling.type"), rope->type == QN_ROPE_YARN ? "yarn" : "linear");
    put_f32(m, "rope.scaling.factor",
            rope->has_factor ? rope->factor : (double)context / (double)original);
    if (rope->type == QN_ROPE_LINEAR) return 0;
    put_u32(m, "rope.scaling.original_context_length", original);
    if (rope->beta_fast > 0) put_f32(m, "rope.scaling.yarn_beta_fast", rope->beta_fast);
    if (rope->beta_slow > 0) put_f32(m, "rope.scaling.yarn_beta_slow", rope->beta_slow);
    return 0;
}

static int put_sizes(maker *m)
{
    const qn_model_facts *f = m->facts;
    const qn_hf_config *c = &m->config;
    put_u32(m, "context_length", c->max_position ? c->max_position : f->n_context);
    put_u32(m, "embedding_length", f->hidden_size);
    put_u32(m, "block_count", f->n_layers);
    put_u32(m, "feed_forward_length", f->intermediate_size);
    put_u32(m, "attention.head_count", f->n_heads);
    put_u32(m, "attention.head_count_kv", f->n_kv_heads);
    put_f32(m, "attention.layer_norm_rms_epsilon",
            c->rms_norm_eps > 0 ? c->rms_norm_eps : default_eps);
    if (c->head_dim || (int64_t)f->head_dim * f->n_heads != f->hidden_size) {
        put_u32(m, "attention.key_length", f->head_dim);
        put_u32(m, "attention.value_length", f->head_dim);
    }
    for (int i = 0; i < f->n_layers; i++)
        if (c->windowed[i]) return unsupported(m, "use_sliding_window");
    return put_rope(m);
}

// Only of a model that advises to sample: readers take a temperature for that advice.
static void put_sampling(maker *m)
{
    const qn_generation_config *g = &m->facts->generation;
    if (!g->do_sample) return;
    qn_gguf_put_f32(m->w, "general.sampling.temp", g->has_temperature ? g->temperature : 1);
    if (g->has_top_k) // I32 in gguf-py; readers take any integer
        qn_gguf_put_u32(m->w, "general.sampling.top_k", (uint32_t)g->top_k);
    if (g->has_top_p) qn_gguf_put_f32(m->w, "general.sampling.top_p", g->top_p);
    if (g->has_min_p) qn_gguf_put_f32(m->w, "general.sampling.min_p", g->min_p);
    if (g->has_repetition_penalty)
        qn_gguf_put_f32(m->w, "general.sampling.penalty_repeat", g->repetition_penalty);
}

/* ---- the tokenizer ---- */

static bool is_endoftext(const qn_hf_vocabulary *v, int32_t id)
{
    return v && (size_t)id < v->n_tokens && v->tokens[id].n == strlen("<|endoftext|>") &&
           !memcmp(v->tokens[id].data, "<|endoftext|>", v->tokens[id].n);
}

// The ids that end a text: one of each name; <|endoftext|> is known without.
static int put_ends(maker *m, const qn_hf_vocabulary *v)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    const qn_generation_config *g = &m->facts->generation;
    int32_t eos = v && v->ids[QN_SPECIAL_EOS] >= 0 ? v->ids[QN_SPECIAL_EOS]
                  : g->n_eos                       ? g->eos_ids[0]
                                                   : -1;
    size_t n = 0;
    if (eos >= 0) qn_gguf_put_u32(m->w, keys[n++], (uint32_t)eos);
    for (int i = 0; i < g->n_eos; i++) {
        if (g->eos_ids[i] == eos || is_endoftext(v, g->eos_ids[i])) continue;
        if (n == sizeof keys / sizeof *keys)
            return qn_error_set(m->e, QUERN_E_UNSUPPORTED,
                                "%s: eos_token_id: expected at most 3 ids, as GGUF has keys for",
                                m->directory);
        qn_gguf_put_u32(m->w, keys[n++], (uint32_t)g->eos_ids[i]);
    }
    return 0;
}

static int put_vocabulary(maker *m, const char *pre, const qn_hf_vocabulary *v)
{
    static const struct {
        qn_special special;
        const char *key;
    } rows[] = {
        {QN_SPECIAL_BOS, "tokenizer.ggml.bos_token_id"},
        {QN_SPECIAL_UNKNOWN, "tokenizer.ggml.unknown_token_id"},
        {QN_SPECIAL_SEPARATOR, "tokenizer.ggml.seperator_token_id"}, // the key's own spelling
        {QN_SPECIAL_PADDING, "tokenizer.ggml.padding_token_id"},
        {QN_SPECIAL_CLASS, "tokenizer.ggml.cls_token_id"},
        {QN_SPECIAL_MASK, "tokenizer.ggml.mask_token_id"}};
    put_word(m->w, "tokenizer.ggml.model", "gpt2");
    put_word(m->w, "tokenizer.ggml.pre", pre);
    qn_gguf_put_texts(m->w, "tokenizer.ggml.tokens", v->tokens, v->n_tokens);
    qn_gguf_put_kinds(m->w, "tokenizer.ggml.token_type", v->kinds, v->n_tokens);
    qn_gguf_put_texts(m->w, "tokenizer.ggml.merges", v->merges, v->n_merges);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (v->ids[rows[i].special] >= 0)
            qn_gguf_put_u32(m->w, rows[i].key, (uint32_t)v->ids[rows[i].special]);
    if (v->tells_bos) qn_gguf_put_bool(m->w, "tokenizer.ggml.add_bos_token", false);
    if (v->chat_template.data) qn_gguf_put_text(m->w, "tokenizer.chat_template", v->chat_template);
    return put_ends(m, v);
}

// A directory without tokenizer.json gives a file without a tokenizer.
static int put_text(maker *m)
{
    qn_tokenizer *t = NULL;
    qn_hf_vocabulary v = {0};
    int rc = qn_tokenizer_load(m->directory, &t, m->e);
    if (rc == QUERN_E_NOT_FOUND) return put_ends(m, NULL);
    if (!rc && !qn_tokenizer_pre(t))
        rc = qn_error_set(m->e, QUERN_E_UNSUPPORTED,
                          "%s/tokenizer.json: pre_tokenizer: expected NFC and the pattern of "
                          "Qwen2, which GGUF has a name for",
                          m->directory);
    if (!rc) rc = qn_hf_vocabulary_read(m->directory, (size_t)m->facts->n_vocab, &v, m->e);
    if (!rc) rc = put_vocabulary(m, qn_tokenizer_pre(t), &v);
    qn_hf_vocabulary_free(&v);
    qn_tokenizer_free(t);
    return rc;
}

int qn_metadata_make(const char *directory, const char *name, const qn_model_facts *facts,
                     qn_gguf_writer *w, quern_error *e)
{
    maker m = {.directory = directory, .facts = facts, .w = w, .e = e};
    qn_buffer path = QN_BUFFER_INIT;
    if (!qn_buffer_printf(&path, "%s/config.json", directory))
        return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for its path", directory);
    int rc = qn_hf_config_read(path.data, &m.config, e);
    qn_buffer_free(&path);
    if (rc) return rc;
    put_word(w, "general.architecture", facts->architecture);
    put_word(w, "general.type", "model");
    put_word(w, "general.name", name);
    put_size_label(&m);
    rc = put_sizes(&m);
    if (rc) return rc;
    put_sampling(&m);
    return put_text(&m);
}
