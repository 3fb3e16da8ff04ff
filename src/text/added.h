// Added tokens: the strings that are cut out of a text before anything else is done with it, leftmost first and the longest
// of those that begin there, as Hugging Face's Aho–Corasick does. A set is built once and then read-only: any thread.
#ifndef QN_TEXT_ADDED_H
#define QN_TEXT_ADDED_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quern.h"

// A longer content is refused: the search costs up to this many steps for each byte of text.
enum { QN_ADDED_MAX_BYTES = 1024 };

typedef struct {
    char *content; // owned, NUL behind it
    size_t n_bytes;
    int32_t id;
    bool special, normalized, single_word, lstrip, rstrip;
} qn_added_token;

// A trie of contents; children of a node are a list.
typedef struct {
    int32_t child, sibling; // 0: none
    int32_t token;          // index of the token that ends here, -1: none
    unsigned char byte;
} qn_added_node;

typedef struct {
    qn_added_node *nodes; // node 0 is the root; NULL: the set is empty
    size_t n_nodes, capacity;
    int32_t first[256]; // the root's children
} qn_added_set;

// Adds a token under `text` (its content, or what the normalizer makes of it). QUERN_E_MEMORY, or QUERN_E_FORMAT where
// another one has that text.
int qn_added_put(qn_added_set *s, const char *text, size_t n, int32_t token);
void qn_added_free(qn_added_set *s);

// A walk over one text.
typedef struct {
    const qn_added_set *set;
    const qn_added_token *tokens;
    const char *text;
    size_t n;
    const unsigned char *trusted; // as for qn_tokenizer_encode
    size_t position,
        after; // where the search goes on; the end of the last match with what it stripped
} qn_added_walk;

typedef struct {
    size_t before, start, end; // text [before, start) is plain, [start, end) is the token
    int32_t token;             // -1: the rest of the text is plain, [before, start)
} qn_added_match;

// The next match; after one with token -1 there is none.
qn_added_match qn_added_next(qn_added_walk *w);

#endif
