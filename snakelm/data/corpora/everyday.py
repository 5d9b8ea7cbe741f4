"""A generator of everyday text that is not academic, written for this project: what a filter has to
remove.

Recipes, adverts, match reports, forum posts, stories, house rules, travel tips, how-tos, notices
and horoscopes, composed of parts that vary every few words, so that hardly two documents are
near-duplicates. Each document is a function of (seed, number) alone. synthetic.py is its factual
sibling.
"""

import random
import re
from collections.abc import Iterator

__all__ = ["documents"]

WORDS = {
    "name": "Anna Ben Carla Dev Ella Finn Greta Hugo Ines Jack Kira Leo Maya Nils Olga Pete "
    "Rosa Sam Tess Uma Will Zoe",
    "town": "Ashby Brinton Corley Dunmore Elmswell Farrow Graystone Hartwick Inverlea Kelby "
    "Longmere Marlow Norwood",
    "food": "apple carrot chicken fish lentil leek mushroom onion pear potato pumpkin rice "
    "salmon spinach turkey",
    "spice": "basil chilli cinnamon cumin dill garlic ginger mint mustard paprika parsley "
    "pepper rosemary thyme",
    "dish": "bake broth burger casserole curry gratin hotpot pancake pie pizza risotto salad "
    "sandwich soup stew wrap",
    "thing": "backpack blender bike boots camera headphones heater jacket kettle lamp mattress "
    "phone printer sofa tent "
    "toaster vacuum watch",
    "colour": "amber beige black blue coral cream green grey ivory navy olive pink red silver "
    "teal white yellow",
    "good": "amazing awesome brilliant comfy cosy cute fabulous gorgeous great handy lovely "
    "neat perfect stylish super",
    "bad": "annoying awful boring broken cheap cold dreadful dull flimsy horrible late noisy "
    "rude slow sticky useless",
    "place": "attic bakery barn beach bridge cellar church garage garden harbour kitchen market "
    "park pub station",
    "club": "Albion Athletic City Dynamo Harriers Olympic Rangers Rovers Town United Wanderers "
    "Wolves",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "month": "January March April May June July August September October November December",
    "pet": "cat dog donkey goat hamster hen kitten parrot pony puppy rabbit tortoise",
    "relative": "aunt boss brother cousin dad flatmate grandma husband mum neighbour sister "
    "uncle wife",
    "weather": "breezy chilly cloudy drizzly foggy frosty muggy rainy snowy stormy sunny windy",
    "sign": "Aries Taurus Gemini Cancer Leo Virgo Libra Scorpio Sagittarius Capricorn Aquarius "
    "Pisces",
    "felt": "angry bored calm cross glad hungry lonely nervous proud scared shy silly sleepy "
    "thrilled tired worried",
    "tool": "brush bucket cloth drill glue hammer knife ladder nail pliers rope saw screwdriver "
    "sponge tape wrench",
}
PARTS = {name: re.findall(r"\w+", words) for name, words in WORDS.items()}

# Each kind: openings, the sentences to draw from, ends. {name} is a word of that list, {9} a number
# up to 9.
KINDS: list[tuple[list[str], list[str], list[str]]] = [
    (
        [
            "{Food} and {spice} {dish} for {9} hungry people.",
            "My {relative}'s famous {food} {dish}, ready in {50} minutes.",
        ],
        [
            "Chop the {food} and {9} {food}s and fry them with {spice}.",
            "Add {90} g of butter, a pinch of {spice} and stir.",
            "Season with {spice} and {spice}, then simmer for {50} minutes.",
            "No {food}? Take {food} or leftover {food} instead.",
            "Pop it in the oven at {20}0 degrees until {colour} on top.",
            "Whisk {9} eggs with {spice} and pour over the {food}.",
            "My {relative} likes it with {food} on the side and {spice} sprinkled over.",
            "Let the {dish} cool while you toast the {food}.",
        ],
        ["Enjoy!", "Serve hot with {food}.", "Keeps {9} days in the fridge."],
    ),
    (
        [
            "Meet the {colour} {thing} that {name} from {town} can't stop raving about!",
            "SALE: {90}% off every {good} {thing}!",
        ],
        [
            "It comes in {colour}, {colour} and {colour}, with free delivery by {day}.",
            "Only {90}.99 while stocks last, or {9} easy payments of {20}.",
            "So {good} and {good}, it looks right in any {place}.",
            '"The most {good} {thing} I ever bought," writes {name}, {90}.',
            "Order before {day} and get a {colour} {tool} for free.",
            "Say goodbye to your {bad}, {bad} old {thing}.",
            "Weighs {9} kilos, fits in the {place}, loved by {90},000 customers.",
            "Not happy? Send the {thing} back within {90} days.",
        ],
        ["Add to basket now!", "Hurry, offer ends {day}!", "Visit our shop in {town}."],
    ),
    (
        [
            "{town} {club} {9}, {town} {club} {9}.",
            "{club} fans went home {felt} after {day}'s match in {town}.",
        ],
        [
            "{name} scored in minute {90} after a pass from {name}.",
            'Keeper {name} was {felt}: "We were {bad} in the second half."',
            "It was {weather} and {90}00 people sang until the whistle.",
            "{name} saw red for a {bad} tackle on {name} near the line.",
            "Coach {name} hopes that {name} is fit for {day}.",
            "{club} have now gone {20} games without a win away.",
            "Next up: {town} {club} at home on {day}, kick-off at {9}.",
        ],
        ["{club} stay in place {20}.", "Tickets from {20} pounds."],
    ),
    (
        [
            "hi all, my {thing} is {bad} again, any ideas??",
            "ok so i bought a {colour} {thing} from {town} and omg",
        ],
        [
            "tried the {tool} and then the {tool}, still {bad} lol",
            "my {relative} says get a {thing} instead but thats like {90} quid",
            "it went {bad} in {month} right after the {weather} weekend",
            "the guy at the shop in {town} was {bad}, waited {50} mins",
            "btw {name} your {thing} looks {good}, where from?",
            "the {pet} chewed the {thing} so now im {felt} haha",
            "@{name} same here, mine lasted {9} weeks, so {felt}",
            "anyone near {town} got a spare {tool} or {tool}?",
        ],
        ["thx in advance!!", "edit: fixed, it was the {tool}", "cheers, {name}"],
    ),
    (
        [
            "{name} found the {colour} {thing} in the {place} on a {weather} {day}.",
            '"Don\'t open it," whispered {name}, {felt}.',
        ],
        [
            "Behind the {place} a {pet} watched, {felt} and {colour}.",
            "{name} thought of {relative} {name} and the {place} in {town}.",
            '"You look {felt}," said the old {relative}, and put down the {tool}.',
            "It smelled of {spice} and wet {pet}.",
            "{9} steps led down to a {place} as {colour} as the sea.",
            "{name} ran, {felt}, past the {place}, past the {place}, into the {weather} night.",
            "Nobody in {town} had seen {name} since {month}.",
            "The {thing} was warm, and the {pet} would not come near it.",
        ],
        ["The door closed.", "And then it was {day} again.", "{name} laughed at last."],
    ),
    (
        [
            "House rules of the {town} holiday flat.",
            "Terms of use of the {club} bonus card, from {day} {20} {month}.",
        ],
        [
            "Guests shall return the {thing} and the {tool} by {day}.",
            "No {pet} may enter the {place} without leave of {name}.",
            "A fee of {90} falls due if the {thing} is lost or {bad}.",
            "Claims end {20} days after {month}; the {place} is not insured.",
            "We may change the price of the {thing} from {month} on.",
            "The {place} closes at {9}; the {colour} key stays at the desk.",
            "You agree that {club} may write to you about every {thing}.",
        ],
        ["Signed, {name}.", "Void where the law says so."],
    ),
    (
        [
            "{9} days in {town} with my {relative} and a {colour} {thing}.",
            "Why {town} in {month} is so {good}.",
        ],
        [
            "Day {9} was {weather}, so we hid in the {place} with {food} {dish}.",
            "The {place} by the {place} is {good} but the staff were {bad}.",
            "Skip the {place}, it costs {50} and was {bad}.",
            "{name} at the hostel lent us a {thing} and a {tool}.",
            "We ate {food} {dish} at {name}'s, so {good}!",
            "Bus {90} to {town} leaves from the {place} on {day} only.",
            "My {relative} got {felt} when the {pet} stole our {food}.",
        ],
        ["Would I go again? Totally.", "Next stop: {town}!"],
    ),
    (
        [
            "How to clean a {bad} {thing} in {9} easy steps.",
            "Fix your {thing} with a {tool} and a {tool}.",
        ],
        [
            "Put the {thing} on a {colour} cloth in the {place}.",
            "Rub it with {spice} oil or half a {food}, trust me.",
            "Loosen {9} screws with the {tool}, never with a {tool}.",
            "Wait {50} minutes; have some {food} {dish} meanwhile.",
            "If it stays {bad}, hit it with a {tool}, says my {relative}.",
            "Dry it in the {place}, but not on a {weather} day.",
            "Keep the {pet} away until the glue on the {thing} is hard.",
        ],
        ["Done! How {good} is that?", "Share this with your {relative}."],
    ),
    (
        [
            "Notice: the {place} in {town} is shut from {day}.",
            "{town} news: {name} rescues {pet} from the {place}.",
        ],
        [
            "Police look for a {colour} {thing} taken from the {place} on {day}.",
            '"I was so {felt}," said {name}, who sells {food} {dish} there.',
            "Expect a {weather} {day}, {20} degrees, then {weather} and {weather}.",
            "Bring your own {tool} and {food} for the {month} party at the {place}.",
            "The mayor's {relative} calls the plan {bad}, shop owners are {felt}.",
            "Lost: one {colour} {pet}, answers to {name}, reward {90}.",
            "Flat to let near the {place}, {9} rooms, no {pet}, {90}0 a month.",
        ],
        ["Call {name} at the town hall.", "More on {day}."],
    ),
    (
        [
            "{sign}: {month} will be {good} for you.",
            "Your stars, dear {sign}, look {good} this {day}.",
        ],
        [
            "A {relative} brings a {colour} {thing} and {good} news.",
            "Don't buy a {thing} before {day}, the moon is {bad}.",
            "{sign} makes you {felt}; {sign} makes you {felt} and {felt}.",
            "Wear {colour} on {day} and smile at the {pet}.",
            "Love waits in the {place}, perhaps behind the {food} {dish}.",
            "Say sorry to {name}, even if you feel {felt}.",
            "Money comes in {month}: lucky numbers {9}, {20} and {50}.",
        ],
        ["Stay {good}!", "Lucky colour: {colour}."],
    ),
]


def documents(count: int, seed: int = 0) -> Iterator[str]:
    """``count`` documents of 200 to 600 characters; a larger count only adds more."""
    for number in range(count):
        random_ = random.Random(f"everyday:{seed}:{number}")
        openings, sentences, ends = KINDS[number % len(KINDS)]
        drawn = random_.sample(sentences, random_.randint(4, len(sentences)))
        lines = [random_.choice(openings), *drawn, random_.choice(ends)]

        gap = random_.choice([" ", " ", "\n"])
        yield gap.join(_filled(line, random_) for line in lines)


def _filled(line: str, random_: random.Random) -> str:
    """The line with a word or number for each slot."""

    def word(slot: re.Match) -> str:
        name = slot[1]
        if name.isdigit():
            return str(random_.randint(2, int(name)))
        chosen = random_.choice(PARTS[name.lower()])
        return chosen.capitalize() if name[0].isupper() else chosen

    return re.sub(r"\{(\w+)\}", word, line)
