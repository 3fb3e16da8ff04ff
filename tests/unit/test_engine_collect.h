// What engine tests share: runtimes on a fake backend, and requests whose events are collected and checked for their order:
// START, then tokens 0, 1, 2 …, then one terminal event.
#ifndef TEST_ENGINE_COLLECT_H
#define TEST_ENGINE_COLLECT_H
#include <pthread.h>

#include "fake_backend.h"
#include "quern.h"
#include "test_engine_model.h"

enum { MAX_IDS = 512, MAX_TEXT = 4096 };

typedef struct collected {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    quern_request *request;
    int n_starts, n_tokens, n_terminals;
    const char *disorder; // NULL: events came as they must
    int32_t ids[MAX_IDS];
    int n_ids;
    char text[MAX_TEXT]; // of the token events, one after the other
    size_t n_text;
    double logprobs; // a checksum over chosen and top
    quern_finish finish;
    quern_error error;   // code 0: done
    quern_result result; // its pointers are dead
    uint64_t seed;
    int n_beams;
    double score;
    int cancel_at;            // cancels itself at this token; 0: never
    struct collected *beside; // NULL, or whose tokens are counted at START and at the end
    int beside_at_start, beside_at_end;
} collected;

typedef struct {
    quern_runtime *runtime;
    quern_model *model;
    tiny_model files;
} engine;

// A runtime on fake_backend(options) and the tiny model loaded in it; fails the test on any error.
engine engine_open(const fake_options *fake, const quern_model_options *options);
// Closes both; checks that the fake backend saw no violation of its contract.
void engine_close(engine *g);
// Submits and returns; collected must stay until collect_wait.
int collect_submit(engine *g, collected *c, const quern_params *p);
// As quern_logits, but returns at once.
int collect_submit_logits(engine *g, collected *c, const int32_t *ids, size_t n, float *logits);
// Until it has so many tokens, or its end.
void collect_await_token(collected *c, int n_tokens);
// Tokens so far; MAX_IDS once it has ended.
int collect_n_tokens(collected *c);
void collect_wait(collected *c);
void collect_free(collected *c);
// Both.
void collect(engine *g, collected *c, const quern_params *p);
// Parameters for a prompt of n ids, and a field by its name.
quern_params params_of(const int32_t *ids, int n, int max_tokens);
void params_set(quern_params *p, const char *name, double value);
// Until nothing runs and all blocks are free.
void engine_settle(engine *g);
quern_model_stats engine_stats(engine *g);

#endif
