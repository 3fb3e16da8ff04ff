// How the fake behaves, also from the environment, and what it counted; see fake.h.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake/internal.h"

static fake_metal_options options;
static fake_metal_stats stats;

typedef struct {
    const char *name;
    enum { INT, LONG, TEXT } type;
    void *to;
} row;

static const row rows[] = {
    {"polls", INT, &options.polls},
    {"max_buffer", LONG, &options.max_buffer},
    {"max_threads", LONG, &options.max_threads},
    {"simd_width", LONG, &options.simd_width},
    {"shared_bytes", LONG, &options.shared_bytes},
    {"old", INT, &options.old},
    {"family", INT, &options.family},
    {"no_matrix", INT, &options.no_matrix},
    {"tensor_ops", INT, &options.tensor_ops},
    {"no_device", INT, &options.no_device},
    {"no_queue", INT, &options.no_queue},
    {"no_library", INT, &options.no_library},
    {"no_wrap", INT, &options.no_wrap},
    {"no_unified", INT, &options.no_unified},
    {"no_command", INT, &options.no_command},
    {"no_pipeline", TEXT, &options.no_pipeline},
    {"no_buffer_from", INT, &options.no_buffer_from},
    {"lose_at", INT, &options.lose_at},
    {"lose_times", INT, &options.lose_times},
    {"lose_code", INT, &options.lose_code},
    {"lose_midway", INT, &options.lose_midway},
    {"wrong", TEXT, &options.wrong},
    {"seed", INT, &options.seed},
    {"no_barriers", INT, &options.no_barriers},
    {"strict_bounds", INT, &options.strict_bounds},
};

static void set(char *word)
{
    char *value = strchr(word, '=');
    if (value) *value++ = 0;
    for (size_t i = 0; value && i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].name, word)) continue;
        if (rows[i].type == INT) *(int *)rows[i].to = atoi(value);
        if (rows[i].type == LONG) *(long *)rows[i].to = atol(value);
        if (rows[i].type == TEXT) *(const char **)rows[i].to = strdup(value);
        return;
    }
    fake_fail("QUERN_FAKE_METAL: what is \"%s\"?", word);
}

static void print_stats(void)
{
    const char *path = getenv("QUERN_FAKE_METAL_STATS");
    FILE *to = path ? fopen(path, "w") : NULL;
    if (!to) return;
    fprintf(
        to,
        "{\"command_buffers\": %d, \"encoders\": %d, \"dispatches\": %d, \"barriers\": %d, "
        "\"sets\": %d, "
        "\"most_at_once\": %d,\n \"set_buffer\": %d, \"set_offset\": %d, \"set_bytes\": %d, "
        "\"buffers\": %d, "
        "\"wraps\": %d, \"wrapped_bytes\": %zu, \"residency_commits\": %d, \"math_safe\": %d}\n",
        stats.n_command_buffers, stats.n_encoders, stats.n_dispatches, stats.n_barriers,
        stats.n_sets, stats.most_at_once, stats.n_set_buffer, stats.n_set_offset, stats.n_set_bytes,
        stats.n_buffers, stats.n_wraps, stats.wrapped_bytes, stats.n_residency_commits,
        stats.math_safe);
    fclose(to);
}

fake_metal_options *fake_metal(void)
{
    static bool ready;
    if (ready) return &options;
    ready = true;
    options = (fake_metal_options){.polls = 2,
                                   .max_buffer = 1L << 34,
                                   .max_threads = 1024,
                                   .simd_width = 32,
                                   .shared_bytes = 28 << 10,
                                   .family = 1009,
                                   .lose_times = 1,
                                   .lose_code = 8,
                                   .seed = 1};
    const char *text = getenv("QUERN_FAKE_METAL");
    char *copy = text ? strdup(text) : NULL;
    for (char *rest = copy, *word; rest && (word = strsep(&rest, ","));)
        if (*word) set(word);
    free(copy);
    qn_emulator_seed((uint32_t)options.seed);
    qn_emulator_strict_bounds(options.strict_bounds);
    atexit(print_stats);
    return &options;
}

fake_metal_stats *fake_metal_count(void)
{
    return &stats;
}
