#!/usr/bin/env python3
"""A table of what bench/resident_trace.cuh printed: for each task, over all groups or warps, when they passed each place.

usage: resident_trace.py < LOG

Times are thousand cycles since the first group began the first task of the trace: the earliest, the mean and the last."""
import sys

PLACES = "task begun start first staged units folded end".split()


def table(lines):
    base, rows = {}, []
    for line in lines:
        word = line.split()
        if line.startswith(("begins ", "ends ")):
            print(" ".join(line.split()))
        elif line.startswith("trace "):
            base[int(word[1])] = int(word[2])
        elif len(word) == 13 and all(w.isdigit() for w in word):
            rows.append([int(w) for w in word])
    # The card's timer is too coarse to set the groups' clocks against each other. But all leave a wait for an epoch at about the same time.
    # A group of which the card's buffer of prints has lost something is left out.
    starts = {g: [r[6] for r in rows if r[0] == g and r[1] in (1, 2, 3) and r[3] == 0] for g in base}
    starts = {g: t for g, t in starts.items() if len(t) == 3}
    rows = [r for r in rows if r[0] in starts]
    if not rows:
        sys.exit("resident_trace: no whole group's trace in the log")
    late = {g: -sum(t) / 3 for g, t in starts.items()}
    start = min(r[4] + late[r[0]] for r in rows if r[1] == 0)
    for task in sorted({r[1] for r in rows}):
        of = [r for r in rows if r[1] == task]
        print(f"task {task}, kernel {of[0][2]}")
        for i, place in enumerate(PLACES):
            at = sorted(r[4 + i] + late[r[0]] - start for r in of if r[4 + i] and r[4 + i] + late[r[0]] >= start)
            if at:
                print(f"  {place:9} {at[0]/1e3:8.1f} {sum(at)/len(at)/1e3:8.1f} {at[-1]/1e3:8.1f}   ({len(at)} warps)")
        units = {}  # when the warps of each group had multiplied
        for r in of:
            if r[9]:
                units.setdefault(r[0], []).append(r[9] + late[r[0]] - start)
        if units:
            means = [sum(u) / len(u) for u in units.values()]
            mean = sum(means) / len(means)
            within = sum(max(u) - sum(u) / len(u) for u in units.values()) / len(units)
            between = (sum((m - mean) ** 2 for m in means) / len(means)) ** 0.5
            print(f"  units: a group's last warp {within/1e3:.1f} behind its mean; means of groups {between/1e3:.1f} apart, the last {(max(means)-mean)/1e3:.1f}")
        starved = sorted(r[12] for r in of)
        print(f"  starved   {starved[0]/1e3:8.1f} {sum(starved)/len(starved)/1e3:8.1f} {starved[-1]/1e3:8.1f}")


table(sys.stdin)
