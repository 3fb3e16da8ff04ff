// See log.h.
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const struct {
    const char *name;
    int syslog_priority;
} LEVELS[] = {[QUERN_LOG_ERROR] = {"error", 3},
              [QUERN_LOG_WARN] = {"warn", 4},
              [QUERN_LOG_INFO] = {"info", 6},
              [QUERN_LOG_DEBUG] = {"debug", 7}};

// JOURNAL_STREAM names journald's stream as "device:inode"; a terminal inherits it, but is another one (systemd.exec(5)).
static bool is_journal(int fd)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    char own[64];
    if (!stream || fstat(fd, &st)) return false;
    snprintf(own, sizeof own, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    return !strcmp(stream, own);
}

qn_log qn_log_open(int fd, quern_log_level level)
{
    return (qn_log){fd, level, is_journal(fd)};
}

int qn_log_level_of(const char *name)
{
    for (int i = QUERN_LOG_ERROR; i <= QUERN_LOG_DEBUG; i++)
        if (!strcmp(name, LEVELS[i].name)) return i;
    return -1;
}

// Quotes and control characters would break the line's shape.
static void make_safe(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = ' ';
        else if (*s == '"')
            *s = '\'';
}

void qn_log_write(const qn_log *log, quern_log_level level, const char *format, ...)
{
    if (!log || log->fd < 0 || level > log->level) return;
    char message[900], line[1000], when[40];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    make_safe(message);
    struct timespec t;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    char prefix[8] = "";
    if (log->priority_prefix)
        snprintf(prefix, sizeof prefix, "<%d>", LEVELS[level].syslog_priority);
    int n = snprintf(line, sizeof line, "%sts=%s.%03ldZ level=%s msg=\"%s\"\n", prefix, when,
                     t.tv_nsec / 1000000, LEVELS[level].name, message);
    if (n > 0 && write(log->fd, line, (size_t)n) < 0) return; // nowhere left to say it
}
