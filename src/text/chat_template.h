// Chat templates: a small Jinja, what the templates of Qwen models use, rendered as Hugging Face transformers renders them
// (trim_blocks, lstrip_blocks, loop controls, tojson with ensure_ascii=False, raise_exception, strftime_now).
// A compiled template is read-only: any thread may render with it at once. No I/O, no attribute walk into the host.
// Limits: source 1 MiB, depth 64 (blocks and brackets in the source, macros in macros), 128 levels of nested data, 1e6 steps,
// 128 MiB of memory, 8 MiB of output; beyond them QUERN_E_LIMIT. Runs on a stack of 256 KiB.
#ifndef QN_TEXT_CHAT_TEMPLATE_H
#define QN_TEXT_CHAT_TEMPLATE_H
#include <jansson.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/vocabulary.h"

typedef struct qn_chat_template qn_chat_template;

// Compiles n bytes of source (QUERN_E_FORMAT, _LIMIT); errors name the line. `name` stands in messages (a file's path).
int qn_chat_template_compile(const char *name, const char *source, size_t n, qn_chat_template **out,
                             quern_error *e);
// directory/chat_template.jinja, else "chat_template" of tokenizer_config.json (a string, or a list with one named "default");
// bos_token, eos_token … of tokenizer_config.json become variables. QUERN_E_NOT_FOUND where there is none.
int qn_chat_template_load(const char *directory, qn_chat_template **out, quern_error *e);
// The template that a model file carries with its vocabulary. QUERN_E_NOT_FOUND where there is none.
int qn_chat_template_from_vocabulary(const qn_vocabulary *v, qn_chat_template **out,
                                     quern_error *e);
void qn_chat_template_free(qn_chat_template *t);

// Renders with the members of the JSON object `variables` (messages, tools, add_generation_prompt …). Appends to *text, and to
// *trusted (may be NULL) one byte for each byte of text: 1 where the template itself wrote it, 0 where it came from variables.
// raise_exception gives QUERN_E_ARGUMENT with its message, other errors while rendering QUERN_E_ARGUMENT with "name:line:
// TypeError: …" as Python names them; then *text and *trusted are as before. now_unix: the time that strftime_now shows.
// As Hugging Face calls templates: absent tools and documents are None, an absent add_generation_prompt is false, and a
// message's reasoning has each of the names reasoning_content and thinking.
int qn_chat_template_render(const qn_chat_template *t, const json_t *variables, double now_unix,
                            qn_buffer *text, qn_buffer *trusted, quern_error *e);

#endif
