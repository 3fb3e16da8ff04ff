"""Small tokenizers trained on text made from a seed, and the ids that Hugging Face tokenizers gives.

tokenizers/<name>/ are complete enough for `quern tokenize`; tokenizer/<name>.jsonl holds {text, ids} for user text (added
tokens marked special are plain text) and {text, ids, special: true} for template text (all added tokens are matched).
`strings` has Qwen2's pattern and merges written "a b"; `pairs` a newer pattern (marks belong to words, digits in threes),
merges written ["a", "b"], and added tokens of which one begins another.
"""

import json
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
NEWER = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}{1,3}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
CHATML = [("<|endoftext|>", True), ("<|im_start|>", True), ("<|im_end|>", True)]
PLAIN = [("<tool_call>", False), ("</tool_call>", False), ("<think>", False), ("</think>", False)]
MORE = [("<|fim_prefix|>", False), ("<|fim_prefix|>x", False), ("<|pad|>", True), ("<|pad|><|pad|>", True), ("e!", False)]
TOKENIZERS = {
    "tiny": dict(pattern=QWEN2, n_vocab=296, added=CHATML + PLAIN, merges="pairs"),
    "strings": dict(pattern=QWEN2, n_vocab=1200, added=CHATML + PLAIN, merges="strings"),
    "pairs": dict(pattern=NEWER, n_vocab=900, added=CHATML + PLAIN + MORE, merges="pairs"),
}

SCRIPTS = {
    "latin": "etaoinshrdlucmfwypvbgkjqxz", "german": "eäöüßnistrahdulcgm", "polish": "aeiozżźćńółęąśwyrnc",
    "viet": "ắằẵếềộớựđơưăâ", "greek": "αεηιονρστυκλμπάέίόύς", "cyrillic": "аеиостнрвлкмдпуяыьгзбчйхжшюц",
    "arabic": "البتحدرسشعفقكلمنهوي", "hebrew": "אבגדהוזחטיכלמנסעפצקרשת", "hindi": "कखगचजटडणतदनपबमयरलवशसह",
    "thai": "กขคงจชซญดตถทนบปผพมยรลวส", "kana": "あいうえおかきくけこさしすせそアイウエオカキク", "han": "的一是不了人我在有他这中大来上国个到说们为子和你地出",
    "hangul": "가나다라마바사아자차카타파하고노도로모보소", "georgian": "აბგდევზთიკლმნოპჟრსტუ",
}
MARKS = {"hindi": "ािीुूेैोौ्ं", "thai": "่้ิีึืุู", "hebrew": "ְִֵֶַָֹ", "arabic": "ًٌٍَُِّْ"}
SYMBOLS = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»…–—“”‘’€£¥§©®°±²³½×÷→⇒∀∈∑√∞≤≥")
EMOJI = ["😀", "🎉", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "❤️", "☃", "🧪"]
SPACES = [" ", "  ", "    ", "\t", "\n", "\n\n", "\r\n", " \n", "\u00a0", "\u3000", "\u2003", "\u200b", "\u2028", "\v", "\f", "\x85"]
# Each pair or more that NFC joins, splits, orders or leaves alone.
NORMAL = ["e\u0301", "a\u0308\u0323", "a\u0323\u0308", "\u212b", "\u2126", "\u1112\u1161\u11ab", "\uac00\u11a8", "\ufb01", "\u0958",
          "\u0344", "\u0340", "q\u0307\u0323", "\u1e9b\u0323", "\u2adc", "\U0001d15e", "\u0f73", "\u0627\u0653", "\uf900", "\u1100\u1161"]
ODD = ["\x00", "\x01\x1b[31m", "\x7f\x80\x9f", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "\ud7ff", "\ue000", "\U000e0041"]


def word(rng):
    script = rng.choice([*SCRIPTS, *["latin"] * 12])
    text = "".join(rng.choice(SCRIPTS[script]) for _ in range(rng.choice([1, 2, 3, 3, 4, 5, 6, 9])))
    if script in MARKS:
        text = "".join(c + (rng.choice(MARKS[script]) if rng.random() < 0.4 else "") for c in text)
    return text.upper() if rng.random() < 0.08 else text.capitalize() if rng.random() < 0.15 else text


def code(rng):
    name = ["".join(rng.choice("abcdefghij_") for _ in range(rng.randrange(1, 9))) for _ in range(4)]
    return rng.choice([
        "def {0}({1}, *{2}, **{3}):\n    return {1}[{2}] + 1\n", "for (int {0} = 0; {0} < {1}; {0}++) {{\n\t{2}({0});\n}}\n",
        '{{"{0}": [1, 2.5, null], "{1}": {{"{2}": "{3}"}}}}', "SELECT {0}, COUNT(*) FROM {1} WHERE {2} >= 19.99;",
        "https://{0}.example/{1}?{2}={3}&x=%20#top", "{0}@{1}.org, /usr/lib/{2}/{3}.so.1", "#include <{0}.h> // {1}\r\n",
    ]).format(*name)


def number(rng):
    return rng.choice(["{}", "{}.{}", "-{}e-{}", "0x{}F", "{},{}", "½{}²Ⅷ", "٣{}९", "{}:{}", "v{}.{}.0"]).format(
        rng.randrange(10 ** rng.randrange(1, 9)), rng.randrange(1000))


def piece(rng):
    kind = rng.random()
    if kind < 0.62:
        return word(rng) + rng.choice(["", "", "", "'s", "'LL", "'re", "n't", ",", ".", "!?", ":"])
    if kind < 0.72:
        return number(rng)
    if kind < 0.80:
        return code(rng)
    if kind < 0.88:
        return "".join(rng.choice(SYMBOLS) for _ in range(rng.randrange(1, 6)))
    return rng.choice([rng.choice(EMOJI), rng.choice(NORMAL), rng.choice(SPACES) * rng.randrange(1, 5), rng.choice(ODD)])


def passage(rng, n_pieces):
    return "".join(piece(rng) + (" " if rng.random() < 0.8 else rng.choice(["", *SPACES])) for _ in range(n_pieces))


def train(spec, seed):
    rng = random.Random(seed)
    words = [word(rng) for _ in range(700)]
    lines = [" ".join(words[min(int(rng.expovariate(1 / 120)), 699)] for _ in range(30)) for _ in range(400)]
    lines += [passage(rng, 40) for _ in range(200)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(spec["pattern"]), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=spec["n_vocab"], show_progress=False, special_tokens=[],
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(lines, trainer)
    for text, special in spec["added"]:
        add = tokenizer.add_special_tokens if special else tokenizer.add_tokens
        add([AddedToken(text, special=special, normalized=False)])
    return tokenizer


def saved(tokenizer, merges):
    """tokenizer.json, with merges in one of the two shapes that exist."""
    data = json.loads(tokenizer.to_str())
    if merges == "strings":
        data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


def user_texts(rng):
    yield from ["", " ", "\n", "a", "  a", "a  ", "a\n\n\nb", "\r\n\r\n", " \n \n x", "I'm we'LL they'd o'clock 'tis",
                "don''t 's", "1234567", "a1b22c333", "日本語テキスト", "한국어 문장", "naïve café", "<|im_start|>user\nhi<|im_end|>",
                "<|endoftext|>", "<think>\n\n</think>\n\n", "a<think>b", "<thin", "<|im_st<tool_call>art|>", "< |im_end|>",
                "<|fim_prefix|>xy<|fim_prefix|>", "<|pad|><|pad|><|pad|>", "caffe\u0301! cafe\u0301!", "e! he!! e\u0301! é!"]
    yield from NORMAL + ODD + SPACES + EMOJI
    for unit in ["a", " ", "\n", "\t", "ab", "!", "1", "é", "日", "😀", "a ", " \n", "\u0301", "x\u0301", "\r\n", "<think>", "_"]:
        yield unit * rng.choice([63, 64, 65, 200, 257])
    for n_pieces in [1] * 20 + [2] * 20 + [4] * 25 + [12] * 20 + [40] * 6:
        yield passage(rng, n_pieces)


def template_texts(rng, added):
    names = [text for text, _ in added]
    parts = names + names + ["user", "\n", " ", "<", "|", ">", "<|", "im_start|>", "é", "x", "e!"]
    for text in names:
        yield text
        yield " " + text + " "
    for _ in range(40):
        yield "".join(rng.choice(parts) for _ in range(rng.randrange(2, 9)))
    for _ in range(8):
        yield f"<|im_start|>system\n{passage(rng, 3)}<|im_end|>\n<|im_start|>user\n{passage(rng, 5)}<|im_end|>\n"


def encode(tokenizer, text, special):
    tokenizer.encode_special_tokens = not special
    return tokenizer.encode(text, add_special_tokens=False).ids


def write(root, seed):
    """Writes all tokenizers and their cases; returns the tokenizer.json that the tiny checkpoints share."""
    texts = {}
    for name, spec in TOKENIZERS.items():
        texts[name] = saved(train(spec, seed), spec["merges"])
        if name == "tiny":
            continue
        folder = root / "tokenizers" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(texts[name], encoding="utf-8")
        side = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(side, indent=1) + "\n")
        write_cases(root / "tokenizer" / f"{name}.jsonl", Tokenizer.from_str(texts[name]), spec, random.Random(seed + 1))
    return texts["tiny"]


def write_cases(path, tokenizer, spec, rng):
    lines = [json.dumps({"text": t, "ids": encode(tokenizer, t, False)}) for t in user_texts(rng)]
    lines += [json.dumps({"text": t, "ids": encode(tokenizer, t, True), "special": True})
              for t in template_texts(rng, spec["added"])]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    print(f"{path}: {len(lines)} cases")
