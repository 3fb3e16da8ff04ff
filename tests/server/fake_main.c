// A server over the scripted engine of fake_engine.c, for tests/server: quern_fake_server [--port N] [--max-queue N] …
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/routes.h"
#include "server/server.h"

typedef struct {
    qn_server_options server;
    quern_model_options model;
    int n_models;
} settings;

static void read_options(int argc, char **argv, settings *s)
{
    qn_server_limits *l = &s->server.limits;
    int body = 0, stream = 0, monitoring = 1, horizontal = 0, connections = 0;
    const struct {
        const char *name;
        int *value;
    } numbers[] = {{"port", &s->server.port},
                   {"drain-ms", &s->server.drain_ms},
                   {"cancel-ms", &s->server.cancel_ms},
                   {"header-ms", &l->header_ms},
                   {"body-ms", &l->body_ms},
                   {"idle-ms", &l->idle_ms},
                   {"ping-ms", &l->ping_ms},
                   {"pong-ms", &l->pong_ms},
                   {"per-socket", &l->n_requests_per_socket},
                   {"connections", &connections},
                   {"body-bytes", &body},
                   {"stream-bytes", &stream},
                   {"max-batch", &s->model.max_batch},
                   {"max-queue", &s->model.max_queue},
                   {"models", &s->n_models},
                   {"monitoring", &monitoring},
                   {"horizontal", &horizontal}};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--host")) s->server.host = argv[i + 1];
        if (!strcmp(argv[i], "--instance")) s->server.instance_id = argv[i + 1];
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
            if (!strcmp(argv[i] + 2, numbers[k].name)) *numbers[k].value = atoi(argv[i + 1]);
    }
    l->body_bytes = (size_t)body;
    l->stream_bytes = (size_t)stream;
    l->n_connections = connections;
    s->server.monitoring = monitoring;
    s->server.horizontal = horizontal;
}

int main(int argc, char **argv)
{
    static const char *const NAMES[] = {"small", "large", "third"};
    static const char *const PATHS[] = {"0", "1", "2"};
    settings s = {.n_models = 2};
    quern_error e = {0};
    qn_fleet *fleet = NULL;
    qn_server *server = NULL;
    read_options(argc, argv, &s);
    qn_fleet_model models[3];
    for (int i = 0; i < 3; i++)
        models[i] = (qn_fleet_model){NAMES[i], PATHS[i], s.model};
    qn_fleet_options options = {.models = models, .n_models = (size_t)s.n_models};
    qn_log log = qn_log_open(2, QUERN_LOG_INFO);
    s.server.log = &log;
    s.server.routes = qn_routes(&s.server.n_routes);
    int rc = qn_fleet_open(&options, &fleet, &e);
    s.server.fleet = fleet;
    if (!rc) rc = qn_server_open(&s.server, &server, &e);
    if (rc) {
        fprintf(stderr, "quern_fake_server: %s\n", e.message);
        qn_fleet_close(fleet);
        return 1;
    }
    printf("quern: serving on http://127.0.0.1:%d\n", qn_server_port(server));
    fflush(stdout);
    rc = qn_server_run(server);
    if (rc == QUERN_E_CANCELLED) _exit(1);
    qn_server_close(server);
    qn_fleet_close(fleet);
    return rc ? 1 : 0;
}
