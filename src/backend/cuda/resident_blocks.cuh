// Units of the resident kernel's products whose weights are blocks (blocks_packed.cuh): their groups come by the ring, several a slot,
// and become F16 fragments in registers.
#ifndef QN_BACKEND_CUDA_RESIDENT_BLOCKS_CUH
#define QN_BACKEND_CUDA_RESIDENT_BLOCKS_CUH
#include "backend/cuda/ring.cuh"

// Format of the matrix that strip `strip` of a product is of.
FN int qn_strip_type(const qn_cuda_product_args *a, const qn_cuda_stream *s, int strip)
{
    if (strip < s->strips[0]) return a->w_type[0];
    return strip < s->strips[0] + s->strips[1] ? a->w_type[1] : a->w_type[2];
}

template <int TYPE> FN void qn_multiply_slots(qn_ring *ring, int n_steps, uint xs, uint stride, float c[4])
{
    typedef qn_group_form<TYPE> form;
    const int slot_steps = QN_CUDA_SLOT_STEPS(QN_CUDA_STEP_BYTES(TYPE));
    static_assert(slot_steps * QN_CUDA_STEP_BYTES(TYPE) <= QN_SLOT_BYTES && slot_steps % form::steps == 0, "args.h");
    for (int step = 0; step < n_steps; step += slot_steps) {
        uint at = qn_ring_slot(ring);
        int left = n_steps - step < slot_steps ? n_steps - step : slot_steps;
#pragma unroll 1
        for (int i = 0; i < left; i += form::steps, at += form::bytes, xs += form::steps * stride)
            qn_multiply_group<TYPE>(qn_in_shared{at}, xs, stride, c);
        qn_ring_done(ring);
    }
}

FN void qn_multiply_block_unit(qn_ring *ring, int type, int n_steps, uint xs, uint stride, float c[4])
{
    switch (type) {
#define CASE(value)                                                                                                    \
    case value:                                                                                                        \
        qn_multiply_slots<value>(ring, n_steps, xs, stride, c);                                                        \
        break;
        QN_PACKED_FORMATS(CASE)
#undef CASE
    }
}

#endif
