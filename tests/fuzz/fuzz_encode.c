// Fuzz target: text to ids and back. The first byte chooses where trusted text begins; the rest is the text. Whatever is
// valid UTF-8 must come back as it was (the tokenizer normalises nothing), in one piece or in many.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/detokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char TAIL[] =
    "\"aa\":256,\"aaaa\":257,\"ab\":258,\"ĠĠ\":259,\"Ġa\":260,\"Ã©\":261,\"ba\":262},\"merges\":"
    "[\"a a\",\"aa aa\",\"Ġ Ġ\",\"Ġ a\",\"Ã ©\",\"b a\",\"a b\"]},\"added_tokens\":["
    "{\"id\":263,\"content\":\"<|x|>\",\"special\":true,\"normalized\":false},"
    "{\"id\":264,\"content\":\"<t>\",\"special\":false,\"normalized\":false},"
    "{\"id\":265,\"content\":\"ab<\",\"special\":true,\"normalized\":true}],\"normalizer\":null,"
    "\"decoder\":{\"type\":\"ByteLevel\"},\"pre_tokenizer\":{\"type\":\"Sequence\","
    "\"pretokenizers\":[{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":"
    "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "
    "?[^\\\\s\\\\p{L}"
    "\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}}";

// Bytes as characters, the ids 0 to 255; a few merges; added tokens of each kind.
static qn_tokenizer *make(void)
{
    qn_buffer json = QN_BUFFER_INIT;
    qn_tokenizer *t = NULL;
    uint32_t next = 0x100;
    qn_buffer_text(&json, "{\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (int b = 0; b < 256; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        char c[5] = {0};
        qn_utf8_encode(printable ? (uint32_t)b : next++, c);
        qn_buffer_printf(&json, "\"%s%s\":%d,", b == '"' || b == '\\' ? "\\" : "", c, b);
    }
    qn_buffer_text(&json, TAIL);
    if (qn_tokenizer_parse("fuzz", json.data, json.length, &t, NULL)) abort();
    qn_buffer_free(&json);
    return t;
}

static void round_trip(const qn_tokenizer *t, const char *text, size_t n, size_t trusted_from)
{
    unsigned char *trusted = calloc(n + 1, 1);
    qn_ids ids = {0};
    qn_buffer out = QN_BUFFER_INIT;
    qn_detokenizer d;
    quern_error e;
    if (!trusted) return;
    for (size_t i = trusted_from; i < n; i++)
        trusted[i] = 1;
    int rc = qn_tokenizer_encode(t, text, n, trusted, &ids, &e);
    if ((rc == 0) != (qn_utf8_check(text, n) == n)) abort();
    qn_detokenizer_init(&d, t, true);
    for (size_t i = 0; i < ids.n; i++) {
        qn_detokenizer_push(&d, ids.data[i], &out);
        if (qn_utf8_check(out.data ? out.data : "", out.length) != out.length) abort();
    }
    qn_detokenizer_finish(&d, &out);
    if (!rc && (out.length != n || (n && memcmp(out.data, text, n) != 0))) abort();
    qn_buffer_free(&out);
    qn_ids_free(&ids);
    free(trusted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static qn_tokenizer *t; // made once: loading is another target's matter
    if (!t) t = make();
    if (size < 1) return 0;
    char *copy = malloc(size); // the text ends at the end of the block
    if (!copy) return 0;
    memcpy(copy, data, size);
    round_trip(t, copy + 1, size - 1, data[0]);
    free(copy);
    return 0;
}
