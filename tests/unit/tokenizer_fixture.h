// A small tokenizer.json for tests: the 256 bytes have the ids 0–255, further entries follow, then the added tokens. Each
// field can be replaced, to make the files that must be refused.
#ifndef TOKENIZER_FIXTURE_H
#define TOKENIZER_FIXTURE_H
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/utf8.h"
#include "text/tokenizer.h"

typedef struct {
    const char *vocab;  // further members of model.vocab, each with a comma before it
    const char *merges; // the elements
    const char *added;  // the elements
    const char *model;  // further members of model, each with a comma behind it
    const char *normalizer, *pre_tokenizer, *post_processor, *decoder;
    int skipped_byte; // 1 + a byte that has no entry; 0: none
} fixture;

#define FIXTURE_PATTERN                                                                            \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "              \
    "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define FIXTURE_BYTE_LEVEL                                                                         \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"                    \
    "\"use_regex\":false}"
#define FIXTURE_SPLIT(pattern)                                                                     \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"        \
    "\"" pattern "\"},\"behavior\":\"Isolated\",\"invert\":false}," FIXTURE_BYTE_LEVEL "]}"

static const fixture FIXTURE = {.vocab = "",
                                .merges = "",
                                .added = "",
                                .model = "\"type\":\"BPE\",",
                                .normalizer = "{\"type\":\"NFC\"}",
                                .pre_tokenizer = FIXTURE_SPLIT(FIXTURE_PATTERN),
                                .post_processor = "null",
                                .decoder = FIXTURE_BYTE_LEVEL};

// The character that stands for a byte in a byte-level vocabulary.
static inline uint32_t fixture_char(int byte)
{
    uint32_t next = 0x100;
    for (int b = 0; b < 256; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        uint32_t c = printable ? (uint32_t)b : next++;
        if (b == byte) return c;
    }
    return 0;
}

static inline void fixture_json(const fixture *f, qn_buffer *out)
{
    qn_buffer_printf(out, "{\"version\":\"1.0\",\"added_tokens\":[%s],\"normalizer\":%s,", f->added,
                     f->normalizer);
    qn_buffer_printf(out, "\"pre_tokenizer\":%s,\"post_processor\":%s,\"decoder\":%s,",
                     f->pre_tokenizer, f->post_processor, f->decoder);
    qn_buffer_printf(out, "\"model\":{%s\"vocab\":{\"", f->model);
    for (int b = 0; b < 256; b++) {
        char c[5] = {0};
        qn_utf8_encode(fixture_char(b), c);
        const char *escaped = b == '"' ? "\\\"" : b == '\\' ? "\\\\" : c;
        if (b + 1 == f->skipped_byte) escaped = "skipped";
        qn_buffer_printf(out, "%s%s\":%d", b ? ",\"" : "", escaped, b);
    }
    qn_buffer_printf(out, "%s},\"merges\":[%s]}}", f->vocab, f->merges);
}

// What qn_tokenizer_parse says.
static inline int fixture_parse(const fixture *f, qn_tokenizer **t, quern_error *e)
{
    qn_buffer json = QN_BUFFER_INIT;
    fixture_json(f, &json);
    int rc = qn_tokenizer_parse("tokenizer.json", json.data, json.length, t, e);
    qn_buffer_free(&json);
    return rc;
}

#endif
