// safetensors: what the format allows is read, every class of damage is refused with the file and the tensor or field.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
// cmocka wants the headers above first
#include <cmocka.h>

#include "base/buffer.h"
#include "formats/safetensors.h"

// length, header and n_data bytes of data (0, 1, 2 …) as a file's bytes.
static qn_buffer file_of(uint64_t length, const char *header, size_t n_data)
{
    qn_buffer b = QN_BUFFER_INIT;
    unsigned char size[8];
    for (int i = 0; i < 8; i++)
        size[i] = (unsigned char)(length >> 8 * i);
    qn_buffer_append(&b, size, 8);
    qn_buffer_text(&b, header);
    for (size_t i = 0; i < n_data; i++)
        qn_buffer_append(&b, &(char){(char)i}, 1);
    return b;
}

// Parses an exact copy, so that a sanitiser sees a byte too many.
static int parse(const qn_buffer *b, qn_tensor_set *s, unsigned char **copy, quern_error *e)
{
    *s = (qn_tensor_set)QN_TENSOR_SET_INIT;
    *copy = malloc(b->length ? b->length : 1);
    assert_non_null(*copy);
    if (b->length) memcpy(*copy, b->data, b->length);
    int rc = qn_safetensors_parse(s, *copy, b->length, "x.safetensors", 0, e);
    return rc ? rc : qn_tensor_set_sort(s, e);
}

static void expect_refusal(const qn_buffer *b, const char *what, const char *message)
{
    qn_tensor_set s;
    unsigned char *copy;
    quern_error e = {0};
    int rc = parse(b, &s, &copy, &e);
    if (!rc || !strstr(e.message, message) || strchr(e.message, '\n'))
        fail_msg("%s: rc %d, expected \"%s\", found \"%s\"", what, rc, message, e.message);
    qn_tensor_set_close(&s);
    free(copy);
}

#define A(offsets) "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" offsets "}"

static void headers_that_lie_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what, *header;
        size_t n_data;
        const char *message;
        // clang-format off
    } cases[] = {
        {"S08 not UTF-8", "{\"\xff\":1}", 0, "header byte 2: expected UTF-8"},
        {"S09 BOM", "\xef\xbb\xbf{}", 0, "header byte 0: expected '{'"},
        {"S09 space first", " {}", 0, "header byte 0: expected '{'"},
        {"S09 array", "[]", 0, "header byte 0: expected '{'"},
        {"S10 cut name", "{\"a", 0, "header byte 1: expected a name"},
        {"S10 cut entry", "{\"a\":{\"dtype\":\"F32\"", 0, "x.safetensors: a: expected a JSON object"},
        {"S10 cut after entry", "{" A("[0,8]"), 8, "expected '}', found its end"},
        {"S11 trailing bytes", "{" A("[0,8]") "}  x", 8, "expected spaces up to the header's end"},
        {"S12 duplicate tensor", "{" A("[0,8]") "," A("[8,16]") "}", 16, "a: expected the tensor once"},
        {"S13 duplicate field", "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
         "a: expected a JSON object of at most 4096 bytes: duplicate object key"},
        {"S15 unknown type", "{\"a\":{\"dtype\":\"Q8\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
         "a: dtype: expected a known type, found the string \"Q8\""},
        {"S15 no type", "{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "a: dtype: expected a known type, found nothing"},
        {"S16 overflow", "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}", 8,
         "a: shape: expected a size of whole bytes below 2^64"},
        {"S16 overflow in bits", "{\"a\":{\"dtype\":\"U8\",\"shape\":[2305843009213693952],\"data_offsets\":[0,8]}}", 8,
         "a: shape: expected a size"},
        {"S17 negative", "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "a: shape: expected at most"},
        {"S17 fraction", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, "a: shape: expected at most"},
        {"S17 1e30", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1e30],\"data_offsets\":[0,8]}}", 8, "a: shape: expected at most"},
        {"S17 beyond 64 bits", "{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,8]}}", 8, "a: expected a JSON object"},
        {"S17 string", "{\"a\":{\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]}}", 8, "a: shape: expected at most"},
        {"S17 many dimensions", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8, "a: shape: expected at most 8"},
        {"S18 end before begin", "{" A("[8,0]") "}", 8, "a: data_offsets: expected [begin, end] within the 8 bytes"},
        {"S18 three offsets", "{" A("[0,4,8]") "}", 8, "a: data_offsets: expected [begin, end]"},
        {"S19 hole", "{" A("[4,12]") "}", 12, "a: data_offsets: expected to begin at 0, where the tensor before ends, found 4"},
        {"S20 overlap", "{" A("[0,8]") ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12,
         "b: data_offsets: expected to begin at 8"},
        {"S20 twice the same span", "{" A("[0,8]") ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
         "data_offsets: expected to begin at 8"},
        {"S21 size", "{" A("[0,12]") "}", 12, "a: data_offsets: expected 8 bytes for its shape, found 12"},
        {"S22 data too long", "{" A("[0,8]") "}", 9, "data: expected 8 bytes by the header, found 9"},
        {"S22 data too short", "{" A("[0,8]") "}", 7, "a: data_offsets: expected [begin, end] within the 7 bytes"},
        {"S23 metadata", "{\"__metadata__\":{\"format\":1}," A("[0,8]") "}", 8, "__metadata__.format: expected a string, found 1"},
        {"S23 metadata is an array", "{\"__metadata__\":[]," A("[0,8]") "}", 8, "__metadata__: expected a JSON object"},
        {"S12 two metadata", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "expected another tensor's name"},
        {"S24 half a byte", "{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1, "a: shape: expected a size of whole bytes"},
        {"S25 NUL", "{\"a\\u0000\":{}}", 0, "expected a name"},
        {"S25 path", "{\"../a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "expected another tensor's name"},
        {"S25 line break", "{\"a\\nb\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "expected another tensor's name"},
        {"a field more", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8, "found more fields"},
        {"no comma", "{" A("[0,8]") " " A("[8,16]") "}", 16, "expected '}'"},
        {"comma at the end", "{" A("[0,8]") ",}", 8, "expected a name"},
    };
    // clang-format on
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_buffer b = file_of(strlen(cases[i].header), cases[i].header, cases[i].n_data);
        expect_refusal(&b, cases[i].what, cases[i].message);
        qn_buffer_free(&b);
    }
}

static void lengths_that_lie_are_refused(void **state)
{
    (void)state;
    qn_buffer empty = QN_BUFFER_INIT;
    expect_refusal(&empty, "S01", "x.safetensors: expected 8 bytes of header length, found 0");
    for (size_t n = 1; n < 8; n++) {
        qn_buffer b = file_of(2, "{}", 0);
        b.length = n;
        expect_refusal(&b, "S02", "expected 8 bytes of header length");
        qn_buffer_free(&b);
    }
    static const struct {
        uint64_t length;
        const char *message;
    } cases[] = {{0, "header length: expected 2"},
                 {3, "header length: expected at most the 2 bytes that follow, found 3"},
                 {UINT64_C(1) << 63, "header length: expected 2 to 100000000 bytes"},
                 {UINT64_MAX, "header length: expected 2 to 100000000 bytes"},
                 {UINT64_MAX - 7, "header length: expected 2"},
                 {100000001, "header length: expected 2"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_buffer b = file_of(cases[i].length, "{}", 0);
        expect_refusal(&b, "S03-S07", cases[i].message);
        qn_buffer_free(&b);
    }
}

// S14, S23, S25 and a header of many brackets: large, and refused before anything recurses or grows with them.
static void large_headers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *before, *repeated;
        int n;
        const char *after, *message;
    } cases[] = {
        {"{\"a\":", "{\"a\":", 100000, "1}", "a: expected a JSON object"},
        {"{\"a\":{\"shape\":[", "0,", 1000000, "0]}}",
         "a: expected a JSON object of at most 4096 bytes"},
        {"{\"__metadata__\":{\"x\":\"", "xxxxxxxxxx", 5000000, "\"}}",
         "__metadata__: expected a JSON object of at most 4194304"},
        {"{\"", "x", 1 << 20, "\":{}}", "expected a name of at most 1024 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_buffer header = QN_BUFFER_INIT;
        qn_buffer_text(&header, cases[i].before);
        for (int k = 0; k < cases[i].n; k++)
            qn_buffer_text(&header, cases[i].repeated);
        qn_buffer_text(&header, cases[i].after);
        qn_buffer b = file_of(header.length, header.data, 0);
        expect_refusal(&b, cases[i].repeated, cases[i].message);
        qn_buffer_free(&header);
        qn_buffer_free(&b);
    }
}

static void what_the_format_allows_is_read(void **state)
{
    (void)state;
    static const char header[] =
        " \"__metadata__\" : {\"format\":\"pt\"},\n"
        "\"z\":{\"dtype\":\"BF16\",\"shape\":[1,2],\"data_offsets\":[1,5]},"
        "\"none\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[1,1]},"
        "\"byte\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}   ";
    qn_buffer text = QN_BUFFER_INIT;
    qn_buffer_printf(&text, "{%s", header);
    qn_buffer b = file_of(text.length, text.data, 5);
    qn_tensor_set s;
    unsigned char *copy;
    quern_error e = {0};
    if (parse(&b, &s, &copy, &e)) fail_msg("%s", e.message);
    assert_int_equal(s.n_tensors, 3);
    const qn_stored_tensor *z = qn_tensor_set_find(&s, "z");
    assert_non_null(z);
    assert_int_equal(z->rank, 2);
    assert_int_equal(z->dim[1], 2);
    assert_int_equal(z->dtype, QN_DTYPE_BF16);
    assert_int_equal(copy[z->begin], 1); // misaligned for its type, as the format allows
    assert_int_equal(z->n_bytes, 4);
    assert_int_equal(qn_tensor_set_find(&s, "byte")->rank, 0);
    assert_int_equal(qn_tensor_set_find(&s, "byte")->dtype, QN_DTYPE_COUNT);
    assert_int_equal(qn_tensor_set_find(&s, "none")->n_bytes, 0);
    assert_null(qn_tensor_set_find(&s, "y"));
    qn_tensor_set_close(&s);
    qn_buffer_free(&text);
    qn_buffer_free(&b);
    free(copy);
}

// ---- directories ----

static char directory[64];

static int make_directory(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/quern-test-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    return system(command);
}

static void put(const char *name, const void *bytes, size_t n)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static void put_tensor(const char *file, const char *tensor)
{
    char header[160];
    snprintf(header, sizeof header,
             "{\"%s\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", tensor);
    qn_buffer b = file_of(strlen(header), header, 8);
    put(file, b.data, b.length);
    qn_buffer_free(&b);
}

static void put_text(const char *name, const char *text)
{
    put(name, text, strlen(text));
}

static void expect_open(int n_tensors, const char *message)
{
    qn_tensor_set s;
    quern_error e = {0};
    for (int copy = 0; copy < 2; copy++) {
        int rc = qn_safetensors_open(directory, &s, &e);
        if (!rc) rc = qn_tensor_set_map(&s, copy, &e);
        if (message && (!rc || !strstr(e.message, message)))
            fail_msg("rc %d, expected \"%s\", found \"%s\"", rc, message, e.message);
        if (!message && rc) fail_msg("%s", e.message);
        assert_int_equal(s.n_tensors, message ? 0 : n_tensors);
        qn_tensor_set_close(&s);
    }
}

static void shards_are_one_set(void **state)
{
    (void)state;
    expect_open(0, "expected model.safetensors, model.safetensors.index.json or other");
    put_tensor("s-2.safetensors", "b");
    put_tensor("s-1.safetensors", "a");
    expect_open(2, NULL); // without an index: all there are
    put_text("model.safetensors.index.json",
             "{\"metadata\":{\"total_size\":16},\"weight_map\":{\"a\":\"s-1.safetensors\"}}");
    expect_open(1, NULL); // an index says which
    put_tensor("model.safetensors", "c");
    expect_open(1, NULL); // one whole file wins, as in transformers
}

// What the file is between the reading of its header and its mapping.
#define B(name, type, shape, offsets)                                                              \
    "{\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
static const struct {
    const char *what, *header; // NULL: as it was
    int more;                  // bytes of data
    bool sound;
} swaps[] = {
    {"S28 emptied", "", -8, false},
    {"S28 header alone", NULL, -8, false},
    {"S28 a byte less", NULL, -1, false},
    {"S28 a byte more", NULL, 1, false},
    {"S28 a page more", NULL, 4096, false},
    {"S28 another tensor", B("b", "F32", "[2]", "[0,8]"), 0, false},
    {"S28 another type", B("a", "I32", "[2]", "[0,8]"), 0, false},
    {"S28 another shape", B("a", "F32", "[1]", "[0,8]"), 0, false},
    {"S28 another span", B("a", "F32", "[2]", "[0,4]"), 0, false},
    {"S28 a shorter header and more data", B("a", "F32", "2", "[0,8]"), 2, false},
    {"S28 no header", B("\0", "F32", "[2]", "[0,8]"), 0, false},
    {"S28 the same again", NULL, 0, true},
};

static void put_swap(int i)
{
    const char *header = swaps[i].header ? swaps[i].header : B("a", "F32", "[2]", "[0,8]");
    qn_buffer b = file_of(strlen(header), header, (size_t)(8 + swaps[i].more));
    put("model.safetensors", b.data, *header ? b.length : 0);
    qn_buffer_free(&b);
}

static void a_file_that_changes_before_it_is_mapped_is_refused(void **state)
{
    (void)state;
    char path[160];
    snprintf(path, sizeof path, "%s/model.safetensors", directory);
    for (int i = 0; i < (int)(sizeof swaps / sizeof *swaps); i++) {
        qn_tensor_set s;
        quern_error e = {0};
        put_tensor("model.safetensors", "a");
        assert_int_equal(qn_safetensors_open(directory, &s, &e), 0);
        unlink(path); // another file, as by a download that renames it there
        put_swap(i);
        int rc = qn_tensor_set_map(&s, i % 2, &e);
        if (!rc != swaps[i].sound || (rc && !strstr(e.message, "model.safetensors: ")))
            fail_msg("%s: rc %d, \"%s\"", swaps[i].what, rc, e.message);
        qn_tensor_set_close(&s);
    }
}

static void an_index_that_lies_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *index, *message;
        // clang-format off
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"s-3.safetensors\"}}", "s-3.safetensors: cannot open"},
        {"{\"weight_map\":{\"a\":\"/etc/s-1.safetensors\"}}", "weight_map.a: expected the name of a .safetensors file beside the index"},
        {"{\"weight_map\":{\"a\":\"../s-1.safetensors\"}}", "weight_map.a: expected the name"},
        {"{\"weight_map\":{\"a\":\"..\"}}", "weight_map.a: expected the name"},
        {"{\"weight_map\":{\"a\":7}}", "weight_map.a: expected the name of a .safetensors file beside the index, found 7"},
        {"{\"weight_map\":{}}", "weight_map: expected an object of tensors"},
        {"{\"weight_map\":[]}", "weight_map: expected an object of tensors, found an array"},
        {"{\"metadata\":{}}", "weight_map: expected an object of tensors, found nothing"},
        {"[]", "expected a JSON object"},
        {"{\"weight_map\":{\"a\":\"s-1.safetensors\",\"a\":\"s-2.safetensors\"}}", "duplicate object key"},
        {"{\"weight_map\":{\"a\":\"s-2.safetensors\",\"b\":\"s-1.safetensors\"}}", "weight_map.a: expected the tensor in s-2.safetensors, found it in s-1.safetensors"},
        {"{\"weight_map\":{\"a\":\"s-1.safetensors\",\"c\":\"s-1.safetensors\"}}", "weight_map.c: expected the tensor in s-1.safetensors, found it in none"},
        {"{\"weight_map\":{\"a\":\"s-1.safetensors\",\"b\":\"twice.safetensors\"}}", "a: expected the tensor once"},
    };
    // clang-format on
    put_tensor("s-1.safetensors", "a");
    put_tensor("s-2.safetensors", "b");
    put_tensor("twice.safetensors", "a");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_text("model.safetensors.index.json", cases[i].index);
        expect_open(0, cases[i].message);
    }
}

static void a_million_shards_are_refused(void **state)
{
    (void)state;
    qn_buffer b = QN_BUFFER_INIT;
    qn_buffer_text(&b, "{\"weight_map\":{");
    for (int i = 0; i < 2000; i++)
        qn_buffer_printf(&b, "\"%d\":\"%d.safetensors\",", i, i);
    qn_buffer_text(&b, "\"x\":\"x.safetensors\"}}");
    put_text("model.safetensors.index.json", b.data);
    expect_open(0, "expected at most 1000 weight files");
    qn_buffer_free(&b);
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    char path[160];
    snprintf(path, sizeof path, "%s/model.safetensors", directory);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_open(0, "model.safetensors: expected a regular file");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_open(0, "model.safetensors: expected a regular file");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/dev/zero", path), 0);
    expect_open(0, "model.safetensors: expected a regular file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_that_lie_are_refused),
        cmocka_unit_test(lengths_that_lie_are_refused),
        cmocka_unit_test(large_headers_are_refused),
        cmocka_unit_test(what_the_format_allows_is_read),
        cmocka_unit_test_setup_teardown(shards_are_one_set, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_file_that_changes_before_it_is_mapped_is_refused,
                                        make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(an_index_that_lies_is_refused, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(a_million_shards_are_refused, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(what_is_no_file_is_refused, make_directory,
                                        remove_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
