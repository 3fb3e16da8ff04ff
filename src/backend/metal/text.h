// The kernels as Metal text, made at build by make_msl.py from kernels/all.h.
#ifndef QN_BACKEND_METAL_TEXT_H
#define QN_BACKEND_METAL_TEXT_H

extern const char qn_metal_text[]; // NUL-terminated

#endif
