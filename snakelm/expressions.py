r"""Any regular expression as a split pattern of the tokenizer, matched by the `regex` package.

The named patterns are scanners in the compiled core; this is for all others, at a twentieth of the
speed. An expression comes from a user's configuration or a downloaded file, so three things that
other libraries leave open are settled here:

- Text between matches is a piece of its own, so that nothing of a text is lost.
- A match of nothing makes no piece; an expression that matches the empty text is refused.
- Backtracking without end is stopped: a text gets `SECONDS` and a second more for each `RATE`
  characters, which even slow expressions don't need.

The dialect is that of `regex`, version 1, nearest to the engines of tiktoken and of tokenizers:
`\p{L}`, possessive quantifiers, lookaround, sets inside sets. Characters have the classes of the
Unicode that `regex` knows, a later one than the scanners'.
"""

import functools
import warnings

from .errors import UserError

__all__ = ["ENCODINGS", "NAMES", "Expression", "is_name"]

# The patterns that the core knows (snakelm/tokenizer/patterns.py has their expressions) …
NAMES = ("gpt2", "cl100k", "o200k", "llama3", "qwen2", "nanochat", "elision")
# … and encoding that OpenAI published → the pattern it splits with.
ENCODINGS = {
    "r50k_base": "gpt2",
    "p50k_base": "gpt2",
    "p50k_edit": "gpt2",
    "cl100k_base": "cl100k",
    "o200k_base": "o200k",
    "o200k_harmony": "o200k",
}

SECONDS, RATE = 60.0, 10_000.0
LONGEST = 10_000  # characters of an expression

# Something of everything: an expression that splits this splits text.
PROBE = (
    "It's l'été 2024: «naïve» e\u0301 \u4e2d\u6587 don\u2019t…\r\n\n\tx_y += 12345;  \u00a0🙂  \n "
)


def is_name(pattern: str) -> bool:
    """Whether it is the name of a pattern, or of an encoding that has one."""
    return pattern in NAMES or pattern in ENCODINGS


class Expression:
    """A checked expression. UserError where it can't split."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self._compiled = _compiled(expression)

        if self._compiled.search("") is not None:
            raise self._wrong("it matches the empty text; write + for *")
        if not any(match.group() for match in self._compiled.finditer(PROBE, timeout=SECONDS)):
            raise self._wrong("it matches nothing of a sample of text")

    def split(self, text: str) -> list[str]:
        """The pieces, which together are the text. UserError where matching takes too long."""
        limit = SECONDS + len(text) / RATE
        pieces, at = [], 0
        try:
            for match in self._compiled.finditer(text, timeout=limit):
                start, end = match.span()
                if start == end:
                    continue
                if start > at:
                    pieces.append(text[at:start])
                pieces.append(text[start:end])
                at = end
        except TimeoutError:
            raise self._wrong(
                f"splitting a text of {len(text):,} characters took more than {limit:.0f} seconds: "
                "it backtracks; make its quantifiers possessive (++ for +)"
            ) from None

        return pieces if at == len(text) else [*pieces, text[at:]]

    @functools.cached_property
    def covers(self) -> bool:
        """Whether it matches all of a sample of text; other libraries lose what it doesn't."""
        matches = self._compiled.finditer(PROBE, timeout=SECONDS)
        return "".join(match.group() for match in matches) == PROBE

    def _wrong(self, why: str) -> UserError:
        return _wrong(self.expression, why)


@functools.lru_cache(maxsize=32)
def _compiled(expression: str):  # type: ignore[no-untyped-def]  # `regex` has no types
    """The `regex.Pattern`."""
    try:
        import regex
    except ImportError:
        raise UserError(
            "tokenizer pattern: an expression of its own needs the package regex; pip install "
            "regex, or name a pattern"
        ) from None

    if expression.replace("_", "").replace("-", "").isalnum():
        raise _wrong(expression, "neither a name that is known nor an expression")
    if len(expression) > LONGEST:
        raise _wrong(expression, f"longer than {LONGEST:,} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return regex.compile(expression, regex.VERSION1)
    except (regex.error, Warning, RecursionError, OverflowError, MemoryError) as error:
        raise _wrong(expression, f"no regular expression: {error}") from None


def _wrong(expression: str, why: str) -> UserError:
    shown = expression if len(expression) <= 120 else expression[:117] + "…"
    return UserError(
        f"tokenizer pattern: found {shown!r}: {why}; expected one of {', '.join(NAMES)}, an "
        f"encoding that has one of them ({', '.join(ENCODINGS)}), or a regular expression"
    )
