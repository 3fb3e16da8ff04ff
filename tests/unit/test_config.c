// config.json and generation_config.json: both forms that exist, what transformers defaults to, and every refusal by field.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka wants the headers above first
#include <cmocka.h>

#include "formats/hf_config.h"
#include "formats/hf_quantization.h"

static const char base[] =
    "{\"model_type\":\"qwen2\",\"hidden_size\":64,\"num_hidden_layers\":4,\"num_attention_heads\":"
    "4,"
    "\"intermediate_size\":160,\"vocab_size\":528,\"num_key_value_heads\":2,"
    "\"max_position_embeddings\":4096,\"rms_norm_eps\":1e-06,\"hidden_act\":\"silu\","
    "\"tie_word_embeddings\":true,\"rope_theta\":1000000.0,\"torch_dtype\":\"bfloat16\"}";

// The base with `from` replaced by `to` (from "": `to` is added at the front).
static char *edited(const char *from, const char *to)
{
    const char *at = *from ? strstr(base, from) : base + 1;
    assert_non_null(at);
    char *text = malloc(sizeof base + strlen(to) + 1);
    assert_non_null(text);
    sprintf(text, "%.*s%s%s%s", (int)(at - base), base, to, *from ? "" : ",", at + strlen(from));
    return text;
}

static int parse(const char *text, qn_hf_config *c, quern_error *e)
{
    size_t n = strlen(text);
    char *copy = malloc(n); // exact, so that a sanitiser sees a byte too many
    assert_non_null(copy);
    memcpy(copy, text, n);
    int rc = qn_hf_config_parse(copy, n, "config.json", c, e);
    free(copy);
    return rc;
}

static qn_hf_config parsed(const char *from, const char *to)
{
    qn_hf_config c;
    quern_error e = {0};
    char *text = edited(from, to);
    if (parse(text, &c, &e)) fail_msg("%s: %s", text, e.message);
    free(text);
    return c;
}

static void the_old_form_is_read(void **state)
{
    (void)state;
    qn_hf_config c = parsed("", "\"x\":[{}],\"auto_map\":{\"AutoModel\":\"evil.py\"}");
    assert_string_equal(c.model_type, "qwen2");
    assert_int_equal(c.hidden_size, 64);
    assert_int_equal(c.n_layers, 4);
    assert_int_equal(c.n_heads, 4);
    assert_int_equal(c.n_kv_heads, 2);
    assert_int_equal(c.head_dim, 0);
    assert_int_equal(c.intermediate_size, 160);
    assert_int_equal(c.n_vocab, 528);
    assert_int_equal(c.max_position, 4096);
    assert_true(c.tied);
    assert_int_equal(c.dtype, QN_DTYPE_BF16);
    assert_true(c.rope.theta == 1e6 && c.rope.type == QN_ROPE_DEFAULT);
    c = parsed("", "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}");
    assert_true(c.rope.type == QN_ROPE_LINEAR && c.rope.factor == 2 && c.rope.theta == 1e6);
    c = parsed("", "\"rope_scaling\":null,\"head_dim\":null,\"quantization_config\":null");
    assert_int_equal(c.rope.type, QN_ROPE_DEFAULT);
    assert_int_equal(parsed("\"num_key_value_heads\":2", "\"num_key_value_heads\":null").n_kv_heads,
                     4);
    assert_int_equal(parsed("\"num_key_value_heads\":2,", "").n_kv_heads, 0);
}

static void the_new_form_is_read(void **state)
{
    (void)state;
    qn_hf_config c = parsed(
        "\"rope_theta\":1000000.0,\"torch_dtype\":\"bfloat16\"",
        "\"dtype\":\"float16\",\"rope_parameters\":{\"rope_type\":\"yarn\",\"rope_theta\":5e5,"
        "\"factor\":4.0,\"original_max_position_embeddings\":1024,\"attention_factor\":1.5,"
        "\"beta_fast\":20,\"beta_slow\":null,\"mscale\":0.7,\"mscale_all_dim\":0,\"truncate\":"
        "false}");
    assert_int_equal(c.dtype, QN_DTYPE_F16);
    assert_int_equal(c.rope.type, QN_ROPE_YARN);
    assert_true(c.rope.theta == 5e5 && c.rope.factor == 4 && c.rope.has_factor);
    assert_int_equal(c.rope.original_max_position, 1024);
    assert_true(c.rope.has_attention_factor && c.rope.attention_factor == 1.5);
    assert_true(c.rope.beta_fast == 20 && c.rope.beta_slow == 0);
    assert_true(c.rope.mscale == 0.7 && c.rope.mscale_all_dim == 0 && !c.rope.truncate);
    // The theta inside wins over the one beside; "rope_type" over "type"; rope_scaling over rope_parameters.
    c = parsed(
        "",
        "\"rope_parameters\":{\"rope_theta\":7,\"type\":\"dynamic\",\"rope_type\":\"default\"}");
    assert_true(c.rope.theta == 7 && c.rope.type == QN_ROPE_DEFAULT && c.rope.truncate);
    c = parsed("", "\"rope_parameters\":{\"type\":\"dynamic\"},\"rope_scaling\":{\"type\":"
                   "\"linear\",\"factor\":3}");
    assert_true(c.rope.type == QN_ROPE_LINEAR && c.rope.factor == 3);
    c = parsed("", "\"rope_scaling\":{},\"rope_parameters\":{\"type\":\"linear\",\"factor\":5}");
    assert_true(c.rope.factor == 5);
}

static int windows(const qn_hf_config *c) // a bit a layer
{
    int bits = 0;
    for (int i = 0; i < 4; i++)
        bits |= c->windowed[i] << i;
    return bits;
}

static void windows_follow_qwen2_config(void **state)
{
    (void)state;
    qn_hf_config c =
        parsed("", "\"use_sliding_window\":true,\"sliding_window\":32,\"max_window_layers\":1");
    assert_int_equal(c.sliding_window, 32);
    assert_int_equal(windows(&c), 0xe);
    c = parsed("", "\"use_sliding_window\":true,\"max_window_layers\":0");
    assert_int_equal(c.sliding_window, 4096); // the default
    assert_int_equal(windows(&c), 0xf);
    c = parsed("", "\"use_sliding_window\":true"); // max_window_layers is 28 by default
    assert_int_equal(windows(&c), 0);
    c = parsed("", "\"use_sliding_window\":false,\"sliding_window\":32,\"max_window_layers\":1");
    assert_int_equal(c.sliding_window, 0);
    assert_int_equal(windows(&c), 0);
    c = parsed("", "\"use_sliding_window\":true,\"sliding_window\":null,\"max_window_layers\":1");
    assert_int_equal(windows(&c), 0);
    c = parsed("", "\"use_sliding_window\":true,\"sliding_window\":8,\"max_window_layers\":0,"
                   "\"layer_types\":[\"sliding_attention\",\"full_attention\",\"sliding_"
                   "attention\",\"full_attention\"]");
    assert_int_equal(windows(&c), 0x5); // the list overrules the rule
}

static void damage_is_refused_by_field(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *message;
        // clang-format off
    } cases[] = {
        {"\"model_type\":\"qwen2\",", "", "config.json: model_type: expected a string, found nothing"},
        {"\"qwen2\"", "[\"qwen2\"]", "model_type: expected a string, found an array"},
        {"\"hidden_size\":64", "\"hidden_size\":0", "hidden_size: expected an integer from 1"},
        {"\"hidden_size\":64", "\"hidden_size\":-64", "hidden_size: expected an integer from 1"},
        {"\"hidden_size\":64", "\"hidden_size\":2147483648", "hidden_size: expected an integer from 1"},
        {"\"hidden_size\":64", "\"hidden_size\":\"64\"", "hidden_size: expected an integer from 1 to 1048576, found the string \"64\""},
        {"\"hidden_size\":64", "\"hidden_size\":64.0", "hidden_size: expected an integer"},
        {"\"hidden_size\":64,", "", "hidden_size: expected an integer, found nothing"},
        {"\"hidden_size\":64", "\"hidden_size\":64,\"hidden_size\":32", "duplicate object key"},
        {"\"num_hidden_layers\":4", "\"num_hidden_layers\":0", "num_hidden_layers: expected"},
        {"\"num_hidden_layers\":4", "\"num_hidden_layers\":1000000", "num_hidden_layers: expected"},
        {"\"num_attention_heads\":4", "\"num_attention_heads\":0", "num_attention_heads: expected"},
        {"\"num_key_value_heads\":2", "\"num_key_value_heads\":0", "num_key_value_heads: expected"},
        {"\"vocab_size\":528", "\"vocab_size\":\"528\"", "vocab_size: expected"},
        {"\"max_position_embeddings\":4096", "\"max_position_embeddings\":0", "max_position_embeddings: expected"},
        {"\"max_position_embeddings\":4096", "\"max_position_embeddings\":1099511627776", "max_position_embeddings: expected"},
        {"1e-06", "0", "rms_norm_eps: expected a number above 0, found 0"},
        {"1e-06", "-1e-6", "rms_norm_eps: expected"},
        {"1e-06", "NaN", "config.json: line 1"},
        {"1e-06", "1e999", "config.json: line 1"},
        {"1e-06", "null", "rms_norm_eps: expected"},
        {"1000000.0", "0", "rope_theta: expected a number above 0, found 0"},
        {"1000000.0", "-1", "rope_theta: expected"},
        {"1000000.0", "1e300", "rope_theta: expected"},
        {"1000000.0", "\"1e6\"", "rope_theta: expected a number"},
        {"\"silu\"", "\"gelu\"", "hidden_act: expected \"silu\", found the string \"gelu\""},
        {"\"silu\"", "null", "hidden_act: expected \"silu\""},
        {"\"bfloat16\"", "\"int8\"", "torch_dtype: expected"},
        {"\"bfloat16\"", "7", "torch_dtype: expected"},
        {"true", "\"yes\"", "tie_word_embeddings: expected true or false"},
        {"", "\"head_dim\":0", "head_dim: expected"},
        {"", "\"head_dim\":33", "head_dim: expected an even number, found 33"},
        {"", "\"head_dim\":4096", "head_dim: expected"},
        {"", "\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}", "rope_scaling.type: expected default, linear or yarn, found the string \"dynamic\""},
        {"", "\"rope_parameters\":{\"rope_type\":\"llama3\"}", "rope_parameters.rope_type: expected default, linear or yarn, found the string \"llama3\""},
        {"", "\"rope_scaling\":{\"type\":[\"yarn\"]}", "rope_scaling.type: expected"},
        {"", "\"rope_scaling\":\"yarn\"", "rope_scaling: expected an object"},
        {"", "\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}", "rope_scaling.factor: expected a number above 0"},
        {"", "\"rope_scaling\":{\"type\":\"linear\"}", "rope_scaling.factor: expected a number above 0, found nothing"},
        {"", "\"rope_scaling\":{\"type\":\"yarn\"}", "rope_scaling.factor: expected"},
        {"", "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":\"4\"}", "rope_scaling.factor: expected a number"},
        {"", "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"original_max_position_embeddings\":0}", "original_max_position_embeddings: expected"},
        {"", "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"beta_fast\":-1}", "beta_fast: expected a number above 0"},
        {"", "\"rope_scaling\":{\"type\":\"default\",\"partial_rotary_factor\":0.5}", "partial_rotary_factor: expected 1"},
        {"", "\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1}}", "rope_parameters.full_attention: expected one set of parameters"},
        {"", "\"use_sliding_window\":1", "use_sliding_window: expected true or false"},
        {"", "\"use_sliding_window\":true,\"sliding_window\":0", "sliding_window: expected"},
        {"", "\"layer_types\":[\"full_attention\"]", "layer_types: expected an entry for each layer"},
        {"", "\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\",\"linear_attention\"]", "layer_types: expected full_attention or sliding_attention, found the string \"linear_attention\""},
        {"", "\"layer_types\":[\"sliding_attention\",\"full_attention\",\"full_attention\",\"full_attention\"]", "layer_types: expected use_sliding_window"},
        {"", "\"eos_token_id\":528", "eos_token_id: expected ids below vocab_size, found 528"},
        {"", "\"eos_token_id\":[1,-1]", "eos_token_id: expected ids below vocab_size, found -1"},
        {"", "// comment\n\"x\":1", "config.json: line 1"},
        {"", "\"x\":\"\xff\"", "config.json: byte 6: expected UTF-8"},
    };
    // clang-format on
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_hf_config c;
        quern_error e = {0};
        char *text = edited(cases[i].from, cases[i].to);
        int rc = parse(text, &c, &e);
        if (!rc || !strstr(e.message, cases[i].message) || strchr(e.message, '\n'))
            fail_msg("%s\nrc %d, expected \"%s\", found \"%s\"", text, rc, cases[i].message,
                     e.message);
        free(text);
    }
}

static void documents_that_are_no_object_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"[]", "", " ", "{", "7", "null", "\"x\"", "{} {}"};
    qn_hf_config c;
    quern_error e;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(parse(texts[i], &c, &e), QUERN_E_FORMAT);
    char *deep = malloc(200001);
    assert_non_null(deep);
    memset(deep, '[', 200000);
    deep[200000] = 0;
    assert_int_equal(parse(deep, &c, &e), QUERN_E_LIMIT);
    free(deep);
    assert_int_equal(qn_hf_config_read("/nowhere/config.json", &c, &e), QUERN_E_NOT_FOUND);
}

static int quantization(const char *fields, qn_hf_quantization *q, quern_error *e)
{
    return qn_hf_quantization_parse(fields, strlen(fields), "config.json", q, e);
}

// mlx-lm's object wins over its twin; a module's own numbers, or false, over both.
static void modules_have_their_own_grouping(void **state)
{
    (void)state;
    qn_hf_quantization q;
    quern_error e = {0};
    assert_int_equal(
        quantization("{\"quantization\":{\"bits\":4,\"group_size\":64,\"m.a\":{\"bits\":"
                     "8,\"group_size\":32},\"m.b\":false,\"m.c\":true},"
                     "\"quantization_config\":{\"bits\":3,\"group_size\":32}}",
                     &q, &e),
        0);
    assert_true(q.scheme == QN_HF_MLX && qn_hf_quantization_dtype(&q) == QN_DTYPE_AFFINE4_64);
    assert_int_equal(qn_hf_quantization_of(&q, "m.a").bits, 8);
    assert_int_equal(qn_hf_quantization_of(&q, "m.a").group, 32);
    assert_int_equal(qn_hf_quantization_of(&q, "m.b").bits, 0);
    assert_int_equal(qn_hf_quantization_of(&q, "m.c").bits, 4);
    assert_int_equal(qn_hf_quantization_of(&q, "bits").group, 64);
    qn_hf_quantization_close(&q);
    assert_int_equal(
        quantization("{\"quantization_config\":{\"bits\":3,\"group_size\":32}}", &q, &e), 0);
    assert_int_equal(q.scheme, QN_HF_MLX);
    qn_hf_quantization_close(&q);
    assert_int_equal(quantization("{\"quantization\":null,\"quantization_config\":null}", &q, &e),
                     0);
    assert_int_equal(q.scheme, QN_HF_PLAIN);
    qn_hf_quantization_close(&q);
}

// Names match as whole words between points.
static void modules_are_exempt_by_name(void **state)
{
    (void)state;
    qn_hf_quantization q;
    quern_error e = {0};
    assert_int_equal(quantization("{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4,"
                                  "\"group_size\":128,\"modules_to_not_convert\":[\"lm_head\","
                                  "\"layers.1.mlp\",\"mlp.gate\"]}}",
                                  &q, &e),
                     0);
    assert_int_equal(qn_hf_quantization_of(&q, "lm_head").bits, 0);
    assert_int_equal(qn_hf_quantization_of(&q, "model.layers.1.mlp.up_proj").bits, 0);
    assert_int_equal(qn_hf_quantization_of(&q, "model.layers.11.mlp.up_proj").bits, 4);
    assert_int_equal(qn_hf_quantization_of(&q, "model.layers.0.mlp.gate_proj").bits, 4);
    qn_hf_quantization_close(&q);
    assert_int_equal(quantization("{\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,"
                                  "\"group_size\":-1,\"modules_in_block_to_quantize\":"
                                  "[[\"mlp.up_proj\"],[\"mlp.gate_proj\"]]}}",
                                  &q, &e),
                     0);
    assert_true(q.group == 0 && q.zeros_minus_one && !q.reordered);
    assert_int_equal(qn_hf_quantization_of(&q, "model.layers.0.mlp.gate_proj").bits, 4);
    assert_int_equal(qn_hf_quantization_of(&q, "model.layers.0.mlp.down_proj").bits, 0);
    qn_hf_quantization_close(&q);
    static const char *const bad[] = {
        "{\"quantization_config\":7}",
        "{\"quantization\":[]}",
        "{\"quantization_config\":{}}",
        "{\"quantization\":{\"bits\":4,\"group_size\":64,\"m\":{}}}",
        "{\"quantization_config\":{\"quant_method\":\"fp8\"}}",
        "{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":32,"
        "\"modules_to_not_convert\":[\"\"]}}",
        "{\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32,"
        "\"modules_in_block_to_quantize\":[[[\"a\"]]]}}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (!quantization(bad[i], &q, &e) || q.root) fail_msg("accepted: %s", bad[i]);
}

static int generation(const char *text, qn_hf_generation *g, quern_error *e)
{
    return qn_hf_generation_parse(text, strlen(text), "generation_config.json", 528, g, e);
}

static void generation_config_is_read(void **state)
{
    (void)state;
    qn_hf_generation g;
    quern_error e = {0};
    assert_int_equal(generation("{\"eos_token_id\":[453,17],\"do_sample\":true,\"temperature\":0.7,"
                                "\"top_p\":0.8,\"top_k\":20,\"repetition_penalty\":1.05}",
                                &g, &e),
                     0);
    assert_true(g.has_eos && g.n_eos == 2 && g.eos_ids[0] == 453 && g.eos_ids[1] == 17);
    assert_true(g.do_sample && g.has_temperature && g.temperature == 0.7 && g.has_top_p);
    assert_true(g.has_top_k && g.top_k == 20 && !g.has_min_p && g.repetition_penalty == 1.05);
    assert_int_equal(generation("{\"eos_token_id\":3,\"top_k\":null,\"temperature\":null}", &g, &e),
                     0);
    assert_true(g.n_eos == 1 && !g.has_top_k && !g.has_temperature);
    assert_int_equal(generation("{\"eos_token_id\":null}", &g, &e), 0);
    assert_true(g.has_eos && g.n_eos == 0);
    assert_int_equal(generation("{}", &g, &e), 0);
    assert_false(g.has_eos);
    static const char *const bad[] = {
        "{\"eos_token_id\":528}",   "{\"eos_token_id\":\"3\"}",
        "{\"eos_token_id\":[1.5]}", "{\"eos_token_id\":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]}",
        "{\"temperature\":-1}",     "{\"temperature\":\"hot\"}",
        "{\"top_p\":1.5}",          "{\"top_k\":-1}",
        "{\"top_k\":2.5}",          "{\"repetition_penalty\":0}",
        "{\"do_sample\":1}",        "[]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (!generation(bad[i], &g, &e)) fail_msg("accepted: %s", bad[i]);
    assert_int_equal(qn_hf_generation_read("/nowhere/generation_config.json", 528, &g, &e), 0);
    assert_false(g.has_eos);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_old_form_is_read),
        cmocka_unit_test(the_new_form_is_read),
        cmocka_unit_test(windows_follow_qwen2_config),
        cmocka_unit_test(damage_is_refused_by_field),
        cmocka_unit_test(documents_that_are_no_object_are_refused),
        cmocka_unit_test(modules_have_their_own_grouping),
        cmocka_unit_test(modules_are_exempt_by_name),
        cmocka_unit_test(generation_config_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
