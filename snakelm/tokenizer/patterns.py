"""The split patterns that the core knows, by name and as the regular expressions for other tools.

Decision: no general regular expressions. The three patterns are scanners in csrc/text/split.h; an
expression is accepted where it is one of these, character for character, or the published form with
the same matches.
"""

from ..errors import UserError

__all__ = ["PATTERNS", "huggingface_regex", "pattern_name", "tiktoken_regex"]

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
GPT2_FIRST_RELEASE = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
GPT2_BRACKETED = r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
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

# Name → expression for tiktoken.Encoding.
PATTERNS = {"gpt2": GPT2, "cl100k": CL100K, "o200k": O200K}

# Expression → name: published forms that match the same.
EQUAL = {
    GPT2: "gpt2",
    GPT2_FIRST_RELEASE: "gpt2",
    GPT2_BRACKETED: "gpt2",
    CL100K: "cl100k",
    O200K: "o200k",
}

# Encoding that OpenAI published → the pattern it splits with.
ENCODINGS = {
    "r50k_base": "gpt2",
    "p50k_base": "gpt2",
    "p50k_edit": "gpt2",
    "cl100k_base": "cl100k",
    "o200k_base": "o200k",
    "o200k_harmony": "o200k",
}

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
_PORTABLE = {"gpt2": GPT2_FIRST_RELEASE, "cl100k": _CL100K_PORTABLE, "o200k": _O200K_PORTABLE}


def pattern_name(pattern: str) -> str:
    """`gpt2`, `cl100k` or `o200k` for one of these names, that of an encoding that has it, or its
    regular expression; a UserError for any other.
    """
    if pattern in PATTERNS:
        return pattern
    if named := ENCODINGS.get(pattern) or EQUAL.get(pattern):
        return named
    raise UserError(
        f"tokenizer pattern: found {pattern!r}; expected one of {', '.join(PATTERNS)}, an encoding "
        f"that has one of them ({', '.join(ENCODINGS)}), or the regular expression that tiktoken "
        "has for one; other expressions are not supported, name the closest of these"
    )


def tiktoken_regex(name: str) -> str:
    """The `pat_str` with which tiktoken gives our ids."""
    return PATTERNS[name]


def huggingface_regex(name: str) -> str:
    """The expression for a `Split` pre-tokenizer of Hugging Face's tokenizers."""
    return _PORTABLE[name]
