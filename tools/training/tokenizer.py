"""The byte-level BPE tokenizer of both models, in the exact JSON form of Qwen2.5's tokenizer.json."""

import json
import re

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from corpus import chat, mix

N_VOCAB = 4096
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")           # never in what a user writes
PLAIN_ADDED = ("<tool_call>", "</tool_call>", "<think>", "</think>")  # whole tokens, yet ordinary text
N_BASE = N_VOCAB - len(SPECIAL) - len(PLAIN_ADDED)

PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def added_tokens():
    """{id: (text, is_special)}: they follow the base vocabulary, as in Qwen's."""
    flags = [(text, True) for text in SPECIAL] + [(text, False) for text in PLAIN_ADDED]
    return {N_BASE + i: flag for i, flag in enumerate(flags)}


def _train_base(n_documents, seed):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    trainer = trainers.BpeTrainer(vocab_size=N_BASE, min_frequency=2, special_tokens=[], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    added = "|".join(re.escape(text) for text in SPECIAL + PLAIN_ADDED)
    pieces = (piece for text in mix.documents(seed, n_documents) for piece in re.split(added, text))
    tokenizer.train_from_iterator(pieces, trainer)
    return json.loads(tokenizer.to_str())["model"]


def _byte_level():
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}


def make(n_documents, seed):
    """tokenizer.json as a dict."""
    base = _train_base(n_documents, seed)
    if len(base["vocab"]) != N_BASE:
        raise SystemExit(f"tokenizer: {len(base['vocab'])} entries, expected {N_BASE}: use more documents")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in base["merges"]]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": special}
                         for i, (text, special) in added_tokens().items()],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
            _byte_level()]},
        "post_processor": _byte_level(),
        "decoder": _byte_level(),
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False,
                  "vocab": dict(sorted(base["vocab"].items(), key=lambda item: item[1])), "merges": merges}}


def config(context):
    """tokenizer_config.json as a dict, chat template included."""
    return {
        "add_bos_token": False, "add_prefix_space": False,
        "added_tokens_decoder": {
            str(i): {"content": text, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                     "special": special} for i, (text, special) in added_tokens().items()},
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "bos_token": None, "chat_template": chat.TEMPLATE, "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>", "errors": "replace", "model_max_length": context, "pad_token": "<|endoftext|>",
        "split_special_tokens": False, "tokenizer_class": "Qwen2Tokenizer", "unk_token": None}


def token_id(text):
    return next(i for i, (content, _) in added_tokens().items() if content == text)


def load(as_dict):
    return Tokenizer.from_str(json.dumps(as_dict))
