// Parsing of untrusted JSON objects; see request_json.h.
#include "base/utf8.h"
#include "server/request_json.h"

// jansson recurses: deep nesting is refused before it sees it. Brackets in strings do not count.
static bool is_too_deep(const char *s, size_t n)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        if (in_string) {
            if (s[i] == '\\')
                i++;
            else if (s[i] == '"')
                in_string = false;
        } else if (s[i] == '"') {
            in_string = true;
        } else if (s[i] == '{' || s[i] == '[') {
            if (++depth > QN_JSON_DEPTH) return true;
        } else if ((s[i] == '}' || s[i] == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

json_t *qn_request_load(const char *text, size_t n, quern_error *e)
{
    json_error_t why;
    if (e) e->param[0] = 0;
    if (!n) {
        qn_error_set(e, QUERN_E_ARGUMENT, "the body is empty; a JSON object is due");
        return NULL;
    }
    size_t valid = qn_utf8_check(text, n);
    if (valid < n) {
        qn_error_set(e, QUERN_E_ARGUMENT, "the JSON is not UTF-8 at byte %zu", valid);
        return NULL;
    }
    if (is_too_deep(text, n)) {
        qn_error_set(e, QUERN_E_ARGUMENT, "the JSON is nested deeper than %d", QN_JSON_DEPTH);
        return NULL;
    }
    json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (!j) {
        qn_error_set(e, QUERN_E_ARGUMENT, "not valid JSON at line %d, column %d: %s", why.line,
                     why.column, why.text);
        return NULL;
    }
    if (json_is_object(j)) return j;
    qn_error_set(e, QUERN_E_ARGUMENT, "a JSON object is due");
    json_decref(j);
    return NULL;
}
