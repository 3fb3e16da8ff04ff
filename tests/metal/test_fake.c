// The fake is strict: each of these misuses ends a child process with its line on stderr.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/metal/calls.h"
#include "fake/fake.h"

enum { EXIT_BROKEN = 86, EXIT_LEAKS = 87 };

CALL0(void, send_unknown, "shiver")
CALL2(void *, send_mistyped, "newBufferWithLength:options:", unsigned long, unsigned long)
CALL2(qn_metal_id, send_narrow, "newBufferWithLength:options:", long, unsigned long)
CALL0(qn_metal_id, queue_buffer_retained, "commandBuffer")

static qn_metal_id device(void)
{
    return MTLCreateSystemDefaultDevice();
}

static qn_metal_id buffer_of(qn_metal_id d, unsigned long n)
{
    return qn_metal_device_buffer(d, n, 0);
}

static void unknown_selector(void)
{
    send_unknown(device());
}

static void selector_of_another_class(void)
{
    qn_metal_encode_end(device());
}

static void wrong_return_type(void)
{
    send_mistyped(device(), 64, 0);
}

static void wrong_argument_type(void)
{
    send_narrow(device(), 64, 0);
}

static void nil(void)
{
    qn_metal_release(NULL);
}

static void released_too_often(void)
{
    qn_metal_id b = buffer_of(device(), 64);
    qn_metal_release(b);
    qn_metal_release(b);
}

static void used_after_release(void)
{
    qn_metal_id b = buffer_of(device(), 64);
    qn_metal_release(b);
    qn_metal_buffer_contents(b);
}

static void leak(void)
{
    buffer_of(device(), 64);
}

static void no_pool(void)
{
    qn_metal_device_name(device());
}

static void pool_left_open(void)
{
    objc_autoreleasePoolPush();
    qn_metal_device_name(device());
}

static void pools_crossed(void)
{
    void *outer = objc_autoreleasePoolPush();
    objc_autoreleasePoolPush();
    objc_autoreleasePoolPop(outer);
}

static void no_buffer_retained(void)
{
    queue_buffer_retained(qn_metal_device_queue(device()));
}

static void odd_pages(void)
{
    static char bytes[1 << 16];
    qn_metal_device_wrap(device(), bytes + 64, 16384, 0, NULL);
}

static void no_mapping(void)
{
    static _Alignas(16384) char bytes[16384];
    qn_metal_device_wrap(device(), bytes, 16384, 0, NULL);
}

static void too_large(void)
{
    fake_metal()->max_buffer = 1000;
    buffer_of(device(), 1001);
}

static void past_the_end(void)
{
    qn_metal_id b = buffer_of(device(), 64);
    ((char *)qn_metal_buffer_contents(b))[64] = 1;
    qn_metal_release(b);
}

static qn_metal_id residency(void)
{
    qn_metal_id error = NULL, descriptor = qn_metal_new(objc_getClass("MTLResidencySetDescriptor"));
    return qn_metal_device_residency(device(), descriptor, &error);
}

static void ends_in_a_set(void)
{
    qn_metal_id set = residency(), b = buffer_of(device(), 64);
    qn_metal_residency_add(set, b);
    qn_metal_release(b);
}

static void ends_before_the_commit(void)
{
    qn_metal_id set = residency(), b = buffer_of(device(), 64);
    qn_metal_residency_add(set, b);
    qn_metal_commit(set);
    qn_metal_residency_remove(set, b);
    qn_metal_release(b);
}

static void unmapped_under_a_buffer(void)
{
    char *p = mmap(NULL, 1 << 16, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    qn_metal_device_wrap(device(), p + 16384, 16384, 0, NULL);
    munmap(p, 1 << 16);
}

// ---- encoders ----

static qn_metal_id queue, command, encoder;

static void begin(void)
{
    objc_autoreleasePoolPush();
    queue = qn_metal_device_queue(device());
    command = qn_metal_queue_buffer(queue);
    encoder = qn_metal_command_encoder(command, QN_METAL_DISPATCH_CONCURRENT);
}

static void second_encoder(void)
{
    begin();
    qn_metal_command_encoder(command, QN_METAL_DISPATCH_CONCURRENT);
}

static void serial_encoder(void)
{
    begin();
    qn_metal_command_encoder(qn_metal_queue_buffer(queue), 0);
}

static void commit_before_end(void)
{
    begin();
    qn_metal_commit(command);
}

static void commit_twice(void)
{
    begin();
    qn_metal_encode_end(encoder);
    qn_metal_commit(command);
    qn_metal_commit(command);
}

static void encode_after_end(void)
{
    begin();
    qn_metal_encode_end(encoder);
    qn_metal_encode_barrier(encoder, QN_METAL_SCOPE_BUFFERS);
}

static void never_ended(void)
{
    void *pool = objc_autoreleasePoolPush();
    encoder = qn_metal_command_encoder(qn_metal_queue_buffer(qn_metal_device_queue(device())),
                                       QN_METAL_DISPATCH_CONCURRENT);
    objc_autoreleasePoolPop(pool);
}

static void no_pipeline(void)
{
    begin();
    qn_metal_encode_dispatch(encoder, (qn_metal_size){1, 1, 1}, (qn_metal_size){256, 1, 1});
}

static void long_bytes(void)
{
    static const char bytes[4097];
    begin();
    qn_metal_encode_bytes(encoder, bytes, 4097, 0);
}

static void offset_beyond(void)
{
    begin();
    qn_metal_encode_buffer(encoder, buffer_of(device(), 64), 64, 0);
}

static void offset_of_nothing(void)
{
    begin();
    qn_metal_encode_offset(encoder, 16, 3);
}

static void high_index(void)
{
    begin();
    qn_metal_encode_buffer(encoder, buffer_of(device(), 64), 0, 31);
}

static void error_of_a_running_one(void)
{
    begin();
    qn_metal_encode_end(encoder);
    qn_metal_commit(command);
    qn_metal_command_error(command);
}

static void foreign_source(void)
{
    objc_autoreleasePoolPush();
    qn_metal_id error = NULL, options = qn_metal_new(objc_getClass("MTLCompileOptions"));
    qn_metal_id text = qn_metal_string(objc_getClass("NSString"),
                                       "kernel void f() {}\n// fnv1a64 0123456789abcdef\n");
    qn_metal_device_library(device(), text, options, &error);
}

// ---- the table ----

static const struct {
    void (*misuse)(void);
    int code;
    const char *says;
} cases[] = {
    {unknown_selector, EXIT_BROKEN, "shiver]: unknown selector"},
    {selector_of_another_class, EXIT_BROKEN, "-[FakeDevice endEncoding]: unknown selector"},
    {wrong_return_type, EXIT_BROKEN, "is sent as ^v@:QQ, its encoding is @@:QQ"},
    {wrong_argument_type, EXIT_BROKEN, "is sent as @@:qQ, its encoding is @@:QQ"},
    {nil, EXIT_BROKEN, "release is sent to nil"},
    {released_too_often, EXIT_BROKEN, "of an object that was released"},
    {used_after_release, EXIT_BROKEN, "contents] of an object that was released"},
    {leak, EXIT_LEAKS, "1 objects are still alive: FakeBuffer"},
    {no_pool, EXIT_BROKEN, "a NSString is autoreleased without a pool"},
    {pool_left_open, EXIT_LEAKS, "1 autorelease pools are still open"},
    {pools_crossed, EXIT_BROKEN, "popped in another order"},
    {no_buffer_retained, EXIT_BROKEN, "-[FakeQueue commandBuffer]: unknown selector"},
    {odd_pages, EXIT_BROKEN, "not whole pages"},
    {no_mapping, EXIT_BROKEN, "not inside one mapping"},
    {too_large, EXIT_BROKEN, "exceed maxBufferLength"},
    {past_the_end, EXIT_BROKEN, "bytes behind the end of a buffer were written"},
    {ends_in_a_set, EXIT_BROKEN, "still in a residency set"},
    {ends_before_the_commit, EXIT_BROKEN, "before its removal from the set was committed"},
    {unmapped_under_a_buffer, EXIT_BROKEN, "a buffer of 16384 bytes"},
    {second_encoder, EXIT_BROKEN, "a second encoder"},
    {serial_encoder, EXIT_BROKEN, "found type 0"},
    {commit_before_end, EXIT_BROKEN, "commit before endEncoding"},
    {commit_twice, EXIT_BROKEN, "committed twice"},
    {encode_after_end, EXIT_BROKEN, "memoryBarrierWithScope: after endEncoding"},
    {never_ended, EXIT_BROKEN, "ended without endEncoding"},
    {no_pipeline, EXIT_BROKEN, "dispatch without a pipeline"},
    {long_bytes, EXIT_BROKEN, "setBytes: 4097 bytes"},
    {offset_beyond, EXIT_BROKEN, "offset 64 of 64 bytes"},
    {offset_of_nothing, EXIT_BROKEN, "no buffer at index 3"},
    {high_index, EXIT_BROKEN, "buffer index 31"},
    {error_of_a_running_one, EXIT_BROKEN, "error of a command buffer that runs"},
    {foreign_source, EXIT_BROKEN, "it says 0123456789abcdef"},
};

static void child(void (*misuse)(void), int to)
{
    dup2(to, STDERR_FILENO);
    misuse();
    fake_metal_end(); // what the exit of a program looks at
    _exit(0);
}

static void test_misuse(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int ends[2], status;
        char said[2048] = {0};
        assert_int_equal(pipe(ends), 0);
        pid_t pid = fork();
        if (pid == 0) child(cases[i].misuse, ends[1]);
        close(ends[1]);
        size_t n = 0;
        for (ssize_t k; (k = read(ends[0], said + n, sizeof said - 1 - n)) > 0;)
            n += (size_t)k;
        close(ends[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != cases[i].code ||
            !strstr(said, cases[i].says))
            fail_msg("case %zu: expected %d and \"%s\", found status %d and \"%s\"", i,
                     cases[i].code, cases[i].says, status, said);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_misuse)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
