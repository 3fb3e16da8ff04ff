// The configuration of `quern serve`, in both forms that DESIGN.md §4 names, and what is refused.
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

#include "app/app.h"
#include "app/config.h"

static char dir[] = "/tmp/quern-yaml-XXXXXX";

static int enter(void **state)
{
    (void)state;
    return !mkdtemp(dir) || chdir(dir) || mkdir("models", 0700) || mkdir("models/qwen3-7b", 0700) ||
           mkdir("models/qwen3-3b", 0700) || mkdir("elsewhere", 0700);
}

static int leave(void **state)
{
    (void)state;
    return rmdir("models/qwen3-7b") || rmdir("models/qwen3-3b") || rmdir("models") ||
           rmdir("elsewhere") || unlink("c.yaml") || chdir("/") || rmdir(dir);
}

static int read_text(const char *text, qn_app_config *c, quern_error *e)
{
    FILE *f = fopen("c.yaml", "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    qn_app_config_init(c);
    return qn_app_config_read(c, "c.yaml", e);
}

static void both_forms_work_as_written(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "models:\n  - qwen3-7b\n  - name: qwen3-3b\n    path: elsewhere\n    context: 2048\n"
        "routing: automatic\nscaling: horizontal\nmonitoring: real-time\n",
        "{\"models\": [\"qwen3-7b\", {\"name\": \"qwen3-3b\", \"path\": \"elsewhere\", "
        "\"context\": 2048}],\n"
        " \"routing\": \"automatic\", \"scaling\": \"horizontal\", \"monitoring\": \"real-time\"}"};
    for (int i = 0; i < 2; i++) {
        qn_app_config c;
        quern_error e = {0};
        assert_int_equal(read_text(forms[i], &c, &e), 0);
        assert_int_equal(c.n_models, 2);
        assert_string_equal(c.models[0].name, "qwen3-7b");
        assert_string_equal(c.models[0].path, "models/qwen3-7b");
        assert_string_equal(c.models[1].path, "elsewhere");
        assert_int_equal(c.models[1].options.n_context, 2048);
        assert_true(c.horizontal && c.monitoring);
        assert_string_equal(c.routing, "automatic");
        qn_app_config_free(&c);
    }
}

static void what_is_wrong_is_named_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"models: [qwen3-7b]\nscaling: sideways\n",
         "line 2: scaling: expected single or horizontal, found \"sideways\""},
        {"models: [qwen3-7b]\nmonitoring: yes\n",
         "line 2: monitoring: expected off or real-time, found \"yes\""},
        {"models: [qwen3-7b]\nroutin: automatic\n", "line 2: key"},
        {"models: [qwen3-7b]\nport: 1\nport: 2\n", "line 3: key: expected each key once"},
        {"models: [qwen3-7b]\nport: 65536\n",
         "line 2: port: expected a whole number from 0 to 65535"},
        {"models: [qwen3-7b]\nport: 80x\n", "line 2: port"},
        {"port: 80\n", "models: a key that must be there is missing"},
        {"models: qwen3-7b\n", "models: expected a list"},
        {"models: [[a]]\n", "models: expected a name or a mapping with a name"},
        {"models: [{path: elsewhere}]\n", "models: expected a name or a mapping with a name"},
        {"models: [nowhere-to-be-found]\n", "./models/nowhere-to-be-found"},
        {"a: &x [qwen3-7b]\nmodels: *x\n", "alias"},
        {"models: [", "line"},
        {"", "the file is empty"},
        {"- a\n", "expected a mapping"},
        {"? {a: b}\n: c\n", "key"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_app_config c;
        quern_error e = {0};
        assert_true(read_text(cases[i].text, &c, &e) < 0);
        if (!strstr(e.message, cases[i].says))
            fail_msg("%s: says \"%s\"", cases[i].text, e.message);
        qn_app_config_free(&c);
    }
}

static void touch(const char *path)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
}

static void expect_models(const qn_app_config *c, int n, const char *const names[],
                          const char *const paths[])
{
    assert_int_equal(c->n_models, n);
    for (int i = 0; i < n; i++) {
        assert_string_equal(c->models[i].name, names[i]);
        assert_string_equal(c->models[i].path, paths[i]);
    }
}

static void gguf_files_are_models(void **state)
{
    (void)state;
    static const char *const files[] = {"models/a.gguf", "models/b-00001-of-00002.gguf",
                                        "models/b-00002-of-00002.gguf", "models/qwen3-3b/x.gguf",
                                        "elsewhere/c-00001-of-00002.gguf"};
    enum { N_FILES = sizeof files / sizeof *files };
    qn_app_config c;
    quern_error e = {0};
    for (int i = 0; i < N_FILES; i++)
        touch(files[i]);
    assert_int_equal(
        read_text("models:\n  - a\n  - {name: c, path: elsewhere/c-00001-of-00002.gguf}\n"
                  "  - models/b-00001-of-00002.gguf\n",
                  &c, &e),
        0);
    expect_models(&c, 3, (const char *const[]){"a", "c", "b"},
                  (const char *const[]){"models/a.gguf", files[4], files[1]});
    qn_app_config_free(&c);
    qn_app_config_init(&c);
    assert_int_equal(qn_app_config_add_all(&c, &e), 0);
    expect_models(&c, 3, (const char *const[]){"a", "b", "qwen3-3b"},
                  (const char *const[]){files[0], files[1], "models/qwen3-3b"});
    qn_app_config_free(&c);
    for (int i = 0; i < N_FILES; i++)
        assert_int_equal(unlink(files[i]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_work_as_written),
        cmocka_unit_test(what_is_wrong_is_named_with_its_line),
        cmocka_unit_test(gguf_files_are_models),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
