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

CLASSES = {}


def class_of(name):
    """The classes that a variant is of: one, or none where it is of no class of the table but damaged all the same."""
    prefix = re.search(r"(?:^|-)([STC]\d\d)-", name)
    if prefix:
        return [prefix[1]]
    return [c for c, row in CLASSES.items() if any(fnmatch.fnmatchcase(name, p) for p in row[2:])]
