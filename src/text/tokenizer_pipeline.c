// Loading the steps around the model: "normalizer", "pre_tokenizer", "post_processor" and "decoder" of tokenizer.json. What
// Quern does not do is refused by name; nothing is ignored that would change ids or text.
#include <stdio.h>
#include <string.h>

#include "text/tokenizer_internal.h"

// What ByteLevel cuts by when no Split stands before it (GPT-2's).
static const char BYTE_LEVEL_PATTERN[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static const char *type_of(const json_t *v)
{
    const char *type = json_string_value(json_object_get(v, "type"));
    return type ? type : "";
}

static bool is_type(const json_t *v, const char *type)
{
    return strcmp(type_of(v), type) == 0;
}

static int unsupported(const qn_tokenizer_loader *l, const char *field, const char *expected,
                       const json_t *found)
{
    char shown[48];
    const char *type = type_of(found);
    return qn_error_set(l->e, QUERN_E_UNSUPPORTED, "%s: %s: expected %s, found %s", l->path, field,
                        expected, *type ? qn_tokenizer_show(type, strlen(type), shown) : "none");
}

static bool absent(const json_t *v)
{
    return !v || json_is_null(v);
}

// A pre-tokenizer ByteLevel; *cuts: by its own pattern.
static int byte_level(const qn_tokenizer_loader *l, const json_t *v, bool *cuts)
{
    bool prefix;
    int rc = qn_tokenizer_bool(l, v, "add_prefix_space", true, &prefix);
    if (rc) return rc;
    if (prefix)
        return qn_error_set(l->e, QUERN_E_UNSUPPORTED,
                            "%s: pre_tokenizer: ByteLevel with add_prefix_space is not supported",
                            l->path);
    return qn_tokenizer_bool(l, v, "use_regex", true, cuts);
}

static int split_pattern(const qn_tokenizer_loader *l, const json_t *v)
{
    bool invert;
    int rc = qn_tokenizer_bool(l, v, "invert", false, &invert);
    if (rc) return rc;
    const char *behavior = json_string_value(json_object_get(v, "behavior"));
    if (invert || !behavior || strcmp(behavior, "Isolated") != 0)
        return qn_error_set(l->e, QUERN_E_UNSUPPORTED,
                            "%s: pre_tokenizer: Split: expected behavior Isolated, invert false",
                            l->path);
    const json_t *pattern = json_object_get(json_object_get(v, "pattern"), "Regex");
    if (!json_is_string(pattern))
        return qn_error_set(l->e, QUERN_E_UNSUPPORTED,
                            "%s: pre_tokenizer: Split: pattern.Regex: expected a string", l->path);
    l->t->pre =
        qn_tokenizer_pre_name(l->t->nfc, json_string_value(pattern), json_string_length(pattern));
    char where[4160];
    snprintf(where, sizeof where, "%s: pre_tokenizer", l->path);
    return qn_pretokenizer_new(where, json_string_value(pattern), json_string_length(pattern),
                               &l->t->pretokenizer, l->e);
}

static int load_pre_tokenizer(const qn_tokenizer_loader *l, const json_t *v)
{
    const json_t *list = json_object_get(v, "pretokenizers");
    const json_t *split = NULL, *bytes = v;
    if (is_type(v, "Sequence")) {
        size_t n = json_array_size(list);
        if (n < 1 || n > 2)
            return qn_error_set(l->e, QUERN_E_UNSUPPORTED,
                                "%s: pre_tokenizer: expected Split and ByteLevel, found %zu steps",
                                l->path, n);
        bytes = json_array_get(list, n - 1);
        split = n == 2 ? json_array_get(list, 0) : NULL;
    }
    if (!is_type(bytes, "ByteLevel")) return unsupported(l, "pre_tokenizer", "ByteLevel", bytes);
    if (split && !is_type(split, "Split")) return unsupported(l, "pre_tokenizer", "Split", split);
    bool cuts;
    int rc = byte_level(l, bytes, &cuts);
    if (rc) return rc;
    if (split && cuts)
        return qn_error_set(l->e, QUERN_E_UNSUPPORTED,
                            "%s: pre_tokenizer: ByteLevel with use_regex behind a Split is not "
                            "supported",
                            l->path);
    if (split) return split_pattern(l, split);
    return qn_pretokenizer_new(l->path, cuts ? BYTE_LEVEL_PATTERN : NULL,
                               sizeof BYTE_LEVEL_PATTERN - 1, &l->t->pretokenizer, l->e);
}

int qn_tokenizer_load_pipeline(qn_tokenizer_loader *l, const json_t *root)
{
    const json_t *normalizer = json_object_get(root, "normalizer");
    const json_t *post = json_object_get(root, "post_processor");
    const json_t *decoder = json_object_get(root, "decoder");
    if (!absent(normalizer) && !is_type(normalizer, "NFC"))
        return unsupported(l, "normalizer", "NFC or null", normalizer);
    if (!absent(post) && !is_type(post, "ByteLevel")) // ByteLevel only trims offsets
        return unsupported(l, "post_processor", "ByteLevel or null", post);
    if (!is_type(decoder, "ByteLevel")) return unsupported(l, "decoder", "ByteLevel", decoder);
    l->t->nfc = !absent(normalizer);
    return load_pre_tokenizer(l, json_object_get(root, "pre_tokenizer"));
}
