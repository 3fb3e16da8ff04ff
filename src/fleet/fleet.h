// Fleet: the loaded models together: loading from configuration, the speed model, the route of a request.
// Knows measured speeds and queues, never a token. Read-only after open but for figures, which are read atomically: any thread.
#ifndef QN_FLEET_FLEET_H
#define QN_FLEET_FLEET_H
#include "quern.h"

typedef struct qn_fleet qn_fleet;

typedef struct {
    const char *name, *path;
    quern_model_options options;
} qn_fleet_model;

typedef struct {
    quern_runtime_options runtime;
    const qn_fleet_model *models;
    size_t n_models;
    const char *routing;  // NULL or "automatic", else the name of the model that "auto" means
    int long_text_tokens; // 0: 200
} qn_fleet_options;

// Loads all models (names must be unique) and measures their speed. All or nothing; but where the device fails meanwhile nothing is
// closed, since it may hang in that.
int qn_fleet_open(const qn_fleet_options *options, qn_fleet **out, quern_error *e);
// Stops accepting; what runs goes on.
void qn_fleet_drain(qn_fleet *f);
// True once the device has failed: all requests end with QUERN_E_DEVICE, and a new process is needed.
bool qn_fleet_has_failed(const qn_fleet *f);
// Requests accepted and not yet ended.
int qn_fleet_n_active(const qn_fleet *f);
void qn_fleet_close(qn_fleet *f);

quern_runtime *qn_fleet_runtime(qn_fleet *f);
size_t qn_fleet_n_models(const qn_fleet *f);
quern_model *qn_fleet_model_at(qn_fleet *f, size_t i);
quern_model *qn_fleet_model_by_name(qn_fleet *f, const char *name); // NULL where unknown

typedef enum { QN_PRIORITY_SPEED, QN_PRIORITY_BALANCED, QN_PRIORITY_QUALITY } qn_priority;
int qn_priority_by_name(const char *name); // -1 where unknown
const char *qn_priority_name(qn_priority p);

typedef struct {
    const char *model; // a name, "auto", or NULL (= auto)
    qn_priority priority;
    size_t n_prompt_bytes; // the prompt's length is estimated at 4 bytes a token
    int max_tokens;        // 0: not given
    float deadline_ms;     // 0: none
} qn_route_query;

enum { QN_MAX_MODELS = 16 };
typedef struct {
    quern_model *model;
    char requested[64];
    qn_priority priority;
    char chosen[64];
    char reason[160]; // one sentence
    int n_predicted;  // a predicted finish a model, in the fleet's order
    double predicted_ms[QN_MAX_MODELS];
} qn_route;

// QUERN_E_NOT_FOUND (param "model") where the name is unknown.
int qn_fleet_route(const qn_fleet *f, const qn_route_query *query, qn_route *out, quern_error *e);

#endif
