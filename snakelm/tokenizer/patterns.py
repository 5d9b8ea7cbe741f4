"""The split patterns that the core knows, by name and as the regular expressions for other tools.

Decision: these are scanners in csrc/text/split.h, twenty times as fast as an engine for regular
expressions. An expression that is one of these, character for character, or the published
form with the same matches, is that pattern; any other goes to `snakelm.expressions`.
"""

from ..expressions import ENCODINGS, NAMES, Expression

__all__ = [
    "PATTERNS",
    "huggingface_regex",
    "llamacpp_name",
    "pattern_name",
    "slow_pattern",
    "tiktoken_regex",
]

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
GPT2_FIRST_RELEASE = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
GPT2_BRACKETED = r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# GPT-4's as it was first released: but for white space that ends a text, cl100k's matches.
GPT4_FIRST_RELEASE = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    + _CONTRACTION
    + r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    + _CONTRACTION
    + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|{_WORDS}|\p{{N}}{{1,3}}{_REST}"
QWEN2 = rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|{_WORDS}|\p{{N}}{_REST}"
NANOCHAT = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
# Italian and French: the apostrophe of an elision ends its word (dell'|arte, qu'|il, nell'|800),
# where the patterns above put it before the next one, or read `'s` and `'t` as English.
ELISION = rf"{_WORDS}(?:['\u2019](?=[\p{{L}}\p{{N}}]))?|\p{{N}}{{1,3}}{_REST}".replace(
    r"\u2019", "\u2019"
)

# Name → expression for tiktoken.Encoding.
PATTERNS = {
    "gpt2": GPT2,
    "cl100k": CL100K,
    "o200k": O200K,
    "llama3": LLAMA3,
    "qwen2": QWEN2,
    "nanochat": NANOCHAT,
    "elision": ELISION,
}
assert tuple(PATTERNS) == NAMES

# The same matches for engines that read `$` as end of line and `{1,3}+` as a repeated repetition
# (Oniguruma in Hugging Face's tokenizers): end of text is (?![\s\S]), and the case folding of
# contractions, long s included, is spelled out.
_S, _T, _D, _M, _LL, _VE, _RE = "[sSſ]", "[tT]", "[dD]", "[mM]", "[lL][lL]", "[vV][eE]", "[rR][eE]"
_CL100K_PORTABLE = (
    rf"'(?:{_S}|{_D}|{_M}|{_T}|{_LL}|{_VE}|{_RE})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?![\s\S])|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_FOLDED = rf"(?:'{_S}|'{_T}|'{_RE}|'{_VE}|'{_M}|'{_LL}|'{_D})?"
_O200K_PORTABLE = O200K.replace(_CONTRACTION, _FOLDED)
_CONTRACTED = rf"'(?:{_S}|{_D}|{_M}|{_T}|{_LL}|{_VE}|{_RE})"
_PORTABLE = {
    "gpt2": GPT2_FIRST_RELEASE,
    "cl100k": _CL100K_PORTABLE,
    "o200k": _O200K_PORTABLE,
    "llama3": rf"{_CONTRACTED}|{_WORDS}|\p{{N}}{{1,3}}{_REST}",
    "qwen2": rf"{_CONTRACTED}|{_WORDS}|\p{{N}}{_REST}",
    "nanochat": rf"{_CONTRACTED}|{_WORDS}|\p{{N}}{{1,2}}{_REST}",
    "elision": ELISION,
}

# Expression → name: published forms that match the same, and those we write.
EQUAL = (
    {GPT2_FIRST_RELEASE: "gpt2", GPT2_BRACKETED: "gpt2", GPT4_FIRST_RELEASE: "llama3"}
    | {expression: name for name, expression in PATTERNS.items()}
    | {expression: name for name, expression in _PORTABLE.items()}
)

# Pattern → `tokenizer.ggml.pre`, by which llama.cpp knows a splitter; it takes no expressions.
_LLAMACPP = {
    "gpt2": "gpt-2",
    "cl100k": "llama-bpe",
    "o200k": "gpt-4o",
    "llama3": "llama-bpe",
    "qwen2": "qwen2",
}


def pattern_name(pattern: str) -> str:
    """The name for a name, that of an encoding that has the pattern, or a regular expression of it;
    any other expression is its own name. UserError for what is none of these.
    """
    if not isinstance(pattern, str):
        raise TypeError(f"tokenizer pattern: expected str, found {type(pattern).__name__}")
    if pattern in PATTERNS:
        return pattern
    if named := ENCODINGS.get(pattern) or EQUAL.get(pattern):
        return named
    return Expression(pattern).expression


def slow_pattern(pattern: str) -> str:
    """What to tell a user whose pattern has no scanner; empty where it has one."""
    if pattern_name(pattern) in PATTERNS:
        return ""
    lost = "" if Expression(pattern).covers else " tiktoken loses the text that it does not match."
    return (
        f"tokenizer.pattern: {pattern!r} has no scanner: encoding takes some 20 times as long, "
        f"training 35 times as long as with {', '.join(PATTERNS)}; llama.cpp does not know "
        f"it.{lost}"
    )


def tiktoken_regex(pattern: str) -> str:
    """The `pat_str` with which tiktoken gives our ids (an expression of one's own as it is)."""
    return PATTERNS.get(pattern, pattern)


def huggingface_regex(pattern: str) -> str:
    """The expression for a `Split` pre-tokenizer of Hugging Face's tokenizers."""
    return _PORTABLE.get(pattern, pattern)


def llamacpp_name(pattern: str) -> str | None:
    """What llama.cpp calls the pattern; None where it doesn't know it."""
    return _LLAMACPP.get(pattern)
