// The Metal backend's entry in the registry.
#ifndef QN_BACKEND_METAL_METAL_H
#define QN_BACKEND_METAL_METAL_H
#include "backend/backend.h"

extern const qn_backend qn_metal_backend;

#endif
