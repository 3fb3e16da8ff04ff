// Opening, finding and closing the models of a fleet. See fleet.h.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "fleet/internal.h"

enum { CALIBRATION_MS = 6000 };

static int check_names(const qn_fleet_options *o, quern_error *e)
{
    if (o->n_models == 0 || o->n_models > QN_MAX_MODELS)
        return qn_error_set(e, QUERN_E_ARGUMENT, "models: expected 1 to %d, found %zu",
                            QN_MAX_MODELS, o->n_models);
    bool found = !o->routing || !strcmp(o->routing, "automatic");
    for (size_t i = 0; i < o->n_models; i++) {
        const char *name = o->models[i].name;
        if (!*name || strlen(name) > 63 || !strcmp(name, "auto"))
            return qn_error_set(e, QUERN_E_ARGUMENT,
                                "models: \"%s\": expected a name of 1 to 63 bytes other than auto",
                                name);
        for (size_t j = 0; j < i; j++)
            if (!strcmp(name, o->models[j].name))
                return qn_error_set(e, QUERN_E_ARGUMENT, "models: \"%s\" is named twice", name);
        found |= o->routing && !strcmp(o->routing, name);
    }
    if (!found)
        return qn_error_set(e, QUERN_E_ARGUMENT,
                            "routing: expected automatic or the name of a model, found \"%s\"",
                            o->routing);
    return 0;
}

int qn_fleet_open(const qn_fleet_options *o, qn_fleet **out, quern_error *e)
{
    int rc = check_names(o, e);
    if (rc) return rc;
    qn_fleet *f = calloc(1, sizeof *f);
    if (!f) return qn_error_set(e, QUERN_E_MEMORY, "fleet: no memory");
    if (o->routing && strcmp(o->routing, "automatic") != 0)
        snprintf(f->routing, sizeof f->routing, "%s", o->routing);
    f->long_text_tokens = o->long_text_tokens ? o->long_text_tokens : 200;
    rc = quern_runtime_open(&o->runtime, &f->runtime, e);
    for (size_t i = 0; i < o->n_models && !rc; i++) {
        const qn_fleet_model *m = &o->models[i];
        rc = quern_model_load(f->runtime, m->name, m->path, &m->options, &f->models[i], e);
        if (!rc) f->n_models++;
    }
    if (!rc) quern_runtime_measure(f->runtime);
    for (size_t i = 0; i < f->n_models && !rc; i++)
        rc = qn_fleet_calibrate(f->models[i], CALIBRATION_MS, e);
    if (rc) {
        if (!f->runtime || !qn_fleet_has_failed(f)) qn_fleet_close(f);
        return rc;
    }
    *out = f;
    return 0;
}

void qn_fleet_drain(qn_fleet *f)
{
    for (size_t i = 0; i < f->n_models; i++)
        quern_model_drain(f->models[i]);
}

bool qn_fleet_has_failed(const qn_fleet *f)
{
    return quern_runtime_has_failed(f->runtime);
}

int qn_fleet_n_active(const qn_fleet *f)
{
    uint64_t n = 0;
    for (size_t i = 0; i < f->n_models; i++) {
        quern_model_stats s;
        quern_model_get_stats(f->models[i], &s);
        uint64_t ended = s.requests_done + s.requests_cancelled + s.requests_failed;
        n += s.requests_total > ended ? s.requests_total - ended : 0;
    }
    return (int)n;
}

void qn_fleet_close(qn_fleet *f)
{
    if (!f) return;
    for (size_t i = 0; i < f->n_models; i++)
        quern_model_close(f->models[i]);
    quern_runtime_close(f->runtime);
    free(f);
}

quern_runtime *qn_fleet_runtime(qn_fleet *f)
{
    return f->runtime;
}

size_t qn_fleet_n_models(const qn_fleet *f)
{
    return f->n_models;
}

quern_model *qn_fleet_model_at(qn_fleet *f, size_t i)
{
    return i < f->n_models ? f->models[i] : NULL;
}

quern_model *qn_fleet_model_by_name(qn_fleet *f, const char *name)
{
    for (size_t i = 0; i < f->n_models; i++) {
        quern_model_info info;
        quern_model_get_info(f->models[i], &info);
        if (!strcmp(info.name, name)) return f->models[i];
    }
    return NULL;
}
