"""Which language a text is in, by py3langid: naive Bayes over byte n-grams, 140 languages, its
model in the package (4.6 MB, no pickle, nothing fetched).

A text is looked at in at most four places of 400 characters at even distances; a language's
probability is the mean of the four, each weighing as much as it has letters. So a long document
costs no more than a short one, and one in two languages has no probable one: it is *mixed*, which a
single look at all of it would not say. docs/EXPERIMENTS.md compares packages.
"""

import functools
import importlib.util
from typing import TYPE_CHECKING, NamedTuple

from ...config import Languages
from ...errors import UserError

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

__all__ = ["UNKNOWN", "Identifier", "Verdict"]

UNKNOWN = "und"  # ISO 639's code for what nobody can tell
NO_LANGUAGE = "zxx"  # ISO 639's code for what is in none: the model has it for code and the like

TOO_SHORT, NO_WORDS, MIXED, UNSURE = "too few letters", "code or numbers", "mixed", "unsure"

PLACES, PLACE = 4, 400  # characters
LEAST_LETTERS = 0.5  # share of what isn't white space; below it, a table or code
SECOND = 0.2  # probability from which the second language makes a text mixed
DIGITS = 3  # of a probability: the last bits depend on the machine's matrix products


class Verdict(NamedTuple):
    """A text's language (UNKNOWN where nobody can tell), its probability, and why it is unknown."""

    language: str
    confidence: float
    reason: str | None = None


class Identifier:
    """Tells languages; UserError where its package is missing, or for a language it doesn't know
    in ``rules.keep``.
    """

    def __init__(self, rules: Languages) -> None:
        if importlib.util.find_spec("py3langid") is None:
            raise UserError(
                "languages.keep: telling languages needs py3langid, which is not installed; "
                "pip install -r requirements-checks.txt (or set languages.keep: null)"
            )
        if rules.keep == []:
            raise UserError("languages.keep: found no language; name some, or say all or null")

        self.rules = rules
        self._model = _model()
        known = sorted(set(self._model.labels) - {NO_LANGUAGE})
        for code in rules.keep if isinstance(rules.keep, list) else []:
            if code not in known:
                raise UserError(f"languages.keep: found {code!r}, known are {', '.join(known)}")

    def tell(self, text: str) -> Verdict:
        """The language of ``text``."""
        places = _places(text)
        letters = [sum(map(str.isalpha, place)) for place in places]
        if sum(letters) < self.rules.least_letters:
            return Verdict(UNKNOWN, 0.0, TOO_SHORT)

        (language, confidence), (_, second) = self._two_likeliest(places, letters)
        if language == NO_LANGUAGE:
            return Verdict(UNKNOWN, confidence, NO_WORDS)
        if confidence >= self.rules.least_confidence:
            return Verdict(language, confidence)

        visible = sum(len(part) for place in places for part in place.split())
        if sum(letters) < LEAST_LETTERS * visible:
            return Verdict(UNKNOWN, confidence, NO_WORDS)
        return Verdict(UNKNOWN, confidence, MIXED if second >= SECOND else UNSURE)

    def _two_likeliest(self, places: list[str], letters: list[int]) -> list[tuple[str, float]]:
        means: dict[str, float] = {}
        for place, count in zip(places, letters, strict=True):
            for language, probability in self._model.rank(place):
                means[language] = means.get(language, 0.0) + probability * count / sum(letters)

        rounded = [(language, round(mean, DIGITS)) for language, mean in means.items()]
        return sorted(rounded, key=lambda one: (-one[1], one[0]))[:2]


@functools.cache
def _model() -> "LanguageIdentifier":
    """The model, loaded once: 0.6 CPU-seconds, 100 MB."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _places(text: str) -> list[str]:
    """What is looked at: all of a short text, else PLACES pieces at even distances."""
    if len(text) <= PLACE * PLACES:
        count = max(1, min(PLACES, len(text) // PLACE))
        return [text[len(text) * i // count : len(text) * (i + 1) // count] for i in range(count)]

    last = len(text) - PLACE
    return [
        text[start : start + PLACE] for start in (last * i // (PLACES - 1) for i in range(PLACES))
    ]
