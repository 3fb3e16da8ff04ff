// Models: the counts of the built-in shapes, RoPE's numbers, what a directory must hold, the records of a pass (qwen2, qwen3).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// cmocka wants the headers above first
#include <cmocka.h>

#include "backend/ops/attention.h"
#include "backend/ops/matmul.h"
#include "base/buffer.h"
#include "model/blocks.h"

static void shapes_have_the_published_counts(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t n_parameters;
    } known[] = {
        {"qwen2-0.5b", 494032768},    {"qwen2-7b", 7615616512},     {"qwen2.5-0.5b", 494032768},
        {"qwen2.5-1.5b", 1543714304}, {"qwen2.5-3b", 3085938688},   {"qwen2.5-7b", 7615616512},
        {"qwen2.5-14b", 14770033664}, {"qwen2.5-32b", 32763876352}, {"qwen2.5-72b", 72706203648},
        {"qwq-32b", 32763876352},     {"qwen3-0.6b", 596049920},    {"qwen3-1.7b", 1720574976},
        {"qwen3-4b", 4022468096},     {"qwen3-8b", 8190735360},     {"qwen3-14b", 14768307200},
        {"Qwen3-32B", 32762123264},
    };
    qn_model_facts f;
    quern_error e;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_int_equal(qn_model_shape_facts(known[i].name, QN_DTYPE_BF16, &f, &e), 0);
        assert_int_equal(f.n_parameters, known[i].n_parameters);
        assert_int_equal(f.weight_bytes, 2 * known[i].n_parameters);
    }
    for (int i = 0; qn_model_shape_name(i); i++)
        assert_int_equal(qn_model_shape_facts(qn_model_shape_name(i), QN_DTYPE_F32, &f, &e), 0);
    assert_int_equal(qn_model_shape_facts("gpt-2", QN_DTYPE_F32, &f, &e), QUERN_E_NOT_FOUND);
    qn_weight_fact *w;
    int n;
    assert_int_equal(qn_model_list_weights(NULL, "qwen2.5-7b", &w, &n, &e), 0);
    assert_int_equal(n, 3 + 28 * 12);
    assert_string_equal(w[0].name, "model.embed_tokens.weight");
    assert_int_equal(w[0].dim[0], 152064);
    free(w);
}

// Expected: _compute_yarn_parameters and its neighbours of transformers 5.23 on these parameters.
static void rope_has_the_numbers_of_transformers(void **state)
{
    (void)state;
    static const struct {
        qn_hf_rope rope;
        double scale, inv_freq[8];
    } cases[] = {
        // clang-format off
        {{.type = QN_ROPE_DEFAULT, .theta = 1e6}, 1,
         {1.0, 0.17782794, 0.03162278, 0.0056234132, 0.001, 0.00017782794, 3.1622774e-05, 5.6234135e-06}},
        {{.type = QN_ROPE_LINEAR, .theta = 1e6, .factor = 3}, 1,
         {0.33333334, 0.05927598, 0.010540926, 0.0018744711, 0.00033333336, 5.927598e-05, 1.0540924e-05, 1.8744712e-06}},
        {{.type = QN_ROPE_YARN, .theta = 1e6, .factor = 4, .original_max_position = 64, .truncate = true}, 1.138629436111989,
         {1.0, 0.111142464, 0.007905695, 0.0014058533, 0.00025, 4.4456985e-05, 7.905694e-06, 1.4058534e-06}},
        {{.type = QN_ROPE_YARN, .theta = 1e4, .factor = 4, .original_max_position = 1024, .mscale = 0.707,
          .mscale_all_dim = 0.5, .beta_fast = 20, .beta_slow = 2}, 1.0268361529030026,
         {1.0, 0.31622776, 0.093331754, 0.017655551, 0.0025, 0.00079056947, 0.00025, 7.905695e-05}},
        {{.type = QN_ROPE_YARN, .theta = 1e4, .factor = 4, .original_max_position = 1024, .truncate = true,
          .attention_factor = 1.25, .has_attention_factor = true}, 1.25,
         {1.0, 0.31622776, 0.081250004, 0.019764237, 0.004375, 0.00079056947, 0.00025, 7.905695e-05}},
        {{.type = QN_ROPE_YARN, .theta = 1e4, .factor = 4, .original_max_position = 4, .truncate = true}, 1.138629436111989, // no ramp
         {1.0, 0.079056942, 0.025, 0.0079056947, 0.0025, 0.00079056947, 0.00025, 7.905695e-05}},
        // clang-format on
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_model_config *c = calloc(1, sizeof *c);
        float inv_freq[8], scale;
        assert_non_null(c);
        c->head_dim = 16;
        c->rope = cases[i].rope;
        assert_int_equal(qn_rope_frequencies(c, "x", inv_freq, &scale, NULL), 0);
        assert_true(scale == (float)cases[i].scale);
        for (int k = 0; k < 8; k++) {
            double off = inv_freq[k] / cases[i].inv_freq[k] - 1;
            if (off > 3e-7 || off < -3e-7) fail_msg("case %zu, %d: off by %g", i, k, off);
        }
        free(c);
    }
}

// ---- what a configuration means to a family ----

#define SIZES                                                                                      \
    "\"hidden_size\":16,\"num_hidden_layers\":2,\"num_attention_heads\":4,"                        \
    "\"intermediate_size\":24,\"vocab_size\":40,\"eos_token_id\":3,\"tie_word_embeddings\":"

static int resolve(const char *text, qn_description *d, quern_error *e)
{
    memset(d, 0, sizeof *d);
    int rc = qn_hf_config_parse(text, strlen(text), "config.json", &d->hf, e);
    return rc ? rc : qn_config_resolve(d, "config.json", e);
}

static void families_fill_in_their_defaults(void **state)
{
    (void)state;
    qn_description d;
    quern_error e = {0};
    assert_int_equal(
        resolve("{\"model_type\":\"qwen2\",\"num_key_value_heads\":2," SIZES "true}", &d, &e), 0);
    assert_int_equal(d.config.head_dim, 4); // hidden_size / heads
    assert_int_equal(d.config.n_context, 32768);
    assert_true(d.config.rope.theta == 10000 && d.config.norm_eps == 1e-6f);
    assert_int_equal(
        resolve("{\"model_type\":\"qwen3\",\"num_key_value_heads\":2," SIZES "true}", &d, &e), 0);
    assert_int_equal(d.config.head_dim, 128); // Qwen3Config's
    assert_int_equal(
        resolve(
            "{\"model_type\":\"qwen2\",\"num_key_value_heads\":2,\"max_position_embeddings\":100,"
            "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}," SIZES "true}",
            &d, &e),
        0);
    assert_int_equal(d.config.n_context, 400); // YaRN stretches what the field still says
    assert_int_equal(
        resolve(
            "{\"model_type\":\"qwen2\",\"num_key_value_heads\":2,\"max_position_embeddings\":400,"
            "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":null,\"original_max_position_"
            "embeddings\":100}," SIZES "true}",
            &d, &e),
        0);
    assert_true(d.config.rope.factor == 4);
    static const struct {
        const char *text, *message;
    } bad[] = {
        // clang-format off
        {"{\"model_type\":\"llama\"," SIZES "true}", "config.json: model_type: expected qwen2 or qwen3, found \"llama\""},
        {"{\"model_type\":\"qwen2\"," SIZES "true}", "num_key_value_heads: expected a divisor of num_attention_heads (4), found 32 (the default)"},
        {"{\"model_type\":\"qwen2\",\"num_key_value_heads\":3," SIZES "true}", "num_key_value_heads: expected a divisor of num_attention_heads (4), found 3"},
        {"{\"model_type\":\"qwen3\",\"num_key_value_heads\":8," SIZES "true}", "num_key_value_heads: expected"},
        {"{\"model_type\":\"qwen2\",\"num_key_value_heads\":1,\"hidden_size\":14,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"intermediate_size\":24,\"vocab_size\":40}",
         "num_attention_heads: expected to cut hidden_size (14)"},
        {"{\"model_type\":\"qwen2\",\"num_key_value_heads\":1,\"hidden_size\":12,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"intermediate_size\":24,\"vocab_size\":40}",
         "num_attention_heads: expected to cut hidden_size (12)"}, // into heads of 3
        {"{\"model_type\":\"qwen2\",\"num_key_value_heads\":2,\"rope_theta\":1,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}," SIZES "true}",
         "expected finite frequencies"},
        // clang-format on
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int rc = resolve(bad[i].text, &d, &e);
        if (!rc || !strstr(e.message, bad[i].message))
            fail_msg("rc %d, expected \"%s\", found \"%s\"", rc, bad[i].message, e.message);
    }
}

// ---- directories ----

static char directory[64];

static int make_directory(void **state)
{
    (void)state;
    memcpy(directory, "/tmp/quern-test-XXXXXX", 23);
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    return system(command);
}

static void put(const char *name, const void *bytes, size_t n)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

// How the weight file differs from what the configuration asks for.
typedef struct {
    const char *tensor; // the one that is changed
    const char *type;   // NULL: left out
    int64_t rows;       // 0: as asked
    const char *
        more; // name of a tensor that is added in front, one byte long: all others lie at odd addresses
} change;

static void add_tensor(qn_buffer *header, size_t *at, const qn_weight_fact *w, const change *c)
{
    bool changed = c->tensor && !strcmp(c->tensor, w->name);
    int64_t rows = changed && c->rows ? c->rows : w->dim[0];
    int64_t columns = w->rank == 2 ? w->dim[1] : 1;
    if (changed && !c->type) return;
    size_t bytes = (size_t)(rows * columns) * 4;
    qn_buffer_printf(header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%lld", w->name,
                     changed ? c->type : "F32", (long long)rows);
    if (w->rank == 2) qn_buffer_printf(header, ",%lld", (long long)columns);
    qn_buffer_printf(header, "],\"data_offsets\":[%zu,%zu]}", *at, *at + bytes);
    *at += bytes;
}

static float weight_at(size_t i)
{
    return (float)((int)(i * 7919 % 201) - 100) * 0.002f;
}

// config.json of a family and a file of all its weights in F32, changed as told; weight i of the file is weight_at(i).
static void write_model(const char *type, const char *more, const change *c)
{
    qn_buffer b = QN_BUFFER_INIT;
    qn_weight_fact *w;
    int n;
    quern_error e = {0};
    qn_buffer_printf(
        &b, "{\"model_type\":\"%s\",\"head_dim\":4,\"num_key_value_heads\":2,%s" SIZES "true}",
        type, more);
    put("config.json", b.data, b.length);
    if (qn_model_list_weights(directory, NULL, &w, &n, &e)) fail_msg("%s", e.message);
    qn_buffer_clear(&b);
    size_t at = c->more ? 1 : 0;
    qn_buffer_text(&b, "12345678{\"__metadata__\":{}");
    if (c->more)
        qn_buffer_printf(&b, ",\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}",
                         c->more);
    for (int i = 0; i < n; i++)
        add_tensor(&b, &at, &w[i], c);
    qn_buffer_text(&b, "}");
    while (b.length % 8)
        qn_buffer_text(&b, " ");
    uint64_t length = b.length - 8;
    for (int i = 0; i < 8; i++)
        b.data[i] = (char)(length >> 8 * i);
    if (c->more) qn_buffer_text(&b, "x");
    for (size_t i = 0; i < at / 4; i++) {
        float f = weight_at(i);
        qn_buffer_append(&b, &f, 4);
    }
    put("model.safetensors", b.data, b.length);
    qn_buffer_free(&b);
    free(w);
}

static void weights_are_mapped_or_copied_where_misaligned(void **state)
{
    (void)state;
    for (int odd = 0; odd < 2; odd++) {
        qn_model *m;
        quern_error e = {0};
        write_model("qwen2", "", &(change){.more = odd ? "model.rotary_emb.inv_freq" : NULL});
        if (qn_model_open(directory, NULL, &m, &e)) fail_msg("%s", e.message);
        const qn_model_facts *f = qn_model_get_facts(m);
        uint64_t n = 40 * 16 + 16 + 2 * (2 * 16 + (16 + 8 + 8) * 17 + 16 * 16 + 3 * 24 * 16);
        assert_int_equal(f->n_parameters, n);
        assert_int_equal(f->weight_bytes, 4 * n);
        assert_int_equal(f->active_bytes, 4 * n);
        assert_int_equal(f->dtype, QN_DTYPE_F32);
        assert_true(f->generation.n_eos == 1 && f->generation.eos_ids[0] == 3); // config.json's
        const float *embed = m->ends.embed.data;
        assert_int_equal((uintptr_t)embed % 4, 0);
        for (size_t i = 0; i < 40 * 16; i++)
            assert_true(embed[i] == weight_at(i));
        const unsigned char *map = m->files->files[0].mapping.data;
        bool inside = (const unsigned char *)embed > map &&
                      (const unsigned char *)embed < map + m->files->files[0].mapping.n_bytes;
        assert_true(inside == !odd);
        assert_ptr_equal(m->ends.head.data, m->ends.embed.data); // tied
        qn_model_free(m);
    }
}

static void what_contradicts_the_config_is_refused(void **state)
{
    (void)state;
    static const struct {
        change c;
        const char *message; // NULL: accepted
    } cases[] = {
        // clang-format off
        {{"model.norm.weight", NULL, 0, NULL}, "model.norm.weight: expected a tensor [16], found none"},
        {{"model.layers.1.self_attn.k_proj.weight", "F32", 16, NULL}, "model.safetensors: model.layers.1.self_attn.k_proj.weight: expected shape [8, 16], found [16, 16]"},
        {{"model.layers.0.mlp.up_proj.weight", "F32", 23, NULL}, "model.layers.0.mlp.up_proj.weight: expected shape [24, 16], found [23, 16]"},
        {{"model.embed_tokens.weight", "F32", 41, NULL}, "model.embed_tokens.weight: expected shape [40, 16], found [41, 16]"},
        {{"model.norm.weight", "I32", 0, NULL}, "model.norm.weight: expected type F32, F16 or BF16, found I32"},
        {{NULL, NULL, 0, "model.layers.2.mlp.up_proj.weight"}, "model.layers.2.mlp.up_proj.weight: expected no such tensor by config.json"},
        {{NULL, NULL, 0, "model.layers.0.self_attn.o_proj.bias"}, "model.layers.0.self_attn.o_proj.bias: expected no such tensor"},
        {{NULL, NULL, 0, "model.layers.0.self_attn.rotary_emb.inv_freq"}, NULL},
        {{NULL, NULL, 0, "lm_head.weight"}, NULL}, // tied: the copy is not looked at
        // clang-format on
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_model *m = NULL;
        quern_error e = {0};
        write_model("qwen2", "", &cases[i].c);
        int rc = qn_model_open(directory, NULL, &m, &e);
        if (cases[i].message ? !rc || !strstr(e.message, cases[i].message) : rc)
            fail_msg("case %zu: rc %d, found \"%s\"", i, rc, e.message);
        if (!rc) qn_model_free(m);
    }
}

static void generation_config_wins_over_config(void **state)
{
    (void)state;
    static const char text[] = "{\"eos_token_id\":[7,8],\"temperature\":0.5}",
                      bad[] = "{\"eos_token_id\":40}";
    qn_model_facts f;
    quern_error e;
    write_model("qwen3", "", &(change){0});
    put("generation_config.json", text, sizeof text - 1);
    assert_int_equal(qn_model_read_facts(directory, &f, &e), 0);
    assert_int_equal(f.generation.n_eos, 2);
    assert_int_equal(f.generation.eos_ids[1], 8);
    assert_true(f.generation.has_temperature && f.generation.temperature == 0.5f);
    assert_string_equal(f.architecture, "qwen3");
    assert_int_equal(f.weight_bytes, 0);
    put("generation_config.json", bad, sizeof bad - 1);
    assert_int_equal(qn_model_read_facts(directory, &f, &e), QUERN_E_FORMAT);
}

// ---- the recorded pass ----

enum { N_ROWS = 8, N_BLOCKS = 3 };

static const qn_op qwen2_layer[] = {
    QN_OP_RMS_NORM, QN_OP_MATMUL,    QN_OP_MATMUL,    QN_OP_MATMUL, QN_OP_ROPE,
    QN_OP_ROPE,     QN_OP_KV_APPEND, QN_OP_ATTENTION, QN_OP_MATMUL, QN_OP_RMS_NORM,
    QN_OP_MATMUL,   QN_OP_MATMUL,    QN_OP_SWIGLU,    QN_OP_MATMUL};

static void check_layer(const qn_record *r, const qn_model *m, int layer,
                        const qn_state_span *spans)
{
    bool qwen3 = !strcmp(m->facts.architecture, "qwen3");
    for (int i = 0; i < 14; i++) {
        qn_op expected =
            qwen3 && qwen2_layer[i] == QN_OP_ROPE ? QN_OP_QK_NORM_ROPE : qwen2_layer[i];
        assert_int_equal(r[i].op, expected);
    }
    const qn_attention_args *a = r[7].args;
    size_t offset = (size_t)layer * N_BLOCKS * spans[0].block_bytes;
    assert_ptr_equal(a->k_cache.data, spans[0].base + offset);
    assert_ptr_equal(a->v_cache.data, spans[1].base + offset);
    assert_int_equal(a->k_cache.dim[1] * a->k_cache.dim[2] * a->k_cache.dim[3] * 4,
                     spans[0].block_bytes);
    assert_true(a->n_heads == 4 && a->n_kv_heads == 2 && a->head_dim == 4 && a->scale == 0.5f);
    assert_int_equal(a->window, layer == 1 ? 5 : 0);
    const qn_matmul_args *q = r[1].args, *o = r[8].args;
    assert_true((q->bias.data != NULL) == !qwen3);
    assert_true(!q->accumulate && o->accumulate);
}

static void check_pass(const char *type)
{
    qn_model *m;
    quern_error e = {0};
    write_model(type, "\"use_sliding_window\":true,\"sliding_window\":5,\"max_window_layers\":1,",
                &(change){0});
    if (qn_model_open(directory, NULL, &m, &e)) fail_msg("%s", e.message);
    static qn_step_counts counts;
    qn_batch batch = {.limits = {N_ROWS, 2, 1, 16, 48}, .step = {.counts = &counts}};
    qn_state_part parts[QN_MAX_PARTS];
    qn_state_span spans[2];
    assert_int_equal(qn_model_state_parts(m, parts), 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(parts[i].record_bytes, 2 * 4 * 4); // 2 heads of 4 numbers in F32
        spans[i] = (qn_state_span){NULL, 2, N_BLOCKS, parts[i].record_bytes * QN_BLOCK_TOKENS};
        spans[i].base = malloc(2 * N_BLOCKS * spans[i].block_bytes);
    }
    size_t bytes = qn_model_scratch_bytes(m, &batch.limits);
    char *scratch = malloc(bytes);
    qn_plan plan;
    qn_plan_init(&plan, N_ROWS, &batch);
    qn_model_record(m, &plan, spans, scratch);
    assert_false(plan.failed);
    assert_int_equal(plan.n_records, 3 + 2 * 14 + 4);
    const qn_record *r = plan.records;
    assert_true(r[0].op == QN_OP_STEP_BEGIN && r[1].op == QN_OP_COPY_BLOCKS &&
                r[2].op == QN_OP_EMBED);
    check_layer(r + 3, m, 0, spans);
    check_layer(r + 17, m, 1, spans);
    assert_true(r[31].op == QN_OP_GATHER &&
                r[32].op == QN_OP_RMS_NORM); // only wanted rows reach the head
    assert_true(r[33].op == QN_OP_MATMUL && r[34].op == QN_OP_SAMPLE);
    const qn_matmul_args *head = r[33].args;
    qn_tensor logits = qn_model_logits(m, &batch.limits, scratch);
    assert_ptr_equal(head->y.data, logits.data);
    assert_ptr_equal(head->n_rows, &counts.n_outputs);
    assert_true(logits.dim[0] == 2 && logits.dim[1] == 40);
    assert_true((char *)logits.data >= scratch &&
                (char *)logits.data + 2 * 40 * 4 <= scratch + bytes);
    qn_plan_free(&plan);
    free(scratch);
    free(spans[0].base);
    free(spans[1].base);
    qn_model_free(m);
}

static void a_pass_is_recorded_as_the_paper_says(void **state)
{
    (void)state;
    check_pass("qwen2");
    check_pass("qwen3");
}

// ---- random weights, and the cuts of tensor parallelism ----

static qn_model *bare_model(int n_ranks)
{
    qn_description d;
    quern_error e;
    qn_model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    assert_int_equal(
        resolve("{\"model_type\":\"qwen3\",\"num_key_value_heads\":2,\"head_dim\":4," SIZES
                "false}",
                &d, &e),
        0);
    m->family = d.family;
    m->config = d.config;
    m->n_ranks = n_ranks;
    m->layers = calloc((size_t)d.config.n_layers, d.family->layer_bytes);
    assert_non_null(m->layers);
    return m;
}

static void random_weights_are_seeded_and_small(void **state)
{
    (void)state;
    quern_error e = {0};
    qn_model *m = bare_model(1), *again = bare_model(1);
    qn_weights_describe(m, QN_DTYPE_F32);
    assert_int_equal(qn_random_fill(m, &e), 0);
    qn_weights_describe(again, QN_DTYPE_F32);
    assert_int_equal(qn_random_fill(again, &e), 0);
    assert_int_equal(m->random.n_bytes, again->random.n_bytes);
    assert_memory_equal(m->random.data, again->random.data, m->random.n_bytes);
    const float *embed = m->ends.embed.data, *norm = qn_blocks_layer(m, 1)->attention.q_norm.data;
    double sum = 0, squares = 0;
    for (int i = 0; i < 640; i++) {
        sum += embed[i];
        squares += embed[i] * embed[i];
    }
    assert_true(sum / 640 < 0.003 && sum / 640 > -0.003);
    assert_true(squares / 640 > 0.018 * 0.018 && squares / 640 < 0.022 * 0.022);
    for (int i = 0; i < 4; i++)
        assert_true(norm[i] == 1.0f);
    assert_true(((const float *)m->ends.head.data)[0] != embed[0]);
    qn_model_free(m);
    qn_model_free(again);
}

static void little_device_info(qn_device *d, qn_device_info *out)
{
    (void)d;
    *out = (qn_device_info){.memory_bytes = 1000000};
}

static void a_shape_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    qn_backend little = {.name = "little", .info = little_device_info};
    qn_model *m;
    quern_error e = {0};
    assert_int_equal(qn_model_open_shape("qwen2.5-0.5b", QN_DTYPE_F16,
                                         &(qn_model_options){.backend = &little}, &m, &e),
                     QUERN_E_MEMORY);
    assert_non_null(strstr(e.message, "found 1000000 in all"));
}

// The parts of all ranks together are the whole: rows stay in place, columns are copied.
static void ranks_share_a_tensor_without_rest(void **state)
{
    (void)state;
    float whole[6 * 4];
    for (int i = 0; i < 24; i++)
        whole[i] = (float)i;
    qn_tensor t = qn_tensor_2d(whole, QN_DTYPE_F32, 6, 4);
    qn_weight_spec rows = {.cut = QN_CUT_ROWS}, columns = {.cut = QN_CUT_COLUMNS},
                   all = {.cut = QN_CUT_WHOLE};
    for (int rank = 0; rank < 2; rank++) {
        qn_model *m = bare_model(2);
        qn_tensor part;
        m->rank = rank;
        assert_int_equal(qn_loader_place(m, &rows, &t, true, &part, NULL), 0);
        assert_true(part.dim[0] == 3 && part.dim[1] == 4 && part.data == whole + 12 * rank);
        assert_int_equal(qn_loader_place(m, &columns, &t, true, &part, NULL), 0);
        assert_true(part.dim[0] == 6 && part.dim[1] == 2);
        for (int i = 0; i < 12; i++)
            assert_true(((float *)part.data)[i] == whole[i / 2 * 4 + rank * 2 + i % 2]);
        assert_int_equal(qn_loader_place(m, &all, &t, true, &part, NULL), 0);
        assert_true(part.dim[0] == 6 && part.data == whole);
        qn_model_free(m);
    }
}

// A rank's columns are whole blocks, or refused.
static void blocks_are_not_cut(void **state)
{
    (void)state;
    quern_error e = {0};
    char whole[3 * 2 * 34];
    for (size_t i = 0; i < sizeof whole; i++)
        whole[i] = (char)i;
    qn_tensor t = qn_tensor_2d(whole, QN_DTYPE_Q8_0, 3, 64), part;
    qn_weight_spec columns = {.cut = QN_CUT_COLUMNS};
    qn_model *m = bare_model(2);
    m->rank = 1;
    assert_int_equal(qn_loader_place(m, &columns, &t, true, &part, &e), 0);
    for (int row = 0; row < 3; row++)
        assert_memory_equal((char *)part.data + row * 34, whole + row * 68 + 34, 34);
    t.dim[0] = 6;
    t.dim[1] = 32;
    assert_int_equal(qn_loader_place(m, &columns, &t, true, &part, &e), QUERN_E_UNSUPPORTED);
    qn_model_free(m);
}

// Matrices in blocks, vectors in float32, keys and values in halves; the sizes told before are those of the tensors.
static void shapes_have_block_formats(void **state)
{
    (void)state;
    qn_description d;
    quern_error e = {0};
    qn_model_facts f;
    uint64_t vectors = 28 * (2 * 3584 + 3584 + 2 * 512) + 3584, all, active;
    assert_int_equal(qn_model_shape_facts("qwen2.5-7b", QN_DTYPE_Q8_0, &f, &e), 0);
    assert_int_equal(f.weight_bytes, (f.n_parameters - vectors) / 32 * 34 + vectors * 4);
    assert_int_equal(f.weight_bytes - f.active_bytes, (uint64_t)152063 * 3584 / 32 * 34);
    assert_int_equal(qn_model_shape_facts("qwen2.5-0.5b", QN_DTYPE_Q4_K, &f, &e),
                     QUERN_E_UNSUPPORTED);
    assert_non_null(strstr(e.message, "blocks of 256 numbers (q4_k), found 896"));

    assert_int_equal(resolve("{\"model_type\":\"qwen3\",\"num_key_value_heads\":2,\"head_dim\":16,"
                             "\"hidden_size\":64,\"num_hidden_layers\":2,"
                             "\"num_attention_heads\":4,\"intermediate_size\":96,"
                             "\"vocab_size\":40,\"eos_token_id\":3,\"tie_word_embeddings\":true}",
                             &d, &e),
                     0);
    qn_model *m = bare_model(1);
    qn_state_part parts[QN_MAX_PARTS];
    m->config = d.config;
    qn_weights_describe(m, QN_DTYPE_Q4_1);
    assert_int_equal(qn_random_fill(m, &e), 0);
    qn_weights_measure(m);
    qn_weights_bytes(&m->config, m->family, QN_DTYPE_Q4_1, &all, &active);
    assert_true(m->facts.weight_bytes == all && m->facts.active_bytes == active);
    assert_int_equal(m->facts.dtype, QN_DTYPE_Q4_1);
    const qn_dense_layer *layer = qn_blocks_layer(m, 1);
    assert_int_equal(layer->mlp.down.dtype, QN_DTYPE_Q4_1);
    assert_int_equal(layer->attention.q_norm.dtype, QN_DTYPE_F32);
    assert_true(((const float *)layer->attention.q_norm.data)[15] == 1.0f);
    qn_model_state_parts(m, parts);
    assert_int_equal(parts[0].record_bytes, 2 * 16 * 2);
    qn_model_free(m);
}

static int n_copies; // of the device below

static int copying_adopt(qn_device *d, const void *from, size_t n_bytes, void **address,
                         quern_error *e)
{
    (void)d;
    (void)e;
    *address = malloc(n_bytes);
    assert_non_null(*address);
    memcpy(*address, from, n_bytes);
    n_copies++;
    return 0;
}

static void copying_free(qn_device *d, void *address)
{
    (void)d;
    n_copies -= address != NULL;
    free(address);
}

// A device that cannot read the host's memory has copies of the weights: they end with the model, not with the device.
static void a_devices_copies_end_with_the_model(void **state)
{
    (void)state;
    float whole[4] = {1, 2, 3, 4};
    qn_tensor t = qn_tensor_2d(whole, QN_DTYPE_F32, 2, 2), part;
    qn_weight_spec all = {.cut = QN_CUT_WHOLE};
    qn_backend copying = {.name = "copying", .adopt = copying_adopt, .free = copying_free};
    qn_model *m = bare_model(1);
    m->options.backend = &copying;
    for (int i = 0; i < 100; i++)
        assert_int_equal(qn_loader_place(m, &all, &t, true, &part, NULL), 0);
    assert_true(part.data != whole && ((float *)part.data)[3] == 4);
    assert_int_equal(n_copies, 100);
    qn_model_free(m);
    assert_int_equal(n_copies, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_have_the_published_counts),
        cmocka_unit_test(rope_has_the_numbers_of_transformers),
        cmocka_unit_test(families_fill_in_their_defaults),
        cmocka_unit_test_setup_teardown(weights_are_mapped_or_copied_where_misaligned,
                                        make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(what_contradicts_the_config_is_refused, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(generation_config_wins_over_config, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(a_pass_is_recorded_as_the_paper_says, make_directory,
                                        remove_directory),
        cmocka_unit_test(random_weights_are_seeded_and_small),
        cmocka_unit_test(a_shape_that_does_not_fit_is_refused),
        cmocka_unit_test(ranks_share_a_tensor_without_rest),
        cmocka_unit_test(blocks_are_not_cut),
        cmocka_unit_test(shapes_have_block_formats),
        cmocka_unit_test(a_devices_copies_end_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
