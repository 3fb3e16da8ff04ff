// Where a model's weights live: host memory adopted by its device, or copies on the device that end with the model. Without a
// backend (tools, tests of the loader) the host is the device.
#include <stdlib.h>
#include <string.h>

#include "model/family.h"

enum { ALIGN = 64 };

static int keep(qn_model *m, void *address)
{
    if (m->n_device_memory % 64 == 0) {
        size_t capacity = (size_t)m->n_device_memory + 64;
        void **more = realloc(m->device_memory, capacity * sizeof *more);
        if (!more) return QUERN_E_MEMORY;
        m->device_memory = more;
    }
    m->device_memory[m->n_device_memory++] = address;
    return 0;
}

static void give_back(qn_model *m, void *address)
{
    if (m->options.backend)
        m->options.backend->free(m->options.device, address);
    else
        free(address);
}

static int take(qn_model *m, size_t n_bytes, void **address, quern_error *e)
{
    if (m->options.backend)
        return m->options.backend->alloc(m->options.device, n_bytes, address, e);
    *address = aligned_alloc(ALIGN, (n_bytes + ALIGN - 1) / ALIGN * ALIGN);
    return *address ? 0 : qn_error_set(e, QUERN_E_MEMORY, "no memory for %zu bytes", n_bytes);
}

int qn_memory_upload(qn_model *m, const void *from, size_t n_bytes, void **address, quern_error *e)
{
    void *to;
    int rc = take(m, n_bytes, &to, e);
    if (rc) return rc;
    if (keep(m, to)) {
        give_back(m, to);
        return qn_error_set(e, QUERN_E_MEMORY, "no memory for the list of a model's buffers");
    }
    if (!m->options.backend)
        memcpy(to, from, n_bytes);
    else if (m->options.backend->upload(m->options.device, to, from, n_bytes))
        return qn_error_set(e, QUERN_E_DEVICE, "the device refused %zu bytes of weights", n_bytes);
    *address = to;
    return 0;
}

void qn_memory_lend(qn_model *m, const qn_mapping *mapping)
{
    const qn_backend *b = m->options.backend;
    if (b && b->lend) b->lend(m->options.device, mapping->data, mapping->n_bytes);
}

void qn_memory_take_back(qn_model *m, const qn_mapping *mapping)
{
    const qn_backend *b = m->options.backend;
    if (b && b->take_back && mapping->data) b->take_back(m->options.device, mapping->data);
}

int qn_memory_adopt(qn_model *m, const void *from, size_t n_bytes, void **address, quern_error *e)
{
    *address = (void *)(uintptr_t)from;
    if (!m->options.backend) return 0;
    int rc = m->options.backend->adopt(m->options.device, from, n_bytes, address, e);
    if (rc || *address == from) return rc;
    if (keep(m, *address) == 0) return 0; // the device's copy ends with the model
    give_back(m, *address);
    return qn_error_set(e, QUERN_E_MEMORY, "no memory for the list of a model's buffers");
}

void qn_memory_free(qn_model *m)
{
    for (int i = 0; i < m->n_device_memory; i++)
        give_back(m, m->device_memory[i]);
    free(m->device_memory);
    m->device_memory = NULL;
    m->n_device_memory = 0;
}
