// The configuration of `quern serve`: YAML (so JSON too), or what the command line says instead.
#ifndef QN_APP_CONFIG_H
#define QN_APP_CONFIG_H
#include "base/arena.h"
#include "fleet/fleet.h"

typedef struct {
    qn_arena arena; // owns all text here
    qn_fleet_model models[QN_MAX_MODELS];
    int n_models;
    quern_runtime_options runtime;
    quern_model_options model; // defaults of every model
    const char *log_level;     // NULL: info
    const char *routing;       // NULL: automatic
    bool horizontal;           // scaling: horizontal
    bool monitoring;           // monitoring: real-time
    const char *host;          // NULL: 127.0.0.1
    int port;                  // -1: 8080
    int drain_seconds;         // 0: 30
    int long_text_tokens;      // 0: 200
} qn_app_config;

void qn_app_config_init(qn_app_config *c);
void qn_app_config_free(qn_app_config *c);
// Reads a file into *c. An unknown key, a wrong value, a missing or repeated key, an alias: QUERN_E_FORMAT with file and line.
int qn_app_config_read(qn_app_config *c, const char *path, quern_error *e);
// Adds a model: its path is sought as qn_app_find_model does. `name` NULL: `path` is a name too.
int qn_app_config_add_model(qn_app_config *c, const char *name, const char *path,
                            const quern_model_options *options, quern_error *e);
// The folders with a config.json under ./models, else under $QUERN_MODELS, each under its own name.
int qn_app_config_add_all(qn_app_config *c, quern_error *e);

#endif
