#!/usr/bin/env python3
"""What the resident kernel's ring should reach: a model of one memory that serves copies in turn, of rings of few slots, and of warps that
multiply what has come and wait for each other at a product's end. It says what a change is worth before it is written.

usage: ring_model.py [NAME=VALUE]…      the names and what they stand for: below

With the waits of docs/performance.md's trace (one sequence, F16) and whole units to a warp (grain=64 share=warp), which was measured, it gives 78 %
of the ceiling for the 7B and 48 % for the 3B; measured were 74 and 48 %."""
import bisect
import heapq
import random
import sys

SHAPES = {"7b": (3584, 512, 18944), "3b": (2048, 256, 11008)}  # width, width of keys, middle
CLOCK = 1.98e9
DEFAULTS = {
    "model": "7b", "groups": 132, "warps": 8, "step_bytes": 512, "part": 64,  # steps of a unit
    "share": "group",    # group: groups get whole units, their warps share them by grains; warp: every warp gets whole grains
    "grain": 8,          # steps
    "slots": 4, "slot_steps": 8, "on_way": 2,  # of a ring; copies on their way, at most
    "ceiling": 4531e9,   # bytes a second
    "latency": 1400,     # cycles of a copy that nothing waits before
    "noise": 0.15,       # of the latency, at random
    "start": 200,        # cycles from a slot's end to the next copy
    "multiply": 330,     # cycles of eight steps
    "stage": 1.0, "hop": 1.0,  # factors of the waits below
    "hand": 100,         # cycles from the end of a unit's piece until the next warp can go on with its sums
    "attention": 23700,  # cycles of its epoch
    "layers": 4,         # three at least
}
# Of output, gate and up, down, queries keys values: cycles until x is staged, and from the last unit's end to the next epoch.
WAITS = ((3900, 6600), (4400, 8000), (1400, 7200), (4500, 7200))
NAMES = ("output", "gate, up", "down", "q, k, v")


def products(o):
    width, kv, middle = SHAPES[o["model"]]
    return [(rows // 16, k // 16) for rows, k in ((width, width), (2 * middle, width), (width, middle), (width + 2 * kv, width))]


def shares(o, strips, steps):
    """Of each warp its slots in their order: steps, whether it goes on from another warp's sums, whether another goes on from its."""
    part, grain, n_groups, n_warps = o["part"], o["grain"], o["groups"], o["warps"]
    units = [part] * (steps // part * strips) + [steps % part] * (strips if steps % part else 0)
    ends, total = [0], 0
    for n in units:
        total += n
        ends.append(total)

    def up_to_unit(at):
        return ends[bisect.bisect_left(ends, at)]

    if o["share"] == "group":
        first = [up_to_unit(total * g // n_groups) for g in range(n_groups + 1)]
        begin = []
        for g in range(n_groups):
            grains = (first[g + 1] - first[g]) // grain
            begin += [first[g] + min(i * max(grains, n_warps) // n_warps, grains) * grain for i in range(n_warps)]
    else:
        n = n_groups * n_warps
        begin = [up_to_unit(total * w // n) if grain == part else -(-(total * w // n) // grain) * grain for w in range(n)]
    runs = []
    for w, at in enumerate(begin):
        pieces, end = [], begin[w + 1] if w + 1 < len(begin) else total
        while at < end:
            unit = bisect.bisect_right(ends, at)
            pieces.append((at, min(ends[unit], end), at > ends[unit - 1], end < ends[unit]))
            at = pieces[-1][1]
        pieces.sort(key=lambda p: (p[2], not p[3]))  # the head of a unit first, the tail of one last
        slots = []
        for begins, ends_at, takes, gives in pieces:
            for a in range(begins, ends_at, o["slot_steps"]):
                n = min(o["slot_steps"], ends_at - a)
                slots.append((n, takes and a == begins, gives and a + n == ends_at))
        runs.append(slots)
    return runs


def run(o):
    random.seed(1)
    shapes = products(o)
    kinds = [shares(o, *s) for s in shapes]
    n_products, n_warps = 4 * o["layers"], o["groups"] * o["warps"]
    cycles_a_step = o["step_bytes"] / o["ceiling"] * CLOCK
    events, order, memory_free = [], 0, 0.0
    ready = [[] for _ in range(n_warps)]  # steps of slots that have come, in order
    fetch = [[0, 0] for _ in range(n_warps)]  # product, slot: the next to fetch
    on_way, held = [0] * n_warps, [0] * n_warps
    at = [[0, 0] for _ in range(n_warps)]  # product, slot: the next to multiply
    busy = [False] * n_warps
    begun, staged = [None] * (n_products + 1), [None] * (n_products + 1)
    ends = [[] for _ in range(n_products)]
    handed = set()  # (product, warp) whose sums to go on from have come

    def push(t, what, warp, n=0):
        nonlocal order
        order += 1
        heapq.heappush(events, (t, order, what, warp, n))

    def fill(warp, t):
        while on_way[warp] < o["on_way"] and held[warp] < o["slots"]:
            p, i = fetch[warp]
            while p < n_products and i == len(kinds[p % 4][warp]):
                p, i = p + 1, 0
            fetch[warp] = [p, i]
            if p == n_products:
                return
            fetch[warp][1] += 1
            on_way[warp] += 1
            held[warp] += 1
            push(t + o["start"], "asked", warp, kinds[p % 4][warp][i][0])

    def begin(p, t):
        begun[p] = t
        staged[p] = t + WAITS[p % 4][0] * o["stage"]
        if p < n_products:
            for warp in range(n_warps):
                push(staged[p], "look", warp)

    begin(0, 0.0)
    for warp in range(n_warps):
        fill(warp, 0.0)
    while events:
        t, _, what, warp, n = heapq.heappop(events)
        if what == "asked":
            memory_free = max(t, memory_free) + n * cycles_a_step
            push(memory_free + o["latency"] * (1 + o["noise"] * random.expovariate(1)), "come", warp, n)
            continue
        if what == "come":
            on_way[warp] -= 1
            ready[warp].append(n)
            fill(warp, t)
        elif what == "over":
            busy[warp] = False
            if n:
                push(t + o["hand"], "handed", warp + 1, at[warp][0])
        elif what == "handed":
            handed.add((n, warp))
        p, i = at[warp]
        if busy[warp] or p == n_products or staged[p] is None or t < staged[p]:
            continue
        if i == len(kinds[p % 4][warp]):
            ends[p].append(t)
            at[warp] = [p + 1, 0]
            if len(ends[p]) == n_warps:
                begin(p + 1, max(ends[p]) + WAITS[p % 4][1] * o["hop"] + (o["attention"] if p % 4 == 3 else 0))
        elif ready[warp] and (not kinds[p % 4][warp][i][1] or (p, warp) in handed):
            n = ready[warp].pop(0)
            at[warp][1] += 1
            held[warp] -= 1
            busy[warp] = True
            push(t + o["multiply"] * n / 8, "over", warp, kinds[p % 4][warp][i][2])
            fill(warp, t + 60)
    first = 4 * (o["layers"] - 2)  # a layer with others before and behind
    least = 0.0
    print("thousand cycles   the epoch   streaming   units over after, mean / last")
    for p in range(first, first + 4):
        after = (o["attention"] if p % 4 == 3 else 0)
        stream = shapes[p % 4][0] * shapes[p % 4][1] * cycles_a_step
        least += stream
        mean = sum(ends[p]) / n_warps - begun[p]
        print(f"{NAMES[p % 4]:17} {(begun[p + 1] - after - begun[p]) / 1e3:9.1f} {stream / 1e3:11.1f} {mean / 1e3:14.1f} / {(max(ends[p]) - begun[p]) / 1e3:.1f}")
    layer = begun[first + 4] - begun[first]
    print(f"{o['model']}: a layer {layer / 1e3:.1f} with attention, {100 * least / layer:.1f} % of the ceiling")


def main():
    o = dict(DEFAULTS)
    for word in sys.argv[1:]:
        name, _, value = word.partition("=")
        if name not in o or not value:
            sys.exit(__doc__ + "\n\n" + "\n".join(f"  {k}={v}" for k, v in DEFAULTS.items()))
        o[name] = value if isinstance(o[name], str) else type(o[name])(value)
    o["layers"] = max(o["layers"], 3)
    run(o)


main()
