// What the Metal backend uses of it (tools/metal/cross_macho.sh).
#pragma once
int getpagesize(void);
