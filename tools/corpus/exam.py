"""What the models are asked, and how an answer is marked: shared by training and tools/eval_models.py.

A Question knows nothing of how it is asked: over HTTP or through PyTorch.
"""

import random
import re
from collections import namedtuple

from . import chat, facts, stories, sums, tasks, words
from .words import article

SEED = 99
STORY_TOKENS = 200
ANSWER_TOKENS = 160     # counting to thirty takes about a hundred

# seed None is greedy; a story's `expected` is None, a raw prompt has messages None.
Question = namedtuple("Question", "kind group messages prompt tools expected max_tokens seed")


def _chat(kind, group, text, expected, tools=None):
    return Question(kind, group, [chat.user(text)], None, tools, expected, ANSWER_TOKENS, None)


def sum_questions(every=1):
    """Held-out pairs in both orders and all phrasings; group says whether the result is below 20.

    With `every` n (4 for one) each pair is asked in each n-th phrasing, others from pair to pair.
    """
    return [_chat("sums", "result < 20" if a + b < sums.SMALL else "result >= 20", text, answer)
            for a, b, text, answer in sums.held_out_questions()[::every]]


def fact_questions(limit=None):
    """Every fact in every phrasing, or a seeded sample of these questions."""
    everything = [_chat("facts", fact.kind, text, answer) for fact in facts.facts() for text, answer in fact.turns]
    return everything if limit is None else random.Random(SEED).sample(everything, limit)


def json_questions(count=40):
    rng = random.Random(SEED)
    return [_chat("json", "json", *tasks.json_turn(rng)) for _ in range(count)]


def tool_questions(count=40):
    rng = random.Random(SEED)
    return [_chat("tools", "tools", text, call, tools) for tools, text, call in tasks.tool_questions(rng, count)]


def self_questions():
    return [_chat("self", "self", text, answer) for texts, answer in tasks.GREETINGS for text in texts]


def story_questions():
    """20 prompts, each once greedy and once drawn from a seed; the last two continue plain text."""
    rng = random.Random(SEED)
    prompts = [(stories.PROMPTS_ANY[0], None), (stories.PROMPTS_ANY[1], None)]
    for kind in rng.sample(words.ANIMALS, 8):
        prompts.append((rng.choice(stories.PROMPTS_KIND).format(a_kind=f"{article(kind)} {kind}"), None))
    for kind in rng.sample(words.ANIMALS, 4):
        name = rng.choice(words.GIRLS + words.BOYS)
        prompts.append((rng.choice(stories.PROMPTS_NAME).format(a_kind=f"{article(kind)} {kind}", name=name), None))
    for kind, thing in zip(rng.sample(words.ANIMALS, 4), rng.sample(words.TOYS, 4)):
        prompts.append((rng.choice(stories.PROMPTS_THING).format(
            a_kind=f"{article(kind)} {kind}", a_thing=f"{article(thing)} {thing}"), None))
    prompts += [(None, "Once upon a time"), (None, "Once there lived")]
    asked = []
    for group, seeds in (("greedy", [None] * 20), ("seeded", range(1, 21))):
        for (text, plain), seed in zip(prompts, seeds):
            messages = [chat.user(text)] if text else None
            asked.append(Question("stories", group, messages, plain, None, None, STORY_TOKENS, seed))
    return asked


def late_questions(count=8, n_turns=55):
    """Facts asked at the end of a long chat, near the end of the context."""
    rng = random.Random(SEED)
    listed = [turn for fact in facts.facts() if fact.kind != "counting" for turn in fact.turns]
    asked = []
    for _ in range(count):
        turns = rng.sample(listed, n_turns)
        messages = [message for text, answer in turns for message in (chat.user(text), chat.assistant(answer))]
        text, answer = rng.choice(listed)
        asked.append(Question("late", "late", messages + [chat.user(text)], None, None, answer, ANSWER_TOKENS, None))
    return asked


def sum_is_right(text, expected):
    """Right when the number after the '=' is; the rest of the sentence is not marked."""
    found = re.search(r"=\s*(\d+)", text)
    return bool(found) and found[1] == re.search(r"=\s*(\d+)", expected)[1]


def story_faults(text, ended, vocabulary):
    """What is wrong with a story: a list of short reasons, empty for a good one."""
    faults = [] if ended else ["no end"]
    strange = sorted({word for word in stories.words_of(text) if word.lower() not in vocabulary})
    if strange:
        faults.append("strange words: " + " ".join(strange))
    sentences = stories.sentences_of(text)
    if len(sentences) < 5:
        faults.append("too short")
    if len(set(sentences)) != len(sentences):
        faults.append("repeats a sentence")
    if not text.rstrip().endswith((".", '"')):
        faults.append("breaks off")
    return faults


def is_right(question, text, ended, vocabulary):
    if question.kind == "stories":
        return not story_faults((question.prompt or "") + text, ended, vocabulary)
    if question.kind == "sums":
        return sum_is_right(text, question.expected)
    return ended and text.strip() == question.expected
