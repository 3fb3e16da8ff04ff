// MTLCommandQueue and MTLCommandBuffer: a command buffer is over when its state was asked for often enough, in the order of commits;
// only then its dispatches run. It retains nothing, so what it uses must outlive it.
#include <string.h>

#include "fake/internal.h"

enum { NOT_ENQUEUED = 0, COMMITTED = 2, SCHEDULED = 3, COMPLETED = 4, FAILED = 5 };

static id command_buffer(id o, SEL s)
{
    (void)s;
    fake_object *queue = fake_check(o, FAKE_QUEUE, "a queue");
    if (fake_metal()->no_command) return nil;
    fake_object *c = fake_new(FAKE_COMMAND);
    c->queue = queue;
    fake_metal_count()->n_command_buffers++;
    return fake_autorelease(c);
}

static id encoder_of(id o, SEL s, unsigned long type)
{
    (void)s;
    fake_object *c = fake_check(o, FAKE_COMMAND, "a command buffer");
    if (type != 1) fake_fail("expected an encoder of concurrent dispatches, found type %lu", type);
    if (c->state != NOT_ENQUEUED) fake_fail("an encoder of a command buffer that was committed");
    if (c->encoder) fake_fail("a second encoder of a command buffer");
    fake_object *e = fake_new(FAKE_ENCODER);
    c->encoder = e;
    e->command = c;
    e->n_references++; // the command buffer's
    fake_metal_count()->n_encoders++;
    return fake_autorelease(e);
}

// What a command buffer uses, from commit until it is over.
static void use(fake_object *c, int n)
{
    for (int i = 0; c->encoder && i < c->encoder->n_dispatches; i++) {
        fake_dispatch *d = &c->encoder->dispatches[i];
        d->pipeline->n_uses += n;
        for (int j = 0; j < FAKE_MAX_INDEX; j++)
            if (d->arguments[j].buffer) d->arguments[j].buffer->n_uses += n;
    }
}

static void commit(id o, SEL s)
{
    (void)s;
    fake_object *c = fake_check(o, FAKE_COMMAND, "commit"), **end = &c->queue->next;
    if (c->state != NOT_ENQUEUED) fake_fail("a command buffer is committed twice");
    if (!c->encoder || !c->encoder->ended) fake_fail("commit before endEncoding");
    c->state = COMMITTED;
    c->n_polls = fake_metal()->polls;
    c->n_references++; // the queue's, until it is over
    while (*end)
        end = &(*end)->next;
    *end = c;
    use(c, 1);
}

static void finish(fake_object *c)
{
    const fake_metal_options *o = fake_metal();
    int nth = ++fake_metal_count()->n_finished;
    bool lost = o->lose_at && nth >= o->lose_at && nth < o->lose_at + o->lose_times;
    int n = c->encoder->n_dispatches;
    if (lost && o->lose_midway < 2) n = o->lose_midway ? n / 2 : 0;
    fake_run(c, n);
    use(c, -1);
    c->state = lost ? FAILED : COMPLETED;
    c->queue->next = c->next;
    c->next = NULL;
    fake_release(c);
}

static unsigned long status(id o, SEL s)
{
    (void)s;
    fake_object *c = fake_check(o, FAKE_COMMAND, "status");
    fake_object *first = c->state == COMMITTED || c->state == SCHEDULED ? c->queue->next : NULL;
    if (first) {
        first->state = SCHEDULED;
        if (--first->n_polls <= 0) finish(first);
    }
    return (unsigned long)c->state;
}

static id error_of(id o, SEL s)
{
    (void)s;
    fake_object *c = fake_check(o, FAKE_COMMAND, "error");
    if (c->state != COMPLETED && c->state != FAILED)
        fake_fail("the error of a command buffer that runs");
    return c->state == FAILED ? fake_error(fake_metal()->lose_code, "lost, as told") : nil;
}

void fake_destroy_command(fake_object *o)
{
    if (o->state == COMMITTED || o->state == SCHEDULED)
        fake_fail("a command buffer ended while it runs");
    if (o->encoder) fake_release(o->encoder);
}

static void add_residency(id o, SEL s, id set)
{
    (void)s;
    fake_object *queue = fake_check(o, FAKE_QUEUE, "addResidencySet:");
    fake_object *residency = fake_check(set, FAKE_RESIDENCY, "addResidencySet:");
    residency->n_references++;
    queue->error = residency;
}

static void remove_residency(id o, SEL s, id set)
{
    (void)s;
    fake_object *queue = fake_check(o, FAKE_QUEUE, "removeResidencySet:");
    fake_object *residency = fake_check(set, FAKE_RESIDENCY, "removeResidencySet:");
    if (queue->error != residency) fake_fail("removeResidencySet: of one that is not there");
    queue->error = NULL;
    fake_release(residency);
}

const fake_method fake_command_methods[] = {
    {FAKE_QUEUE, false, "commandBufferWithUnretainedReferences",
     "@@:", (fake_function)command_buffer},
    {FAKE_QUEUE, false, "addResidencySet:", "v@:@", (fake_function)add_residency},
    {FAKE_QUEUE, false, "removeResidencySet:", "v@:@", (fake_function)remove_residency},
    {FAKE_COMMAND, false, "computeCommandEncoderWithDispatchType:", "@@:Q",
     (fake_function)encoder_of},
    {FAKE_COMMAND, false, "commit", "v@:", (fake_function)commit},
    {FAKE_COMMAND, false, "status", "Q@:", (fake_function)status},
    {FAKE_COMMAND, false, "error", "@@:", (fake_function)error_of},
    {0},
};
