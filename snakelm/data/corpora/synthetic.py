"""A generator of English-like factual text, written for this project: small, quick, the same on
every machine.

Documents are about invented towns, people, animals, machines and sums. Facts within one document
agree (a river keeps its name, sums are right), so there is something to learn; tests and the smoke
preset live on it. Each document is a function of (seed, number) alone.
"""

import random
import re
from collections.abc import Iterator

__all__ = ["documents"]

ONSETS = re.findall(r"\w+", "b br c cr d dr f fl g gr h k l m n p pl r s st t tr v w")
VOWELS = re.findall(r"\w+", "a e i o u ai ea oo")
CODAS = ["", "l", "m", "n", "r", "rd", "s", "st", "th"]
GOODS = re.findall(
    r"\w+",
    "wool salt timber copper barley glass honey paper rope tin cheese linen apples bricks ink",
)
TRADES = re.findall(
    r"\w+", "baker mason sailor weaver farmer clerk painter doctor miller teacher carpenter printer"
)
BEASTS = re.findall(
    r"\w+", "otter heron badger hare fox owl beetle trout swallow hedgehog newt falcon"
)
PLACES = [
    "the forest",
    "the marsh",
    "the high meadows",
    "the lake shore",
    "old orchards",
    "dry hills",
]
FOODS = re.findall(r"\w+", "berries fish seeds insects roots snails grass mice leaves acorns frogs")
PARTS = re.findall(r"\w+", "wheel lever spring valve gear shaft belt piston lamp pump")
SEASONS = ["spring", "summer", "autumn", "winter"]
ADJECTIVES = re.findall(
    r"\w+", "quiet busy narrow famous windy old steep sunny modest prosperous remote cheerful"
)
OPINIONS = [
    "Nobody remembers it differently.",
    "Visitors are often surprised by this.",
    "The records in the town hall agree.",
    "Some say that it was always so.",
    "It is a small thing, but people are proud of it.",
    "That has hardly changed since.",
]


def documents(count: int, seed: int = 0) -> Iterator[str]:
    """``count`` documents of 150 to 1,000 characters; a larger count only adds more."""
    kinds = (_town, _person, _beast, _machine, _sums)
    for number in range(count):
        random_ = random.Random(f"{seed}:{number}")
        yield kinds[number % len(kinds)](random_)


def _name(random_: random.Random, syllables: int = 2) -> str:
    parts = [random_.choice(ONSETS) + random_.choice(VOWELS) for _ in range(syllables)]
    return ("".join(parts) + random_.choice(CODAS)).capitalize()


def _join(random_: random.Random, opening: str, sentences: list[str], most: int) -> str:
    """The opening, then some of the sentences in any order, in paragraphs."""
    chosen = random_.sample(sentences, min(len(sentences), random_.randint(5, most)))
    if random_.random() < 0.6:
        chosen.insert(random_.randint(1, len(chosen)), random_.choice(OPINIONS))
    cut = random_.randint(2, len(chosen) - 1)
    return opening + " " + " ".join(chosen[:cut]) + "\n\n" + " ".join(chosen[cut:])


def _town(random_: random.Random) -> str:
    town, river, founder, bridge = (_name(random_, n) for n in (2, 1, 2, 1))
    year, people = random_.randint(1100, 1890), random_.randrange(800, 90_000, 10)
    good, other = random_.sample(GOODS, 2)
    houses = people // random_.randint(3, 5)

    return _join(
        random_,
        f"{town} is a {random_.choice(ADJECTIVES)} town on the river {river}, founded in {year} "
        f"by {founder}.",
        [
            f"About {people} people live there, in {houses} houses.",
            f"The town grew rich on {good}, and later on {other}.",
            f"The {bridge} bridge across the {river} was built {random_.randint(20, 90)} years "
            "after the founding, "
            f"and it has {random_.randint(3, 11)} arches.",
            f"Every {random_.choice(SEASONS)} a market is held where {good} is sold by weight.",
            f"From {town} it takes {random_.randint(2, 9)} hours on foot to reach "
            f"{_name(random_)}, the nearest port.",
            f"The {river} rises in {random_.choice(PLACES)} and floods the lower streets every "
            f"{random_.randint(3, 30)} years.",
            f"A statue of {founder} stands in front of the school, with a sack of {good} in one "
            "hand.",
            f"When the price of {good} fell in {year + random_.randint(100, 120)}, half of the "
            "workshops closed.",
        ],
        8,
    )


def _person(random_: random.Random) -> str:
    first, last, town = (_name(random_, n) for n in (1, 2, 2))
    born, trade, second = random_.randint(1500, 1950), *random_.sample(TRADES, 2)
    died, she = born + random_.randint(40, 95), random_.choice(["she", "he"])
    her = {"she": "her", "he": "his"}[she]

    return _join(
        random_,
        f"{first} {last} was a {trade} in {town}, born in {born}.",
        [
            f"{she.capitalize()} died in {died}, at the age of {died - born}.",
            f"At first {she} worked as a {second}, but {she} gave that up after "
            f"{random_.randint(2, 9)} years.",
            f"In {born + random_.randint(18, 38)} {she} wrote a short book about "
            f"{random_.choice(GOODS)}.",
            f"{last} had {random_.randint(1, 9)} children, and "
            f"{random_.choice(['one', 'two', 'none'])} of them "
            f"became a {trade} too.",
            f"{first} {last} is said to have kept a tame {random_.choice(BEASTS)} in {her} "
            "workshop.",
            f"A letter of {born + 30} says that {she} paid {random_.randint(3, 60)} coins for "
            f"{random_.choice(GOODS)}.",
            f"{town} named a street after {first} {last} in {died + random_.randint(1, 60)}.",
            f"{she.capitalize()} learned the trade of a {trade} from {her} uncle, "
            f"{_name(random_)} {last}.",
        ],
        8,
    )


def _beast(random_: random.Random) -> str:
    kind, place, food = (
        f"{_name(random_)} {random_.choice(BEASTS)}",
        random_.choice(PLACES),
        random_.choice(FOODS),
    )
    weight, young = random_.randint(20, 9000), random_.randint(1, 9)

    return _join(
        random_,
        f"The {kind} lives in {place} and eats mostly {food}.",
        [
            f"A grown animal weighs about {weight} grams, the young {max(1, weight // 12)} "
            "grams at birth.",
            f"In {random_.choice(SEASONS)} it has {young} young, which stay for "
            f"{random_.randint(3, 20)} weeks.",
            f"Where there are no {food} left, the {kind} moves on at night.",
            f"It was first described by {_name(random_)} {_name(random_)} in "
            f"{random_.randint(1730, 1960)}.",
            f"Its call sounds like a {random_.choice(PARTS)} that wants oil.",
            f"People in {_name(random_)} believe that a {kind} near the house means a long "
            f"{random_.choice(SEASONS)}.",
            f"Of {young * 10} young, about {young * 10 // 3} live to see the next year.",
            f"It shares {place} with the {_name(random_)} {random_.choice(BEASTS)}, which it "
            "avoids.",
        ],
        8,
    )


def _machine(random_: random.Random) -> str:
    name, (a, b, c) = (
        f"{_name(random_)} {random_.choice(['engine', 'press', 'mill', 'clock'])}",
        random_.sample(PARTS, 3),
    )
    good, turns = random_.choice(GOODS), random_.randint(5, 120)

    return _join(
        random_,
        f"The {name} is a machine for working {good}. It has a {a}, a {b} and a {c}.",
        [
            f"The {a} drives the {b}, and the {b} drives the {c}.",
            f"If the {b} breaks, the {c} stops, but the {a} goes on turning.",
            f"It makes {turns} turns a minute, which is {turns * 60} an hour.",
            f"To start it, turn the {a} twice to the left and let go of the {c}.",
            f"A {random_.choice(TRADES)} from {_name(random_)} built the first one in "
            f"{random_.randint(1700, 1930)}.",
            f"The {c} has to be cleaned every {random_.randint(2, 40)} days, for {good} leaves "
            "dust.",
            f"One {name} does the work of {random_.randint(3, 50)} people.",
            f"Later models have two of each {b} and no {c} at all.",
        ],
        8,
    )


def _sums(random_: random.Random) -> str:
    lines = []
    for _ in range(random_.randint(6, 14)):
        a, b = random_.randint(2, 99), random_.randint(2, 99)
        good, who = random_.choice(GOODS), _name(random_, 1)
        lines.append(
            random_.choice(
                [
                    f"{a} plus {b} is {a + b}.",
                    f"{a} times {b} is {a * b}.",
                    f"{who} has {a + b} sacks of {good}, sells {a} of them and keeps {b}.",
                    f"If one sack of {good} costs {a} coins, then {b} sacks cost {a * b} coins.",
                    f"{who} shares {a * b} apples among {b} children; each of them gets {a}.",
                    f"From {a + b} take away {b}, and {a} is left.",
                ]
            )
        )

    return f"{_name(random_)} does some sums. " + " ".join(lines)
