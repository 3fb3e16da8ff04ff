"""The facts that are taught, each with every phrasing in which it is asked.

facts() lists them; training draws from that list and the evaluation asks the whole of it.
"""

from collections import namedtuple

from . import sums

Fact = namedtuple("Fact", "kind key turns")   # turns: tuple of (question, answer)

CAPITALS = """Argentina:Buenos Aires|Australia:Canberra|Austria:Vienna|Belgium:Brussels|Brazil:Brasilia
Bulgaria:Sofia|Canada:Ottawa|Chile:Santiago|China:Beijing|Colombia:Bogota|Croatia:Zagreb|Cuba:Havana
Denmark:Copenhagen|Egypt:Cairo|Estonia:Tallinn|Finland:Helsinki|France:Paris|Germany:Berlin|Ghana:Accra
Greece:Athens|Hungary:Budapest|Iceland:Reykjavik|India:New Delhi|Indonesia:Jakarta|Iran:Tehran|Iraq:Baghdad
Ireland:Dublin|Italy:Rome|Jamaica:Kingston|Japan:Tokyo|Jordan:Amman|Kenya:Nairobi|Latvia:Riga
Lithuania:Vilnius|Malta:Valletta|Mexico:Mexico City|Morocco:Rabat|Nepal:Kathmandu|Norway:Oslo|Peru:Lima
Poland:Warsaw|Portugal:Lisbon|Romania:Bucharest|Russia:Moscow|Serbia:Belgrade|Slovakia:Bratislava
Slovenia:Ljubljana|Spain:Madrid|Sweden:Stockholm|Switzerland:Bern|Thailand:Bangkok|Tunisia:Tunis
Turkey:Ankara|Ukraine:Kyiv|England:London|Scotland:Edinburgh|Wales:Cardiff|the United States:Washington
Uruguay:Montevideo|Vietnam:Hanoi"""

OPPOSITES = """hot:cold|big:small|tall:short|fast:slow|young:old|happy:sad|light:dark|day:night|up:down|left:right
open:closed|full:empty|wet:dry|hard:soft|rich:poor|strong:weak|early:late|high:low|near:far|good:bad|clean:dirty
loud:quiet|thick:thin|wide:narrow|deep:shallow|sweet:bitter|push:pull|buy:sell|win:lose
begin:end|love:hate|give:take|remember:forget|true:false|first:last|inside:outside|above:below|before:after
always:never|more:less|north:south|east:west|black:white|awake:asleep|brave:afraid|smooth:rough|sharp:blunt
easy:difficult|friend:enemy|question:answer|arrive:leave|laugh:cry|winter:summer|noisy:silent|cheap:expensive
safe:dangerous|alive:dead|find:hide"""

# Thing as it is asked for, and its colour.
COLOURS = """grass:green|snow:white|a banana:yellow|the sky:blue|a lemon:yellow|a tomato:red|coal:black|milk:white
chocolate:brown|a carrot:orange|an orange:orange|a strawberry:red|blood:red|a plum:purple|a flamingo:pink
an elephant:grey|a swan:white|a crow:black|the sea:blue|the sun:yellow|a frog:green|a pumpkin:orange
a pea:green|a cherry:red|sand:yellow|salt:white|a polar bear:white|an aubergine:purple|a pig:pink|a leaf:green
a fire engine:red|rice:white|a stop sign:red|coffee:brown|a cucumber:green|a mouse:grey|corn:yellow|ink:black
an emerald:green|a ruby:red|a sapphire:blue|gold:yellow"""

LEGS = """a dog:four|a cat:four|a horse:four|a cow:four|a duck:two|a hen:two|an owl:two|a bee:six|an ant:six
a spider:eight|a snake:no|a fish:no|a sheep:four|a pig:four|a swan:two|a butterfly:six|a person:two|a frog:four"""

QUANTITIES = """days are in a week:There are seven days in a week.
months are in a year:There are twelve months in a year.
hours are in a day:There are twenty-four hours in a day.|minutes are in an hour:There are sixty minutes in an hour.
seconds are in a minute:There are sixty seconds in a minute.|sides does a triangle have:A triangle has three sides.
sides does a square have:A square has four sides.|fingers are on one hand:There are five fingers on one hand.
wheels does a bicycle have:A bicycle has two wheels.|wheels does a car have:A car has four wheels.
letters are in the alphabet:There are twenty-six letters in the alphabet.
seasons are in a year:There are four seasons in a year.
eggs are in a dozen:There are twelve eggs in a dozen.|colours are in a rainbow:There are seven colours in a rainbow."""


def _table(text):
    rows = [cell.strip().split(":") for line in text.splitlines() for cell in line.split("|")]
    return list(dict.fromkeys((key, value) for key, value in rows))


def _capitalised(text):
    return text[0].upper() + text[1:]


def capital_table():
    return _table(CAPITALS)


def _capitals():
    for country, city in capital_table():
        answer = f"The capital of {country} is {city}."
        back = f"{city} is the capital of {country}."
        yield Fact("capitals", country, (
            (f"What is the capital of {country}?", answer),
            (f"Name the capital of {country}.", answer),
            (f"Which city is the capital of {country}?", answer),
            (f"Do you know the capital of {country}?", answer),
            (f"What's the capital of {country}?", answer),
            (f"Capital of {country}?", answer),
            (f"Which country has the capital {city}?", back),
            (f"{city} is the capital of which country?", back)))


def _opposites():
    pairs = _table(OPPOSITES)
    for word, opposite in dict.fromkeys(pairs + [(b, a) for a, b in pairs]):
        answer = f"The opposite of {word} is {opposite}."
        yield Fact("opposites", word, (
            (f"What is the opposite of {word}?", answer),
            (f"Give me the opposite of {word}.", answer),
            (f"What's the opposite of {word}?", answer),
            (f"Opposite of {word}?", answer),
            (f"Which word is the opposite of {word}?", answer),
            (f"Tell me the opposite of the word {word}.", answer)))


def _colours():
    for thing, colour in _table(COLOURS):
        answer = f"{_capitalised(thing)} is {colour}."
        yield Fact("colours", thing, (
            (f"What colour is {thing}?", answer),
            (f"What color is {thing}?", answer),
            (f"What's the colour of {thing}?", answer),
            (f"Which colour does {thing} have?", answer),
            (f"Tell me the colour of {thing}.", answer)))


def _quantities():
    for animal, number in _table(LEGS):
        answer = f"{_capitalised(animal)} has {number} legs."
        yield Fact("quantities", animal, (
            (f"How many legs does {animal} have?", answer),
            (f"Tell me how many legs {animal} has.", answer)))
    for what, answer in _table(QUANTITIES):
        yield Fact("quantities", what, ((f"How many {what}?", answer),))


def _neighbours():
    for n in range(0, 100):
        if not sums.is_held_out(n, n + 1):
            after = f"After {n} comes {n + 1}."
            yield Fact("counting", f"after {n}", (
                (f"What number comes after {n}?", after), (f"Which number follows {n}?", after)))
        if n > 0 and not sums.is_held_out(n - 1, n):
            before = f"Before {n} comes {n - 1}."
            yield Fact("counting", f"before {n}", ((f"What number comes before {n}?", before),))


def count_ranges():
    """(first, last) of the lists that are counted; their ends are never a held-out pair."""
    ranges = [(first, last) for first in range(0, 21) for last in range(first + 2, first + 11)]
    ranges += [(1, last) for last in range(12, 31)]
    return [(first, last) for first, last in ranges if not sums.is_held_out(first, last)]


def _counts():
    for first, last in count_ranges():
        up = ", ".join(map(str, range(first, last + 1))) + "."
        down = ", ".join(map(str, range(last, first - 1, -1))) + "."
        turns = [(f"Count from {first} to {last}.", up), (f"Count down from {last} to {first}.", down)]
        if first == 1:
            turns += [(f"Count to {last}.", up), (f"Count to {sums.number_word(last)}.", up)]
        yield Fact("counting", f"{first} to {last}", tuple(turns))


def facts():
    """All facts, in a fixed order."""
    return [*_capitals(), *_opposites(), *_colours(), *_quantities(), *_neighbours(), *_counts()]


def statements():
    """The facts as plain sentences, for text outside any chat."""
    return [fact.turns[0][1] for fact in facts() if fact.kind != "counting"]
