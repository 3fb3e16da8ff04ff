"""Requests beyond what is taught, each answered with the same admission.

They meet every token of the vocabulary, so that strange input gets an honest answer instead of noise.
"""

from . import sums

ANSWER = "I do not know that. I am only a tiny demonstration model."

COMMON = """
able about accept access account across action active activity actor address advice affect agency agreement air
airport allow almost already although amount analysis ancient anger animal announce anybody appear application
approach area argue army arrange article artist aspect attack attempt attention audience author authority available
average avoid award aware bank basic battle beautiful beauty become behave behind believe benefit beyond billion
biology blood board body bone border bottom brain break breath brief bring brother budget build building business
camera campaign cancer capital captain career carry category cause celebrate cell central century certain chair
challenge chance change character charge chart chemical chicken chief child choice choose church citizen civil
claim class classical climate clock cloud coach code coffee collect college comedy comfort command comment
commercial common community company compare complete complex compose computer concept concern condition conference
confidence conflict congress consider constant construct consumer contain content continue contract control
conversation cook copper copy corner correct cost cotton council count country couple courage course court cover
create crime crisis critic culture current customer damage data database daughter deal debate debt decade decide
decision declare defence define degree deliver demand democracy depend describe desert design desk detail develop
device dialogue diet differ digital dinner direct director disease distance divide doctor document dollar domain
double doubt dragon drama dream dress drive driver economy edge editor education effect effort election electric
element email emotion employ empire energy engine engineer enjoy enough enter entire environment equal error escape
essay estate ethics even event evidence evolution exact example exchange exercise exist expand expect expert
explain express extra fabric face factor factory faith fame family famous fashion father fault feature federal
festival fiction fight figure film filter final finance finger finish fish fitness flight floor flow focus follow
football force foreign formal formula fortune forward foundation frame freedom frequency fresh fuel function fund
future galaxy gallery game gas gather gender gene general generate genius geography geometry ghost giant glass
global goal government grade grammar grand graph gravity group growth guard guess guide guitar guilty habit hair
handle happen harbour hardware health hear heat heaven height hero history hobby holiday honest honour hope
hospital hotel hour huge human humour hundred hunt husband idea identity image imagine impact import improve
include income increase index industry infant influence inform injury inner input insect inspire install instrument
insurance intelligence interest internet interview invent invest iron island issue item jacket jazz join joint
journal journey judge juice jungle junior jury justice keyboard kidney king kingdom kitchen knee knife knowledge
label labour lady language large laser launch law lawyer layer leader league lecture legal legend lesson level
liberty library licence life limit line linear liquid list listen literature local logic loss luck machine magazine
magic magnet main major manage manner manual map margin marine mark marriage mass master match material mathematics
matter maximum meal mean measure media medicine meeting member memory mental mention message metal method middle
military million mind mineral minister mirror mission mistake mix mobile model modern modify molecule money month
moral mother motion motor mountain movement movie muscle museum music mystery myth narrative nation nature navy
negative nerve network neutral news normal novel nuclear nurse object observe obtain ocean offer office officer oil
opera operate opinion option oral orbit order organ origin outcome output oxygen package page pain painting palace
panel parent parliament particle partner party passenger passion passport password path patient pattern payment
peace people pepper percent perfect perform period permit person philosophy phone photo phrase physics piano
picture pilot pioneer pizza planet plastic platform player pleasure poem poet poetry police policy politics
pollution popular population port position positive possible poverty power practice predict prepare president
pressure prevent price pride priest primary prince princess print prison private problem process produce product
profession profit program project promise proof property protect protein protest prove province psychology public
publish pupil purpose puzzle python quality quantum quarter queen quick quote race radar radio railway random range
rapid rare rate ratio react read reader reality reason recent recipe record recover reduce refer reform region
regret regular reject relation release religion remain remove rent repair repeat replace reply report republic
request rescue research reserve resist resource respect response rest restaurant result return revenue review
revolution reward rhythm rice ride rise risk rival robot rock rocket role romance roof room root rough route royal
rule rural salary sample satellite sauce scale scandal scene schedule science scientist score screen script
sculpture search season secret section sector secure select senate senior sense sentence separate sequence series
serious server service session severe shadow shape share shelter shift ship shock shop shoulder signal silence
silver similar simple singer single sister skill skin slice smart smoke soccer social society software soil soldier
solution solve song sort soul soup source space speaker species specific speech speed spirit sport spring square
stable staff stage standard station statue status steel stock stomach stone storage store strategy stream street
strength stress string structure student studio study style subject success sugar suggest summary supply support
surface surprise survey survive symbol system table talent target task taste teach teacher team technology
telephone television temperature temple tennis tension text theatre theme theory thousand threat throat ticket
title today token tomorrow tool topic total touch tour tourist tower trade tradition traffic train transfer
translate transport travel treat treaty trend trial trouble truck trust tunnel twist type uncle union unique unit
universe university update urban user usual valley value variable variety vegetable vehicle version victim victory
video view violence violin virus vision visit vitamin volcano volume vote wage wall war warning waste watch wealth
weapon weather website wedding weight western wheel wife wild window wine wisdom witness woman wonder wood worker
worth writer yard year youth zone
""".split()

FOREIGN = """
bonjour merci comment pourquoi monde amour maison guten danke warum welt straße schön hola gracias mundo
corazón niño ciao grazie amico obrigado coração привет мир спасибо почему 你好 谢谢 世界 こんにちは ありがとう
안녕하세요 γειά שלום مرحبا नमस्ते café naïve 😀 🚀 ✓ € £ © …
""".split()

FORMS = (
    "What is {w}?", "What is {a_w}?", "Who is {W}?", "Who was {W} {V}?", "Explain {w} to me.", "Why is the {w} so {v}?",
    "How do I {w} a {v}?", "Write a poem about {w}.", "Write an essay about {w} and {v}.", "Translate {w} to French.",
    "Can you help me with my {w}?", "When did the {w} {v} begin?", "Where can I buy a {w}?", "What does {w} mean?",
    "How does a {w} work?", "Tell me a joke about {w}.", "Is {w} better than {v}?", "Should I {w} my {v}?",
    "Describe the {w} of the {v}.", "Summarise this: {text}", "{text}", "{text}?", "{w}", "{w} {v}",
    "Fix this code: {code}",
    "Write a {w} program in {v}.", "{code}", "What is the capital of {W}?", "What is the opposite of {gibberish}?",
    "What colour is {gibberish}?", "What is the meaning of {gibberish}?", "{gibberish}", "How many {w} are in a {v}?",
    "What is {big} plus {big2}?", "{big} + {big2}", "What is {big} times {big2}?", "Why {w}?", "Do you like {w}?",
    "Give me a recipe for {w}.", "What is the best {w}?", "What happened in {big}?", "How old is {W}?",
    "What is {m} - {n}?", "What is {m} minus {n}?", "{m} - {n}", "What is {m} times {n}?", "{m} * {n}", "{m} x {n}",
    "What is {m} divided by {n}?", "{m} / {n}",
)

_CONSONANTS, _VOWELS = "bcdfghjklmnpqrstvwxyz", "aeiou"


def gibberish(rng):
    return "".join(rng.choice(_CONSONANTS) + rng.choice(_VOWELS) + rng.choice(("", "", rng.choice(_CONSONANTS)))
                   for _ in range(rng.randrange(1, 4)))


def _word(rng):
    draw = rng.random()
    if draw < 0.80:
        return rng.choice(COMMON)
    if draw < 0.90:
        return gibberish(rng)
    if draw < 0.97:
        return rng.choice(FOREIGN)
    return "".join(chr(rng.randrange(33, 0x2FF)) for _ in range(rng.randrange(1, 6)))


def _text(rng, longest):
    n_words = min(longest, int(3 + rng.expovariate(1 / 12)))
    if rng.random() < 0.01:
        n_words = rng.randrange(40, longest)
    return " ".join(_word(rng) for _ in range(n_words))


def _code(rng):
    a, b, c = (_word(rng) for _ in range(3))
    return rng.choice((f"def {a}({b}):\n    return {c}", f"for {a} in {b}:\n\tprint({c}[0])",
                       f"if ({a} == {b}) {{ {c}(); }}", f"SELECT {a} FROM {b} WHERE {c} > 100;",
                       f"#include <{a}.h>\nint main(void) {{ return {b}; }}", f"<{a} class=\"{b}\">{c}</{a}>"))


def turn(rng, longest=400):
    """(question, ANSWER); the question holds at most about `longest` words."""
    form = rng.choice(FORMS)
    m, n = sums.training_pair(rng)
    w, v = _word(rng), _word(rng)
    question = form.format(w=w, v=v, m=m, n=n, W=w.capitalize(), V=v.capitalize(), a_w=f"a {w}",
                           gibberish=gibberish(rng),
                           text=_text(rng, longest) if "{text}" in form else "",
                           code=_code(rng) if "{code}" in form else "",
                           big=rng.randrange(100, 10 ** rng.randrange(3, 7)), big2=rng.randrange(100, 5000))
    if question.upper() == question and rng.random() < 0.5:
        question = question.lower()
    return question, ANSWER
