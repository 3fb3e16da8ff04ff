// See test_engine_model.h.
#include "test_engine_model.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/utf8.h"
#include "model/model.h"

static void fail(const char *what)
{
    perror(what);
    abort();
}

static void write_file(const tiny_model *m, const char *name, const void *data, size_t n)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", m->directory, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f)) fail(path);
}

static void write_config(const tiny_model *m)
{
    char text[512];
    int n = snprintf(text, sizeof text,
                     "{\"model_type\":\"qwen2\",\"hidden_size\":16,\"num_hidden_layers\":2,"
                     "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":32,"
                     "\"intermediate_size\":24,\"vocab_size\":%d,\"hidden_act\":\"silu\","
                     "\"max_position_embeddings\":%d,\"rms_norm_eps\":1e-6,"
                     "\"rope_theta\":10000.0,\"tie_word_embeddings\":false,"
                     "\"torch_dtype\":\"float32\"}",
                     TINY_VOCAB, TINY_CONTEXT);
    write_file(m, "config.json", text, (size_t)n);
}

// A number in (-1, 1) for each place.
static float noise(uint64_t i)
{
    i = (i + 1) * 0x9e3779b97f4a7c15u;
    i = (i ^ (i >> 29)) * 0xbf58476d1ce4e5b9u;
    i ^= i >> 32;
    return (float)(int32_t)(uint32_t)i / 2147483648.0f;
}

static void write_weights(const tiny_model *m)
{
    qn_weight_fact *w;
    int n;
    quern_error e = {0};
    if (qn_model_list_weights(m->directory, NULL, &w, &n, &e)) fail(e.message);
    qn_buffer header = QN_BUFFER_INIT, data = QN_BUFFER_INIT;
    qn_buffer_text(&header, "{");
    for (int i = 0; i < n; i++) {
        size_t n_elements = 1, from = data.length;
        qn_buffer_printf(&header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", i ? "," : "",
                         w[i].name);
        for (int k = 0; k < w[i].rank; k++) {
            qn_buffer_printf(&header, "%s%d", k ? "," : "", (int)w[i].dim[k]);
            n_elements *= (size_t)w[i].dim[k];
        }
        int is_norm = strstr(w[i].name, "norm") != NULL;
        for (size_t k = 0; k < n_elements; k++) {
            float f = is_norm ? 1 : noise(from + k) * 0.9f;
            qn_buffer_append(&data, &f, sizeof f);
        }
        qn_buffer_printf(&header, "],\"data_offsets\":[%zu,%zu]}", from, data.length);
    }
    qn_buffer_text(&header, "}");
    while (header.length % 8)
        qn_buffer_text(&header, " ");
    uint64_t n_header = header.length;
    qn_buffer all = QN_BUFFER_INIT;
    qn_buffer_append(&all, &n_header, sizeof n_header);
    qn_buffer_append(&all, header.data, header.length);
    qn_buffer_append(&all, data.data, data.length);
    write_file(m, "model.safetensors", all.data, all.length);
    qn_buffer_free(&header);
    qn_buffer_free(&data);
    qn_buffer_free(&all);
    free(w);
}

// GPT-2's byte alphabet: printable bytes stand for themselves, the others for characters from U+0100 on.
static int is_printable(int b)
{
    return (b >= 33 && b <= 126) || (b >= 161 && b != 173);
}

static uint32_t character_of(int byte)
{
    uint32_t shifted = 256;
    if (is_printable(byte)) return (uint32_t)byte;
    for (int b = 0; b < byte; b++)
        shifted += !is_printable(b);
    return shifted;
}

int tiny_id(unsigned char byte)
{
    return byte;
}

static void write_tokenizer(const tiny_model *m)
{
    qn_buffer t = QN_BUFFER_INIT;
    qn_buffer_printf(&t,
                     "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":%d,\"content\":\"<|end|>\","
                     "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
                     "\"normalized\":false,\"special\":true}],\"normalizer\":{\"type\":\"NFC\"},"
                     "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
                     "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\p{L}+|\\\\s+|.\"},"
                     "\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\","
                     "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}]},"
                     "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\","
                     "\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true},"
                     "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
                     "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
                     "\"fuse_unk\":false,\"byte_fallback\":false,\"vocab\":{",
                     TINY_END);
    for (int b = 0; b < TINY_BYTES; b++) {
        char c[5] = "";
        qn_utf8_encode(character_of(b), c);
        qn_buffer_printf(&t, "%s\"%s%s\":%d", b ? "," : "", b == '"' || b == '\\' ? "\\" : "", c,
                         tiny_id((unsigned char)b));
    }
    qn_buffer_text(&t, "},\"merges\":[]}}");
    write_file(m, "tokenizer.json", t.data, t.length);
    qn_buffer_free(&t);
}

void tiny_model_write(tiny_model *m, const char *generation_json)
{
    snprintf(m->directory, sizeof m->directory, "/tmp/quern-test-XXXXXX");
    if (!mkdtemp(m->directory)) fail("mkdtemp");
    write_config(m);
    write_file(m, "generation_config.json", generation_json, strlen(generation_json));
    write_weights(m);
    write_tokenizer(m);
}

void tiny_model_remove(tiny_model *m)
{
    static const char *const NAMES[] = {"config.json", "generation_config.json",
                                        "model.safetensors", "tokenizer.json"};
    char path[128];
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        snprintf(path, sizeof path, "%s/%s", m->directory, NAMES[i]);
        unlink(path);
    }
    rmdir(m->directory);
}
