// See fake_backend.h. State is global: tests open one runtime at a time, and look at it when that is closed or quiet.
#include "fake_backend.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_BLOCKS = 4096, MAX_HISTORY = 4096, MAX_LENT = 16 };

struct qn_device {
    qn_device *inner;
};

struct qn_program {
    qn_program *inner;
    qn_batch batch;
    int max_rows;
};

typedef struct {
    qn_ticket ticket;
    qn_program *program;
    qn_launch launch;
    uint64_t checksum;
    int polls_left, fate, executed;
} pending;

static fake_options options;
static fake_log fake;
static const qn_backend *inner;
static qn_device device;
static pending queue[2];
static int n_queued, n_programs, dead;
static const void *lent[MAX_LENT];
static int n_lent;
static qn_ticket next_ticket;
static int status_of[8];
static uint64_t keys[MAX_BLOCKS * QN_BLOCK_TOKENS]; // token + 1 of each position of each block
static uint64_t dice;
static pthread_t owner;
static int has_owner;

static void violate(const char *what)
{
    if (!fake.violation) fake.violation = what;
}

static void check_thread(void)
{
    if (has_owner && !pthread_equal(owner, pthread_self())) violate("a call from another thread");
    owner = pthread_self();
    has_owner = 1;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h ^= v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
    h *= 0xff51afd7ed558ccdu;
    return h ^ (h >> 33);
}

static uint32_t roll(void)
{
    dice = dice * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(dice >> 33);
}

/* ---- the scripted device ---- */

static int32_t token_of(uint64_t hash)
{
    if (options.eos_every && (hash >> 40) % (uint64_t)options.eos_every == 0) return options.eos;
    int32_t t = (int32_t)(hash % (uint64_t)options.n_vocab);
    return t == options.eos ? (t + 1) % options.n_vocab : t;
}

int32_t fake_token(const int32_t *history, int n, uint64_t seed)
{
    uint64_t h = mix(seed, 1);
    for (int i = 0; i < n; i++)
        h = mix(h, (uint64_t)history[i] + 1);
    return token_of(h);
}

static void apply_edits(const qn_step_view *s, const qn_slot_table *t)
{
    for (int i = 0; i < s->counts->n_slot_copies; i++) {
        qn_slot_copy c = s->slot_copies[i];
        size_t tokens = (size_t)c.n_tokens;
        size_t blocks = (tokens + QN_BLOCK_TOKENS - 1) / QN_BLOCK_TOKENS;
        memcpy(t->tokens + c.target * t->max_context, t->tokens + c.source * t->max_context,
               tokens * sizeof(int32_t));
        memcpy(t->table + c.target * t->max_blocks, t->table + c.source * t->max_blocks,
               blocks * sizeof(int32_t));
    }
    for (int i = 0; i < s->counts->n_params_edits; i++)
        t->params[s->params_edits[i].slot] = s->params_edits[i].params;
    for (int i = 0; i < s->counts->n_token_edits; i++) {
        qn_edit e = s->token_edits[i];
        if (e.index >= t->max_context) violate("a token beyond the context");
        t->tokens[e.slot * t->max_context + e.index] = e.value;
    }
    for (int i = 0; i < s->counts->n_block_edits; i++) {
        qn_edit e = s->block_edits[i];
        if (e.index >= t->max_blocks) violate("a block beyond the table");
        t->table[e.slot * t->max_blocks + e.index] = e.value;
    }
    for (int i = 0; i < s->counts->n_block_copies; i++) {
        qn_block_copy c = s->block_copies[i];
        memcpy(keys + c.target * QN_BLOCK_TOKENS, keys + c.source * QN_BLOCK_TOKENS,
               QN_BLOCK_TOKENS * sizeof *keys);
    }
}

static uint64_t *key_at(const qn_slot_table *t, int slot, int position)
{
    int32_t block = t->table[slot * t->max_blocks + position / QN_BLOCK_TOKENS];
    if (block < 0 || block >= MAX_BLOCKS) {
        violate("a block outside the pool");
        block = 0;
    }
    return &keys[block * QN_BLOCK_TOKENS + position % QN_BLOCK_TOKENS];
}

static uint64_t read_history(const qn_slot_table *t, qn_row row)
{
    const qn_slot_params *p = &t->params[row.slot];
    uint64_t h = mix((uint64_t)p->seed_high << 32 | p->seed_low, 1);
    for (int i = 0; i <= row.position; i++)
        h = mix(h, *key_at(t, row.slot, i));
    return h;
}

// Log-probabilities of all tokens from the hash, best first.
static void fill_top(uint64_t h, int n_top, qn_step_result *r)
{
    r->token = -1;
    r->n_top = n_top < options.n_vocab ? n_top : options.n_vocab;
    float logprobs[1024];
    for (int i = 0; i < options.n_vocab; i++)
        logprobs[i] = -0.5f - (float)(mix(h, (uint64_t)i) % 100003) * 1e-4f;
    for (int k = 0; k < r->n_top; k++) {
        int best = 0;
        for (int i = 1; i < options.n_vocab; i++)
            if (logprobs[i] > logprobs[best]) best = i;
        r->top_id[k] = best;
        r->top_logprob[k] = logprobs[best];
        logprobs[best] = -1e9f;
    }
}

static void fill_sample(const qn_slot_table *t, qn_row row, uint64_t h, int n_top,
                        qn_step_result *r)
{
    const qn_slot_params *p = &t->params[row.slot];
    fill_top(h, n_top, r);
    r->token = token_of(h);
    r->logprob = -1;
    int n_out = row.position + 1 - p->n_prompt;
    if (r->token == options.eos && n_out < p->min_tokens)
        r->token = (r->token + 1) % options.n_vocab;
    if (row.position + 1 < t->max_context)
        t->tokens[row.slot * t->max_context + row.position + 1] = r->token;
}

static void run_scripted(const pending *p, int lost)
{
    const qn_batch *b = &p->program->batch;
    qn_step_view s = qn_step_at(&b->limits, (void *)(uintptr_t)p->launch.input);
    qn_step_result *results = p->launch.output;
    int n_rows = s.counts->n_rows;
    if (n_rows > p->program->max_rows) violate("more rows than the class has");
    if (s.counts->n_outputs > b->limits.max_outputs) violate("too many outputs");
    if (s.counts->n_token_edits > b->limits.max_edits ||
        s.counts->n_block_edits > b->limits.max_edits)
        violate("too many edits");
    if (lost && roll() % 2) return; // did not happen
    if (lost) n_rows /= 2;          // not wholly
    apply_edits(&s, &b->slots);
    for (int i = 0; i < n_rows; i++) {
        qn_row row = s.rows[i];
        int32_t token = b->slots.tokens[row.slot * b->slots.max_context + row.position];
        *key_at(&b->slots, row.slot, row.position) = lost ? roll() : (uint64_t)token + 1;
    }
    for (int i = 0; i < s.counts->n_outputs; i++) {
        qn_output o = s.outputs[i];
        memset(&results[i], lost ? 0x5a : 0, sizeof results[i]);
        if (lost) continue;
        uint64_t h = read_history(&b->slots, s.rows[o.row]);
        if (o.kind == QN_OUTPUT_SAMPLE)
            fill_sample(&b->slots, s.rows[o.row], h, o.n_top, &results[i]);
        else if (o.kind == QN_OUTPUT_TOP)
            fill_top(h, o.n_top, &results[i]);
    }
}

/* ---- tickets ---- */

static uint64_t checksum_of(const pending *p)
{
    const unsigned char *b = p->launch.input;
    size_t n = qn_step_bytes(&p->program->batch.limits);
    uint64_t h = 0;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v;
        memcpy(&v, b + i, 8);
        h = mix(h, v);
    }
    return h;
}

static void execute(pending *p)
{
    if (p->executed || dead) return;
    p->executed = 1;
    if (checksum_of(p) != p->checksum) violate("the step block changed in flight");
    const qn_step_counts *counts = p->launch.input;
    int us = options.us_a_step + options.us_a_row * counts->n_rows;
    if (us) usleep((useconds_t)us);
    int lost = p->fate == QN_TICKET_LOST;
    if (p->fate == QUERN_E_DEVICE) {
        dead = 1;
    } else if (options.on_cpu && !lost) {
        qn_ticket t;
        if (inner->launch(device.inner, p->program->inner, &p->launch, &t) ||
            inner->wait(device.inner, t, 60000) != QN_TICKET_DONE)
            violate("the CPU backend failed");
    } else if (!options.on_cpu) {
        run_scripted(p, lost);
    }
    if (lost) fake.n_lost++;
}

// Launched behind a lost step: has not run at all.
static void lose_next(void)
{
    queue[1].fate = QN_TICKET_LOST;
    queue[1].executed = 1;
    fake.n_lost++;
}

// The device does not wait for the host: the launch behind may have run too by the time the host hears of the oldest.
static void finish_oldest(void)
{
    execute(&queue[0]);
    if (n_queued == 2 && queue[0].fate == QN_TICKET_LOST)
        lose_next();
    else if (n_queued == 2 && roll() % 2)
        execute(&queue[1]);
    status_of[queue[0].ticket % 8] = queue[0].fate;
    queue[0] = queue[1];
    n_queued--;
}

static int fake_poll(qn_device *d, qn_ticket t)
{
    (void)d;
    check_thread();
    if (dead) return QUERN_E_DEVICE;
    if (n_queued && queue[0].ticket == t && queue[0].polls_left-- <= 0) finish_oldest();
    return dead ? QUERN_E_DEVICE : status_of[t % 8];
}

static int fake_wait(qn_device *d, qn_ticket t, int timeout_ms)
{
    (void)timeout_ms;
    return fake_poll(d, t);
}

static int fate_of_launch(int n_rows)
{
    if (options.rows_in_time && n_rows > options.rows_in_time) return QN_TICKET_LOST;
    if (options.die_at == fake.n_launches) return QUERN_E_DEVICE;
    if (options.lose_every && roll() % (unsigned)options.lose_every == 0) return QN_TICKET_LOST;
    return QN_TICKET_DONE;
}

static int fake_launch(qn_device *d, qn_program *p, const qn_launch *step, qn_ticket *out)
{
    (void)d;
    check_thread();
    fake.n_launches++;
    if (dead || options.refuse_at == fake.n_launches) {
        dead = 1;
        return QUERN_E_DEVICE;
    }
    if (n_queued == 2) {
        violate("three launches in flight");
        return QUERN_E_DEVICE;
    }
    const qn_step_counts *counts = step->input;
    if (counts->n_rows < 1) violate("a step without rows");
    if (counts->n_rows > fake.most_rows) fake.most_rows = counts->n_rows;
    pending *q = &queue[n_queued++];
    *q = (pending){.ticket = next_ticket++, .program = p, .launch = *step};
    q->checksum = checksum_of(q);
    q->polls_left = options.late ? (int)(roll() % (unsigned)options.late) : 0;
    q->fate = fate_of_launch(counts->n_rows);
    status_of[q->ticket % 8] = QN_TICKET_RUNNING;
    if (n_queued > fake.most_in_flight) fake.most_in_flight = n_queued;
    *out = q->ticket;
    if (!options.late) finish_oldest();
    return QUERN_OK;
}

/* ---- the rest of the table ---- */

static int fake_available(void)
{
    return 1;
}

static int fake_open(const qn_device_options *o, qn_device **out, quern_error *e)
{
    *out = &device;
    n_queued = n_lent = dead = has_owner = 0;
    fake = (fake_log){0};
    dice = 42;
    inner = qn_backend_by_name("cpu");
    return inner->open(o, &device.inner, e);
}

static void fake_close(qn_device *d)
{
    if (n_lent) violate("a mapping lent and not taken back");
    inner->close(d->inner);
}
static void fake_info(qn_device *d, qn_device_info *out)
{
    inner->info(d->inner, out);
}

static int fake_alloc(qn_device *d, size_t n, void **address, quern_error *e)
{
    check_thread();
    return inner->alloc(d->inner, n, address, e);
}

static void fake_free(qn_device *d, void *address)
{
    check_thread();
    inner->free(d->inner, address);
}

static int fake_adopt(qn_device *d, const void *from, size_t n, void **address, quern_error *e)
{
    check_thread();
    return inner->adopt(d->inner, from, n, address, e);
}

static void fake_lend(qn_device *d, const void *begin, size_t n)
{
    check_thread();
    (void)d;
    if (n_lent == MAX_LENT || !n) violate("mappings lent beyond the fake's table, or of no bytes");
    for (int i = 0; i < n_lent; i++)
        if (lent[i] == begin) violate("a mapping lent twice");
    if (n_lent < MAX_LENT) lent[n_lent++] = begin;
}

static void fake_take_back(qn_device *d, const void *begin)
{
    check_thread();
    (void)d;
    for (int i = 0; i < n_lent; i++)
        if (lent[i] == begin) lent[i] = lent[--n_lent];
}

static int fake_upload(qn_device *d, void *to, const void *from, size_t n)
{
    check_thread();
    return inner->upload(d->inner, to, from, n);
}

static int fake_download(qn_device *d, void *to, const void *from, size_t n)
{
    check_thread();
    return inner->download(d->inner, to, from, n);
}

static int fake_supports(qn_device *d, const qn_record *r)
{
    return inner->supports(d->inner, r);
}

static int fake_compile(qn_device *d, const qn_plan *plan, qn_program **out, quern_error *e)
{
    check_thread();
    qn_program *p = calloc(1, sizeof *p);
    if (!p) return QUERN_E_MEMORY;
    p->batch = plan->batch;
    p->max_rows = plan->max_rows;
    int rc = inner->compile(d->inner, plan, &p->inner, e);
    if (rc)
        free(p);
    else
        *out = p;
    n_programs += !rc;
    return rc;
}

static void fake_free_program(qn_device *d, qn_program *p)
{
    check_thread();
    inner->free_program(d->inner, p->inner);
    free(p);
    n_programs--;
}

static uint64_t fake_room_bytes(qn_device *d)
{
    check_thread();
    (void)d;
    return (uint64_t)n_programs * (uint64_t)options.room_bytes +
           (n_programs ? (uint64_t)options.shared_bytes : 0);
}

static double fake_measure(qn_device *d)
{
    check_thread();
    (void)d;
    return 1e9;
}

const qn_backend *fake_backend(const fake_options *o)
{
    static const qn_backend table = {.name = "fake",
                                     .available = fake_available,
                                     .open = fake_open,
                                     .close = fake_close,
                                     .info = fake_info,
                                     .alloc = fake_alloc,
                                     .free = fake_free,
                                     .adopt = fake_adopt,
                                     .lend = fake_lend,
                                     .take_back = fake_take_back,
                                     .upload = fake_upload,
                                     .download = fake_download,
                                     .supports = fake_supports,
                                     .compile = fake_compile,
                                     .free_program = fake_free_program,
                                     .room_bytes = fake_room_bytes,
                                     .launch = fake_launch,
                                     .poll = fake_poll,
                                     .wait = fake_wait,
                                     .measure_read = fake_measure};
    options = *o;
    return &table;
}

const fake_log *fake_backend_log(void)
{
    return &fake;
}
