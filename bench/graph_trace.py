#!/usr/bin/env python3
"""A table of what bench/graph_trace.cuh printed: of each kernel of a layer, how long before the end of the kernel before it it was
there, and how long it was until the next one could go on. Microseconds, means; a kernel is known by its threads and grid and by those before it. Then the last products, group by group: when each
was there, could go on, began to multiply, had multiplied its last tile and was over, since the first group could go on (least, mean, most of those
that did).

usage: graph_trace.py < LOG"""
import sys
from collections import defaultdict


def table(events):
    there, goes = {}, []  # goes: (kernel, time, lead)
    for what, threads, x, y, time in events:
        kernel = (threads, x, y)
        if what == 0:
            there[kernel] = time
        elif not goes or goes[-1][0] != kernel or kernel in there:
            goes.append((kernel, time, time - there.pop(kernel, time)))
    sums = defaultdict(lambda: [0, 0.0, 0.0])
    order = []
    for i in range(3, len(goes) - 1):
        key = tuple(g[0] for g in goes[i - 2 : i + 1])
        if key not in sums:
            order.append(key)
        s = sums[key]
        s[0] += 1
        s[1] += (goes[i + 1][1] - goes[i][1]) / 1e3
        s[2] += goes[i][2] / 1e3
    print("kernel (threads, grid), times seen, us until the next goes on, us there before")
    for key in order:
        n, took, lead = sums[key]
        print(f"  {str(key[-1]):22} {n:4} {took / n:8.2f} {lead / n:8.2f}   after {key[-2]}, {key[-3]}")


def groups(product, of):
    start = min((m[1] for m in of if m[1]), default=0)
    places = []
    for i, name in enumerate("there goes first multiplied over".split()):
        t = sorted((m[i] - start) / 1e3 for m in of if m[i])
        if not t:
            continue
        places.append(f"{name} {t[0]:.1f} {sum(t) / len(t):.1f} {t[-1]:.1f}")
    print(f"  product {product}: " + "; ".join(places))


runs, last, products = [], None, {}
for line in sys.stdin:
    word = line.split()
    if len(word) == 9 and word[0] == "product":
        products.setdefault((len(runs), int(word[1])), []).append([int(w) for w in word[3:]])
    if len(word) != 7 or word[0] != "graph":
        continue
    i = int(word[1])
    if last is None or i != last + 1:
        runs.append([])
    last = i
    runs[-1].append(tuple(int(w) for w in word[2:]))
if not runs:
    sys.exit("graph_trace: no trace in the log")
for i, run in enumerate(runs):
    table(run)
    for (n, product), of in sorted(products.items()):
        if n == i + 1:
            groups(product, of)
