// What the files of fleet/ share. See fleet.h for the contract.
#ifndef QN_FLEET_INTERNAL_H
#define QN_FLEET_INTERNAL_H
#include "fleet/fleet.h"

struct qn_fleet {
    quern_runtime *runtime;
    quern_model *models[QN_MAX_MODELS];
    size_t n_models;
    char routing[64]; // "" = automatic
    int long_text_tokens;
};

// What the speed model knows of one model at one moment.
typedef struct {
    quern_model_info info;
    quern_model_stats stats;
} qn_fleet_view;

qn_fleet_view qn_fleet_look(const quern_model *m);

// Predicted milliseconds until a request of n_prompt and n_output tokens would be finished, were it sent now:
// queue + prompt / prefill rate + output · step time at the batch it would join.
double qn_fleet_predict_ms(const qn_fleet_view *view, int n_prompt, int n_output);

// Runs short requests so that the engine's rates are measured: at most about max_ms. 0 or the error of a request.
int qn_fleet_calibrate(quern_model *m, double max_ms, quern_error *e);

#endif
