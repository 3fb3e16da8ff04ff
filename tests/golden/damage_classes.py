"""The classes of malformed safetensors, tokenizer.json and config.json, and how many variants each has.

A variant belongs to the class that its name bears ("S01-…"), or whose patterns it matches. The counts are exact, so that
none is dropped or added silently: test_damage.py compares them.
"""

import fnmatch
import re

import damage
import damage_config  # noqa: F401 (each adds its variants to damage.ALL)
import damage_safetensors  # noqa: F401
import damage_tokenizer  # noqa: F401

CLASSES = {
    # class: (what, variants, patterns …)
    "S01": ("empty", 12, "safetensors-file-empty", "model.safetensors.index-empty"),
    "S02": ("1 to 7 bytes", 15, "safetensors-file-7-bytes"),
    "S03": ("header length 0", 13, "safetensors-length-[01]", "safetensors-file-8-bytes"),
    "S04": ("header longer than the file", 15, "safetensors-length-beyond-the-file", "safetensors-all-data-gone", "safetensors-file-text"),
    "S05": ("header length 2^63", 11, "safetensors-length-2^63"),
    "S06": ("header length 2^64-1", 12, "safetensors-length-2^64-*"),
    "S07": ("header longer than 100 MB", 12, "safetensors-length-200-MB", "safetensors-length-a-terabyte"),
    "S08": ("header not UTF-8", 14, "safetensors-header-not-utf8"),
    "S09": ("header does not begin with {", 13, "safetensors-header-bom", "safetensors-header-leading-space", "safetensors-header-array"),
    "S10": ("header cut", 14, "safetensors-header-cut"),
    "S11": ("bytes behind the header's JSON", 12, "safetensors-header-trailing-*"),
    "S12": ("tensor twice", 15, "safetensors-header-tensor-twice"),
    "S13": ("field twice", 13),
    "S14": ("nested deeply", 17, "safetensors-header-deep*"),
    "S15": ("unknown or unsupported type", 12, "tensor-dtype-*", "tensor-norm-dtype-*"),
    "S16": ("shape overflows", 13, "tensor-shape-overflow*", "tensor-shape-2^63"),
    "S17": ("dimension is no count", 17, "tensor-shape-negative", "tensor-shape-fraction", "tensor-shape-string", "tensor-shape-number", "tensor-shape-null", "tensor-shape-1e30"),
    "S18": ("end before begin", 11, "tensor-span-backwards"),
    "S19": ("hole", 13, "safetensors-hole"),
    "S20": ("overlap", 13, "safetensors-overlap*", "safetensors-100000-tensors-on-one-span"),
    "S21": ("span is not the shape's", 15, "tensor-span-short", "tensor-span-surplus", "tensor-span-empty"),
    "S22": ("data ends early or late", 12, "safetensors-last-byte-gone", "safetensors-half-gone", "safetensors-one-byte-more", "safetensors-a-page-more"),
    "S23": ("metadata that is none", 13, "safetensors-header-metadata-*"),
    "S24": ("no or empty dimensions", 16, "tensor-shape-zero", "tensor-shape-none"),
    "S25": ("tensor names", 12),
    "S26": ("index and shards", 40, "index-*", "model.safetensors.index-[!ei]*", "shard-*"),
    "S27": ("no regular file", 22, "weights-are-a-*", "model.safetensors.index-is-a-folder"),
    "T01": ("no JSON", 21, "tokenizer-cut", "tokenizer-empty", "tokenizer-array", "tokenizer-number", "tokenizer-garbage", "tokenizer-deep*", "tokenizer-trailing"),
    "T02": ("unknown model type", 13, "tokenizer-type-*"),
    "T03": ("vocabulary and ids", 21, "tokenizer-vocab-*", "tokenizer-id-[!t]*"),
    "T04": ("two pieces with one id", 12, "tokenizer-id-taken"),
    "T05": ("merge of unknown pieces", 15, "tokenizer-merge-unknown-left", "tokenizer-merge-unknown-right", "tokenizer-merge-string-unknown"),
    "T06": ("merge makes an unknown piece", 11, "tokenizer-merge-unknown-result"),
    "T07": ("merge is no pair", 21, "tokenizer-merge-one-part", "tokenizer-merge-three-parts", "tokenizer-merge-number*", "tokenizer-merge-empty-part", "tokenizer-merge-string-*part*", "tokenizer-merge-null"),
    "T08": ("millions of merges", 10),
    "T09": ("merge with itself", 12),
    "T10": ("pieces out of bounds or alphabet", 12),
    "T11": ("byte without a piece", 11),
    "T12": ("added tokens", 29, "tokenizer-added-*"),
    "T13": ("unknown steps", 25, "tokenizer-pre_tokenizer-unknown", "tokenizer-normalizer-unknown"),
    "T14": ("patterns", 26, "tokenizer-pattern-*"),
    "T15": ("post-processors", 11),
    "T16": ("broken characters", 13, "tokenizer-latin1"),
    "T17": ("not the model's size", 11, "config-vocab_size-other"),
    "T18": ("tokenizer_config.json and chat templates", 40),
    "C01": ("no JSON object", 28, "config-cut", "config-empty", "config-array", "config-number", "config-garbage", "config-deep*", "config-latin1", "config-trailing", "config-is-a-folder", "config-missing", "config-nan"),
    "C02": ("unknown family", 17, "config-model_type-*"),
    "C03": ("hidden_size", 17, "config-hidden_size-*"),
    "C04": ("num_hidden_layers", 18, "config-num_hidden_layers-*"),
    "C05": ("heads", 25, "config-num_attention_heads-*", "config-num_key_value_heads-*", "config-heads-*", "config-kv-heads-*"),
    "C06": ("head_dim", 15, "config-head_dim-*"),
    "C07": ("vocab_size", 16, "config-vocab_size-[!o]*"),
    "C08": ("max_position_embeddings", 15, "config-max_position_embeddings-*"),
    "C09": ("RoPE", 67, "config-rope*", "config-linear-*", "config-yarn-*"),
    "C10": ("rms_norm_eps", 16, "config-rms_norm_eps-*"),
    "C11": ("tied embeddings", 14, "config-tied-*"),
    "C12": ("experts", 12),
    "C13": ("torch_dtype", 11),
    "C14": ("quantization_config", 12),
    "C15": ("key twice", 11),
    "C16": ("generation_config.json", 33, "generation_config-cut"),
    "C17": ("text where a number is due", 19),
    "C18": ("names of code: ignored, never run", 11),
}
IN_C = "tests/unit/test_safetensors.c"  # S28 needs a file that changes between two calls: its variants are rows there


def class_of(name):
    """The classes that a variant is of: one, or none where it is of no class of the table but damaged all the same."""
    prefix = re.search(r"(?:^|-)([STC]\d\d)-", name)
    if prefix:
        return [prefix[1]]
    return [c for c, row in CLASSES.items() if any(fnmatch.fnmatchcase(name, p) for p in row[2:])]
