// The scales that the quantisers store: least squares over a few trials, in the order of llama.cpp's reference code, whose files
// these are. Pure functions.
#ifndef QN_TENSOR_QUANT_SEARCH_H
#define QN_TENSOR_QUANT_SEARCH_H
#include "tensor/quant/blocks.h"

enum { QN_SEARCH_MAX = 32 }; // numbers that share a scale

// The nearest whole number, halves to even, within low … high.
int qn_search_nearest(float f, int low, int high);

typedef struct {
    int n, most;      // numbers; q goes from 0 to most
    float first_step; // trials: scales of (most + first_step + 0.1 i) steps for the range
    int n_steps;
    int absolute; // errors are absolute, else squared
} qn_search_range;

// x ≈ scale · q - minimum, both at least 0, errors weighted by w. Returns the scale.
float qn_search_affine(const qn_search_range *s, const float *x, const float *w, float *minimum);

// x ≈ scale · q with q in -most … most - 1, squared errors weighted by w (NULL: by x²). Returns the scale, of either sign.
float qn_search_symmetric(const float *x, const float *w, int n, int most);

// The weights of numbers from those of their columns: out = columns · √(factor · mean x² + x²), as llama.cpp's for blocks of 256; for
// those of 32 it takes the mean over the row.
void qn_search_weigh(const float *x, const float *columns, int n, float factor, float *out);

// x ≈ scale · qn_iq4_values[q], squared errors weighted by x². Returns the scale.
float qn_search_values(const float *x, int n);
// The nearest of qn_iq4_values.
int qn_search_value(float f);

// Eight scales and minima of q4_k and q5_k, for q up to `most`: 6-bit ones into packed, their units into d and dmin. columns:
// weights of the columns, or NULL.
void qn_search_k_scales(const float *x, const float *columns, const qn_search_range *s,
                        uint8_t *block);
// The numbers of a q4_k or q5_k block by its scales.
void qn_search_k_numbers(const float *x, int most, const uint8_t *block, uint8_t *q);

#endif
