// MTLDevice and what it makes: libraries, functions, pipelines, buffers and residency sets.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fake/internal.h"

enum { FILL = 0xcb };

id MTLCreateSystemDefaultDevice(void);
unsigned CGMainDisplayID(void);

unsigned CGMainDisplayID(void)
{
    return 1;
}

id MTLCreateSystemDefaultDevice(void)
{
    static fake_object *device;
    if (fake_metal()->no_device) return nil;
    if (!device) {
        device = fake_new(FAKE_DEVICE);
        device->shared = true;
        device->n_references = 0;
        fake_metal_count()->n_live--;
    }
    device->n_references++;
    return (id)device;
}

static fake_object *self(id o)
{
    return fake_check(o, FAKE_DEVICE, "a device");
}

static id name(id o, SEL s)
{
    (void)s;
    (void)self(o);
    return fake_autorelease(fake_string("Apple M0 (fake)"));
}

static bool supports_family(id o, SEL s, long family)
{
    (void)s;
    (void)self(o);
    return family >= 1001 && family <= fake_metal()->family;
}

static bool has_unified_memory(id o, SEL s)
{
    (void)s;
    (void)self(o);
    return !fake_metal()->no_unified;
}

static unsigned long max_buffer_length(id o, SEL s)
{
    (void)s;
    (void)self(o);
    return (unsigned long)fake_metal()->max_buffer;
}

static unsigned long max_working_set(id o, SEL s)
{
    (void)s;
    (void)self(o);
    return 4ul << 30;
}

static unsigned long max_threadgroup(id o, SEL s)
{
    (void)s;
    (void)self(o);
    return 32768;
}

static id new_queue(id o, SEL s)
{
    (void)s;
    (void)self(o);
    return fake_metal()->no_queue ? nil : (id)fake_new(FAKE_QUEUE);
}

// ---- libraries ----

uint64_t fake_hash(const char *text, size_t n)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001B3u;
    return h;
}

// The text ends with the hash of what is before; it must be one that the emulator runs.
static void check_text(const char *text)
{
    char hash[32];
    const char *last = strstr(text, "// fnv1a64 ");
    if (!last) fake_fail("the source does not end with its hash");
    snprintf(hash, sizeof hash, "%016llx",
             (unsigned long long)fake_hash(text, (size_t)(last - text)));
    if (strncmp(last + 11, hash, 16))
        fake_fail("the source's hash is %s, it says %.16s", hash, last + 11);
    if (!strstr(qn_emulated_text_hashes, hash))
        fake_fail("the source's hash is %s, the emulator's kernels are of %s", hash,
                  qn_emulated_text_hashes);
}

static id new_library(id o, SEL s, id source, id options, id *error)
{
    (void)s;
    (void)self(o);
    const fake_object *text = fake_check(source, FAKE_STRING, "newLibraryWithSource:");
    fake_metal_count()->math_safe =
        fake_check(options, FAKE_OPTIONS, "newLibraryWithSource:")->code == 3;
    bool matrices = strstr(text->text, "kernel void matrix_few_bf16(") != NULL;
    bool tensor_ops = strstr(text->text, "MetalPerformancePrimitives") != NULL;
    if (fake_metal()->no_library || (matrices && fake_metal()->no_matrix) ||
        (tensor_ops && !fake_metal()->tensor_ops)) {
        if (error) *error = fake_error(3, "program_source:1:1: error: as told");
        return nil;
    }
    if (!tensor_ops) check_text(text->text);
    fake_object *library = fake_new(FAKE_LIBRARY);
    library->text = strdup(text->text);
    return (id)library;
}

static id new_function(id o, SEL s, id name_string)
{
    (void)s;
    const fake_object *library = fake_check(o, FAKE_LIBRARY, "a library");
    const char *wanted = fake_check(name_string, FAKE_STRING, "newFunctionWithName:")->text;
    char head[FAKE_MAX_NAME + 16];
    snprintf(head, sizeof head, "kernel void %s(", wanted);
    const char *at = strstr(library->text, head);
    if (!at || !qn_emulator_has_kernel(wanted)) return nil;
    fake_object *f = fake_new(FAKE_FUNCTION);
    f->text = strdup(at + strlen("kernel void "));
    return (id)f;
}

// The parameter that ends at `at` with its index: "device const float *x [[buffer(1)]]".
static void read_parameter(const char *head, const char *at, fake_object *pipeline)
{
    const char *first = at;
    while (first > head && *first != ',' && *first != '(')
        first--;
    int index = atoi(at + 9);
    pipeline->code |= 1L << index;
    const char *constant = strstr(first, "const"); // or constant
    if (!constant || constant > at) pipeline->writes |= 1u << index;
}

// Of "name(parameters) {…": the name stays, and which buffers it has becomes a set.
static void read_head(const fake_object *function, fake_object *pipeline)
{
    const char *from = function->text, *end = strchr(from, '{');
    size_t n_name = strcspn(from, "(");
    pipeline->text = strndup(from, n_name);
    for (const char *at = from; (at = strstr(at, "[[buffer(")) && at < end; at++)
        read_parameter(from, at, pipeline);
}

static id new_pipeline(id o, SEL s, id function, id *error)
{
    (void)s;
    (void)self(o);
    const fake_object *f =
        fake_check(function, FAKE_FUNCTION, "newComputePipelineStateWithFunction:");
    const char *refused = fake_metal()->no_pipeline;
    if (refused && !strncmp(f->text, refused, strlen(refused))) {
        if (error) *error = fake_error(2, "compute function exceeds available temporary registers");
        return nil;
    }
    fake_object *p = fake_new(FAKE_PIPELINE);
    read_head(f, p);
    return (id)p;
}

static unsigned long pipeline_max_threads(id o, SEL s)
{
    (void)s;
    (void)fake_check(o, FAKE_PIPELINE, "a pipeline");
    return (unsigned long)fake_metal()->max_threads;
}

static unsigned long pipeline_simd_width(id o, SEL s)
{
    (void)s;
    (void)fake_check(o, FAKE_PIPELINE, "a pipeline");
    return (unsigned long)fake_metal()->simd_width;
}

static unsigned long pipeline_shared_bytes(id o, SEL s)
{
    (void)s;
    (void)fake_check(o, FAKE_PIPELINE, "a pipeline");
    return (unsigned long)fake_metal()->shared_bytes;
}

// ---- buffers ----

static size_t pages(size_t n)
{
    return (n + FAKE_PAGE - 1) / FAKE_PAGE * FAKE_PAGE;
}

static id new_buffer(id o, SEL s, unsigned long n, unsigned long options)
{
    (void)s;
    (void)self(o);
    fake_metal_stats *count = fake_metal_count();
    if (options)
        fake_fail("newBufferWithLength:options: expected shared memory, found %lu", options);
    if (!n) fake_fail("newBufferWithLength: of 0 bytes");
    if (n > (unsigned long)fake_metal()->max_buffer)
        fake_fail("newBufferWithLength: %lu bytes exceed maxBufferLength", n);
    count->n_buffers++;
    if (fake_metal()->no_buffer_from && count->n_buffers >= fake_metal()->no_buffer_from)
        return nil;
    // Whole pages, and one behind that nobody may touch.
    size_t n_mapped = pages(n) + FAKE_PAGE;
    char *memory = mmap(NULL, n_mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return nil;
    mprotect(memory + pages(n), FAKE_PAGE, PROT_NONE);
    memset(memory, FILL, pages(n));
    fake_object *b = fake_new(FAKE_BUFFER);
    b->memory = memory;
    b->n_bytes = n;
    b->n_mapped = n_mapped;
    return (id)b;
}

static id wrap(id o, SEL s, void *from, unsigned long n, unsigned long options, id deallocator)
{
    (void)s;
    (void)self(o);
    if (options || deallocator)
        fake_fail("newBufferWithBytesNoCopy: expected shared memory and no deallocator");
    if ((uintptr_t)from % FAKE_PAGE || n % FAKE_PAGE || !n)
        fake_fail("newBufferWithBytesNoCopy: %p, %lu bytes: not whole pages", from, n);
    if (n > (unsigned long)fake_metal()->max_buffer)
        fake_fail("newBufferWithBytesNoCopy: %lu bytes exceed maxBufferLength", n);
    if (!fake_is_mapped(from, n)) fake_fail("newBufferWithBytesNoCopy: not inside one mapping");
    if (fake_metal()->no_wrap) return nil;
    fake_metal_count()->n_wraps++;
    fake_object *b = fake_new(FAKE_BUFFER);
    b->memory = from;
    b->n_bytes = n;
    fake_wrap_begins(from, n);
    return (id)b;
}

void fake_destroy_buffer(fake_object *o)
{
    if (o->n_uses)
        fake_fail("a buffer of %zu bytes ended while a command buffer uses it", o->n_bytes);
    if (o->in_set) fake_fail("a buffer ended that is still in a residency set");
    if (o->committed) fake_fail("a buffer ended before its removal from the set was committed");
    for (size_t i = o->n_bytes; o->n_mapped && i < pages(o->n_bytes); i++)
        if ((unsigned char)o->memory[i] != FILL)
            fake_fail("bytes behind the end of a buffer were written");
    if (o->n_mapped)
        munmap(o->memory, o->n_mapped);
    else
        fake_wrap_ends(o->memory, o->n_bytes);
}

static void *contents(id o, SEL s)
{
    (void)s;
    return fake_check(o, FAKE_BUFFER, "contents")->memory;
}

// ---- residency sets ----

static id new_residency(id o, SEL s, id descriptor, id *error)
{
    (void)s;
    (void)error;
    (void)self(o);
    (void)fake_check(descriptor, FAKE_RESIDENCY_DESCRIPTOR, "newResidencySetWithDescriptor:");
    if (fake_metal()->old) fake_fail("newResidencySetWithDescriptor: on a system that has none");
    return (id)fake_new(FAKE_RESIDENCY);
}

static void residency_add(id o, SEL s, id buffer)
{
    (void)s;
    fake_object *set = fake_check(o, FAKE_RESIDENCY, "addAllocation:");
    fake_object *b = fake_check(buffer, FAKE_BUFFER, "addAllocation:");
    if (b->in_set) fake_fail("addAllocation: of one that is there");
    b->in_set = true;
    set->n_polls = 1; // not committed
    if (b->committed) return;
    b->next_member = set->next_member;
    set->next_member = b;
}

static void residency_remove(id o, SEL s, id buffer)
{
    (void)s;
    fake_object *b = fake_check(buffer, FAKE_BUFFER, "removeAllocation:");
    if (!b->in_set) fake_fail("removeAllocation: of one that is not there");
    b->in_set = false;
    fake_object *set = fake_check(o, FAKE_RESIDENCY, "removeAllocation:"), **link;
    set->n_polls = 1;
    for (link = &set->next_member; !b->committed && *link; link = &(*link)->next_member)
        if (*link == b) {
            *link = b->next_member;
            break;
        }
}

static void residency_commit(id o, SEL s)
{
    (void)s;
    fake_metal_stats *count = fake_metal_count();
    fake_object *set = fake_check(o, FAKE_RESIDENCY, "commit"), **link = &set->next_member;
    set->n_polls = 0;
    count->n_residency_commits++;
    count->wrapped_bytes = 0;
    while (*link) {
        fake_object *b = *link;
        b->committed = b->in_set;
        if (b->committed && !b->n_mapped) count->wrapped_bytes += b->n_bytes;
        if (b->committed)
            link = &b->next_member;
        else
            *link = b->next_member;
    }
}

static void residency_request(id o, SEL s)
{
    (void)s;
    if (fake_check(o, FAKE_RESIDENCY, "requestResidency")->n_polls)
        fake_fail("requestResidency before commit");
    __atomic_fetch_add(&fake_metal_count()->n_residency_requests, 1, __ATOMIC_RELAXED);
}

static void residency_end(id o, SEL s)
{
    (void)s;
    (void)fake_check(o, FAKE_RESIDENCY, "endResidency");
}

const fake_method fake_device_methods[] = {
    {FAKE_DEVICE, false, "name", "@@:", (fake_function)name},
    {FAKE_DEVICE, false, "supportsFamily:", "B@:q", (fake_function)supports_family},
    {FAKE_DEVICE, false, "hasUnifiedMemory", "B@:", (fake_function)has_unified_memory},
    {FAKE_DEVICE, false, "maxBufferLength", "Q@:", (fake_function)max_buffer_length},
    {FAKE_DEVICE, false, "recommendedMaxWorkingSetSize", "Q@:", (fake_function)max_working_set},
    {FAKE_DEVICE, false, "maxThreadgroupMemoryLength", "Q@:", (fake_function)max_threadgroup},
    {FAKE_DEVICE, false, "newCommandQueue", "@@:", (fake_function)new_queue},
    {FAKE_DEVICE, false, "newLibraryWithSource:options:error:", "@@:@@^@",
     (fake_function)new_library},
    {FAKE_DEVICE, false, "newComputePipelineStateWithFunction:error:", "@@:@^@",
     (fake_function)new_pipeline},
    {FAKE_DEVICE, false, "newBufferWithLength:options:", "@@:QQ", (fake_function)new_buffer},
    {FAKE_DEVICE, false, "newBufferWithBytesNoCopy:length:options:deallocator:", "@@:^vQQ@?",
     (fake_function)wrap},
    {FAKE_DEVICE, false, "newResidencySetWithDescriptor:error:", "@@:@^@",
     (fake_function)new_residency},
    {FAKE_LIBRARY, false, "newFunctionWithName:", "@@:@", (fake_function)new_function},
    {FAKE_PIPELINE, false, "maxTotalThreadsPerThreadgroup",
     "Q@:", (fake_function)pipeline_max_threads},
    {FAKE_PIPELINE, false, "threadExecutionWidth", "Q@:", (fake_function)pipeline_simd_width},
    {FAKE_PIPELINE, false, "staticThreadgroupMemoryLength",
     "Q@:", (fake_function)pipeline_shared_bytes},
    {FAKE_BUFFER, false, "contents", "^v@:", (fake_function)contents},
    {FAKE_RESIDENCY, false, "addAllocation:", "v@:@", (fake_function)residency_add},
    {FAKE_RESIDENCY, false, "removeAllocation:", "v@:@", (fake_function)residency_remove},
    {FAKE_RESIDENCY, false, "commit", "v@:", (fake_function)residency_commit},
    {FAKE_RESIDENCY, false, "requestResidency", "v@:", (fake_function)residency_request},
    {FAKE_RESIDENCY, false, "endResidency", "v@:", (fake_function)residency_end},
    {0},
};
