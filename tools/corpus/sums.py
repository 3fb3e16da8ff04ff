"""Sums: which pairs of operands are held out, and the phrasings in which a sum is asked.

A held-out pair (in either order) never occurs in any training text: every generator that needs
two operands draws them with training_pair(), and no other text brings two such numbers together.
"""

import random

from . import words

HELD_OUT_SEED = 20
HELD_OUT_SHARE = 0.15
SMALL = 20       # operands of the sums that count: 0..19
WIDE = 100       # training goes on to two full digits, so that adding generalises

_ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
         "fifteen sixteen seventeen eighteen nineteen").split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def number_word(n):
    if n < 20:
        return _ONES[n]
    tens = _TENS[n // 10 - 2]
    return tens if n % 10 == 0 else f"{tens}-{_ONES[n % 10]}"


def _draw_held_out():
    rng = random.Random(HELD_OUT_SEED)
    pairs = [(a, b) for a in range(SMALL) for b in range(a, SMALL)]
    low = [p for p in pairs if sum(p) < SMALL]
    high = [p for p in pairs if sum(p) >= SMALL]
    drawn = []
    for group in (low, high):
        drawn += rng.sample(group, round(HELD_OUT_SHARE * len(group)))
    return tuple(sorted(drawn))


HELD_OUT = _draw_held_out()
_HELD_OUT_SET = frozenset(HELD_OUT)


def is_held_out(a, b):
    return (min(a, b), max(a, b)) in _HELD_OUT_SET


def training_pair(rng):
    """Two operands that are not held out, in random order; half of them below 20."""
    limit = SMALL if rng.random() < 0.5 else WIDE
    while True:
        a, b = rng.randrange(limit), rng.randrange(limit)
        if not is_held_out(a, b):
            return a, b


PHRASINGS = (
    "What is {a} plus {b}?",
    "What is {a} + {b}?",
    "{a} + {b} = ?",
    "{a} + {b}",
    "Add {a} and {b}.",
    "How much is {a} and {b}?",
    "What is the sum of {a} and {b}?",
    "Calculate {a} + {b}.",
    "What do you get if you add {a} to {b}?",
    "What is {A} plus {B}?",
    "{a}+{b}",
    "What is {a}+{b}?",
    "{a}+{b}=",
    "What's {a} + {b}?",
)


def statement(a, b):
    return f"{a} + {b} = {a + b}."


def ask(a, b, phrasing):
    """(question, answer) of one sum."""
    question = phrasing.format(a=a, b=b, A=number_word(a), B=number_word(b))
    return question, statement(a, b)


def word_problem(a, b, name, things):
    question = f"{name} has {a} {things} and gets {b} more. How many {things} does {name} have now?"
    return question, f"{a} + {b} = {a + b}, so {name} has {a + b} {things}."


def training_turn(rng):
    a, b = training_pair(rng)
    if rng.random() < 0.12:
        name = rng.choice(words.GIRLS + words.BOYS)
        return word_problem(a, b, name, rng.choice(words.COUNTED))
    return ask(a, b, rng.choice(PHRASINGS))


def held_out_questions():
    """Every held-out pair, both orders, every phrasing: [(a, b, question, answer)]."""
    rng = random.Random(HELD_OUT_SEED)
    asked = []
    for low, high in HELD_OUT:
        for a, b in dict.fromkeys(((low, high), (high, low))):
            for phrasing in PHRASINGS:
                asked.append((a, b, *ask(a, b, phrasing)))
            name = rng.choice(words.GIRLS + words.BOYS)
            asked.append((a, b, *word_problem(a, b, name, rng.choice(words.COUNTED))))
    return asked
