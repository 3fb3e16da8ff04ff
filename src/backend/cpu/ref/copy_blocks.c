// copy_blocks in plain C; see ops/copy_blocks.h. A chunk is one layer of one part: the pairs keep their order within it.
#include "backend/ops/copy_blocks.h"

#include <string.h>

#include "backend/cpu/ref/ref.h"

int qn_ref_copy_blocks_supports(const void *args)
{
    const qn_copy_blocks_args *a = args;
    if (!a->counts || a->n_parts < 0 || a->n_parts > QN_MAX_PARTS) return 0;
    for (int i = 0; i < a->n_parts; i++)
        if (!a->parts[i].base || !a->parts[i].block_bytes) return 0;
    return 1;
}

static void copy_in_layer(const qn_copy_blocks_args *a, const qn_state_span *part, int layer)
{
    size_t bytes = part->block_bytes;
    char *base = part->base + (size_t)layer * (size_t)part->n_blocks * bytes;
    for (int i = 0; i < a->counts->n_block_copies; i++) {
        qn_block_copy c = a->copies[i];
        if (c.source == c.target) continue;
        memcpy(base + (size_t)c.target * bytes, base + (size_t)c.source * bytes, bytes);
    }
}

void qn_ref_copy_blocks(const void *args, const qn_cpu_task *task)
{
    const qn_copy_blocks_args *a = args;
    if (a->counts->n_block_copies == 0) return;
    for (unsigned chunk; (chunk = qn_cpu_take(task)) < QN_MAX_PARTS * (1u << 16);) {
        int part = 0, layer = (int)chunk;
        while (part < a->n_parts && layer >= a->parts[part].n_layers)
            layer -= a->parts[part++].n_layers;
        if (part == a->n_parts) return;
        copy_in_layer(a, &a->parts[part], layer);
    }
}
