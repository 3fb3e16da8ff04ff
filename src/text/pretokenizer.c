// See pretokenizer.h. The pattern comes from a file and the text from anybody: compiled with limits, matched with a limit of
// steps and a bounded stack of its own, so that neither the thread's stack nor its time is theirs to take.
#include "text/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "text/pretokenizer_pattern.h"
#include "text/pretokenizer_unicode.h"

enum {
    MAX_PATTERN_BYTES = 65536,
    MAX_NESTING = 100,
    STACK_BYTES = 32 * 1024,
    MAX_STACK_BYTES = 1024 * 1024,
    MAX_HEAP_KIB = 64 * 1024 // what the interpreter may take where there is no JIT
};

struct qn_pretokenizer {
    pcre2_code *code; // NULL: a text is one piece
    bool fast;
};

static int compile(const char *where, const char *pattern, size_t n, pcre2_code **out,
                   quern_error *e)
{
    if (n > MAX_PATTERN_BYTES)
        return qn_error_set(e, QUERN_E_LIMIT, "%s: expected a pattern of at most %d bytes", where,
                            MAX_PATTERN_BYTES);
    int rc = qn_pretokenizer_pattern_check(where, pattern, n, e);
    if (rc) return rc;
    pcre2_compile_context *c = pcre2_compile_context_create(NULL);
    if (!c) return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory", where);
    pcre2_set_parens_nest_limit(c, MAX_NESTING);
    pcre2_set_newline(c, PCRE2_NEWLINE_LF);
    int code;
    PCRE2_SIZE at;
    // MULTILINE: ^ and $ as Oniguruma has them. A \C would cut characters.
    *out = pcre2_compile((PCRE2_SPTR)pattern, n,
                         PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code,
                         &at, c);
    pcre2_compile_context_free(c);
    if (*out) return 0;
    char text[160] = "";
    pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
    return qn_error_set(e, QUERN_E_FORMAT, "%s: the pattern does not compile: %s at offset %zu",
                        where, text, (size_t)at);
}

int qn_pretokenizer_new(const char *where, const char *pattern, size_t n, qn_pretokenizer **out,
                        quern_error *e)
{
    qn_pretokenizer *p = calloc(1, sizeof *p);
    if (!p) return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory", where);
    int rc = pattern ? compile(where, pattern, n, &p->code, e) : 0;
    if (rc) {
        free(p);
        return rc;
    }
    p->fast = p->code && pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE) == 0;
    *out = p;
    return 0;
}

void qn_pretokenizer_free(qn_pretokenizer *p)
{
    if (!p) return;
    pcre2_code_free(p->code);
    free(p);
}

bool qn_pretokenizer_is_fast(const qn_pretokenizer *p)
{
    return p->fast || !p->code;
}

int qn_pretokenizer_open(const qn_pretokenizer *p, size_t text_bytes, qn_pretokenizer_run *r,
                         quern_error *e)
{
    *r = (qn_pretokenizer_run){.pattern = p};
    if (!p->code) return 0;
    r->match = pcre2_match_data_create(1, NULL);
    r->context = pcre2_match_context_create(NULL);
    if (!r->match || !r->context) {
        qn_pretokenizer_close(r);
        return qn_error_set(e, QUERN_E_MEMORY, "no memory to match a pattern");
    }
    uint64_t limit = 1000000 + 16 * (uint64_t)text_bytes;
    pcre2_set_match_limit(r->context, limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit);
    pcre2_set_heap_limit(r->context, MAX_HEAP_KIB);
    if (p->fast) r->stack = pcre2_jit_stack_create(STACK_BYTES, MAX_STACK_BYTES, NULL);
    if (r->stack) pcre2_jit_stack_assign(r->context, NULL, r->stack);
    return 0;
}

void qn_pretokenizer_close(qn_pretokenizer_run *r)
{
    pcre2_match_data_free(r->match);
    pcre2_match_context_free(r->context);
    pcre2_jit_stack_free(r->stack);
    qn_buffer_free(&r->copy);
    *r = (qn_pretokenizer_run){0};
}

int qn_pretokenizer_begin(qn_pretokenizer_run *r, const char *text, size_t n, quern_error *e)
{
    r->text = text;
    r->n = n;
    r->search = r->last_end = r->previous = 0;
    r->matched = r->held = false;
    if (r->pattern->code && !qn_pretokenizer_stand_in(&r->text, n, &r->copy))
        return qn_error_set(e, QUERN_E_MEMORY, "no memory for %zu bytes of text", n);
    return 0;
}

// The next match at or after r->search: 1, 0 where there is none, or a QUERN_E code.
static int match(qn_pretokenizer_run *r, size_t *start, size_t *end, quern_error *e)
{
    PCRE2_SPTR text = (PCRE2_SPTR)r->text;
    const pcre2_code *code = r->pattern->code;
    // Without a stack of its own a match would use 32 KiB of the thread's: the interpreter does not.
    int rc = r->stack ? pcre2_jit_match(code, text, r->n, r->search, 0, r->match, r->context)
                      : pcre2_match(code, text, r->n, r->search, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                                    r->match, r->context);
    if (rc == PCRE2_ERROR_NOMATCH) return 0;
    if (rc < 0) {
        char why[120] = "";
        pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
        return qn_error_set(e, rc == PCRE2_ERROR_NOMEMORY ? QUERN_E_MEMORY : QUERN_E_LIMIT,
                            "tokenizer: its pattern failed at byte %zu of a text: %s", r->search,
                            why);
    }
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(r->match);
    *start = ends[0];
    *end = ends[1];
    if (*start < r->search || *end < *start) // \K inside a look-around
        return qn_error_set(e, QUERN_E_UNSUPPORTED, "tokenizer: its pattern matches backwards");
    return 1;
}

// As match(), but never an empty match right behind the one before; those are passed over by one character.
static int match_forward(qn_pretokenizer_run *r, size_t *start, size_t *end, quern_error *e)
{
    while (r->search <= r->n) {
        int rc = match(r, start, end, e);
        if (rc <= 0) return rc;
        if (*start < *end || !r->matched || *end != r->last_end) {
            r->search = r->last_end = *end;
            r->matched = true;
            return 1;
        }
        uint32_t c;
        int length = qn_utf8_decode(r->text + r->search, r->n - r->search, &c);
        r->search += length ? (size_t)length : 1;
    }
    return 0;
}

int qn_pretokenizer_next(qn_pretokenizer_run *r, size_t *start, size_t *end, quern_error *e)
{
    if (r->held) {
        r->held = false;
        *start = r->held_start;
        r->previous = *end = r->held_end;
        return 1;
    }
    for (int rc = 1; r->previous < r->n && rc;) {
        size_t from = r->n, to = r->n; // no match: the rest is a piece
        rc = r->pattern->code ? match_forward(r, &from, &to, e) : 0;
        if (rc < 0) return rc;
        if (!rc) from = to = r->n;
        if (from > r->previous) {
            *start = r->previous;
            r->previous = *end = from;
            r->held = to > from;
            r->held_start = from;
            r->held_end = to;
            return 1;
        }
        *start = from;
        r->previous = *end = to;
        if (to > from) return 1;
    }
    return 0;
}
