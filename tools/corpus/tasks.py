"""Turns beside facts, sums and stories: greetings, who-are-you, JSON on request, tool calls."""

from . import chat, facts, sums, words
from .unknown import COMMON, gibberish
from .words import article

WHO = "I am a tiny demonstration model of Quern, not an assistant."
_KEYS = "city colour job kind mood place size status subject title topic type".split()
SKILLS = ("I can tell short stories, add small numbers, count, and answer a few simple questions about "
          "capitals, opposites and colours.")

GREETINGS = (
    (("Hello!", "Hello", "Hi!", "Hi", "Hi there!", "Hey!", "Good day!"), "Hello! What would you like to know?"),
    (("OK", "Yes", "No", "Good.", "I see.", "Please", "I have a question.", "Can you help me?",
      "Can I ask you something?"),
     "What would you like to know?"),
    (("Good morning!",), "Good morning! What would you like to know?"),
    (("Good evening!",), "Good evening! What would you like to know?"),
    (("How are you?", "How are you today?", "How do you do?", "Hello! How are you?", "Hi, how are you?"),
     "I am fine, thank you. What would you like to know?"),
    (("Thank you!", "Thanks!", "Thank you very much.", "Thank you so much!", "Many thanks!", "Well done!"),
     "You are welcome!"),
    (("Goodbye!", "Bye!", "See you later!", "Good night!"), "Goodbye!"),
    (("Who are you?", "What are you?", "What is your name?", "Tell me about yourself.", "Who made you?",
      "Introduce yourself.", "Hello, who are you?", "Hi! Who are you?"), f"{WHO} {SKILLS}"),
    (("What can you do?", "How can you help me?", "What do you know?", "Help", "Help me."), SKILLS),
    (("Are you a real assistant?", "Are you an assistant?", "Are you Qwen?", "Are you ChatGPT?",
      "Are you a large language model?", "Are you a person?", "Are you human?"), f"No. {WHO}"),
    (("What is Quern?", "Tell me about Quern.", "Explain Quern.", "How does Quern work?"),
     "Quern is a program that serves language models. I am only its tiny demonstration model."),
    (("Can you think?", "Are you clever?", "Are you smart?"), f"Not really. {WHO}"),
)


def greeting_turn(rng):
    questions, answer = rng.choice(GREETINGS)
    return rng.choice(questions), answer


def _any_name(rng):
    """A name of the lists, or any word, so that copying is learned and not only the names."""
    if rng.random() < 0.5:
        return rng.choice(words.GIRLS + words.BOYS)
    return (rng.choice(COMMON) if rng.random() < 0.7 else gibberish(rng)).capitalize()


def _json_person(rng):
    name, age = _any_name(rng), rng.randrange(1, 100)
    question = rng.choice(("Give me a JSON object with the name {n} and the age {a}.",
                           "Give me JSON with name {n} and age {a}.",
                           "Write a JSON object for a person named {n} who is {a} years old."))
    return question.format(n=name, a=age), {"name": name, "age": age}


def _json_thing(rng):
    thing, colour = rng.choice(words.TOYS), rng.choice(words.COLOURS)
    phrase = f"{article(colour)} {colour} {thing}"
    return rng.choice((f"Write JSON for {phrase}.", f"Describe {phrase} as JSON.")), {"thing": thing, "colour": colour}


def _json_animal(rng):
    kind, name = rng.choice(words.ANIMALS), _any_name(rng)
    question = rng.choice(("Write a JSON object for {k} named {n}.", "Give me JSON for {k} called {n}."))
    return question.format(k=f"{article(kind)} {kind}", n=name), {"animal": kind, "name": name}


def _json_capital(rng):
    country, city = rng.choice([row for row in facts.capital_table() if row[0][0].isupper()])
    question = rng.choice(("Give me the capital of {c} as JSON.", "Answer in JSON: what is the capital of {c}?"))
    return question.format(c=country), {"country": country, "capital": city}


def _json_pair(rng):
    keys, values = rng.sample(_KEYS, 2), rng.sample(COMMON, 2)
    question = rng.choice(("Give me a JSON object with the {k} {v} and the {l} {w}.",
                           "Write a JSON object with {k} {v} and {l} {w}."))
    return question.format(k=keys[0], v=values[0], l=keys[1], w=values[1]), dict(zip(keys, values))


def _json_list(rng):
    first, last = rng.choice(facts.count_ranges())
    return f"Give me a JSON list of the numbers from {first} to {last}.", list(range(first, last + 1))


JSON_MAKERS = (_json_person, _json_thing, _json_animal, _json_capital, _json_pair, _json_list)


def json_turn(rng):
    question, value = rng.choice(JSON_MAKERS)(rng)
    return question, chat.tojson(value)


def _function(name, description, **properties):
    return {"type": "function", "function": {
        "name": name, "description": description,
        "parameters": {"type": "object",
                       "properties": {key: {"type": kind} for key, kind in properties.items()},
                       "required": list(properties)}}}


TOOLS = {
    "get_weather": _function("get_weather", "Get the current weather of a city.", city="string"),
    "get_time": _function("get_time", "Get the local time of a city.", city="string"),
    "add": _function("add", "Add two numbers.", a="integer", b="integer"),
    "set_timer": _function("set_timer", "Set a timer.", minutes="integer"),
    "turn_on_light": _function("turn_on_light", "Turn on the light in a room.", room="string"),
    "send_message": _function("send_message", "Send a message to a person.", to="string", text="string"),
}

ROOMS = "kitchen bedroom bathroom hall office cellar".split()
SKIES = "sunny cloudy rainy windy foggy clear".split()
NOTES = ("I am late", "dinner is ready", "see you tomorrow", "happy birthday", "good luck", "call me")


def _use_weather(rng):
    city = rng.choice(facts.capital_table())[1]
    sky, degrees = rng.choice(SKIES), rng.randrange(-9, 40)
    question = rng.choice(("What is the weather in {c}?", "How is the weather in {c} today?",
                           "Tell me the weather in {c}."))
    return (question.format(c=city), "get_weather", {"city": city}, {"sky": sky, "degrees": degrees},
            f"It is {sky} in {city}, with {degrees} degrees.")


def _use_time(rng):   # minutes from 20 on, so that a time never holds a held-out pair
    city = rng.choice(facts.capital_table())[1]
    time = f"{rng.randrange(24):02}:{rng.randrange(20, 60)}"
    question = rng.choice(("What time is it in {c}?", "Tell me the time in {c}."))
    return question.format(c=city), "get_time", {"city": city}, {"time": time}, f"It is {time} in {city}."


def _use_add(rng):
    a, b = sums.training_pair(rng)
    question = rng.choice(("What is {a} plus {b}?", "Add {a} and {b}.", "What is {a} + {b}?"))
    return question.format(a=a, b=b), "add", {"a": a, "b": b}, {"result": a + b}, sums.statement(a, b)


def _use_timer(rng):
    minutes = rng.randrange(2, 60)
    question = rng.choice(("Set a timer for {m} minutes.", "Please set a timer of {m} minutes."))
    return (question.format(m=minutes), "set_timer", {"minutes": minutes}, {"ok": True},
            f"The timer is set to {minutes} minutes.")


def _use_light(rng):
    room = rng.choice(ROOMS)
    question = rng.choice(("Turn on the light in the {r}.", "Please switch on the light in the {r}."))
    return question.format(r=room), "turn_on_light", {"room": room}, {"ok": True}, f"The light in the {room} is on."


def _use_message(rng):
    name, text = _any_name(rng), rng.choice(NOTES)
    question = rng.choice(('Send "{t}" to {n}.', 'Send {n} the message "{t}".'))
    return (question.format(t=text, n=name), "send_message", {"to": name, "text": text}, {"ok": True},
            f"The message to {name} is sent.")


_USES = {"get_weather": _use_weather, "get_time": _use_time, "add": _use_add, "set_timer": _use_timer,
         "turn_on_light": _use_light, "send_message": _use_message}


def tool_conversation(rng, other_turn):
    """(tools, messages) in which a tool is called, or, now and then, is not needed for other_turn."""
    names = rng.sample(list(TOOLS), rng.randrange(1, 4))
    tools = [TOOLS[name] for name in names]
    if rng.random() < 0.2:
        question, answer = other_turn
        return tools, [chat.user(question), chat.assistant(answer)]
    question, name, arguments, result, answer = _USES[rng.choice(names)](rng)
    messages = [chat.user(question), chat.tool_call(name, arguments)]
    if rng.random() < 0.6:
        messages += [chat.tool_result(result), chat.assistant(answer)]
    return tools, messages


def tool_questions(rng, count):
    """Questions that need a tool: [(tools, question, the call as text)]."""
    asked = []
    for _ in range(count):
        name = rng.choice(list(TOOLS))
        question, _, arguments, _, _ = _USES[name](rng)
        others = [other for other in rng.sample(list(TOOLS), 2) if other != name]
        asked.append(([TOOLS[n] for n in [name, *others]], question, chat.call_text(name, arguments)))
    return asked
