// Tokenizer: merging against the plain definition of BPE, added tokens and trust, normalization, the files that are refused,
// and pieces too long for any recursion.
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
// cmocka wants the headers above first
#include <cmocka.h>

#include "tokenizer_fixture.h"

static unsigned draw(unsigned *state, unsigned n)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 16) % n;
}

static qn_tokenizer *load(const fixture *f)
{
    qn_tokenizer *t = NULL;
    quern_error e = {0};
    if (fixture_parse(f, &t, &e)) fail_msg("%s", e.message);
    return t;
}

// Checks the ids of text; `expected` ends with -1. trusted: '1' for each trusted byte, NULL: none is.
static void expect(const qn_tokenizer *t, const char *text, const char *trusted,
                   const int32_t *expected)
{
    unsigned char mask[256] = {0};
    for (size_t i = 0; trusted && trusted[i]; i++)
        mask[i] = trusted[i] == '1';
    qn_ids ids = {0};
    quern_error e = {0};
    if (qn_tokenizer_encode(t, text, strlen(text), trusted ? mask : NULL, &ids, &e))
        fail_msg("%s", e.message);
    size_t n = 0;
    for (; expected[n] >= 0; n++)
        if (n >= ids.n || ids.data[n] != expected[n])
            fail_msg("\"%s\": id %zu: expected %d, found %d", text, n, expected[n],
                     n < ids.n ? ids.data[n] : -1);
    assert_int_equal(ids.n, n);
    qn_ids_free(&ids);
}

#define IDS(...) ((const int32_t[]){__VA_ARGS__, -1})

// ---- merging ----

enum { MAX_MERGES = 60 };

typedef struct {
    int left[MAX_MERGES], right[MAX_MERGES], made[MAX_MERGES], n;
} rules;

// BPE as it is defined: again and again the lowest rank, of several the leftmost.
static size_t merge_plainly(const rules *r, int32_t *ids, size_t n)
{
    for (;;) {
        int best = r->n;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (int k = 0; k < best; k++)
                if (r->left[k] == ids[i] && r->right[k] == ids[i + 1]) {
                    best = k;
                    at = i;
                }
        if (best == r->n) return n;
        ids[at] = r->made[best];
        memmove(ids + at + 1, ids + at + 2, (--n - at - 1) * sizeof *ids);
    }
}

// Merges of random pairs over the letters a, b, c in random order, so that a merge may make one of lower rank possible.
static void random_rules(unsigned *seed, rules *r, qn_buffer *vocab, qn_buffer *merges)
{
    char pieces[3 + MAX_MERGES][64] = {"a", "b", "c"};
    int id[3 + MAX_MERGES] = {'a', 'b', 'c'}, n = 3, wanted = 1 + (int)draw(seed, MAX_MERGES);
    r->n = 0;
    for (int tries = 0; r->n < wanted && tries < 1000; tries++) {
        int a = (int)draw(seed, (unsigned)n), b = (int)draw(seed, (unsigned)n), made = 0;
        bool twice = strlen(pieces[a]) + strlen(pieces[b]) > 24;
        for (int k = 0; k < r->n; k++)
            twice |= r->left[k] == id[a] && r->right[k] == id[b];
        if (twice) continue;
        char joined[64];
        snprintf(joined, sizeof joined, "%.30s%.30s", pieces[a], pieces[b]);
        while (made < n && strcmp(pieces[made], joined) != 0)
            made++;
        if (made == n) {
            memcpy(pieces[n], joined, sizeof joined);
            id[n] = 256 + n - 3;
            qn_buffer_printf(vocab, ",\"%s\":%d", pieces[n], id[n]);
            n++;
        }
        int at = (int)draw(seed, (unsigned)r->n + 1); // insert at any rank
        for (int k = r->n++; k > at; k--) {
            r->left[k] = r->left[k - 1];
            r->right[k] = r->right[k - 1];
            r->made[k] = r->made[k - 1];
        }
        r->left[at] = id[a];
        r->right[at] = id[b];
        r->made[at] = id[made];
    }
    for (int k = 0; k < r->n; k++) { // both shapes
        const char *left = NULL, *right = NULL;
        for (int i = 0; i < n; i++) {
            if (id[i] == r->left[k]) left = pieces[i];
            if (id[i] == r->right[k]) right = pieces[i];
        }
        qn_buffer_printf(merges, k % 2 ? "%s[\"%s\",\"%s\"]" : "%s\"%s %s\"", k ? "," : "", left,
                         right);
    }
}

static void merges_as_defined(void **unused)
{
    (void)unused;
    static int32_t expected[3001];
    unsigned seed = 1;
    for (int round = 0; round < 150; round++) {
        rules r;
        qn_buffer vocab = QN_BUFFER_INIT, merges = QN_BUFFER_INIT;
        random_rules(&seed, &r, &vocab, &merges);
        fixture f = FIXTURE;
        f.vocab = vocab.data ? vocab.data : "";
        f.merges = merges.data ? merges.data : "";
        qn_tokenizer *t = load(&f);
        for (int k = 0; k < 12; k++) { // short pieces, pieces in a heap, pieces in runs
            size_t n = 1 + draw(&seed, k < 6 ? 45 : k < 11 ? 400 : 2900);
            char text[3001] = {0};
            for (size_t i = 0; i < n; i++)
                expected[i] = text[i] = (char)('a' + draw(&seed, 1 + (unsigned)k % 3));
            expected[merge_plainly(&r, expected, n)] = -1;
            expect(t, text, NULL, expected);
        }
        qn_tokenizer_free(t);
        qn_buffer_free(&vocab);
        qn_buffer_free(&merges);
    }
}

static void words_are_cached_right(void **unused)
{
    (void)unused;
    fixture f = FIXTURE;
    f.vocab = ",\"ab\":256,\"Ġab\":257,\"Ġa\":258";
    f.merges = "\"a b\",\"Ġ ab\"";
    qn_tokenizer *t = load(&f);
    qn_buffer text = QN_BUFFER_INIT;
    static int32_t expected[6001];
    size_t n = 0;
    for (int i = 0; i < 1000; i++) {
        qn_buffer_text(&text, " ab ba");
        memcpy(expected + n, IDS(257, ' ', 'b', 'a'), 4 * sizeof *expected);
        n += 4;
    }
    expected[n] = -1;
    expect(t, text.data, NULL, expected);
    qn_tokenizer_free(t);
    f.model = "\"type\":\"BPE\",\"ignore_merges\":true,"; // " a" is an entry that no merge makes
    t = load(&f);
    expect(t, " a ab b", NULL, IDS(258, 257, ' ', 'b'));
    qn_tokenizer_free(t);
    qn_buffer_free(&text);
}

// ---- added tokens ----

#define ADDED(id, content, special, more)                                                          \
    "{\"id\":" #id ",\"content\":\"" content "\",\"special\":" #special                            \
    ",\"normalized\":false" more "}"

static void special_tokens_need_trust(void **unused)
{
    (void)unused;
    fixture f = FIXTURE;
    f.vocab = ",\"<|\":256,\"|>\":257,\"e|>\":258";
    f.merges = "\"< |\",\"| >\"";
    f.added = ADDED(259, "<|e|>", true, "") "," ADDED(260, "<t>", false,
                                                      "") "," ADDED(261, "<|e|><|e|>", true, "");
    qn_tokenizer *t = load(&f);
    expect(t, "a<|e|>b", NULL, IDS('a', 256, 'e', 257, 'b')); // what a user writes
    expect(t, "a<|e|>b", "0111110", IDS('a', 259, 'b'));
    expect(t, "a<|e|>b", "0111100", IDS('a', 256, 'e', 257, 'b')); // put together from both
    expect(t, "a<|e|>b", "0011110", IDS('a', 256, 'e', 257, 'b'));
    expect(t, "<t>", NULL, IDS(260));                // not special: anybody's
    expect(t, "<|e|><|e|>", "1111111111", IDS(261)); // the longest
    expect(t, "<|e|><|e|>", "1111100000", IDS(259, 256, 'e', 257));
    expect(t, "<|e|><|e|>", "0000011111", IDS(256, 'e', 257, 259)); // untrusted text hides no token
    assert_int_equal(qn_tokenizer_id_of(t, "<|e|>"), 259);
    assert_int_equal(qn_tokenizer_id_of(t, "|>"), 257);
    assert_int_equal(qn_tokenizer_id_of(t, "Ġ"), ' ');
    assert_int_equal(qn_tokenizer_id_of(t, "nothing"), -1);
    assert_true(qn_tokenizer_is_special(t, 259));
    assert_false(qn_tokenizer_is_special(t, 260));
    assert_int_equal(qn_tokenizer_n_ids(t), 262);
    qn_tokenizer_free(t);
}

static void text_is_cut_across_seams(void **unused)
{
    (void)unused;
    fixture f = FIXTURE;
    f.vocab = ",\"ab\":256,\"ĠĊ\":257";
    f.merges = "\"a b\",\"Ġ Ċ\"";
    qn_tokenizer *t = load(&f);
    expect(t, "ab \n", "1010", IDS(256, 257));
    qn_tokenizer_free(t);
}

static void strips_and_single_words(void **unused)
{
    (void)unused;
    fixture f = FIXTURE;
    f.added = ADDED(256, "<l>", false, ",\"lstrip\":true") "," ADDED(
        257, "<r>", false, ",\"rstrip\":true") "," ADDED(258, "ww", false, ",\"single_word\":true");
    qn_tokenizer *t = load(&f);
    expect(t, "a \n<l> b", NULL, IDS('a', 256, ' ', 'b'));
    expect(t, "a <r>\xc2\xa0 b", NULL, IDS('a', ' ', 257, 'b'));
    expect(t, "<r> <l>", NULL, IDS(257, 256));
    expect(t, "ww xww ww_ ww-", NULL,
           IDS(258, ' ', 'x', 'w', 'w', ' ', 'w', 'w', '_', ' ', 258, '-'));
    qn_tokenizer_free(t);
}

// ---- text ----

static void normalizes(void **unused)
{
    (void)unused;
    fixture f = FIXTURE;
    f.added = "{\"id\":256,\"content\":\"é!\",\"special\":true,\"normalized\":true}";
    qn_tokenizer *t = load(&f);
    expect(t, "e\xcc\x81", NULL, IDS(0xc3, 0xa9));
    expect(t, "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", NULL, IDS(0xed, 0x95, 0x9c)); // jamo: 한
    expect(t, "q\xcc\x81\xcc\xa3", NULL, IDS('q', 0xcc, 0xa3, 0xcc, 0x81)); // marks in order
    // U+0898 (Unicode 14) has a class, but not in Hugging Face's tables: nothing passes it.
    expect(t, "q\xcc\x81\xe0\xa2\x98\xcc\xa3", NULL,
           IDS('q', 0xcc, 0x81, 0xe0, 0xa2, 0x98, 0xcc, 0xa3));
    expect(t, "xe\xcc\x81!", "01111", IDS('x', 256)); // trust outlives normalization
    expect(t, "xe\xcc\x81!", "01011", IDS('x', 0xc3, 0xa9, '!'));
    qn_tokenizer_free(t);
    f.normalizer = "null";
    f.added = "";
    t = load(&f);
    expect(t, "e\xcc\x81", NULL, IDS('e', 0xcc, 0x81));
    qn_tokenizer_free(t);
}

static void classes_are_unicode_16(void **unused)
{
    (void)unused;
    fixture f = FIXTURE;
    f.pre_tokenizer = FIXTURE_SPLIT("\\\\p{L}+|\\\\s+");
    f.vocab = ",\"ð±įĲ\":256,\"ð±įĲa\":257,\"áłİ\":258,\"Ġáłİ\":259,\"ð±įĲð±įĲ\":260,"
              "\"ð±\":261,\"įĲ\":262,\"áł\":263";
    f.merges = "\"ð ±\",\"į Ĳ\",\"ð± įĲ\",\"ð±įĲ a\",\"á ł\",\"áł İ\",\"Ġ áłİ\"";
    qn_tokenizer *t = load(&f);
    expect(t,
           "\xf0\xb1\x8d\x90"
           "a",
           NULL, IDS(257));                          // U+31350 (Unicode 15) is a letter
    expect(t, " \xe1\xa0\x8e", NULL, IDS(' ', 258)); // U+180E is no space
    qn_tokenizer_free(t);
}

static void refuses_bad_text(void **unused)
{
    (void)unused;
    qn_tokenizer *t = load(&FIXTURE);
    qn_ids ids = {0};
    quern_error e;
    assert_int_equal(qn_tokenizer_encode(t, "ab\xed\xa0\x80", 5, NULL, &ids, &e), QUERN_E_ARGUMENT);
    assert_non_null(strstr(e.message, "byte 2"));
    assert_int_equal(ids.n, 0);
    assert_int_equal(qn_tokenizer_encode(t, "a\0b", 3, NULL, &ids, &e), 0); // NUL is text
    assert_int_equal(ids.n, 3);
    qn_ids_free(&ids);
    qn_tokenizer_free(t);
    fixture f = FIXTURE;
    f.pre_tokenizer = FIXTURE_SPLIT("(a+)+$");
    t = load(&f);
    char evil[5001];
    memset(evil, 'a', 5000);
    evil[5000] = '!';
    int rc = qn_tokenizer_encode(t, evil, sizeof evil, NULL, &ids, &e);
    assert_int_equal(rc, QUERN_E_LIMIT);
    assert_int_equal(ids.n, 0);
    qn_ids_free(&ids);
    qn_tokenizer_free(t);
}

// ---- long pieces ----

typedef struct {
    const qn_tokenizer *t;
    const char *unit;
    int rc;
    size_t n_ids;
} long_piece;

static void *encode_long(void *argument)
{
    long_piece *p = argument;
    size_t n = 8 << 20, length = strlen(p->unit);
    char *text = malloc(n);
    for (size_t i = 0; i < n; i++)
        text[i] = p->unit[i % length];
    qn_ids ids = {0};
    p->rc = qn_tokenizer_encode(p->t, text, n, NULL, &ids, NULL);
    p->n_ids = ids.n;
    qn_ids_free(&ids);
    free(text);
    return NULL;
}

static void long_pieces_on_a_small_stack(void **unused)
{
    (void)unused;
    fixture f = FIXTURE;
    f.vocab = ",\"aa\":256,\"aaaa\":257,\"ĠĠ\":258,\"ĊĊ\":259";
    f.merges = "\"a a\",\"aa aa\",\"Ġ Ġ\",\"Ċ Ċ\"";
    qn_tokenizer *t = load(&f);
    // A letter, spaces, newlines; marks that stand in the wrong order, all of which must be sorted.
    const char *units[] = {"a", " ", "\n", "\xcc\x81\xcc\x96"};
    const size_t expected[] = {2 << 20, 4 << 20, 4 << 20, 8 << 20};
    for (int i = 0; i < 4; i++) {
        long_piece p = {.t = t, .unit = units[i]};
        pthread_attr_t attributes;
        pthread_t thread;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, 256 * 1024);
        assert_int_equal(pthread_create(&thread, &attributes, encode_long, &p), 0);
        pthread_join(thread, NULL);
        pthread_attr_destroy(&attributes);
        assert_int_equal(p.rc, 0);
        assert_int_equal(p.n_ids, expected[i]);
    }
    qn_tokenizer_free(t);
}

// ---- files ----

typedef struct {
    fixture f;
    int code;
    const char *says; // a part of the message
} refused;

#define WITH(...)                                                                                  \
    {                                                                                              \
        .vocab = "", .merges = "", .added = "", .model = "\"type\":\"BPE\",",                      \
        .normalizer = "null", .pre_tokenizer = FIXTURE_BYTE_LEVEL, .post_processor = "null",       \
        .decoder = FIXTURE_BYTE_LEVEL, __VA_ARGS__                                                 \
    }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#endif
static const refused REFUSED[] = {
    {WITH(.model = "\"type\":\"WordPiece\","), QUERN_E_UNSUPPORTED, "model.type"},
    {WITH(.model = ""), QUERN_E_UNSUPPORTED, "model.type"},
    {WITH(.model = "\"type\":\"BPE\",\"dropout\":0.1,"), QUERN_E_UNSUPPORTED, "dropout"},
    {WITH(.model = "\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\","), QUERN_E_UNSUPPORTED,
     "end_of_word_suffix"},
    {WITH(.model = "\"type\":\"BPE\",\"ignore_merges\":1,"), QUERN_E_FORMAT, "ignore_merges"},
    {WITH(.model = "\"type\":\"BPE\",\"type\":\"BPE\","), QUERN_E_FORMAT, "not JSON"},
    {WITH(.vocab = ",\"ab\":-1"), QUERN_E_FORMAT, "ab"},
    {WITH(.vocab = ",\"ab\":256.0"), QUERN_E_FORMAT, "ab"},
    {WITH(.vocab = ",\"ab\":2147483648"), QUERN_E_FORMAT, "ab"},
    {WITH(.vocab = ",\"ab\":18446744073709551616"), QUERN_E_FORMAT, "not JSON"},
    {WITH(.vocab = ",\"ab\":\"256\""), QUERN_E_FORMAT, "ab"},
    {WITH(.vocab = ",\"ab\":7"), QUERN_E_FORMAT, "id 7"},
    {WITH(.vocab = ",\"\":256"), QUERN_E_FORMAT, "id 256"},
    {WITH(.vocab = ",\"a b\":256"), QUERN_E_FORMAT, "stands for no byte"},
    {WITH(.vocab = ",\"\\ud800\":256"), QUERN_E_FORMAT, "not JSON"},
    {WITH(.vocab = ",\"\xc0\xaf\":256"), QUERN_E_FORMAT, "not JSON"},
    {WITH(.skipped_byte = 1 + 0xad, .vocab = ""), QUERN_E_FORMAT, "0xad"},
    {WITH(.merges = "\"a b\""), QUERN_E_FORMAT, "merges[0]"},
    {WITH(.merges = "\"a zz\""), QUERN_E_FORMAT, "\"zz\""},
    {WITH(.merges = "\"a\""), QUERN_E_FORMAT, "two parts"},
    {WITH(.merges = "\"a b c\""), QUERN_E_FORMAT, "two parts"},
    {WITH(.merges = "[\"a\"]"), QUERN_E_FORMAT, "two parts"},
    {WITH(.merges = "[\"a\",1]"), QUERN_E_FORMAT, "two parts"},
    {WITH(.merges = "[\"a\",\"\"]"), QUERN_E_FORMAT, "merges[0]"},
    {WITH(.merges = "7"), QUERN_E_FORMAT, "two parts"},
    {WITH(.added = ADDED(256, "", true, "")), QUERN_E_FORMAT, "content"},
    {WITH(.added = ADDED(5, "<x>", true, "")), QUERN_E_FORMAT, "expected the id 256"},
    {WITH(.added = ADDED(258, "<x>", true, "")), QUERN_E_FORMAT, "expected the id 256"},
    {WITH(.added = ADDED(256, "a", true, "")), QUERN_E_FORMAT, "expected the id 97"},
    {WITH(.added = ADDED(256, "<x>", true, "") "," ADDED(257, "<x>", false, "")), QUERN_E_FORMAT,
     "added_tokens[1]"},
    {WITH(.added = ADDED(256, "<x>", 1, "")), QUERN_E_FORMAT, "special"},
    {WITH(.added = "7"), QUERN_E_FORMAT, "added_tokens[0].id"},
    {WITH(.normalizer = "{\"type\":\"NFKC\"}"), QUERN_E_UNSUPPORTED, "NFKC"},
    {WITH(.pre_tokenizer = "{\"type\":\"Whitespace\"}"), QUERN_E_UNSUPPORTED, "Whitespace"},
    {WITH(.pre_tokenizer = "null"), QUERN_E_UNSUPPORTED, "pre_tokenizer"},
    {WITH(.pre_tokenizer = "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}"),
     QUERN_E_UNSUPPORTED, "add_prefix_space"},
    {WITH(.pre_tokenizer = FIXTURE_SPLIT("(a")), QUERN_E_FORMAT, "does not compile"},
    {WITH(.pre_tokenizer = FIXTURE_SPLIT("\\\\p{Nonsense}")), QUERN_E_FORMAT, "does not compile"},
    {WITH(.pre_tokenizer = FIXTURE_SPLIT("a|\\\\w+")), QUERN_E_UNSUPPORTED, "offset 2"},
    {WITH(.pre_tokenizer = FIXTURE_SPLIT("[a[b]]")), QUERN_E_UNSUPPORTED, "class in a class"},
    {WITH(.post_processor = "{\"type\":\"TemplateProcessing\"}"), QUERN_E_UNSUPPORTED,
     "TemplateProcessing"},
    {WITH(.decoder = "{\"type\":\"WordPiece\"}"), QUERN_E_UNSUPPORTED, "WordPiece"},
};
#pragma GCC diagnostic pop

static void refuses_bad_files(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        qn_tokenizer *t = NULL;
        quern_error e = {0};
        int rc = fixture_parse(&REFUSED[i].f, &t, &e);
        if (rc != REFUSED[i].code || !strstr(e.message, REFUSED[i].says) ||
            !strstr(e.message, "tokenizer.json"))
            fail_msg("case %zu: expected %d \"%s\", found %d \"%s\"", i, REFUSED[i].code,
                     REFUSED[i].says, rc, e.message);
    }
}

static void refuses_what_is_no_tokenizer(void **unused)
{
    (void)unused;
    static char deep[200000];
    memset(deep, '[', sizeof deep);
    quern_error e;
    qn_tokenizer *t;
    assert_int_equal(qn_tokenizer_parse("x", deep, sizeof deep, &t, &e), QUERN_E_LIMIT);
    assert_int_equal(qn_tokenizer_parse("x", "", 0, &t, &e), QUERN_E_FORMAT);
    assert_int_equal(qn_tokenizer_parse("x", "[]", 2, &t, &e), QUERN_E_FORMAT);
    assert_int_equal(qn_tokenizer_parse("x", "{}", 2, &t, &e), QUERN_E_FORMAT);
    qn_buffer json = QN_BUFFER_INIT; // cut at each byte (of the parts around the vocabulary)
    fixture f = FIXTURE;
    f.added = ADDED(256, "<x>", true, "");
    fixture_json(&f, &json);
    for (size_t n = 0; n < json.length; n += n < 900 || json.length - n < 50 ? 1 : 37)
        assert_int_equal(qn_tokenizer_parse("x", json.data, n, &t, &e), QUERN_E_FORMAT);
    assert_int_equal(qn_tokenizer_parse("x", json.data, json.length, &t, &e), 0);
    qn_tokenizer_free(t);
    qn_buffer_free(&json);
}

static void write_file(const char *directory, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void directories(void **unused)
{
    (void)unused;
    char directory[] = "/tmp/quern-tokenizer-XXXXXX", path[256];
    assert_non_null(mkdtemp(directory));
    qn_tokenizer *t;
    quern_error e;
    assert_int_equal(qn_tokenizer_load(directory, &t, &e), QUERN_E_NOT_FOUND);
    qn_buffer json = QN_BUFFER_INIT;
    fixture f = FIXTURE;
    f.added = ADDED(256, "<x>", false, "");
    fixture_json(&f, &json);
    write_file(directory, "tokenizer.json", json.data);
    const struct {
        const char *config;
        int rc, n_ids;
    } cases[] = {
        {"{}", 0, 257},
        {"{\"added_tokens_decoder\":{\"256\":{\"content\":\"<x>\",\"special\":true}}}", 0, 257},
        {"{\"added_tokens_decoder\":{\"257\":{\"content\":\"<y>\",\"special\":true}}}", 0, 258},
        {"{\"added_tokens_decoder\":{\"255\":{\"content\":\"<x>\"}}}", QUERN_E_FORMAT, 0},
        {"{\"added_tokens_decoder\":{\"x\":{\"content\":\"<x>\"}}}", QUERN_E_FORMAT, 0},
        {"{\"added_tokens_decoder\":[]}", QUERN_E_FORMAT, 0},
        {"{", QUERN_E_FORMAT, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(directory, "tokenizer_config.json", cases[i].config);
        assert_int_equal(qn_tokenizer_load(directory, &t, &e), cases[i].rc);
        if (cases[i].rc) {
            assert_non_null(strstr(e.message, "tokenizer_config.json"));
            continue;
        }
        assert_int_equal(qn_tokenizer_n_ids(t), cases[i].n_ids);
        assert_int_equal(qn_tokenizer_is_special(t, cases[i].n_ids - 1), i > 0);
        qn_tokenizer_free(t);
    }
    snprintf(path, sizeof path, "%s/tokenizer.json", directory);
    unlink(path);
    snprintf(path, sizeof path, "%s/tokenizer_config.json", directory);
    unlink(path);
    rmdir(directory);
    qn_buffer_free(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_as_defined),
        cmocka_unit_test(words_are_cached_right),
        cmocka_unit_test(special_tokens_need_trust),
        cmocka_unit_test(text_is_cut_across_seams),
        cmocka_unit_test(strips_and_single_words),
        cmocka_unit_test(normalizes),
        cmocka_unit_test(classes_are_unicode_16),
        cmocka_unit_test(refuses_bad_text),
        cmocka_unit_test(long_pieces_on_a_small_stack),
        cmocka_unit_test(refuses_bad_files),
        cmocka_unit_test(refuses_what_is_no_tokenizer),
        cmocka_unit_test(directories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
