"""Short stories from a small grammar: a hero, a friend, a plot, an ending.

A story is a list of sentences, no two alike, made of words from the closed lists only;
vocabulary() is the set of all words that a story can hold.
"""

import random
import re
from collections import namedtuple

from . import words
from .unknown import COMMON
from .words import article

Hero = namedtuple("Hero", "name kind she her")   # she or he, her or his

PROMPTS_ANY = ("Tell me a story.", "Tell me a short story.", "Write a short story.",
               "Can you tell me a story?", "Please tell me a bedtime story.", "Tell me another story.",
               "Tell me a long story.", "Another story, please.")
PROMPTS_KIND = ("Tell me a story about {a_kind}.", "Tell me a short story about {a_kind}.",
                "Write a story about {a_kind}.", "Can you tell me a story about {a_kind}?")
PROMPTS_NAME = ("Tell me a story about {a_kind} named {name}.", "Write a story about {a_kind} named {name}.",
                "Tell me a short story about {a_kind} called {name}.")
PROMPTS_ELSE = ("Tell me a story about {a_word}.", "Write a story about {word}.",
                "Can you tell me a story about {word}?")
PREFACE = "I do not know such a story, but here is another one."
PROMPTS_THING = ("Tell me a story about {a_kind} and {a_thing}.", "Write a short story about {a_kind} and {a_thing}.")


def _friend(rng, hero):
    """A named animal, of another name and kind than the hero."""
    kind = rng.choice([animal for animal in words.ANIMALS if animal != hero.kind])
    while True:
        friend = _hero(rng, kind)
        if friend.name != hero.name:
            return friend


def _hero(rng, kind=None):
    """A named animal or child."""
    while True:
        is_girl = rng.random() < 0.5
        name = rng.choice(words.GIRLS if is_girl else words.BOYS)
        if kind in ("girl", "boy"):
            is_animal = False
        else:
            is_animal = kind is not None or rng.random() < 0.7
        own = (kind or rng.choice(words.ANIMALS)) if is_animal else ("girl" if is_girl else "boy")
        if kind in ("girl", "boy") and own != kind:
            continue
        return Hero(name, own, *(("she", "her") if is_girl else ("he", "his")))


def _opening(rng, hero):
    trait = rng.choice(words.TRAITS)
    place = rng.choice(words.PLACES)
    return rng.choice((
        f"Once upon a time there was {article(trait)} {trait} {hero.kind} named {hero.name}.",
        f"Once there lived {article(trait)} {trait} {hero.kind} called {hero.name}.",
        f"{hero.name} was {article(trait)} {trait} {hero.kind} who lived near the {place}.",
        f"In a house by the {place} lived {article(trait)} {trait} {hero.kind} named {hero.name}."))


def _one_day(rng):
    time, sky = rng.choice(words.TIMES), rng.choice(words.WEATHER)
    return rng.choice((f"One {sky} {time}", f"On {article(sky)} {sky} {time}", f"One {time}"))


def _closing(rng, hero, friend):
    feeling = rng.choice(words.FEELINGS_HIGH)
    return rng.choice((
        f"That night {hero.name} fell asleep with a smile.",
        f"From that day on, {hero.name} and {friend.name} were the best of friends.",
        f"{hero.name} went home and felt very {feeling}.",
        f"{hero.name} and {friend.name} laughed all the way home.",
        f"And so the day ended well for {hero.name} and {friend.name}."))


def _thanks(rng, speaker, helper):
    return rng.choice((
        f'"Thank you, {helper.name}," said {speaker.name}.',
        f'"You are a true friend," said {speaker.name}.',
        f'"I could not have done it without you," said {speaker.name}.'))


def _lost_thing(rng, hero, friend, thing):
    colour = rng.choice(words.COLOURS)
    first, second = rng.sample(words.PLACES, 2)
    return [
        rng.choice((f"{hero.name} had {article(colour)} {colour} {thing} and took it everywhere.",
                    f"Of all {hero.her} things, {hero.name} loved {hero.her} {colour} {thing} the most.")),
        f"{_one_day(rng)} the {thing} was gone.",
        rng.choice((f"{hero.name} looked in the {first}, but it was not there.",
                    f"{hero.she.capitalize()} searched the {first} and found nothing.")),
        f"Then {hero.she} met {friend.name} the {friend.kind}.",
        rng.choice((f'"I saw {article(colour)} {colour} {thing} near the {second}," said {friend.name}.',
                    f'"Let us look near the {second}," said {friend.name}.')),
        rng.choice((f"They ran to the {second}, and there was the {thing} under a tree.",
                    f"They went to the {second} together, and there it lay in the grass.")),
        _thanks(rng, hero, friend)]


def _new_friend(rng, hero, friend, _thing):
    low = rng.choice(words.FEELINGS_LOW)
    place = rng.choice(words.PLACES)
    verb, game = rng.choice(words.GAMES)
    return [
        rng.choice((f"{hero.name} was {low} because {hero.she} had nobody to play with.",
                    f"{hero.name} often felt {low} and wished for a friend.")),
        f"{_one_day(rng)} {hero.she} walked to the {place} and saw {article(friend.kind)} {friend.kind}.",
        rng.choice((f'"Hello, my name is {friend.name}," said the {friend.kind}.',
                    f'"I am {friend.name}, and I am new here," said the {friend.kind}.')),
        rng.choice((f'"Would you like to play with me?" asked {hero.name}.',
                    f'"Do you want to be my friend?" asked {hero.name}.')),
        f'"Yes, I would love to," said {friend.name}.',
        f"They {verb} {game} until the sun went down."]


def _stuck(rng, hero, friend, _thing):
    place = rng.choice(words.PLACES)
    tool = rng.choice(("rope", "long stick", "strong branch", "ladder"))
    return [
        f"{_one_day(rng)} {hero.name} walked past the {place}.",
        rng.choice(('"Help, help," cried a small voice.', "Somebody was calling for help.")),
        rng.choice((f"It was {friend.name} the {friend.kind}, who had fallen into a deep hole.",
                    f"{friend.name} the {friend.kind} was stuck in the mud.")),
        rng.choice((f"{hero.name} was a little afraid, but {hero.she} did not run away.",
                    f'"Do not be afraid, I will help you," said {hero.name}.')),
        f"{hero.she.capitalize()} found a {tool} and pulled as hard as {hero.she} could.",
        rng.choice((f"At last {friend.name} was free.", f"Soon {friend.name} stood on dry ground again.")),
        _thanks(rng, friend, hero)]


def _sharing(rng, hero, friend, _thing):
    food, foods = rng.choice(words.FOODS)
    number = rng.choice(words.SMALL_NUMBERS[2:])
    place = rng.choice(words.PLACES)
    return [
        rng.choice((f"{_one_day(rng)} {hero.name} carried {number} {foods} home from the {place}.",
                    f"{_one_day(rng)} {hero.name} had {number} {foods} in {hero.her} basket.")),
        f"On the way {hero.she} met {friend.name} the {friend.kind}.",
        rng.choice((f"{friend.name} was very hungry and had nothing to eat.",
                    f'"I have not eaten since yesterday," said {friend.name}.')),
        rng.choice((f"{hero.name} thought for a moment and opened {hero.her} basket.",
                    f'"Please sit down and eat with me," said {hero.name}.')),
        rng.choice((f"They sat on the grass and shared the {foods}.",
                    f"{hero.name} gave {friend.name} half of the {foods}.")),
        rng.choice((f"{article(food).capitalize()} {food} tastes better with a friend.",
                    f"Never before had {article(food)} {food} tasted so good."))]


def _learning(rng, hero, friend, _thing):
    skill, place, mishap = rng.choice(words.SKILLS)
    low = rng.choice(words.FEELINGS_LOW)
    return [
        f"{hero.name} wanted to learn how to {skill}.",
        f"{_one_day(rng)} {hero.she} went to the {place} and tried, but {hero.she} {mishap}.",
        rng.choice((f"{hero.name} was {low} and wanted to give up.",
                    f'"I will never learn it," said {hero.name} and felt {low}.')),
        f"Then {friend.name} the {friend.kind} came by.",
        rng.choice((f'"I can show you how to do it," said {friend.name}.',
                    f'"You only have to try again," said {friend.name}.')),
        rng.choice(("They practised every day for a whole week.",
                    f"{hero.name} practised every day, in sun and in rain.")),
        f"In the end {hero.name} could {skill} better than anyone else."]


def _planting(rng, hero, friend, _thing):
    flower, colour = rng.choice(words.FLOWERS), rng.choice(words.COLOURS)
    place = rng.choice(words.PLACES)
    return [
        f"{_one_day(rng)} {hero.name} found a tiny seed near the {place}.",
        rng.choice((f"{hero.she.capitalize()} planted it in the ground and gave it some water.",
                    f"{hero.she.capitalize()} put it into a pot and set it in the sun.")),
        rng.choice((f"{friend.name} the {friend.kind} came every day to look at it.",
                    f'"Nothing will grow there," said {friend.name} the {friend.kind}.')),
        rng.choice((f"For a long time nothing happened, but {hero.name} did not give up.",
                    f"{hero.name} waited and waited.")),
        "Then, after a warm rain, a green leaf came out of the earth.",
        f"Soon it was {article(colour)} {colour} {flower}, the finest in the whole land.",
        rng.choice((f"{hero.name} gave the first bloom to {friend.name}.",
                    f"{friend.name} had never seen anything so lovely."))]


def _night_noise(rng, hero, friend, _thing):
    noise = rng.choice(("strange noise", "loud knock", "soft scratching sound"))
    light = rng.choice(("lamp", "candle", "lantern"))
    return [
        rng.choice((f"One night {hero.name} could not sleep.", f"One night a storm woke {hero.name}.")),
        f"There was a {noise} at the door.",
        rng.choice((f"{hero.name} hid under the blanket and did not move.",
                    f"{hero.her.capitalize()} heart beat very fast.")),
        f"Then {hero.she} took a {light} and opened the door.",
        rng.choice((f"It was only {friend.name} the {friend.kind}, who had lost the way.",
                    f"Outside stood {friend.name} the {friend.kind}, wet and cold.")),
        f'"Come in and sit by the fire," said {hero.name}.',
        rng.choice(("They drank warm milk and were not afraid of the dark anymore.",
                    "They drank hot tea and talked until the stars grew pale."))]


def _present(rng, hero, friend, thing):
    colour = rng.choice(words.COLOURS)
    place = rng.choice(words.PLACES)
    return [
        f"It was the birthday of {friend.name} the {friend.kind}.",
        f"{hero.name} wanted to give {friend.name} something special.",
        rng.choice((f"{hero.she.capitalize()} went to the {place} and found {article(colour)} {colour} {thing}.",
                    f"For three days {hero.she} worked on {article(colour)} {colour} {thing}.")),
        rng.choice((f"{hero.she.capitalize()} wrapped it in paper and tied it with a ribbon.",
                    f"{hero.she.capitalize()} hid it in a box full of leaves.")),
        rng.choice((f"When {friend.name} saw the {thing}, {friend.her} eyes grew wide.",
                    f"{friend.name} opened the present and jumped for joy.")),
        f'"This is the best {thing} in the world," said {friend.name}.']


# Plots, each with the theme under which one can ask for it; the first two are about a thing.
_PLOTS = ((_lost_thing, "something lost"), (_present, "a birthday"), (_new_friend, "friendship"), (_stuck, "helping"),
          (_sharing, "sharing"), (_learning, "learning"), (_planting, "a flower"), (_night_noise, "the night"))
PROMPTS_THEME = ("Tell me a story about {theme}.", "Write a short story about {theme}.")
_FAVOURED = 0.35


def _plot(rng, hero, thing):
    """A plot; each kind of hero has a favourite, so that even greedy answers differ from hero to hero."""
    plots = [plot for plot, _ in (_PLOTS[:2] if thing else _PLOTS)]
    kinds = words.ANIMALS + ["girl", "boy"]
    if rng.random() < _FAVOURED:
        return plots[kinds.index(hero.kind) % len(plots)]
    return rng.choice(plots)


def story(rng, kind=None, name=None, thing=None, theme=None):
    """One story as text; kind, name, thing or theme as asked for, or drawn."""
    hero = _hero(rng, kind)
    if name:
        while (hero.name in words.GIRLS) != (name in words.GIRLS):
            hero = _hero(rng, kind)
        hero = hero._replace(name=name)
    friend = _friend(rng, hero)
    plot = dict((name, plot) for plot, name in _PLOTS)[theme] if theme else _plot(rng, hero, thing)
    body = plot(rng, hero, friend, thing or rng.choice(words.TOYS))
    return " ".join([_opening(rng, hero), *body, _closing(rng, hero, friend)])


def request(rng):
    """(question, story): what a person asks, and a story that keeps to it."""
    if rng.random() < 0.08:
        word = rng.choice(COMMON)
        question = rng.choice(PROMPTS_ELSE).format(word=word, a_word=f"{article(word)} {word}")
        return question, f"{PREFACE} {story(rng)}"
    if rng.random() < 0.06:
        theme = rng.choice(_PLOTS)[1]
        return rng.choice(PROMPTS_THEME).format(theme=theme), story(rng, theme=theme)
    form = rng.randrange(4)
    kind = rng.choice(words.ANIMALS + ["girl", "boy"] * 3)
    if form == 0:
        return rng.choice(PROMPTS_ANY), story(rng)
    a_kind = f"{article(kind)} {kind}"
    if form == 1:
        return rng.choice(PROMPTS_KIND).format(a_kind=a_kind), story(rng, kind)
    if form == 2:
        name = rng.choice({"girl": words.GIRLS, "boy": words.BOYS}.get(kind, words.GIRLS + words.BOYS))
        return rng.choice(PROMPTS_NAME).format(a_kind=a_kind, name=name), story(rng, kind, name)
    thing = rng.choice(words.TOYS)
    question = rng.choice(PROMPTS_THING).format(a_kind=a_kind, a_thing=f"{article(thing)} {thing}")
    return question, story(rng, kind, None, thing)


def words_of(text):
    return re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", text)


def sentences_of(text):
    """Sentences without their marks, for the check that none comes twice."""
    return [part.strip(' "') for part in re.split(r"[.!?]+", text) if part.strip(' "')]


def vocabulary():
    """Every word that a story can hold, in lower case (drawn from many seeded stories and the lists)."""
    rng = random.Random(0)
    found = {word.lower() for word in words_of(PREFACE)}
    for _ in range(4000):
        found.update(word.lower() for word in words_of(story(rng)))
    for listed in (words.ANIMALS, words.GIRLS, words.BOYS, words.TRAITS, words.TOYS, words.COLOURS, words.PLACES,
                   words.FLOWERS, words.WEATHER, words.TIMES, words.FEELINGS_LOW, words.FEELINGS_HIGH,
                   words.SMALL_NUMBERS, *words.FOODS, *(skill.split() for skill, _, _ in words.SKILLS)):
        found.update(word.lower() for word in listed)
    return found
