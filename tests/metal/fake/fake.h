// A strict fake of Metal for Linux: its classes registered on GNU's Objective-C runtime, its dispatches run on the emulator.
// What Metal forbids, or leaves undefined, ends the process with one line on stderr and exit code 86. Objects that are still alive
// when the process ends are leaks: exit code 87.
#ifndef QN_FAKE_METAL_H
#define QN_FAKE_METAL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// How this "Mac" behaves. Also from the environment: QUERN_FAKE_METAL="polls=3,lose_at=5,…".
typedef struct {
    int polls;         // messages `status` until a command buffer is over
    long max_buffer;   // bytes
    long max_threads;  // of a threadgroup, as pipelines say
    long simd_width;   // 32
    long shared_bytes; // of threadgroup memory, as pipelines say
    int old;           // 1: macOS 13: no residency sets, no mathMode
    int family;        // the newest Apple GPU family
    int no_matrix;     // 1: the text of the simdgroup matrices does not compile
    int tensor_ops;    // 1: Metal 4's compile
    int no_device, no_queue, no_library, no_wrap, no_unified, no_command;
    const char *no_pipeline; // a kernel whose pipeline fails
    int no_buffer_from;      // from the n-th newBufferWithLength on: nil; 0: never
    int lose_at;             // the n-th command buffer fails; 0: none
    int lose_times;          // and the following, this many in all
    int lose_code;           // MTLCommandBufferError
    int lose_midway;         // 1: after half of its dispatches; 2: after all of them
    const char *wrong;       // a kernel whose first result is off
    int seed;                // of the emulator's orders
    int strict_bounds;       // 1: an access outside the bound buffers is an error (counting build)
    int no_barriers;         // 1: barriers do nothing
} fake_metal_options;

typedef struct {
    int n_finished; // command buffers
    int n_live;     // objects, without the process-wide device
    int n_command_buffers, n_encoders, n_dispatches, n_barriers, n_sets, most_at_once;
    int n_set_buffer, n_set_offset, n_set_bytes;
    int n_buffers, n_wraps; // made
    int n_residency_commits;
    size_t wrapped_bytes;     // of what the residency set holds since its last commit
    int n_residency_requests; // of a thread of the backend's too
    int math_safe;            // the last library was compiled with maths by the letter
} fake_metal_stats;

fake_metal_options *fake_metal(void);
fake_metal_stats *fake_metal_count(void);
// 1 where the selector, with this encoding, was sent at least once to a class of the fake.
void fake_metal_each_sent(void (*visit)(const char *class_name, const char *selector,
                                        const char *encoding));

// What the end of the process looks at: exit code 87 where something is still alive.
void fake_metal_end(void);

#endif
