"""Documents to packed tokens: one long array, the places where documents begin, and which tokens are learned.

Learned are the assistant's words with the <|im_end|> after them, and all of a plain text with its <|endoftext|>;
what a user or a system line says is only read.
"""

import multiprocessing
import os

import numpy as np

from corpus import mix

from . import tokenizer as tok

_SHARD_DOCUMENTS = 10_000
_shared = {}


def _learned(ids, id_start, id_end, id_role):
    """Mask of one document's tokens."""
    if ids[0] != id_start:
        return np.ones(len(ids), dtype=bool)
    begins = np.flatnonzero((ids[:-1] == id_start) & (ids[1:] == id_role)) + 3
    ends = np.flatnonzero(ids == id_end)
    mask = np.zeros(len(ids), dtype=bool)
    for begin in begins:
        mask[begin:ends[np.searchsorted(ends, begin)] + 1] = True
    return mask


def _shard(seed):
    tokenizer = _shared["tokenizer"]
    id_start, id_end, id_text = (tok.token_id(t) for t in ("<|im_start|>", "<|im_end|>", "<|endoftext|>"))
    id_role = tokenizer.token_to_id("assistant")
    texts = mix.documents(seed, _SHARD_DOCUMENTS)
    rows = [np.array(e.ids + [id_text], dtype=np.uint16) for e in tokenizer.encode_batch(texts)]
    masks = [_learned(row, id_start, id_end, id_role) for row in rows]
    return np.concatenate(rows), np.concatenate(masks), np.array([len(row) for row in rows])


class Packed:
    """The training tokens of all shards."""

    def __init__(self, tokenizer_dict, n_documents, seed, n_workers=None):
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        _shared["tokenizer"] = tok.load(tokenizer_dict)
        seeds = [seed * 100_000 + i for i in range(-(-n_documents // _SHARD_DOCUMENTS))]
        with multiprocessing.get_context("fork").Pool(n_workers or os.cpu_count()) as pool:
            shards = pool.map(_shard, seeds, chunksize=1)
        self.ids = np.concatenate([shard[0] for shard in shards])
        self.learned = np.concatenate([shard[1] for shard in shards])
        lengths = np.concatenate([shard[2] for shard in shards])
        self.starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])

    def batch(self, rng, n_rows, length):
        """n_rows windows of `length` tokens, each beginning where a document begins: inputs, targets, mask."""
        usable = self.starts[: np.searchsorted(self.starts, len(self.ids) - length - 1)]
        at = rng.choice(usable, n_rows)[:, None] + np.arange(length + 1)[None, :]
        ids = self.ids[at].astype(np.int64)
        return ids[:, :-1], ids[:, 1:], self.learned[at[:, 1:]]
