// quern pull: a model from the Hugging Face hub into the cache that Hugging Face's own client uses.
#include "app/pull.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "app/app.h"
#include "base/error.h"
#include "base/file.h"

enum { MAX_TOKEN_BYTES = 4096 };

static bool is_true(const char *text)
{
    static const char *const YES[] = {"1", "on", "yes", "true"};
    for (size_t i = 0; text && i < sizeof YES / sizeof *YES; i++)
        if (!strcasecmp(text, YES[i])) return true;
    return false;
}

// $HF_TOKEN, else what `hf auth login` has left in $HF_TOKEN_PATH or beside the cache; malloc'd or NULL.
static char *find_token(void)
{
    const char *given = getenv("HF_TOKEN"), *file = getenv("HF_TOKEN_PATH");
    const char *home = getenv("HF_HOME"), *caches = getenv("XDG_CACHE_HOME"),
               *user = getenv("HOME");
    char path[4096] = "", *text = NULL;
    size_t n = 0;
    if (given && *given) return strdup(given);
    if (file && *file)
        snprintf(path, sizeof path, "%s", file);
    else if (home && *home)
        snprintf(path, sizeof path, "%s/token", home);
    else if (caches && *caches)
        snprintf(path, sizeof path, "%s/huggingface/token", caches);
    else if (user && *user)
        snprintf(path, sizeof path, "%s/.cache/huggingface/token", user);
    if (qn_file_read(path, MAX_TOKEN_BYTES, &text, &n, NULL)) return NULL;
    text[strcspn(text, "\r\n \t")] = 0;
    if (*text) return text;
    free(text);
    return NULL;
}

// Splits ORG/REPO[:FILE].
static char *split(const char *text, const char **file)
{
    char *repository = strdup(text);
    char *colon = repository ? strchr(repository, ':') : NULL;
    *file = NULL;
    if (!colon) return repository;
    *colon = 0;
    *file = colon + 1;
    return repository;
}

static char *find_endpoint(void)
{
    const char *given = getenv("HF_ENDPOINT");
    char *endpoint = strdup(given && *given ? given : "https://huggingface.co");
    for (size_t n = endpoint ? strlen(endpoint) : 0; n && endpoint[n - 1] == '/'; n--)
        endpoint[n - 1] = 0;
    return endpoint;
}

static int pull(const char *name, const char *revision, bool quiet, quern_error *e)
{
    const char *file;
    char *repository = split(name, &file), *cache = qn_app_hub_cache(), *token = find_token();
    char *endpoint = find_endpoint(), *path = NULL;
    qn_pull_progress progress;
    qn_pull_progress_begin(&progress, repository, quiet);
    qn_hub_options o = {endpoint, token, cache, repository, revision, file, qn_pull_progress_event,
                        &progress};
    bool offline = is_true(getenv("HF_HUB_OFFLINE"));
    int rc = !cache                     ? qn_error_set(e, QUERN_E_NOT_FOUND,
                                                       "no cache: expected HF_HUB_CACHE, HF_HOME or HOME to name one")
             : !repository || !endpoint ? qn_error_set(e, QUERN_E_MEMORY, "no memory")
             : offline                  ? qn_hub_find(&o, &path, e)
                                        : qn_hub_pull(&o, &path, e);
    qn_pull_progress_end(&progress);
    if (rc && offline) qn_error_prefix(e, "HF_HUB_OFFLINE is set");
    if (!rc) printf("%s\n", path);
    free(repository);
    free(cache);
    free(token);
    free(endpoint);
    free(path);
    return rc;
}

int qn_app_pull(int argc, char **argv)
{
    const char *revision = NULL;
    bool quiet = false;
    qn_text_list words = {0};
    qn_option rows[] = {
        {"--revision", QN_OPTION_TEXT, &revision, "R", "branch, tag or commit (default: main)", 0,
         0},
        {"--quiet", QN_OPTION_FLAG, &quiet, NULL, "no progress on stderr", 0, 0},
    };
    qn_command_line line = {
        "quern pull ORG/REPO[:FILE] [--revision R] [--quiet]",
        "Downloads what a model needs from the Hugging Face hub: configuration, tokenizer, chat "
        "template and\nsafetensors; or one FILE, such as a .gguf (with all its parts), which a "
        "part "
        "of its name may name.\nPrints the path; ORG/REPO is then a MODEL of every command.\n\n"
        "  quern pull Qwen/Qwen3-0.6B && quern chat Qwen/Qwen3-0.6B\n"
        "  quern pull Qwen/Qwen3-0.6B-GGUF:Q8_0\n\n"
        "Files lie in the cache of Hugging Face's own client ($HF_HUB_CACHE, $HF_HOME/hub, "
        "~/.cache/huggingface/hub)\nand are shared with it. What was interrupted is resumed; sizes "
        "and hashes are verified. HF_TOKEN is for\nprivate and gated models, HF_ENDPOINT names "
        "another server, HF_HUB_OFFLINE=1 only looks into the cache.",
        rows,
        2,
        NULL,
        &words,
        1,
        1};
    int rc = qn_options_parse(&line, argc, argv);
    if (rc != QN_OPTIONS_GO) return rc;
    quern_error e = {0};
    signal(SIGXFSZ, SIG_IGN); // a file that must not grow further is an error of the write
    rc = pull(words.text[0], revision, quiet, &e);
    return rc ? qn_app_fail(&e) : QN_EXIT_DONE;
}
