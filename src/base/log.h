// Log: one line a call on a stream, logfmt; where that is journald's (JOURNAL_STREAM), with "<N>" before it.
// A log is owned by the runtime and shared by its threads; a line is written in one call, so lines never mix.
#ifndef QN_BASE_LOG_H
#define QN_BASE_LOG_H
#include "quern.h"

typedef struct {
    int fd;                // -1: silent
    quern_log_level level; // lines above it are dropped
    int priority_prefix;   // 1: "<N>" for journald
} qn_log;

// A log to fd; notices journald by itself.
qn_log qn_log_open(int fd, quern_log_level level);
// "error"/"warn"/"info"/"debug" → level; -1 where unknown.
int qn_log_level_of(const char *name);
// Writes `ts=… level=… msg="…"`; a message ends up on one line of at most 1,000 bytes.
void qn_log_write(const qn_log *log, quern_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
