// Fuzz target: a chat template, a NUL byte, and the JSON object of its variables. Whatever renders must be valid UTF-8
// within the limit, with one byte of trust for each byte of text; whatever fails must leave nothing.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/chat_template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void render(const qn_chat_template *t, const json_t *variables)
{
    qn_buffer text = QN_BUFFER_INIT, trusted = QN_BUFFER_INIT;
    quern_error e;
    int code = qn_chat_template_render(t, variables, 1.7e9, &text, &trusted, &e);
    if (text.length != trusted.length || text.length > 8 << 20) abort();
    if (code ? text.length > 0 || code != e.code
             : text.length && qn_utf8_check(text.data, text.length) != text.length) {
        abort();
    }
    for (size_t i = 0; i < trusted.length; i++) {
        if ((unsigned char)trusted.data[i] > 1) abort();
    }
    if (code && qn_utf8_check(e.message, strlen(e.message)) != strlen(e.message)) abort();
    qn_buffer_free(&text);
    qn_buffer_free(&trusted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t n = end ? (size_t)(end - data) : size;
    char *copy = malloc(n ? n : 1); // exact, so that ASan sees a byte too many
    qn_chat_template *t = NULL;
    quern_error e;
    if (!copy) return 0;
    if (n) memcpy(copy, data, n);
    int code = qn_chat_template_compile("fuzz", copy, n, &t, &e);
    free(copy);
    if (code) return 0;
    json_t *variables = NULL;
    if (end) {
        variables = json_loadb((const char *)end + 1, size - n - 1, JSON_ALLOW_NUL, NULL);
    }
    render(t, variables);
    json_decref(variables);
    qn_chat_template_free(t);
    return 0;
}
