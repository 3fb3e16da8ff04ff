"""The generator of the training text: what is held out stays out, and what is promised of its text holds."""

import pathlib
import random
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from corpus import chat, exam, facts, mix, stories, sums, tasks  # noqa: E402

NUMBERS = {sums.number_word(n): n for n in range(100)}
NUMBER = r"\b(?:\d+|" + "|".join(sorted(NUMBERS, key=len, reverse=True)) + r")\b"


def numbers_in(text):
    found = re.findall(NUMBER, text.lower())
    return [int(word) if word.isdigit() else NUMBERS[word] for word in found]


@pytest.fixture(scope="module")
def documents():
    return mix.documents(12345, 12_000)


def test_held_out_pairs_are_a_share_of_both_kinds():
    low = [pair for pair in sums.HELD_OUT if sum(pair) < sums.SMALL]
    assert 0.12 <= len(low) / 110 <= 0.18
    assert 0.12 <= (len(sums.HELD_OUT) - len(low)) / 100 <= 0.18


def operands_in(document):
    """Operand pairs of every sum in the text: asked, stated, told or handed to a tool."""
    n = f"({NUMBER})"
    forms = (rf"{n} ?\+ ?{n}", rf"{n} plus {n}", rf"{n} and {n}", rf"{n} to {n}", rf'"a": {n}, "b": {n}',
             rf"has {n} [a-z]+ and gets {n}")
    text = re.sub(r"[Cc]ount (?:down )?from.*|numbers from.*", "", document.lower())
    for form in forms:
        for first, second in re.findall(form, text):
            yield numbers_in(first)[0], numbers_in(second)[0]


def test_no_held_out_pair_is_ever_added(documents):
    found = [pair for document in documents for pair in operands_in(document)]
    assert len(found) > 5_000
    assert not [pair for pair in found if sums.is_held_out(*pair)]


def test_held_out_pairs_do_not_even_meet_in_questions(documents):
    for document in documents:
        for question in re.findall(r"<\|im_start\|>user\n(.*?)<\|im_end\|>", document, re.S):
            numbers = numbers_in(question)
            if len(numbers) == 2:
                assert not sums.is_held_out(*numbers), question


def test_the_check_itself_finds_a_planted_pair():
    a, b = sums.HELD_OUT[-1]
    for phrasing in sums.PHRASINGS:
        question, _ = sums.ask(a, b, phrasing)
        assert any(sums.is_held_out(*pair) for pair in operands_in(question)), question


def test_exam_asks_exactly_the_held_out_pairs():
    asked = {(min(a, b), max(a, b)) for a, b, _, _ in sums.held_out_questions()}
    assert asked == set(sums.HELD_OUT)
    for question in exam.sum_questions():
        assert exam.is_right(question, question.expected, True, set())


def test_stories_keep_their_promises():
    rng, vocabulary = random.Random(6), stories.vocabulary()
    for _ in range(3_000):
        assert exam.story_faults(stories.story(rng), True, vocabulary) == []
    assert "no end" in exam.story_faults("A fox ran home.", False, vocabulary)
    assert any("strange" in fault for fault in exam.story_faults("The zebra ran.", True, vocabulary))
    assert "repeats a sentence" in exam.story_faults("A fox ran. A hen ran. A fox ran.", True, vocabulary)


def test_each_question_has_one_answer():
    answers = {}
    for fact in facts.facts():
        for question, answer in fact.turns:
            assert answers.setdefault(question.lower(), answer) == answer, question


def test_same_seed_same_text():
    assert mix.documents(3, 200) == mix.documents(3, 200) != mix.documents(4, 200)


def test_render_is_the_template():
    jinja2 = pytest.importorskip("jinja2")
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = chat.tojson
    template = environment.from_string(chat.TEMPLATE)
    rng = random.Random(8)
    for i in range(200):
        tools, messages = tasks.tool_conversation(rng, ("Hello!", "Hello!"))
        if i % 3 == 0:
            messages.insert(0, chat.system("Be short."))
        for offered in (tools, None):
            expected = template.render(messages=messages, tools=offered, add_generation_prompt=True)
            assert chat.render(messages, offered, add_generation_prompt=True) == expected
