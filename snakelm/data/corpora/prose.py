"""Prose out of a docstring: what is left without code examples, directives, placeholders and empty
headings.
"""

import inspect
import re

__all__ = ["SHORTEST", "is_prose", "prose", "without_empty_sections"]

SHORTEST = 200  # characters; less is a signature or a line, which teaches little by itself

PROMPT = re.compile(r"\s*(>>>|\.\.\. |In \[\d+\]:|\$ )")
CODE_DIRECTIVE = re.compile(
    r"(\s*)\.\. (code|code-block|plot|ipython|sourcecode|doctest|testcode|testoutput|testsetup|jupyter-execute|image"
    r"|figure|toctree|autosummary|currentmodule|module|index|highlight|sectionauthor|moduleauthor)\b"
)
NOTE_DIRECTIVE = re.compile(r"\s*\.\. (versionadded|versionchanged|deprecated)::.*")
PLACEHOLDER = re.compile(r"\s*(%\(\w+\)s|\{\w*\}|\$\{?\w+\}?)\s*$")
RULE = re.compile(r"\s*([-=~^*#\"'`])\1{2,}\s*$")


def prose(docstring: str) -> str:
    """The docstring dedented, without what isn't prose; may be empty."""
    lines = _without_indented(inspect.cleandoc(docstring).split("\n"))
    kept, in_example = [], False
    for line in lines:
        in_example = bool(PROMPT.match(line)) or (in_example and bool(line.strip()))
        if not in_example and not NOTE_DIRECTIVE.match(line) and not PLACEHOLDER.match(line):
            kept.append(line.rstrip())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(without_empty_sections(kept))).strip()


def _without_indented(lines: list[str]) -> list[str]:
    """Lines without code directives and the deeper-indented lines under them."""
    kept, depth = [], None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if depth is not None and (not line.strip() or indent > depth):
            continue
        directive = CODE_DIRECTIVE.match(line)
        depth = len(directive[1]) if directive else None
        if not directive:
            kept.append(line)
    return kept


def without_empty_sections(lines: list[str]) -> list[str]:
    """Lines without underlined headings that another heading or the end follows: their examples are
    gone.
    """
    kept: list[str] = []
    empty = True  # nothing but blank lines between here and the next heading, seen from the end
    for i in range(len(lines) - 1, -1, -1):
        rule = bool(RULE.match(lines[i]))
        heading = (
            bool(lines[i].strip())
            and not rule
            and i + 1 < len(lines)
            and bool(RULE.match(lines[i + 1]))
        )
        if heading and empty:
            kept.pop()
        else:
            kept.append(lines[i])
            if lines[i].strip() and not rule:
                empty = heading
    return kept[::-1]


def is_prose(text: str) -> bool:
    """Long enough, and mostly letters and spaces in lines that are more than rules and symbols."""
    if len(text) < SHORTEST:
        return False
    letters = sum(map(str.isalpha, text)) + text.count(" ")
    return letters >= 0.75 * len(text)
