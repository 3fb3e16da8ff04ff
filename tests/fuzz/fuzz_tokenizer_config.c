// Fuzz target: tokenizer_config.json beside a sound tokenizer.json: the added tokens that it brings, and its chat template with
// the tokens that this may name.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/utf8.h"
#include "folder.h"
#include "text/chat_template.h"
#include "text/detokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Bytes as characters, the ids 0 to 255, and one added token.
static void write_tokenizer(void)
{
    qn_buffer json = QN_BUFFER_INIT;
    uint32_t next = 0x100;
    qn_buffer_text(&json, "{\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (int b = 0; b < 256; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        char c[5] = {0};
        qn_utf8_encode(printable ? (uint32_t)b : next++, c);
        qn_buffer_printf(&json, "%s\"%s%s\":%d", b ? "," : "", b == '"' || b == '\\' ? "\\" : "", c,
                         b);
    }
    qn_buffer_text(&json, "},\"merges\":[]},\"added_tokens\":[{\"id\":256,\"content\":\"<|x|>\","
                          "\"special\":true}],\"normalizer\":{\"type\":\"NFC\"},\"decoder\":{"
                          "\"type\":\"ByteLevel\"},\"pre_tokenizer\":{\"type\":\"ByteLevel\","
                          "\"add_prefix_space\":false}}");
    fuzz_folder_write("tokenizer.json", json.data, json.length);
    qn_buffer_free(&json);
}

static void check_error(int rc, const quern_error *e)
{
    if (rc != e->code || !e->message[0] || strchr(e->message, '\n')) abort();
}

static void use_tokenizer(const qn_tokenizer *t)
{
    static const char text[] = "e\xcc\x81 <|x|><|im_start|> </think>\n";
    qn_ids ids = {0};
    qn_buffer out = QN_BUFFER_INIT;
    qn_detokenizer d;
    quern_error e;
    qn_tokenizer_encode(t, text, sizeof text - 1, NULL, &ids, &e);
    qn_detokenizer_init(&d, t, true);
    for (size_t i = 0; i < ids.n; i++) {
        if (ids.data[i] < 0 || ids.data[i] >= qn_tokenizer_n_ids(t)) abort();
        qn_detokenizer_push(&d, ids.data[i], &out);
    }
    qn_detokenizer_finish(&d, &out);
    qn_buffer_free(&out);
    qn_ids_free(&ids);
}

static void use_template(const qn_chat_template *t)
{
    qn_buffer text = QN_BUFFER_INIT, trusted = QN_BUFFER_INIT;
    json_t *variables = json_pack("{s:[{s:s,s:s}],s:b}", "messages", "role", "user", "content", "x",
                                  "add_generation_prompt", 1);
    quern_error e = {0};
    int rc = qn_chat_template_render(t, variables, 1.7e9, &text, &trusted, &e);
    if (text.length != trusted.length || (rc && (text.length || rc != e.code))) abort();
    if (text.length && qn_utf8_check(text.data, text.length) != text.length) abort();
    json_decref(variables);
    qn_buffer_free(&text);
    qn_buffer_free(&trusted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready) write_tokenizer();
    ready = true;
    fuzz_folder_write("tokenizer_config.json", data, size);
    qn_tokenizer *t = NULL;
    qn_chat_template *c = NULL;
    quern_error e = {0};
    int rc = qn_tokenizer_load(fuzz_folder(), &t, &e);
    rc ? check_error(rc, &e) : use_tokenizer(t);
    rc = qn_chat_template_load(fuzz_folder(), &c, &e);
    rc ? check_error(rc, &e) : use_template(c);
    qn_tokenizer_free(t);
    qn_chat_template_free(c);
    return 0;
}
