"""What the Metal backend sends is what tools/metal/selectors.txt lists, and what the fake's classes understand."""
import pathlib
import re

REPO = pathlib.Path(__file__).resolve().parents[2]
METAL = REPO / "src/backend/metal"
FAKE = REPO / "tests/metal/fake"
# C types of the rows of calls.h as arm64 encodes them.
CODES = {"void": "v", "qn_metal_id": "@", "qn_metal_id *": "^@", "qn_metal_selector": ":", "qn_metal_block": "@?", "bool": "B",
         "long": "q", "unsigned long": "Q", "void *": "^v", "const void *": "r^v", "const char *": "r*",
         "qn_metal_size": "{?=QQQ}"}


def calls():
    """{C name: (selector, encoding)} of calls.h."""
    rows = re.findall(r'^CALL(\d)\(([^"]+?), (\w+), "([^"]+)"(?:, (.*))?\)', (METAL / "calls.h").read_text(), re.M)
    found = {}
    for n, result, name, selector, arguments in rows:
        types = [a.strip() for a in arguments.split(",")] if arguments else []
        assert len(types) == int(n) == selector.count(":"), f"{selector}: {n} arguments"
        found[name] = selector, CODES[result] + "@:" + "".join(CODES[t] for t in types)
    return found


def listed():
    rows = [line.split(None, 3) for line in (REPO / "tools/metal/selectors.txt").read_text().splitlines()
            if line and not line.startswith("#")]
    assert all(len(r) == 4 and r[2] in ("dump", "header", "known") for r in rows)
    assert len({r[0] for r in rows}) == len(rows), "a selector is listed twice"
    return {r[0]: r[1] for r in rows}


def test_what_is_sent_is_listed():
    assert dict(calls().values()) == listed()


def test_every_row_is_sent_somewhere():
    text = "\n".join(p.read_text() for p in METAL.glob("*.c"))
    for name in calls():
        assert re.search(rf"\b{name}\(", text), f"calls.h: {name} is never called"


def test_nothing_is_sent_past_the_rows():
    for path in METAL.glob("*.[ch]"):
        if path.name != "objc.h":
            assert not re.search(r"objc_msg", path.read_text()), path
        for selector in re.findall(r'sel_registerName\("([^"]+)"\)', path.read_text()):
            assert selector in listed(), f"{path}: asks for {selector}"


def test_the_fake_understands_just_these():
    methods = {}
    for path in FAKE.glob("*.c"):
        for selector, encoding in re.findall(r'\{FAKE_\w+,\s*(?:true|false),\s*"([^"]+)",\s*"([^"]+)"', path.read_text()):
            assert methods.setdefault(selector, encoding) == encoding, f"{selector} has two encodings"
        for selector, encoding in re.findall(r'\(fake_class\)i,\s+false,\s+"([^"]+)",\s+"([^"]+)"', path.read_text()):
            methods[selector] = encoding.removeprefix("V")
    assert methods == listed()
