// Self-test: every operation on a device against plain C, on random small shapes and all types. What a GPU's compiler and driver
// make of the kernels is known only where they run. Where a backend has several forms of products, also that a row alone has the
// bits that it has among many.
#ifndef QN_BACKEND_SELFTEST_H
#define QN_BACKEND_SELFTEST_H
#include "backend/backend.h"

enum { QN_SELFTEST_MAX_ROWS = 320 };

// One operation and type, over all its cases.
typedef struct {
    char name[32]; // "matmul bf16"
    int n_cases, n_failed;
    double worst;     // largest difference, as a part of the largest expected number
    double tolerance; // what is allowed
    int code;         // QUERN_E_… of a case that could not run, or 0
    char why[160];    // its message
} qn_selftest_row;

typedef struct {
    qn_selftest_row rows[QN_SELFTEST_MAX_ROWS];
    int n_rows, n_cases, n_failed;
} qn_selftest_report;

typedef struct {
    uint64_t seed;    // of shapes and numbers
    int n_rounds;     // cases of each operation and type
    const char *only; // rows whose name holds this; NULL: all
} qn_selftest_options;

// 0 where there is a report, whatever it says; QUERN_E_MEMORY.
int qn_selftest_run(const qn_backend *b, qn_device *d, const qn_selftest_options *o,
                    qn_selftest_report *out, quern_error *e);
// The same with products and whole layers alone: for further forms of a backend's products.
int qn_selftest_run_products(const qn_backend *b, qn_device *d, const qn_selftest_options *o,
                             qn_selftest_report *out, quern_error *e);
// One case of each kernel: 0, or an error that names what differs or could not run. For a backend's open.
int qn_selftest_quick(const qn_backend *b, qn_device *d, quern_error *e);

#endif
