"""More tokenizers and chat templates that must be refused, by the classes T01 to T18 (see damage_classes.py)."""

import json

from damage import SHARDED, add, added, edit_json, in_vocab, merge, model, split_pattern, tokenizer, write

TOKENIZER, CONFIG = "tokenizer.json", "tokenizer_config.json"
FIRST_ADDED = 296  # as many entries has the vocabulary


def text_is(name, make, *names, file=TOKENIZER, **more):
    """The file's text made anew from what it was."""
    def apply(folder):
        write(folder / file, make((folder / file).read_text(encoding="utf-8")))
    add(name, apply, file, *names, **more)


# ---- T01: no JSON ----

for name, text in (("comment", "// x\n{}"), ("single-quotes", "{'model': 1}"), ("unquoted", "{model: 1}"), ("nan", '{"model": NaN}'), ("plus", '{"a": +1}'), ("utf16", "{}".encode("utf-16")),
                   ("nul", b"{}\0"), ("two", "{}{}"), ("lfs-pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), ("html", "<!DOCTYPE html><html></html>")):
    text_is(f"T01-{name}", lambda _, text=text: text)


def gibibyte(folder):
    with open(folder / TOKENIZER, "r+b") as file:
        file.truncate(1 << 30)


add("T01-gibibyte", gibibyte, TOKENIZER)
text_is("T01-deep-in-model", lambda text: text.replace('"dropout": null', '"dropout": ' + "[" * 100000 + "]" * 100000), "byte|line")
text_is("T01-2-million-values", lambda _: '{"a": [' + "0," * (2 << 20) + "0]}", "values")
for name, kind in (("bpe", "bpe"), ("list", ["BPE"]), ("object", {"BPE": 1}), ("null", None), ("SentencePiece", "SentencePiece"), ("true", True), ("long", "x" * 100000)):
    tokenizer(f"T02-{name}", model(type=kind), "type")

# ---- T03, T04: the vocabulary ----

for name, value in (("minus-2^31", -(1 << 31)), ("2^22", 1 << 22), ("2^32", 1 << 32), ("exact-fraction", 7.0), ("list", [7]), ("true", True), ("object", {})):
    tokenizer(f"T03-{name}", in_vocab("zz", value), "vocab", "zz")
tokenizer("T03-one-piece", model(vocab={"a": 0}, merges=[]), "vocab")
tokenizer("T03-vocab-string", model(vocab="a"), "vocab")
tokenizer("T03-vocab-null", model(vocab=None), "vocab")


def gap(folder_data):
    """An id left out: the added tokens then are not where Hugging Face would number them."""
    folder_data["model"]["vocab"]["zz"] = 400


tokenizer("T03-gap", gap, "added")
for at in (0, 5, 9, 100, 200, 255, 256, 280, 294, 295):
    tokenizer(f"T04-id-{at}", in_vocab("zz", at), "vocab", str(at))
text_is("T04-piece-twice", lambda text: text.replace('"vocab": {', '"vocab": {"a": 1, "a": 2, ', 1), "line|duplicate")

# ---- T05 to T09: merges ----

for at in (0, 1, 20, 39):
    tokenizer(f"T05-left-{at}", merge(["\u0120nope", "a"], at), f"merges[{at}]")
    tokenizer(f"T05-right-{at}", merge(["a", "\u0120nope"], at), f"merges[{at}]")
    tokenizer(f"T05-string-{at}", merge("nope a", at), f"merges[{at}]")
for at, (left, right) in enumerate((("z", "q"), ("q", "z"), ("x", "x"), ("0", "0"), ("\u0120", "q"), ("!", "z"), ("A", "Z"), ("9", "a"), ("~", "~"), ("\u00ff", "\u00ff"))):
    tokenizer(f"T06-{at}", merge([left, right], at), f"merges[{at}]")
for name, value in (("none", []), ("none-string", ""), ("space", " "), ("spaces", "   "), ("leading", " a"), ("trailing", "a "), ("two-spaces", "a  b"), ("tab", "a\tb"), ("four", ["a", "b", "c", "d"]),
                    ("object", {"a": "b"}), ("nested", [["a"], ["b"]]), ("nulls", [None, None]), ("true", True)):
    tokenizer(f"T07-{name}", merge(value), "merges[3]")
MILLION = 1000000


def many(line):
    """More merges than any tokenizer has, written without making them a list first."""
    return lambda text: text.replace('"merges": [', '"merges": [' + (line + ",") * (3 * MILLION), 1)


for name, line in (("strings", '"a b"'), ("pairs", '["a","b"]'), ("numbers", "0"), ("empty", "[]"), ("same", '"\u0120 t"'), ("nulls", "null"), ("objects", "{}"), ("nested", "[[]]"),
                   ("trues", "true"), ("empty-strings", '""')):
    text_is(f"T08-{name}", many(line), "values")
# A merge of a piece with itself, or in a circle, makes a piece that must be in the vocabulary: it is not.
for at, piece in enumerate(("a", "e", "\u0120t", "he", "in", "\u0120h", "1", ".", "er", "z", "\u0120a")):
    tokenizer(f"T09-itself-{at}", lambda data, piece=piece, at=at: data["model"]["merges"].insert(at, [piece, piece]), "merges[")
tokenizer("T09-empty-left", merge(["", "a"], 0), "merges[0]")

# ---- T10, T11: pieces ----

for name, piece in (("mebibyte", "x" * (1 << 20)), ("65536", "y" * 65536), ("empty", ""), ("space", "a b"), ("newline", "\n"), ("nul", "\0"), ("cjk", "\u6f22"), ("emoji", "\U0001f600"), ("delete", "\x7f"),
                    ("no-break-space", "\u00a0"), ("soft-hyphen", "\u00ad"), ("beyond-the-alphabet", "\u0144")):
    def put(data, piece=piece):
        data["model"]["vocab"][piece] = FIRST_ADDED
        for token in data["added_tokens"]:
            token["id"] += 1
    tokenizer(f"T10-{name}", put, "vocab|line")


def without(piece):
    """A byte without its piece, whose id another piece takes."""
    def change(data):
        vocab = data["model"]["vocab"]
        vocab["zqzq"] = vocab.pop(piece)
        data["model"]["merges"] = []
    return change


for at, piece in enumerate(("a", "z", "!", "~", "\u0120", "\u010a", "\u0100", "\u00ff", "\u00a1", "0", "\u0143")):
    tokenizer(f"T11-{at}", without(piece), "byte 0x")

# ---- T12: added tokens ----

for name, change in (("id-list", added(id=[297])), ("id-fraction", added(id=297.0)), ("id-2^63", added(id=(1 << 63) - 1)), ("content-null", added(content=None)), ("content-missing", lambda data: data["added_tokens"][1].pop("content")),
                     ("id-missing", lambda data: data["added_tokens"][1].pop("id")), ("content-long", added(content="x" * 1025)), ("content-twice", added(content="<|endoftext|>")), ("special-string", added(special="yes")),
                     ("lstrip-number", added(lstrip=1)), ("entry-null", lambda data: data["added_tokens"].__setitem__(1, None)), ("entry-list", lambda data: data["added_tokens"].__setitem__(1, [])),
                     ("gap", added(id=303)), ("content-nul", added(content="a\0b"))):
    tokenizer(f"T12-{name}", change, "added|line")


def more_added(contents):
    contents = list(contents)

    def change(data):
        for i, content in enumerate(contents):
            data["added_tokens"].append({"id": FIRST_ADDED + 7 + i, "content": content, "special": False, "normalized": False})
    return change


tokenizer("T12-100000-beyond-the-model", more_added(f"<{i}>" for i in range(100000)), "vocab_size", only=("inspect", "run"))
tokenizer("T12-same-when-normalized", lambda data: data["added_tokens"].extend(
    {"id": FIRST_ADDED + 7 + i, "content": c, "normalized": True, "special": False} for i, c in enumerate(("\u00e9", "e\u0301"))), "added")
tokenizer("T12-prefixes", more_added("<" * n for n in range(2, 18)), sound=True)
tokenizer("T12-one-in-another", more_added(["<t", "<th", "th>", "<th>", "h>"]), sound=True)
tokenizer("T12-none", lambda data: data.update(added_tokens=[]), sound=True, only=("inspect",))

# ---- T13 to T16: the steps around, patterns, and strings ----

for kind in ("Whitespace", "Metaspace", "Punctuation", "Digits", "BertPreTokenizer", "byte_level", "", 5):
    tokenizer(f"T13-pre_tokenizer-{kind}", lambda data, kind=kind: data.update(pre_tokenizer={"type": kind}), "pre_tokenizer")
for kind in ("NFKC", "NFD", "Lowercase", "Replace", "Prepend", "Sequence", 5):
    tokenizer(f"T13-normalizer-{kind}", lambda data, kind=kind: data.update(normalizer={"type": kind}), "normalizer")
for kind in ("WordPiece", "Metaspace", "Sequence", "", None):
    tokenizer(f"T13-decoder-{kind}", lambda data, kind=kind: data.update(decoder={"type": kind}), "decoder")
tokenizer("T13-no-pre_tokenizer", lambda data: data.pop("pre_tokenizer"), "pre_tokenizer")
tokenizer("T13-three-steps", lambda data: data["pre_tokenizer"]["pretokenizers"].insert(0, {"type": "Digits"}), "pre_tokenizer")
tokenizer("T13-removed", lambda data: data["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed"), "pre_tokenizer")


def catastrophe(name, pattern):
    """It loads; a text that would take forever is refused soon."""
    add(f"T14-catastrophe-{name}", lambda folder: edit_json(folder / TOKENIZER, split_pattern({"Regex": pattern})), "pattern", only=("tokenize-as",))


for name, pattern in (("a+", "(a+)+$"), ("a-or-a", "(a|a)*$"), ("nested", "((a+)+)+[bc]$"), ("words", "(\\w+\\s?)*!"), ("a-a", "(a|aa)+$"), ("back", "(a*)*\\1b")):
    catastrophe(name, pattern)
for name, pattern in (("unbalanced", "(a"), ("unbalanced-close", "a)"), ("deep", "(" * 1000 + ")" * 1000), ("mebibyte", "a" * (1 << 20)), ("byte", "\\C"), ("repeat-of-repeats", "((a{1000}){1000}){1000}"),
                      ("recursion", "(?R)"), ("class", "[[:nope:]]"), ("name", "(?P<"), ("reversed", "[z-a]"), ("conditional", "(?(1")):
    tokenizer(f"T14-{name}", split_pattern({"Regex": pattern}), "pre_tokenizer|pattern", only=("tokenize",))
for name, post in (("template", {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}], "special_tokens": {}}),
                   ("template-missing-id", {"type": "TemplateProcessing", "single": [], "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [99999], "tokens": ["[CLS]"]}}}),
                   ("bert", {"type": "BertProcessing", "sep": ["[SEP]", 99999], "cls": ["[CLS]", 99998]}), ("roberta", {"type": "RobertaProcessing", "sep": ["</s>", 1 << 40], "cls": ["<s>", -1]}),
                   ("sequence", {"type": "Sequence", "processors": [{"type": "TemplateProcessing"}]}), ("number", 5), ("string", "ByteLevel"), ("list", ["ByteLevel"]), ("object", {}), ("kind-number", {"type": 5}),
                   ("false", False)):
    tokenizer(f"T15-{name}", lambda data, post=post: data.update(post_processor=post), "post_processor")
for name, text in (("high", "\\ud800"), ("low", "\\udc00"), ("reversed", "\\udc00\\ud800"), ("high-twice", "\\ud800\\ud800"), ("high-and-letter", "\\ud83dA"), ("short", "\\u12"), ("escape", "\\x41")):
    text_is(f"T16-{name}", lambda t, text=text: t.replace('"<think>"', f'"{text}"'), "line")
for name, data in (("overlong", b"\xc0\x80"), ("surrogate", b"\xed\xa0\x80"), ("latin1", b"\xe9"), ("cut", b"\xf0\x9f\x98"), ("beyond", b"\xf5\x80\x80\x80")):
    text_is(f"T16-raw-{name}", lambda t, data=data: t.encode().replace(b'"<think>"', b'"' + data + b'"'), "line")

# ---- T17: a tokenizer of another model ----

for name, value in (("one-less-than-ids", 302), ("100", 100), ("1", 1), ("260", 260), ("296", 296)):
    def smaller(folder, value=value):
        edit_json(folder / "config.json", lambda data: data.update(vocab_size=value))
    add(f"T17-vocab_size-{name}", smaller, "embed_tokens|vocab_size|tokenizer")
for n in (18, 19, 50, 1000, 5000):
    tokenizer(f"T17-{n}-more-added", more_added(f"<{i}>" for i in range(n)), "vocab_size (320)", only=("inspect", "run"))

# ---- T18: chat templates and what stands beside them ----


def config(name, edit, *names, **more):
    add(name, lambda folder: edit_json(folder / CONFIG, edit), CONFIG, *names, **more)


def template(name, source, *names, only=("template",), **more):
    config(f"T18-{name}", lambda data: data.update(chat_template=source), *(names or ("chat_template",)), only=only, **more)


for name, source in (("open-tag", "{% if x %}"), ("open-expression", "{{ x"), ("unknown-tag", "{% nope %}"), ("unknown-filter", "{{ x | nope }}"), ("end-alone", "{% endfor %}"), ("operator", "{{ 1 + }}"),
                     ("string", "{{ 'x }}"), ("deep", "{{ " + "(" * 100000 + "1" + ")" * 100000 + " }}"), ("10-MB", "x" * 10000000), ("number", 5), ("list-of-numbers", [5]), ("include", "{% include '/etc/passwd' %}"),
                     ("default-is-number", [{"name": "default", "template": 5}])):
    template(name, source, only=("inspect", "template"))
for name, source in (("self-recursive", "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}"), ("mutual", "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}"),
                     ("range", "{% for i in range(10**12) %}x{% endfor %}"), ("class", "{{ ''.__class__.__mro__ }}"), ("subclasses", "{{ ().__class__.__base__.__subclasses__() }}"), ("globals", "{{ self.__init__.__globals__ }}"),
                     ("doubling", "{% set ns = namespace(s='x') %}{% for a in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}"), ("repeat", "{{ 'x' * 10**10 }}")):
    template(name, source)
template("list", [{"name": "default", "template": "{{ messages[0].content }}"}], sound=True)
template("named-otherwise", [{"name": "rag", "template": "x"}], "chat_template")
for name, tokens in (("decoder-list", []), ("decoder-key", {"x": {"content": "a"}}), ("decoder-negative", {"-1": {"content": "a"}}), ("decoder-2^63", {str(1 << 63): {"content": "a"}}), ("decoder-entry", {"303": 5}),
                     ("decoder-content", {"303": {"content": 5}}), ("decoder-disagrees", {"5": {"content": "<think>"}}), ("decoder-gap", {"310": {"content": "<new>"}}), ("decoder-special", {"303": {"content": "a", "special": 5}})):
    config(f"T18-{name}", lambda data, tokens=tokens: data.update(added_tokens_decoder=tokens), "added", only=("inspect", "tokenize"))
for name, text in (("cut", '{"chat_template": "'), ("array", "[]"), ("empty", ""), ("deep", "[" * 100000), ("twice", '{"a": 1, "a": 2}'), ("latin1", b'{"a": "\xe9"}')):
    add(f"T18-config-{name}", lambda folder, text=text: write(folder / CONFIG, text), CONFIG, only=("inspect", "template"))
add("T18-jinja-latin1", lambda folder: write(folder / "chat_template.jinja", b"\xe9"), "chat_template.jinja", base=SHARDED, only=("inspect", "template"))
add("T18-jinja-folder", lambda folder: ((folder / "chat_template.jinja").unlink(), (folder / "chat_template.jinja").mkdir()), "chat_template.jinja", base=SHARDED, only=("inspect", "template"))
