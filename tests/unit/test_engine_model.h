// A tiny checkpoint that tests write for themselves: qwen2, random weights from a seed, a byte-level tokenizer of 256 single
// bytes and two special tokens. Its outputs mean nothing but depend on every token before them.
#ifndef TEST_ENGINE_MODEL_H
#define TEST_ENGINE_MODEL_H

enum {
    TINY_VOCAB = 264,
    TINY_CONTEXT = 320,
    TINY_BYTES = 256, // ids 0 … 255: the bytes in the order of the byte-level alphabet; see tiny_id
    TINY_END = 256,   // <|end|>, special; EOS, as is
    TINY_STOP = 46,   // … this plain byte
};

typedef struct {
    char directory[64];
} tiny_model;

// Writes it to a new directory under /tmp; generation_json: the contents of generation_config.json.
void tiny_model_write(tiny_model *m, const char *generation_json);
void tiny_model_remove(tiny_model *m);
// The id of a byte.
int tiny_id(unsigned char byte);

#endif
