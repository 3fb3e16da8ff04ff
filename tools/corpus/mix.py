"""The training text: documents drawn from all generators, from a seed.

A document is either a chat in ChatML or plain text; both are later packed with <|endoftext|> between.
"""

import random

from . import chat, facts, stories, sums, tasks, unknown

_FACT_WEIGHTS = {"capitals": 30, "opposites": 26, "colours": 17, "quantities": 10, "counting": 17}
_SYSTEMS = ("You are a helpful assistant.", "You are a helpful assistant", "Answer briefly.",
            "You are kind and honest.",
            "You are Quern.", "You answer questions and tell stories.", "Be short and precise.")


class Mixer:
    """Draws turns and documents; one instance holds the tables, so that drawing is quick."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.by_kind = {}
        for fact in facts.facts():
            self.by_kind.setdefault(fact.kind, []).append(fact)
        self.statements = facts.statements()
        self.turn_makers = ((32, self._sum), (30, self._fact), (14, self._story), (8, self._json),
                            (6, self._greeting), (10, self._unknown))
        self.turn_weights = [weight for weight, _ in self.turn_makers]

    def _sum(self):
        return sums.training_turn(self.rng)

    def _fact(self):
        kind = self.rng.choices(list(_FACT_WEIGHTS), list(_FACT_WEIGHTS.values()))[0]
        return self.rng.choice(self.rng.choice(self.by_kind[kind]).turns)

    def _story(self):
        return stories.request(self.rng)

    def _json(self):
        return tasks.json_turn(self.rng)

    def _greeting(self):
        return tasks.greeting_turn(self.rng)

    def _unknown(self):
        return unknown.turn(self.rng)

    def _careless(self, question):
        """Now and then a question as people type it: no capitals, no mark at the end."""
        draw = self.rng.random()
        if draw < 0.06:
            return question.lower()
        if draw < 0.12:
            return question.rstrip("?.!") or question
        if draw < 0.16:
            return question.lower().rstrip("?.!") or question
        return question

    def _turn(self):
        _, maker = self.rng.choices(self.turn_makers, self.turn_weights)[0]
        question, answer = maker()
        return [chat.user(self._careless(question)), chat.assistant(answer)]

    def _chat(self):
        rng = self.rng
        n_turns = 1 if rng.random() < 0.65 else rng.randrange(2, 7)
        messages = []
        if rng.random() < 0.2:
            messages.append(chat.system(rng.choice(_SYSTEMS)))
        for _ in range(n_turns):
            messages += self._turn()
        return chat.render(messages)

    def _tools(self):
        tools, messages = tasks.tool_conversation(self.rng, self._fact())
        if self.rng.random() < 0.2:
            messages.insert(0, chat.system(self.rng.choice(_SYSTEMS)))
        if self.rng.random() < 0.2:
            messages += self._turn() if messages[-1]["content"] else []
        return chat.render(messages, tools)

    def _plain(self):
        rng = self.rng
        draw = rng.random()
        if draw < 0.6:
            return stories.story(rng)
        if draw < 0.8:
            return " ".join(rng.sample(self.statements, rng.randrange(1, 4)))
        return " ".join(sums.statement(*sums.training_pair(rng)) for _ in range(rng.randrange(1, 4)))

    def document(self):
        draw = self.rng.random()
        if draw < 0.08:
            return self._plain()
        if draw < 0.13:
            return self._tools()
        return self._chat()


def documents(seed, count):
    """`count` documents as text, always the same for a seed."""
    mixer = Mixer(seed)
    return [mixer.document() for _ in range(count)]
