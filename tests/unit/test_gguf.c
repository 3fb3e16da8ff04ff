// GGUF: what the format allows is read; a file cut or changed at any byte is refused or read within its bounds; paths mean
// what they should. Each class of damage with its message is in tests/golden/damage_gguf.py.
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
#include "formats/gguf.h"

static void number(qn_buffer *b, uint64_t value, int n_bytes)
{
    for (int i = 0; i < n_bytes; i++)
        qn_buffer_append(b, &(char){(char)(value >> 8 * i)}, 1);
}

static void text(qn_buffer *b, const char *s)
{
    number(b, strlen(s), 8);
    qn_buffer_text(b, s);
}

static void key(qn_buffer *b, const char *name, qn_gguf_type type)
{
    text(b, name);
    number(b, type, 4);
}

static void tensor(qn_buffer *b, const char *name, int n_dims, const uint64_t *dims, int type,
                   uint64_t offset)
{
    text(b, name);
    number(b, (uint64_t)n_dims, 4);
    for (int i = 0; i < n_dims; i++)
        number(b, dims[i], 8);
    number(b, (uint64_t)type, 4);
    number(b, offset, 8);
}

enum { N_VALUES = 17, ALIGNMENT = 16 };

static const struct {
    const char *key;
    qn_gguf_type type;
    int n_bytes;
    uint64_t bits;
    int64_t value;
} integers[] = {
    {"u8", QN_GGUF_U8, 1, 200, 200},
    {"i8", QN_GGUF_I8, 1, 0xfe, -2},
    {"u16", QN_GGUF_U16, 2, 60000, 60000},
    {"i16", QN_GGUF_I16, 2, 0xfffe, -2},
    {"u32", QN_GGUF_U32, 4, 0xffffffff, 0xffffffff},
    {"i32", QN_GGUF_I32, 4, 0xfffffffe, -2},
    {"i64", QN_GGUF_I64, 8, (uint64_t)-5, -5},
    {"u64", QN_GGUF_U64, 8, UINT64_MAX, INT64_MAX},
};

// A value of every type, three tensors behind one another in an order that is not that of their places.
static qn_buffer sound(uint32_t version, size_t *n_head)
{
    qn_buffer b = QN_BUFFER_INIT;
    qn_buffer_text(&b, "GGUF");
    number(&b, version, 4);
    number(&b, 3, 8);
    number(&b, N_VALUES, 8);
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        key(&b, integers[i].key, integers[i].type);
        number(&b, integers[i].bits, integers[i].n_bytes);
    }
    key(&b, "f32", QN_GGUF_F32);
    number(&b, 0x3fc00000, 4);
    key(&b, "f64", QN_GGUF_F64);
    number(&b, 0x3ff8000000000000, 8);
    key(&b, "bool", QN_GGUF_BOOL);
    number(&b, 1, 1);
    key(&b, "text", QN_GGUF_STRING);
    text(&b, "Zürich");
    key(&b, "empty", QN_GGUF_STRING);
    text(&b, "");
    key(&b, "texts", QN_GGUF_ARRAY);
    number(&b, QN_GGUF_STRING, 4);
    number(&b, 3, 8);
    text(&b, "a");
    text(&b, "");
    text(&b, "bc");
    key(&b, "numbers", QN_GGUF_ARRAY);
    number(&b, QN_GGUF_I16, 4);
    number(&b, 2, 8);
    number(&b, 7, 2);
    number(&b, 0xffff, 2);
    key(&b, "nothing", QN_GGUF_ARRAY);
    number(&b, QN_GGUF_F64, 4);
    number(&b, 0, 8);
    key(&b, "general.alignment", QN_GGUF_U32);
    number(&b, ALIGNMENT, 4);
    tensor(&b, "z", 3, (const uint64_t[]){2, 3, 4}, 1, 80);
    tensor(&b, "q", 2, (const uint64_t[]){32, 2}, 8, 0); // Q8_0: 34 bytes a row
    tensor(&b, "other", 1, (const uint64_t[]){5}, 24, 128);
    *n_head = b.length;
    while (b.length % ALIGNMENT)
        number(&b, 0xee, 1);
    for (int i = 0; i < 133; i++)
        number(&b, (uint64_t)i, 1);
    return b;
}

// Parses an exact copy, so that a sanitiser sees a byte too many.
static int parse(const char *data, size_t n, qn_gguf *g, unsigned char **copy, quern_error *e)
{
    *g = (qn_gguf){.metadata.path = "x.gguf"};
    *copy = malloc(n ? n : 1);
    assert_non_null(*copy);
    if (n) memcpy(*copy, data, n);
    int rc = qn_gguf_parse(*copy, n, n, 0, &g->metadata, &g->set, e);
    return rc ? rc : qn_tensor_set_sort(&g->set, e);
}

static void release(qn_gguf *g, unsigned char *copy)
{
    qn_gguf_close(g);
    free(copy);
}

static void check_values(const qn_gguf_metadata *m)
{
    static const int64_t any[2] = {INT64_MIN, INT64_MAX}, small[2] = {0, 100};
    quern_error e = {0};
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        int64_t value = 0;
        assert_int_equal(qn_gguf_int(m, integers[i].key, any, &value, &e), 0);
        assert_true(value == integers[i].value);
        assert_int_equal(qn_gguf_int(m, integers[i].key, small, &value, &e), QUERN_E_FORMAT);
        assert_non_null(strstr(e.message, "expected an integer from 0 to 100, found "));
    }
    double f32 = 0, f64 = 0;
    bool yes = false;
    int64_t kept = 3;
    assert_int_equal(qn_gguf_real(m, "f32", &f32, &e) | qn_gguf_real(m, "f64", &f64, &e), 0);
    assert_true(f32 == 1.5 && f64 == 1.5);
    assert_int_equal(qn_gguf_bool(m, "bool", &yes, &e), 0);
    assert_true(yes);
    assert_int_equal(qn_gguf_int(m, "absent", any, &kept, &e), 0);
    assert_int_equal(kept, 3);
    assert_int_equal(qn_gguf_int(m, "f32", any, &kept, &e), QUERN_E_FORMAT);
    assert_int_equal(qn_gguf_int(m, "numbers", any, &kept, &e), QUERN_E_FORMAT);
    assert_int_equal(qn_gguf_real(m, "u8", &f32, &e), QUERN_E_FORMAT);
    assert_int_equal(qn_gguf_bool(m, "u8", &yes, &e), QUERN_E_FORMAT);
}

static void check_texts(const qn_gguf_metadata *m)
{
    qn_text_span one = {NULL, 0}, none = {NULL, 0}, *list = NULL;
    size_t n = 0;
    quern_error e = {0};
    assert_int_equal(qn_gguf_text(m, "text", &one, &e) | qn_gguf_text(m, "empty", &none, &e), 0);
    assert_int_equal(one.n, strlen("Zürich"));
    assert_memory_equal(one.data, "Zürich", one.n);
    assert_true(none.data && none.n == 0);
    assert_int_equal(qn_gguf_texts(m, "texts", &list, &n, &e), 0);
    assert_int_equal(n, 3);
    assert_true(list[0].n == 1 && list[1].n == 0 && list[2].n == 2 && list[2].data[1] == 'c');
    free(list);
    list = NULL;
    assert_int_equal(qn_gguf_texts(m, "numbers", &list, &n, &e), QUERN_E_FORMAT);
    assert_null(list);
    const qn_gguf_value *v = qn_gguf_find(m, "numbers");
    assert_true(v && v->is_array && v->n == 2 && qn_gguf_int_at(v, 0) == 7 &&
                qn_gguf_int_at(v, 1) == -1);
    v = qn_gguf_find(m, "nothing");
    assert_true(v && v->is_array && v->n == 0);
    assert_null(qn_gguf_find(m, "tex"));
    assert_null(qn_gguf_find(m, "textss"));
}

static void what_the_format_allows_is_read(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        size_t n_head;
        qn_buffer b = sound(version, &n_head);
        qn_gguf g;
        unsigned char *copy;
        quern_error e = {0};
        if (parse(b.data, b.length, &g, &copy, &e)) fail_msg("%s", e.message);
        assert_int_equal(g.metadata.n_values, N_VALUES);
        check_values(&g.metadata);
        check_texts(&g.metadata);
        const qn_stored_tensor *z = qn_tensor_set_find(&g.set, "z"),
                               *q = qn_tensor_set_find(&g.set, "q");
        assert_true(z && q && z->rank == 3 && z->dim[0] == 4 && z->dim[1] == 3 && z->dim[2] == 2);
        assert_true(z->dtype == QN_DTYPE_F16 && z->n_bytes == 48 && copy[z->begin] == 80);
        assert_true(q->dtype == QN_DTYPE_Q8_0 && q->dim[0] == 2 && q->dim[1] == 32 &&
                    q->n_bytes == 68 && copy[q->begin] == 0);
        assert_int_equal(qn_tensor_set_find(&g.set, "other")->dtype, QN_DTYPE_COUNT);
        release(&g, copy);
        qn_buffer_free(&b);
    }
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    size_t n_head;
    qn_buffer b = sound(3, &n_head);
    for (size_t n = 0; n < b.length; n++) {
        qn_gguf g;
        unsigned char *copy;
        quern_error e = {0};
        int rc = parse(b.data, n, &g, &copy, &e);
        if (!rc || strncmp(e.message, "x.gguf: ", 8) || (n < n_head && !strstr(e.message, "byte ")))
            fail_msg("cut at %zu: %d, %s", n, rc, e.message);
        release(&g, copy);
    }
    qn_buffer_free(&b);
}

// Reads the first and last byte of every tensor and value: a sanitiser would see one outside.
static unsigned touch(const qn_gguf *g, const unsigned char *copy)
{
    unsigned sum = 0;
    for (int i = 0; i < g->set.n_tensors; i++) {
        const qn_stored_tensor *t = &g->set.tensors[i];
        sum += copy[t->begin] + copy[t->begin + t->n_bytes - 1];
    }
    for (size_t i = 0; i < g->metadata.n_values; i++) {
        const qn_gguf_value *v = &g->metadata.values[i];
        if (v->is_array && v->type == QN_GGUF_STRING) {
            const unsigned char *at = v->at;
            for (uint64_t k = 0; k < v->n; k++) {
                qn_text_span span = qn_gguf_next_text(&at);
                sum += span.n ? (unsigned char)span.data[span.n - 1] : 0;
            }
        } else if (qn_gguf_is_int(v) && v->n)
            sum += (unsigned)qn_gguf_int_at(v, v->n - 1);
    }
    return sum;
}

static void a_file_changed_anywhere_stays_in_its_bounds(void **state)
{
    (void)state;
    size_t n_head;
    qn_buffer b = sound(3, &n_head);
    unsigned sum = 0;
    for (size_t i = 0; i < n_head; i++)
        for (int change = 0; change < 6; change++) {
            static const unsigned char to[] = {0, 0xff, 0x7f, 0x80, 1, 9};
            char was = b.data[i];
            qn_gguf g;
            unsigned char *copy;
            quern_error e = {0};
            b.data[i] = (char)to[change];
            if (!parse(b.data, b.length, &g, &copy, &e))
                sum += touch(&g, copy);
            else
                assert_memory_equal(e.message, "x.gguf: ", 8);
            release(&g, copy);
            b.data[i] = was;
        }
    assert_int_not_equal(sum, 0);
    qn_buffer_free(&b);
}

/* ---- paths ---- */

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

static const char *path_of(const char *name)
{
    static char path[160];
    snprintf(path, sizeof path, "%s%s%s", directory, *name ? "/" : "", name);
    return path;
}

static void put(const char *name)
{
    size_t n_head;
    qn_buffer b = sound(3, &n_head);
    FILE *f = fopen(path_of(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b.data, 1, b.length, f), b.length);
    fclose(f);
    qn_buffer_free(&b);
}

// file NULL: no GGUF file; message: refused so.
static void expect_path(const char *name, const char *file, const char *message)
{
    char *out;
    quern_error e = {0};
    int rc = qn_gguf_locate(path_of(name), &out, &e);
    if (message && (!rc || !strstr(e.message, message))) fail_msg("%d, %s", rc, e.message);
    if (!message && rc) fail_msg("%s", e.message);
    if (!out != !file || (file && strcmp(out, path_of(file))))
        fail_msg("%s: expected %s, found %s", name, file ? file : "none", out ? out : "none");
    free(out);
}

static void a_path_means_one_file(void **state)
{
    (void)state;
    expect_path("", NULL, NULL);
    expect_path("nowhere", NULL, NULL);
    expect_path("nowhere.gguf", "nowhere.gguf", NULL);
    put("b-00001-of-00002.gguf");
    put("b-00002-of-00002.gguf");
    put(".hidden.gguf");
    expect_path("", "b-00001-of-00002.gguf", NULL);
    put("a.gguf");
    expect_path("", NULL, "expected config.json or one GGUF file, found 2: name one of them");
    expect_path("a.gguf", "a.gguf", NULL);
    put("config.json");
    expect_path("", NULL, NULL); // Hugging Face's
    put("blob");
    expect_path("blob", "blob", NULL); // whatever its name: no directory
}

static void open_and_map(const char *name, bool copy, const char *message)
{
    qn_gguf g;
    quern_error e = {0};
    int rc = qn_gguf_open(path_of(name), &g, &e);
    if (!rc) rc = qn_tensor_set_map(&g.set, copy, &e);
    if (message && (!rc || !strstr(e.message, message))) fail_msg("%d, %s", rc, e.message);
    if (!message && rc) fail_msg("%s", e.message);
    if (!rc) {
        assert_int_equal(*qn_tensor_set_find(&g.set, "z")->data, 80);
        assert_int_equal((uintptr_t)qn_tensor_set_find(&g.set, "q")->data % ALIGNMENT, 0);
    }
    qn_gguf_close(&g);
}

static void files_are_opened_and_mapped(void **state)
{
    (void)state;
    put("a.gguf");
    open_and_map("a.gguf", false, NULL);
    open_and_map("a.gguf", true, NULL);
    open_and_map("b.gguf", false, "b.gguf: cannot open");
    assert_int_equal(mkfifo(path_of("fifo.gguf"), 0600), 0);
    open_and_map("fifo.gguf", false, "expected a regular file");
    qn_gguf g;
    quern_error e = {0};
    assert_int_equal(qn_gguf_open(path_of("a.gguf"), &g, &e), 0);
    assert_int_equal(truncate(path_of("a.gguf"), 4096), 0);
    assert_int_equal(qn_tensor_set_map(&g.set, false, &e), QUERN_E_IO);
    qn_gguf_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_format_allows_is_read),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(a_file_changed_anywhere_stays_in_its_bounds),
        cmocka_unit_test_setup_teardown(a_path_means_one_file, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(files_are_opened_and_mapped, make_directory,
                                        remove_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
