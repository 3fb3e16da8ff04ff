// quern serve: configuration → fleet → server. The wiring, and what a person sees while it starts.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/app.h"
#include "app/config.h"
#include "app/restart.h"
#include "app/routes.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "server/server.h"

typedef struct {
    qn_engine_options engine;
    const char *config, *host;
    int port, drain_seconds;
    qn_text_list models;
} serve_options;

// NAME=PATH, or a name or path alone.
static int add_models(const serve_options *o, qn_app_config *c, quern_error *e)
{
    int rc = 0;
    for (int i = 0; i < o->models.n && !rc; i++) {
        const char *text = o->models.text[i], *equals = strchr(text, '=');
        char name[128];
        snprintf(name, sizeof name, "%.*s", equals ? (int)(equals - text) : 0, text);
        rc = qn_app_config_add_model(c, equals ? name : NULL, equals ? equals + 1 : text, &c->model,
                                     e);
    }
    return rc;
}

// The file first, then what the command line says instead.
static int configure(const serve_options *o, qn_app_config *c, quern_error *e)
{
    int rc = 0;
    c->model = o->engine.model;
    if (o->config) rc = qn_app_config_read(c, o->config, e);
    if (!rc) rc = add_models(o, c, e);
    if (!rc && !o->config && !o->models.n) rc = qn_app_config_add_all(c, e);
    if (rc) return rc;
    const quern_runtime_options *r = &o->engine.runtime;
    if (r->backend) c->runtime.backend = r->backend;
    if (r->n_threads) c->runtime.n_threads = r->n_threads;
    if (r->memory_bytes) c->runtime.memory_bytes = r->memory_bytes;
    if (o->engine.log_level) c->log_level = o->engine.log_level;
    if (o->host) c->host = o->host;
    if (o->port >= 0) c->port = o->port;
    if (o->drain_seconds) c->drain_seconds = o->drain_seconds;
    if (!c->host) c->host = "127.0.0.1";
    if (c->port < 0) c->port = 8080;
    c->runtime.log_fd = 2;
    c->runtime.log_level = (quern_log_level)qn_log_level_of(c->log_level ? c->log_level : "info");
    return 0;
}

static void print_bytes(const char *name, uint64_t n)
{
    bool large = n >= (uint64_t)1 << 30;
    printf("%s %.1f %s", name, (double)n / (large ? 1 << 30 : 1 << 20), large ? "GiB" : "MiB");
}

static void announce(qn_fleet *fleet, const qn_app_config *c, int port, double ms)
{
    quern_runtime_info r;
    quern_runtime_get_info(qn_fleet_runtime(fleet), &r);
    printf("quern: %s on %s, reading %.1f GB/s\n", r.backend, r.device,
           r.read_bytes_per_second * 1e-9);
    print_bytes("quern: memory: weights", r.memory_weights_bytes);
    print_bytes(", state", r.memory_state_bytes);
    print_bytes(", scratch", r.memory_scratch_bytes);
    print_bytes(", of", r.memory_total_bytes);
    printf("\nquern: ready after %.1f s; serving ", ms * 1e-3);
    for (size_t i = 0; i < qn_fleet_n_models(fleet); i++) {
        quern_model_info m;
        quern_model_get_info(qn_fleet_model_at(fleet, i), &m);
        printf("%s%s", i ? ", " : "", m.name);
    }
    bool v6 = strchr(c->host, ':') != NULL;
    printf(" on http://%s%s%s:%d\n", v6 ? "[" : "", c->host, v6 ? "]" : "", port);
    fflush(stdout);
}

static int load(const qn_app_config *c, qn_restart *again, qn_fleet **out, quern_error *e)
{
    qn_fleet_options options = {c->runtime, c->models, (size_t)c->n_models, c->routing,
                                c->long_text_tokens};
    if (*again->backend) options.runtime.backend = again->backend;
    qn_restart_pause(again);
    int rc = qn_fleet_open(&options, out, e);
    if (rc) return rc;
    quern_runtime_info info;
    quern_runtime_get_info(qn_fleet_runtime(*out), &info);
    snprintf(again->backend, sizeof again->backend, "%s", info.backend);
    return 0;
}

// Takes requests until it is told to stop, 0, or until the device has failed, QUERN_E_DEVICE.
static int run(qn_server *server, quern_error *e)
{
    int rc = qn_server_run(server);
    if (rc == QUERN_E_CANCELLED)
        _exit(QN_EXIT_FAILED); // a second signal, or a device that hangs: requests may still run
    if (rc) qn_error_set(e, rc, "the server stopped: %s", quern_code_name(rc));
    return rc;
}

// A failed device may hang in any further call: nothing is closed, whatever comes of it.
static _Noreturn void start_afresh(qn_server *server, qn_restart *again, char **argv,
                                   const qn_log *log)
{
    quern_error e = {0};
    if (!qn_restart_check(again, &e)) {
        qn_log_write(log, QUERN_LOG_ERROR,
                     "the device has failed and its requests have ended: the server starts afresh "
                     "(restart %d of at most %d within %d minutes)",
                     again->n + 1, QN_RESTART_MOST, QN_RESTART_WINDOW_S / 60);
        qn_restart_execute(again, qn_server_take_listener(server), argv, &e);
    }
    _exit(qn_app_fail(&e));
}

static void announce_all(qn_server *server, qn_fleet *fleet, const qn_app_config *c,
                         const qn_log *log, double from_ms)
{
    if (!qn_server_is_loopback(server))
        qn_log_write(log, QUERN_LOG_WARN,
                     "%s is open to other machines and there are no keys: anybody who "
                     "reaches it can use the models",
                     c->host);
    announce(fleet, c, qn_server_port(server), qn_clock_ms() - from_ms);
}

static int serve(const qn_app_config *c, qn_restart *again, char **argv, quern_error *e)
{
    double from_ms = qn_clock_ms();
    qn_fleet *fleet = NULL;
    qn_server *server = NULL;
    qn_log log = qn_log_open(c->runtime.log_fd, c->runtime.log_level);
    qn_server_options o = {.host = c->host,
                           .port = c->port,
                           .listen_fd = again->fd,
                           .monitoring = c->monitoring,
                           .horizontal = c->horizontal,
                           .drain_ms = c->drain_seconds * 1000,
                           .log = &log};
    o.routes = qn_routes(&o.n_routes);
    int rc = qn_server_open(&o, &server, e); // first: loading takes a while
    bool listens = !rc;
    if (!rc) rc = load(c, again, &fleet, e);
    if (!rc) {
        qn_server_set_fleet(server, fleet);
        announce_all(server, fleet, c, &log, from_ms);
        rc = run(server, e);
    } else if (listens && again->fd) {
        qn_log_write(&log, QUERN_LOG_ERROR, "the models cannot be loaded again: %s", e->message);
        qn_server_fail(server);
        rc = run(server, e);
    }
    if (rc == QUERN_E_DEVICE && (fleet || again->fd)) start_afresh(server, again, argv, &log);
    if (fleet && qn_fleet_has_failed(fleet)) _exit(QN_EXIT_DONE); // told to stop meanwhile
    qn_server_close(server);
    qn_fleet_close(fleet);
    return rc;
}

int qn_app_serve(int argc, char **argv)
{
    serve_options o = {.port = -1};
    qn_text_list words = {0};
    qn_option rows[QN_ENGINE_OPTIONS + 5] = {
        {"--config", QN_OPTION_TEXT, &o.config, "FILE",
         "YAML: models, routing, scaling, monitoring … (docs/api.md)", 0, 0},
        {"--model", QN_OPTION_LIST, &o.models, "NAME=PATH", "a model to serve (may be repeated)", 0,
         0},
        {"--host", QN_OPTION_TEXT, &o.host, "H", "address to listen on (default: 127.0.0.1)", 0, 0},
        {"--port", QN_OPTION_INT, &o.port, "N", "port; 0: any free one (default: 8080)", 0, 65535},
        {"--drain-seconds", QN_OPTION_INT, &o.drain_seconds, "N",
         "how long running requests may take after SIGTERM (default: 30)", 1, 86400},
    };
    qn_engine_options_rows(&o.engine, rows + 5);
    qn_command_line line = {
        "quern serve [--config FILE] [--model NAME=PATH]… [options]",
        "Serves models over REST, SSE and WebSocket. With neither --config nor --model: every "
        "folder of\n./models (else $QUERN_MODELS) that is a model, and every .gguf file there, "
        "under its own name.",
        rows,
        QN_ENGINE_OPTIONS + 5,
        NULL,
        &words,
        0,
        0};
    int rc = qn_options_parse(&line, argc, argv);
    if (rc != QN_OPTIONS_GO) return rc;
    quern_error e = {0};
    qn_app_config c;
    qn_restart again;
    qn_app_config_init(&c);
    rc = qn_restart_read(&again, &e);
    if (!rc) rc = configure(&o, &c, &e);
    if (!rc) rc = serve(&c, &again, argv - 1, &e);
    qn_app_config_free(&c);
    return rc ? qn_app_fail(&e) : QN_EXIT_DONE;
}
