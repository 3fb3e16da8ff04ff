// The names of quern.h: version, error codes, finish reasons. Constants only; any thread.
#include "quern.h"

const char *quern_version(void)
{
    return QUERN_VERSION;
}

const char *quern_code_name(int code)
{
    static const char *const NAMES[] = {
        "ok",   "argument", "not_found", "io",     "format",    "unsupported", "limit",   "memory",
        "busy", "closing",  "deadline",  "device", "cancelled", "context",     "internal"};
    int i = -code;
    return i >= 0 && i < (int)(sizeof NAMES / sizeof *NAMES) ? NAMES[i] : "internal";
}

const char *quern_finish_name(quern_finish f)
{
    switch (f) {
    case QUERN_FINISH_STOP:
        return "stop";
    case QUERN_FINISH_LENGTH:
        return "length";
    default:
        return "cancelled";
    }
}
