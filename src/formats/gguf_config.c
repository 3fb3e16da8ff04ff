// See gguf_config.h. Keys and defaults follow llama.cpp, which defines them (src/llama-arch.cpp, llama-model.cpp).
#include "formats/gguf_config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double default_theta = 10000;

typedef struct {
    const qn_gguf *g;
    const qn_gguf_metadata *m;
    const char *architecture;
    char key[128]; // the last that was made
    quern_error *e;
} reader;

static const char *key_of(reader *r, const char *name)
{
    snprintf(r->key, sizeof r->key, "%s.%s", r->architecture, name);
    return r->key;
}

static int refuse(const reader *r, int code, const char *expected)
{
    return qn_gguf_refuse(r->m, code, r->key, expected, qn_gguf_find(r->m, r->key), r->e);
}

// An integer from low to high; low - 1 stays where the key is absent and need not be there.
static int read_int(reader *r, const char *name, int64_t low, int64_t high, bool needed,
                    int64_t *out)
{
    const int64_t range[2] = {low, high};
    const char *key = key_of(r, name);
    if (needed && !qn_gguf_find(r->m, key)) return refuse(r, QUERN_E_FORMAT, "an integer");
    return qn_gguf_int(r->m, key, range, out, r->e);
}

// A number above 0 that float32 holds; *has (may be NULL): whether it is there.
static int read_positive(reader *r, const char *name, double *out, bool *has)
{
    const char *key = key_of(r, name);
    bool there = qn_gguf_find(r->m, key) != NULL;
    int rc = qn_gguf_real(r->m, key, out, r->e);
    if (!rc && there && !((float)*out > 0 && isfinite((float)*out)))
        rc = refuse(r, QUERN_E_FORMAT, "a number above 0");
    if (!rc && has) *has = there;
    return rc;
}

static int read_head_dim(reader *r, qn_hf_config *c)
{
    int64_t value = 0, rotated = 0;
    int rc = read_int(r, "attention.key_length", 2, QN_HF_MAX_HEAD_DIM, false, &c->head_dim);
    if (rc) return rc;
    if (!c->head_dim) {
        c->head_dim = c->hidden_size / c->n_heads;
        key_of(r, "attention.head_count");
        if (c->hidden_size % c->n_heads || c->head_dim > QN_HF_MAX_HEAD_DIM || c->head_dim < 2)
            return refuse(r, QUERN_E_FORMAT, "a divisor of the embedding's length, or key_length");
    }
    if (c->head_dim % 2) return refuse(r, QUERN_E_FORMAT, "heads of an even size");
    rc = read_int(r, "attention.value_length", 1, QN_HF_MAX_HEAD_DIM, false, &value);
    if (!rc && value && value != c->head_dim)
        return refuse(r, QUERN_E_UNSUPPORTED, "the same as attention.key_length");
    if (!rc) rc = read_int(r, "rope.dimension_count", 1, QN_HF_MAX_HEAD_DIM, false, &rotated);
    if (!rc && rotated && rotated != c->head_dim)
        return refuse(r, QUERN_E_UNSUPPORTED, "the size of a head");
    return rc;
}

static int read_sizes(reader *r, qn_hf_config *c)
{
    int rc = read_int(r, "embedding_length", 1, QN_HF_MAX_WIDTH, true, &c->hidden_size);
    if (!rc) rc = read_int(r, "block_count", 1, QN_HF_MAX_LAYERS, true, &c->n_layers);
    if (!rc)
        rc = read_int(r, "feed_forward_length", 1, QN_HF_MAX_INNER, true, &c->intermediate_size);
    if (!rc) rc = read_int(r, "context_length", 1, QN_HF_MAX_CONTEXT, true, &c->max_position);
    if (!rc) rc = read_int(r, "attention.head_count", 1, QN_HF_MAX_HEADS, true, &c->n_heads);
    if (rc) return rc;
    c->n_kv_heads = c->n_heads;
    rc = read_int(r, "attention.head_count_kv", 1, QN_HF_MAX_HEADS, false, &c->n_kv_heads);
    if (!rc && (c->n_kv_heads > c->n_heads || c->n_heads % c->n_kv_heads))
        return refuse(r, QUERN_E_FORMAT, "a divisor of attention.head_count");
    if (!rc) rc = read_head_dim(r, c);
    if (!rc && !qn_gguf_find(r->m, key_of(r, "attention.layer_norm_rms_epsilon")))
        return refuse(r, QUERN_E_FORMAT, "a number above 0");
    return rc ? rc : read_positive(r, "attention.layer_norm_rms_epsilon", &c->rms_norm_eps, NULL);
}

static int read_scaling_type(reader *r, qn_hf_rope *rope)
{
    qn_text_span name = {NULL, 0};
    int rc = qn_gguf_text(r->m, key_of(r, "rope.scaling.type"), &name, r->e);
    if (rc || !name.data || qn_vocabulary_is(name, "none")) return rc;
    if (qn_vocabulary_is(name, "linear"))
        rope->type = QN_ROPE_LINEAR;
    else if (qn_vocabulary_is(name, "yarn"))
        rope->type = QN_ROPE_YARN;
    else
        return refuse(r, QUERN_E_UNSUPPORTED, "none, linear or yarn");
    return 0;
}

// A parameter of YaRN that Quern holds fixed.
static int check_fixed(reader *r, const char *name, double value, const char *expected)
{
    double found = value;
    int rc = qn_gguf_real(r->m, key_of(r, name), &found, r->e);
    return rc || found == value ? rc : refuse(r, QUERN_E_UNSUPPORTED, expected);
}

static int read_rope(reader *r, qn_hf_rope *rope)
{
    int rc = read_scaling_type(r, rope);
    rope->truncate = true;
    rope->theta = default_theta;
    if (!rc) rc = read_positive(r, "rope.freq_base", &rope->theta, NULL);
    if (rc || rope->type == QN_ROPE_DEFAULT) return rc;
    rc = read_positive(r, "rope.scaling.factor", &rope->factor, &rope->has_factor);
    if (!rc && !rope->has_factor) return refuse(r, QUERN_E_FORMAT, "a number above 0");
    if (rc || rope->type == QN_ROPE_LINEAR) return rc;
    rc = read_int(r, "rope.scaling.original_context_length", 1, QN_HF_MAX_CONTEXT, true,
                  &rope->original_max_position);
    if (!rc) rc = read_positive(r, "rope.scaling.yarn_beta_fast", &rope->beta_fast, NULL);
    if (!rc) rc = read_positive(r, "rope.scaling.yarn_beta_slow", &rope->beta_slow, NULL);
    if (!rc) rc = check_fixed(r, "rope.scaling.attn_factor", 1, "1");
    if (!rc) rc = check_fixed(r, "rope.scaling.yarn_attn_factor", 1, "1");
    if (!rc) rc = check_fixed(r, "rope.scaling.yarn_ext_factor", 1, "1");
    return rc ? rc : check_fixed(r, "rope.scaling.yarn_log_multiplier", 0, "0");
}

// What would change the numbers and is not done here.
static int check_unsupported(reader *r)
{
    int64_t window = 0;
    bool causal = true;
    int rc = read_int(r, "attention.sliding_window", 0, INT32_MAX, false, &window);
    if (!rc && window) return refuse(r, QUERN_E_UNSUPPORTED, "0 or nothing");
    if (!rc) rc = qn_gguf_bool(r->m, key_of(r, "attention.causal"), &causal, r->e);
    if (!rc && !causal) return refuse(r, QUERN_E_UNSUPPORTED, "true or nothing");
    if (!rc && qn_tensor_set_find(&r->g->set, "rope_freqs.weight"))
        return qn_error_set(r->e, QUERN_E_UNSUPPORTED,
                            "%s: rope_freqs.weight: expected no such tensor, found one",
                            r->m->path);
    return rc;
}

// The vocabulary's size is that of the embedding table; whatever else tells it must agree.
static int read_vocab(reader *r, qn_hf_config *c)
{
    const qn_stored_tensor *embed = qn_tensor_set_find(&r->g->set, "token_embd.weight");
    if (!embed || embed->rank != 2 || embed->dim[0] > QN_HF_MAX_VOCAB)
        return qn_error_set(r->e, QUERN_E_FORMAT,
                            "%s: token_embd.weight: expected a tensor of at most %d rows, found %s",
                            r->m->path, QN_HF_MAX_VOCAB, embed ? "another shape" : "none");
    c->n_vocab = embed->dim[0];
    char expected[64];
    snprintf(expected, sizeof expected, "%lld as token_embd.weight has rows",
             (long long)c->n_vocab);
    int64_t declared = c->n_vocab;
    int rc = read_int(r, "vocab_size", 1, QN_HF_MAX_VOCAB, false, &declared);
    if (!rc && declared != c->n_vocab) return refuse(r, QUERN_E_FORMAT, expected);
    const qn_gguf_value *tokens = qn_gguf_find(r->m, "tokenizer.ggml.tokens");
    if (!rc && tokens && (!tokens->is_array || tokens->n != (uint64_t)c->n_vocab))
        return qn_gguf_refuse(r->m, QUERN_E_FORMAT, "tokenizer.ggml.tokens", expected, tokens,
                              r->e);
    return rc;
}

static void add_eos(qn_hf_config *c, int64_t id)
{
    for (int i = 0; i < c->n_eos; i++)
        if (c->eos_ids[i] == id) return;
    if (id >= 0 && c->n_eos < QN_HF_MAX_EOS) c->eos_ids[c->n_eos++] = (int32_t)id;
}

// The id of an entry; -1 where there is none.
static int64_t token_id(const qn_gguf_metadata *m, const char *content)
{
    const qn_gguf_value *tokens = qn_gguf_find(m, "tokenizer.ggml.tokens");
    if (!tokens || !tokens->is_array || tokens->type != QN_GGUF_STRING) return -1;
    const unsigned char *at = tokens->at;
    for (uint64_t i = 0; i < tokens->n; i++)
        if (qn_vocabulary_is(qn_gguf_next_text(&at), content)) return (int64_t)i;
    return -1;
}

// GGUF has room for one id of each kind. That <|endoftext|> ends a text too, as generation_config.json of every Qwen model
// says, is lost on the way to it and put back here.
static int read_eos(reader *r, qn_hf_config *c)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    const int64_t range[2] = {0, c->n_vocab - 1};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        int64_t id = -1;
        int rc = qn_gguf_int(r->m, keys[i], range, &id, r->e);
        if (rc) return rc;
        add_eos(c, id);
    }
    add_eos(c, token_id(r->m, "<|endoftext|>"));
    return 0;
}

// What the model's makers advise, where the file has it; a file that advises to sample means it.
static int read_sampling(reader *r, qn_hf_generation *g)
{
    static const int64_t any_int[2] = {0, INT32_MAX};
    const struct {
        const char *key;
        double low, high, *out;
        bool *has;
    } rows[] = {
        {"general.sampling.temp", 0, 1e6, &g->temperature, &g->has_temperature},
        {"general.sampling.top_p", 0, 1, &g->top_p, &g->has_top_p},
        {"general.sampling.min_p", 0, 1, &g->min_p, &g->has_min_p},
        {"general.sampling.penalty_repeat", 1e-6, 1e6, &g->repetition_penalty,
         &g->has_repetition_penalty},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && !rc; i++) {
        const qn_gguf_value *v = qn_gguf_find(r->m, rows[i].key);
        rc = qn_gguf_real(r->m, rows[i].key, rows[i].out, r->e);
        *rows[i].has = v && !rc;
        if (*rows[i].has && !(*rows[i].out >= rows[i].low && *rows[i].out <= rows[i].high))
            rc =
                qn_gguf_refuse(r->m, QUERN_E_FORMAT, rows[i].key, "a number in its range", v, r->e);
    }
    g->top_k = -1;
    if (!rc) rc = qn_gguf_int(r->m, "general.sampling.top_k", any_int, &g->top_k, r->e);
    g->has_top_k = g->top_k >= 0;
    g->do_sample = (g->has_temperature && g->temperature > 0) ||
                   (!g->has_temperature && (g->has_top_k || g->has_top_p || g->has_min_p));
    return rc;
}

int qn_gguf_config(const qn_gguf *g, const char *architecture, qn_hf_config *out,
                   qn_hf_generation *generation, quern_error *e)
{
    reader r = {.g = g, .m = &g->metadata, .architecture = architecture, .e = e};
    memset(out, 0, sizeof *out);
    memset(generation, 0, sizeof *generation);
    out->tied = !qn_tensor_set_find(&g->set, "output.weight");
    out->attention_bias = qn_tensor_set_find(&g->set, "blk.0.attn_q.bias") != NULL;
    out->dtype = QN_DTYPE_COUNT;
    int rc = read_sizes(&r, out);
    if (!rc) rc = read_rope(&r, &out->rope);
    if (!rc) rc = check_unsupported(&r);
    if (!rc) rc = read_vocab(&r, out);
    if (!rc) rc = read_eos(&r, out);
    return rc ? rc : read_sampling(&r, generation);
}
