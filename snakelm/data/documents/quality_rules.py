"""The rules on a document's text, of the kind that Gopher and C4 dropped web pages by.

Each rule is one function under the name of its key in the config section `quality`; to add one,
write it here and declare its key there. Dropped documents are counted by that name.

    @measures("min_words", "max_words")     a number that the key bounds: `min_` is the least
    def word_count(text: Text) -> float:    allowed, any other the most; `true` allows none
        return len(text.words)

    @drops_lines("no_javascript")           which lines go; the document gets the id of its new text
    def mentions_javascript(line: str) -> bool:
        return "javascript" in line.lower()

A word is what white space separates, as in the papers. datatrove and others take a tokenizer's
words, where each comma is one, and so find that a fifth of plain prose is not words
(docs/EXPERIMENTS.md compares both).

Gopher: Rae et al. 2021, "Scaling Language Models", appendix A.1. C4: Raffel et al. 2020, section
2.2.
"""

import math
import re
from collections import Counter
from collections.abc import Callable
from functools import cached_property

from ...config import Quality
from .stop_words import STOP_WORDS

__all__ = ["LINE_RULES", "MEASURES", "Text", "bounds_of", "drop_lines", "judge"]

BULLETS = ("•", "-", "*", "‣", "·")
ELLIPSES = ("...", "…")
TERMINAL = (".", "!", "?", '"', "'", "”", "’", "»", "。", "！", "？")
SHORT_LINE = 3  # words; C4
NGRAM = 5  # words
MEASURED = 4_000_000  # characters: a longer text is measured by its beginning, to bound the memory

_SENTENCE_END = re.compile(r"""(?:[.!?]["'”’)\]]*[^\S\n]+|[。！？])(?=\S)""")
_PARAGRAPH_END = re.compile(r"\n\s*\n")
_BLANK_LINES = re.compile(r"\n{3,}")


class Text:
    """A document's text with its words and lines, each split when first needed."""

    def __init__(self, text: str, language: str | None = None) -> None:
        self.text = text[:MEASURED]
        self.language = language  # None where `languages` didn't tell it

    @cached_property
    def words(self) -> list[str]:
        """What white space separates."""
        return self.text.split()

    @cached_property
    def lines(self) -> list[str]:
        """Lines that aren't blank, stripped."""
        return [line for line in map(str.strip, self.text.split("\n")) if line]


Measure = Callable[[Text], float]
LineRule = Callable[[str], bool]

MEASURES: dict[str, Measure] = {}
LINE_RULES: dict[str, LineRule] = {}


def measures(*keys: str) -> Callable[[Measure], Measure]:
    """Registers a measure under the config keys that bound it."""

    def register(measure: Measure) -> Measure:
        MEASURES.update(dict.fromkeys(keys, measure))
        return measure

    return register


def drops_lines(key: str) -> Callable[[LineRule], LineRule]:
    """Registers a rule on single lines under its config key."""

    def register(rule: LineRule) -> LineRule:
        LINE_RULES[key] = rule
        return rule

    return register


def bounds_of(rules: Quality) -> dict[str, float]:
    """The measures that are switched on, in the config's order, each with its bound."""
    return {
        key: 0 if value is True else value
        for key, value in rules.model_dump().items()
        if value and key in MEASURES
    }


def judge(
    text: str, bounds: dict[str, float], language: str | None = None
) -> tuple[str, float] | None:
    """(the first rule that the text breaks, its measure), or None. ``bounds``: key → bound."""
    document = Text(text, language)
    for key, bound in bounds.items():
        value = MEASURES[key](document)
        if value < bound if key.startswith("min_") else value > bound:
            return key, value
    return None


def drop_lines(text: str, rules: Quality) -> str:
    """The text without the lines that the line rules drop; the same object when they drop none."""
    active = [rule for key, rule in LINE_RULES.items() if getattr(rules, key)]
    if not active:
        return text

    lines = text.split("\n")
    kept = [line for line in lines if not line.strip() or not any(rule(line) for rule in active)]
    if len(kept) == len(lines):
        return text
    return _BLANK_LINES.sub("\n\n", "\n".join(kept)).strip("\n")


@drops_lines("terminal_punctuation")
def is_no_sentence(line: str) -> bool:
    """A line that doesn't end like a sentence, or is too short for one (C4)."""
    stripped = line.rstrip()
    ends = stripped.endswith(TERMINAL) and not stripped.endswith(ELLIPSES)
    return not ends or len(stripped.split(None, SHORT_LINE)) < SHORT_LINE


@drops_lines("no_javascript")
def mentions_javascript(line: str) -> bool:
    """A line such as «Please enable JavaScript» (C4)."""
    return "javascript" in line.lower()


@measures("min_words", "max_words")
def word_count(text: Text) -> float:
    """Words of the document."""
    return len(text.words)


@measures("min_word_length", "max_word_length")
def mean_word_length(text: Text) -> float:
    """Mean characters of a word."""
    return sum(map(len, text.words)) / max(1, len(text.words))


@measures("max_symbol_ratio")
def symbol_ratio(text: Text) -> float:
    """Number signs or ellipses, whichever are more, for each word."""
    most = max(text.text.count("#"), sum(map(text.text.count, ELLIPSES)))
    return most / max(1, len(text.words))


@measures("max_bullet_lines")
def bullet_lines(text: Text) -> float:
    """Share of lines that begin with a bullet."""
    return sum(line.startswith(BULLETS) for line in text.lines) / max(1, len(text.lines))


@measures("max_ellipsis_lines")
def ellipsis_lines(text: Text) -> float:
    """Share of lines that end in an ellipsis."""
    return sum(line.endswith(ELLIPSES) for line in text.lines) / max(1, len(text.lines))


@measures("min_alphabetic_words")
def alphabetic_words(text: Text) -> float:
    """Share of words with a letter in them."""
    # isalpha of a complete word first: nearly all words are letters only, and it is one call.
    with_letter = sum(word.isalpha() or any(map(str.isalpha, word)) for word in text.words)
    return with_letter / max(1, len(text.words))


@measures("min_stop_words")
def stop_words(text: Text) -> float:
    """How many of the language's eight stop words occur; a language without a list passes."""
    stop = STOP_WORDS.get(text.language or "en")
    return math.inf if stop is None else len(stop.intersection(map(str.lower, text.words)))


@measures("max_duplicate_lines")
def duplicate_lines(text: Text) -> float:
    """Share of lines that came before."""
    return _repeated(text.lines)


@measures("max_duplicate_paragraphs")
def duplicate_paragraphs(text: Text) -> float:
    """Share of paragraphs that came before."""
    return _repeated([part for part in map(str.strip, _PARAGRAPH_END.split(text.text)) if part])


@measures("max_top_ngram")
def top_pair(text: Text) -> float:
    """Share of the characters in the commonest pair of words; 0 when no pair occurs twice."""
    pairs = Counter(zip(text.words, text.words[1:], strict=False)).most_common(1)
    if not pairs or pairs[0][1] < 2:
        return 0.0

    (first, second), times = pairs[0]
    return (len(first) + len(second) + 1) * times / len(text.text)


@measures("max_duplicate_ngrams")
def duplicate_ngrams(text: Text) -> float:
    """Share of the characters in n-grams that came before, none counted twice: after a repeated
    n-gram the count goes on behind it.
    """
    ngrams = list(zip(*(text.words[i:] for i in range(NGRAM)), strict=False))
    if len(set(ngrams)) == len(ngrams):
        return 0.0

    seen: set[tuple[str, ...]] = set()
    repeated = i = 0
    while i < len(ngrams):
        if ngrams[i] in seen:
            repeated += sum(map(len, ngrams[i]))
            i += NGRAM
        else:
            seen.add(ngrams[i])
            i += 1
    return repeated / len(text.text)


@measures("min_sentences")
def sentences(text: Text) -> float:
    """Full stops inside lines, and one sentence for the end of each line."""
    return len(text.lines) + len(_SENTENCE_END.findall(text.text))


@measures("no_curly_bracket")
def curly_brackets(text: Text) -> float:
    """Opening curly brackets: code rather than prose (C4)."""
    return text.text.count("{")


@measures("no_lorem_ipsum")
def lorem_ipsum(text: Text) -> float:
    """Occurrences of the typesetters' dummy text (C4)."""
    return text.text.lower().count("lorem ipsum")


def _repeated(parts: list[str]) -> float:
    return 1 - len(set(parts)) / len(parts) if parts else 0.0
