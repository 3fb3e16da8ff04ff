// The entry of the cross-linked program: everything that the Metal backend needs must be there. It never runs.
#include <string.h>

#include "backend/metal/metal.h"

// Of the registry, only this backend is linked.
const qn_backend *qn_backend_by_name(const char *name)
{
    return strcmp(name, qn_metal_backend.name) ? NULL : &qn_metal_backend;
}

int main(void)
{
    return qn_metal_backend.available();
}
