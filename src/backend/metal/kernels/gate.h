// The gate around a launch. A command buffer that failed does not keep Metal from running the next one, which relies on its
// edits. So a launch carries in its step block's `reserved` how many must have ended before it; if they have not, it is emptied.
// One group each. done[0]: launches that ended.
#ifndef QN_BACKEND_METAL_KERNELS_GATE_H
#define QN_BACKEND_METAL_KERNELS_GATE_H

KERNEL(gate_open, BUF(0, int, staged), BUF(1, const int, done))
{
    if (TID != 0 || done[0] == staged[7]) return;
    for (int i = 0; i < 7; i++)
        staged[i] = 0;
    staged[7] = -1;
}

KERNEL(gate_close, BUF(0, const int, staged), BUF(1, int, done))
{
    if (TID == 0 && staged[7] >= 0) done[0] = staged[7] + 1;
}

#endif
