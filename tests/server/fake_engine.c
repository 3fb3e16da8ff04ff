// A scripted engine behind quern.h, for tests of the server: one stepper thread a model, no weights. What a request
// does is written in its prompt as !key=value words:
//   !tokens=N (8)  !delay=MS a token (1)  !size=BYTES of a token's text  !hold=MS before START
//   !fail=CODE before START  !failat=N a device error after N tokens  !echo the prompt comes back as the first token
//   !stuck it does not end, whatever is asked of it  !params the fields that were given come back as the first token
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "engine/params.h"

enum { STEP_US = 500, CONTEXT = 4096, BLOCKS = 1024, BEAM_TOKENS = 3 };

struct quern_runtime {
    quern_runtime_options options;
};

struct quern_request {
    quern_request *next;
    int refs;
    quern_event_fn on_event;
    void *user;
    quern_model *model;
    char *prompt;
    qn_buffer given, text;
    bool cancelled, started, running, logprobs, beam;
    int n_tokens, max_tokens, fail, fail_at, delay_ms, size, n_top, n_best;
    bool echo, show, stuck;
    int n_made;
    uint64_t seed;
    double submitted_ms, due_ms, deadline_ms;
};

struct quern_model {
    char name[64];
    int index;
    quern_model_options options;
    pthread_t stepper;
    pthread_mutex_t lock;
    quern_request *requests; // in order of submission
    bool draining, closing;
    quern_model_stats stats;
    double opened_ms;
};

/* ---- runtime and models ---- */

int quern_runtime_open(const quern_runtime_options *options, quern_runtime **out, quern_error *e)
{
    (void)e;
    *out = calloc(1, sizeof **out);
    (*out)->options = *options;
    return 0;
}

void quern_runtime_close(quern_runtime *rt)
{
    free(rt);
}

void quern_runtime_get_info(quern_runtime *rt, quern_runtime_info *out)
{
    (void)rt;
    *out = (quern_runtime_info){.backend = "fake",
                                .device = "no device",
                                .n_threads = 1,
                                .memory_total_bytes = 1u << 30,
                                .memory_weights_bytes = 1u << 20,
                                .read_bytes_per_second = 1e9};
}

bool quern_runtime_has_failed(const quern_runtime *rt)
{
    (void)rt;
    return false;
}

void quern_runtime_measure(quern_runtime *rt)
{
    (void)rt;
}

void quern_model_get_info(const quern_model *m, quern_model_info *out)
{
    *out = (quern_model_info){.name = m->name,
                              .path = "nowhere",
                              .architecture = "fake",
                              .dtype = "none",
                              .kv_cache = "none",
                              .backend = "fake",
                              .n_parameters = 1000u * (unsigned)(m->index + 1),
                              .weight_bytes = 2000u * (unsigned)(m->index + 1),
                              .n_layers = 2,
                              .n_vocab = 512,
                              .n_context = CONTEXT,
                              .max_batch = m->options.max_batch,
                              .max_queue = m->options.max_queue,
                              .has_text = true,
                              .has_chat_template = true};
}

void quern_model_get_stats(const quern_model *model, quern_model_stats *out)
{
    quern_model *m = (quern_model *)(uintptr_t)model;
    pthread_mutex_lock(&m->lock);
    *out = m->stats;
    out->running = out->waiting = 0;
    for (const quern_request *r = m->requests; r; r = r->next) {
        out->running += r->running;
        out->waiting += !r->running;
    }
    out->blocks_total = BLOCKS;
    out->blocks_free = BLOCKS - out->running;
    out->queued_tokens = (uint64_t)(out->running + out->waiting) * 16;
    out->tokens_per_second_since_start =
        (double)m->stats.tokens_total / (qn_clock_ms() - m->opened_ms) * 1000;
    out->prefill_tokens_per_second = 10000.0 / (m->index + 1);
    for (int i = 0; i < QUERN_BATCH_CLASSES; i++)
        out->decode_step_ms[i] = 1.0 + m->index;
    pthread_mutex_unlock(&m->lock);
}

void quern_model_drain(quern_model *m)
{
    pthread_mutex_lock(&m->lock);
    m->draining = true;
    pthread_mutex_unlock(&m->lock);
}

/* ---- requests ---- */

static void release(quern_request *r)
{
    quern_model *m = r->model;
    pthread_mutex_lock(&m->lock);
    bool last = --r->refs == 0;
    pthread_mutex_unlock(&m->lock);
    if (!last) return;
    free(r->prompt);
    qn_buffer_free(&r->given);
    qn_buffer_free(&r->text);
    free(r);
}

static int word(const char *prompt, const char *key, int otherwise)
{
    const char *at = strstr(prompt, key);
    return at ? atoi(at + strlen(key)) : otherwise;
}

static void describe(quern_request *r, const quern_params *p)
{
    size_t n;
    const quern_field *fields = quern_fields(&n);
    for (size_t i = 0; i < n; i++) {
        if (!(p->given >> i & 1u)) continue;
        const char *at = (const char *)p + fields[i].offset;
        qn_buffer_printf(&r->given, "%s=", fields[i].name);
        if (fields[i].kind == QUERN_FIELD_SEED)
            qn_buffer_printf(&r->given, "%llu;", (unsigned long long)p->seed);
        else if (fields[i].kind == QUERN_FIELD_FLOAT)
            qn_buffer_printf(&r->given, "%g;", (double)*(const float *)(const void *)at);
        else if (fields[i].kind == QUERN_FIELD_BOOL)
            qn_buffer_printf(&r->given, "%d;", *(const bool *)(const void *)at);
        else
            qn_buffer_printf(&r->given, "%d;", *(const int *)(const void *)at);
    }
    for (size_t i = 0; i < p->n_stop; i++)
        qn_buffer_printf(&r->given, "stop=%s;", p->stop[i]);
}

static int fail_code(const char *prompt)
{
    const char *at = strstr(prompt, "!fail=");
    for (int code = QUERN_E_ARGUMENT; at && code >= QUERN_E_INTERNAL; code--)
        if (!strncmp(at + 6, quern_code_name(code), strlen(quern_code_name(code)))) return code;
    return 0;
}

static quern_request *new_request(quern_model *m, const quern_params *p)
{
    quern_request *r = calloc(1, sizeof *r);
    const char *text = p->prompt ? p->prompt : p->chat_json ? p->chat_json : "";
    size_t n = p->prompt ? p->n_prompt_bytes : p->n_chat_bytes;
    r->prompt = calloc(1, n + 1);
    memcpy(r->prompt, text, n);
    r->model = m;
    r->refs = 2;
    r->max_tokens = qn_params_has(p, QN_FIELD_MAX_TOKENS) ? p->max_tokens : CONTEXT;
    r->n_tokens = word(r->prompt, "!tokens=", 8);
    r->delay_ms = word(r->prompt, "!delay=", 1);
    r->size = word(r->prompt, "!size=", 0);
    r->fail = fail_code(r->prompt);
    if (n / 4 > CONTEXT) r->fail = QUERN_E_CONTEXT;
    r->fail_at = word(r->prompt, "!failat=", -1);
    r->echo = strstr(r->prompt, "!echo") != NULL;
    r->show = strstr(r->prompt, "!params") != NULL;
    r->stuck = strstr(r->prompt, "!stuck") != NULL;
    r->logprobs = qn_params_has(p, QN_FIELD_LOGPROBS);
    r->n_top = p->logprobs;
    r->beam = qn_params_has(p, QN_FIELD_STRATEGY) && p->strategy == QUERN_BEAM;
    r->n_best = p->n_best;
    r->seed = qn_params_has(p, QN_FIELD_SEED) ? p->seed : 4711;
    r->submitted_ms = qn_clock_ms();
    r->due_ms = r->submitted_ms + word(r->prompt, "!hold=", 0);
    r->deadline_ms = (double)p->deadline_ms;
    describe(r, p);
    return r;
}

int quern_submit(quern_model *m, const quern_params *params, quern_event_fn on_event, void *user,
                 quern_request **out, quern_error *e)
{
    int rc = qn_params_check(params, e), n_waiting = 0;
    if (rc) return rc;
    quern_request *r = new_request(m, params);
    r->on_event = on_event;
    r->user = user;
    pthread_mutex_lock(&m->lock);
    quern_request **at = &m->requests;
    for (; *at; at = &(*at)->next)
        n_waiting += !(*at)->running;
    if (m->draining || m->closing)
        rc = qn_error_set(e, QUERN_E_CLOSING, "the model is draining");
    else if (n_waiting >= m->options.max_queue)
        rc = qn_error_set(e, QUERN_E_BUSY, "the queue of %s is full", m->name);
    else {
        *out = *at = r;
        m->stats.requests_total++;
    }
    pthread_mutex_unlock(&m->lock);
    if (!rc) return 0;
    r->refs = 1;
    release(r);
    return rc;
}

void quern_request_cancel(quern_request *r)
{
    pthread_mutex_lock(&r->model->lock);
    r->cancelled = true;
    pthread_mutex_unlock(&r->model->lock);
}

void quern_request_free(quern_request *r)
{
    if (r) release(r);
}

/* ---- events ---- */

static void send_error(quern_request *r, int code)
{
    quern_error e = {0};
    qn_error_set(&e, code, "scripted: %s", quern_code_name(code));
    quern_event event = {.type = QUERN_EVENT_ERROR, .error = &e};
    r->on_event(r->user, &event);
}

static void send_token(quern_request *r, int index)
{
    qn_buffer text = QN_BUFFER_INIT;
    if (index == 0 && r->echo)
        qn_buffer_text(&text, r->prompt);
    else if (index == 0 && r->show)
        qn_buffer_append(&text, r->given.data ? r->given.data : "", r->given.length);
    else if (r->size)
        for (int i = 0; i < r->size; i++)
            qn_buffer_append(&text, "x", 1);
    else
        qn_buffer_printf(&text, "w%d ", index);
    qn_buffer_append(&r->text, text.data, text.length);
    quern_logprob top[QUERN_MAX_TOP];
    for (int i = 0; i < QUERN_MAX_TOP; i++)
        top[i] = (quern_logprob){i, -1.0f - (float)i, "\xff\"", 2};
    quern_token token = {.index = index,
                         .id = 100 + index,
                         .text = text.data,
                         .n_text = text.length,
                         .chosen = {100 + index, -0.5f, text.data, text.length},
                         .top = top,
                         .n_top = r->logprobs ? r->n_top : 0};
    quern_event event = {.type = QUERN_EVENT_TOKEN, .token = &token};
    r->on_event(r->user, &event);
    qn_buffer_free(&text);
}

static void send_done(quern_request *r, quern_finish finish, int n_tokens)
{
    static const int32_t IDS[BEAM_TOKENS] = {1, 2, 3};
    quern_beam beams[QUERN_MAX_BEAMS];
    for (int i = 0; i < QUERN_MAX_BEAMS; i++)
        beams[i] = (quern_beam){"beam", 4, IDS, BEAM_TOKENS, -1.0 - i};
    quern_result result = {.finish = finish,
                           .text = r->text.data,
                           .n_text = r->text.length,
                           .seed = r->seed,
                           .prompt_tokens = (int)strlen(r->prompt) / 4 + 1,
                           .completion_tokens = n_tokens,
                           .queue_ms = 1,
                           .total_ms = qn_clock_ms() - r->submitted_ms,
                           .beams = r->beam ? beams : NULL,
                           .n_beams = r->beam ? r->n_best : 0};
    quern_event event = {.type = QUERN_EVENT_DONE, .result = &result};
    r->on_event(r->user, &event);
}

static void start(quern_request *r)
{
    quern_event event = {.type = QUERN_EVENT_START,
                         .prompt_tokens = (int)strlen(r->prompt) / 4 + 1,
                         .seed = r->seed};
    r->started = true;
    r->on_event(r->user, &event);
}

// What happens to a request in one step; true at its end. Its own fields are the stepper's alone, but `cancelled`.
static bool advance(quern_request *r, bool cancelled, bool closing)
{
    double now = qn_clock_ms();
    if (r->stuck) return false;
    if (cancelled) {
        send_done(r, QUERN_FINISH_CANCELLED, r->n_made);
        return true;
    }
    if (closing || (r->deadline_ms > 0 && now > r->submitted_ms + r->deadline_ms)) {
        send_error(r, closing ? QUERN_E_CLOSING : QUERN_E_DEADLINE);
        return true;
    }
    if (now < r->due_ms) return false;
    if (!r->started && r->fail) {
        send_error(r, r->fail);
        return true;
    }
    if (!r->started) start(r);
    if (!r->running) return false;
    int n_most = r->n_tokens < r->max_tokens ? r->n_tokens : r->max_tokens;
    if (r->fail_at == r->n_made) {
        send_error(r, QUERN_E_DEVICE);
        return true;
    }
    if (r->n_made < n_most) {
        send_token(r, r->n_made++);
        r->due_ms = now + r->delay_ms;
        return false;
    }
    send_done(r, r->n_tokens <= r->max_tokens ? QUERN_FINISH_STOP : QUERN_FINISH_LENGTH, r->n_made);
    return true;
}

static void drop(quern_model *m, quern_request *r)
{
    pthread_mutex_lock(&m->lock);
    quern_request **at = &m->requests;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    pthread_mutex_unlock(&m->lock);
    release(r);
}

// One pass over all requests; each is only freed by this thread while it is listed.
static void step(quern_model *m)
{
    int n_running = 0;
    pthread_mutex_lock(&m->lock);
    for (quern_request *r = m->requests; r; r = r->next) {
        r->running = n_running < m->options.max_batch;
        n_running += r->running;
    }
    if (n_running) m->stats.steps_total++;
    m->stats.batch_rows = n_running;
    quern_request *r = m->requests;
    pthread_mutex_unlock(&m->lock);
    while (r) {
        pthread_mutex_lock(&m->lock);
        quern_request *next = r->next;
        bool cancelled = r->cancelled, closing = m->closing;
        pthread_mutex_unlock(&m->lock);
        int before = r->n_made;
        bool ended = advance(r, cancelled, closing);
        pthread_mutex_lock(&m->lock);
        m->stats.tokens_total += (uint64_t)(r->n_made - before);
        m->stats.requests_done += ended && !cancelled;
        m->stats.requests_cancelled += ended && cancelled;
        pthread_mutex_unlock(&m->lock);
        if (ended) drop(m, r);
        r = next;
    }
}

static void *run(void *model)
{
    quern_model *m = model;
    for (bool more = true; more;) {
        step(m);
        pthread_mutex_lock(&m->lock);
        more = !m->closing || m->requests;
        pthread_mutex_unlock(&m->lock);
        nanosleep(&(struct timespec){0, STEP_US * 1000}, NULL);
    }
    return NULL;
}

int quern_model_load(quern_runtime *rt, const char *name, const char *path,
                     const quern_model_options *options, quern_model **out, quern_error *e)
{
    (void)rt;
    quern_model *m = calloc(1, sizeof *m);
    snprintf(m->name, sizeof m->name, "%s", name);
    m->index = atoi(path);
    if (options) m->options = *options;
    if (!m->options.max_batch) m->options.max_batch = 32;
    if (!m->options.max_queue) m->options.max_queue = 256;
    m->opened_ms = qn_clock_ms();
    pthread_mutex_init(&m->lock, NULL);
    if (pthread_create(&m->stepper, NULL, run, m)) {
        free(m);
        return qn_error_set(e, QUERN_E_MEMORY, "no thread");
    }
    *out = m;
    return 0;
}

void quern_model_close(quern_model *m)
{
    if (!m) return;
    pthread_mutex_lock(&m->lock);
    m->closing = true;
    pthread_mutex_unlock(&m->lock);
    pthread_join(m->stepper, NULL);
    pthread_mutex_destroy(&m->lock);
    free(m);
}
