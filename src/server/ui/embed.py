#!/usr/bin/env python3
"""Turns index.html into a C file: its bytes, and a Content-Security-Policy with the hashes of its script and style.

usage: embed.py index.html page.c
"""
import base64
import hashlib
import pathlib
import re
import sys


def hashes(html, tag):
    texts = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)
    return " ".join("'sha256-" + base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() + "'"
                    for t in texts) or "'none'"


def main(source, target):
    data = pathlib.Path(source).read_bytes()
    html = data.decode()
    policy = (f"default-src 'none'; script-src {hashes(html, 'script')}; style-src {hashes(html, 'style')}; "
              "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
    rows = (",".join(str(b) for b in data[i:i + 24]) for i in range(0, len(data), 24))
    pathlib.Path(target).write_text(
        "// Made by embed.py from index.html.\n#include \"server/ui/page.h\"\n"
        "const unsigned char qn_page_html[] = {\n" + ",\n".join(rows) + "};\n"
        f"const size_t qn_page_n_bytes = {len(data)};\n"
        f"const char qn_page_policy[] = \"{policy}\";\n")


main(*sys.argv[1:])
