// See units.h.
#include "base/units.h"

#include <stdio.h>

const char *qn_units_bytes(uint64_t n, char text[16])
{
    static const char *const UNITS[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)n;
    int unit = 0;
    for (; v >= 1024 && unit < 4; unit++)
        v /= 1024;
    snprintf(text, 16, unit ? "%.1f %s" : "%.0f %s", v, UNITS[unit]);
    return text;
}
