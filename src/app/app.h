// The `quern` command: what its files share. Single-threaded but for event callbacks; may print and read the environment.
#ifndef QN_APP_APP_H
#define QN_APP_APP_H
#include "app/options.h"
#include "backend/backend.h"
#include "quern.h"

// Exit codes of every command.
enum { QN_EXIT_DONE = 0, QN_EXIT_FAILED = 1, QN_EXIT_USAGE = 2 };

// One command of the table in main.c.
typedef struct {
    const char *name;
    int (*run)(int argc, char **argv); // argv[0] is the command's name, argv[-1] the program's
    const char *help;                  // one line
} qn_command;

int qn_app_serve(int argc, char **argv);
int qn_app_run(int argc, char **argv);
int qn_app_chat(int argc, char **argv);
int qn_app_pull(int argc, char **argv);
int qn_app_inspect(int argc, char **argv);
int qn_app_formats(int argc, char **argv);
int qn_app_tokenize(int argc, char **argv);
int qn_app_detokenize(int argc, char **argv);
int qn_app_template(int argc, char **argv);
int qn_app_logits(int argc, char **argv);
int qn_app_selftest(int argc, char **argv);
int qn_app_bench(int argc, char **argv);
int qn_app_quantize(int argc, char **argv);
int qn_app_eval(int argc, char **argv);

// Prints "quern: <message>" on stderr; QN_EXIT_FAILED.
int qn_app_fail(const quern_error *e);

// The path of MODEL: itself where it names a file or directory, else a name that is sought as ./models/NAME, $QUERN_MODELS/NAME
// and in the Hugging Face cache (NAME or ORG/NAME). QUERN_E_NOT_FOUND names the places. out is malloc'd.
int qn_app_find_model(const char *name, char **out, quern_error *e);

// $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub, as huggingface_hub finds it; malloc'd, or NULL where there is no home.
char *qn_app_hub_cache(void);

// A runtime with one model, as run, chat, logits and bench need it.
typedef struct {
    quern_runtime *runtime;
    quern_model *model;
} qn_app_session;
int qn_app_open(const char *model, const qn_engine_options *options, qn_app_session *out,
                quern_error *e);
// On the CPU, with an observer of the inputs of products (NULL: as qn_app_open); it outlives the session.
int qn_app_open_observed(const char *model, const qn_engine_options *options,
                         const qn_observer *observer, qn_app_session *out, quern_error *e);
int qn_app_open_shape(const char *shape, const char *dtype, const qn_engine_options *options,
                      qn_app_session *out, quern_error *e);
void qn_app_close(qn_app_session *s);

// Submits a request and waits for its end. on_token (may be NULL) sees each token as it comes; on_done (may be NULL) the result.
typedef struct {
    void (*on_token)(void *user, const quern_token *token);
    void (*on_done)(void *user, const quern_result *result);
    void *user;
    volatile int *cancel; // may be NULL; nonzero: cancel the request
} qn_app_listener;
int qn_app_generate(quern_model *m, const quern_params *params, const qn_app_listener *listener,
                    quern_error *e);

// From here on the first SIGINT sets qn_app_interrupted and ends a wait for input; the second ends the process, since what the
// first asked for may have to wait for a reader that does not read or a device that hangs.
extern volatile int qn_app_interrupted;
void qn_app_catch_interrupt(void);

#endif
