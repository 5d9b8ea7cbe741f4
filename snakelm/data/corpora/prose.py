"""Prose out of docstrings: without code examples, directives, placeholders, empty headings, and
without the passages that occurred before.

Docstrings repeat each other: functions with the same parameter describe it in the same words. Of
the docstring corpus 34% of the held-out tokens lay in 16-token spans that training text had too;
dropping complete near-duplicates (Jaccard 0.7) left 31%, dropping repeated passages first leaves
17%, for 14% of the text. A passage is a paragraph, or within one an item: a line with the deeper
indented lines below it, as lists of parameters are written.
"""

import inspect
import re

__all__ = ["SHORTEST", "SeenPassages", "is_prose", "passages", "prose", "without_empty_sections"]

SHORTEST = 200  # characters; less is a signature or a line, which teaches little by itself
SHORTEST_PASSAGE = 40  # characters; shorter ones are headings and phrases that may well recur
LETTERS = 0.75  # of prose, spaces included

CODE_DIRECTIVES = (
    "code|code-block|plot|ipython|sourcecode|doctest|testcode|testoutput|testsetup|jupyter-execute"
    "|image|figure|toctree|autosummary|currentmodule|module|index|highlight|sectionauthor"
    "|moduleauthor"
)
PROMPT = re.compile(r"\s*(>>>|\.\.\. |In \[\d+\]:|\$ )")
CODE_DIRECTIVE = re.compile(rf"(\s*)\.\. ({CODE_DIRECTIVES})\b")
NOTE_DIRECTIVE = re.compile(r"\s*\.\. (versionadded|versionchanged|deprecated)::.*")
PLACEHOLDER = re.compile(r"\s*(%\(\w+\)s|\{\w*\}|\$\{?\w+\}?)\s*$")
RULE = re.compile(r"\s*([-=~^*#\"'`])\1{2,}\s*$")


def prose(docstring: str) -> str:
    """The docstring dedented, without what isn't prose; may be empty."""
    lines = _without_code(inspect.cleandoc(docstring).split("\n"))
    kept, in_example = [], False
    for line in lines:
        # An example goes on, with its output, until a blank line.
        in_example = bool(PROMPT.match(line)) or (in_example and bool(line.strip()))
        if not in_example and not NOTE_DIRECTIVE.match(line) and not PLACEHOLDER.match(line):
            kept.append(line.rstrip())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(without_empty_sections(kept))).strip()


def _without_code(lines: list[str]) -> list[str]:
    """Lines without code directives and the deeper-indented lines under them."""
    kept, depth = [], None  # the indentation of the directive that this line may belong to
    for line in lines:
        indent = _indent(line)
        if depth is not None and (not line.strip() or indent > depth):
            continue
        directive = CODE_DIRECTIVE.match(line)
        depth = len(directive[1]) if directive else None
        if not directive:
            kept.append(line)
    return kept


def without_empty_sections(lines: list[str]) -> list[str]:
    """Lines without underlined headings that another heading, or the end, follows directly: their
    examples are gone.
    """
    kept: list[str] = []
    empty = True  # nothing but blank lines between here and the next heading, seen from the end
    for i in range(len(lines) - 1, -1, -1):
        line = lines[i]
        rule = bool(RULE.match(line))
        below = lines[i + 1] if i + 1 < len(lines) else ""
        heading = bool(line.strip()) and not rule and bool(RULE.match(below))

        if heading and empty:
            kept.pop()  # its rule
            continue
        kept.append(line)
        if line.strip() and not rule:
            empty = heading
    return kept[::-1]


def is_prose(text: str) -> bool:
    """Long enough, and mostly letters and spaces in lines that are more than rules and symbols."""
    if len(text) < SHORTEST:
        return False
    letters = sum(map(str.isalpha, text)) + text.count(" ")
    return letters >= LETTERS * len(text)


class SeenPassages:
    """Remembers the passages of the texts it has seen."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self.dropped = 0

    def fresh(self, text: str) -> str:
        """``text`` without the passages of earlier texts; empty when what is left is not prose."""
        kept = []
        for passage in passages(text):
            key = " ".join(passage.split()).lower()
            if len(passage) >= SHORTEST_PASSAGE and key in self._seen:
                self.dropped += 1
                continue
            self._seen.add(key)
            kept.append(passage)

        left = "\n".join(without_empty_sections("\n".join(kept).split("\n")))
        left = re.sub(r"\n{3,}", "\n\n", left).strip()
        return left if is_prose(left) else ""


def passages(text: str) -> list[str]:
    """The text's paragraphs and items, empty lines as empty passages: joined by newlines they are
    the text again.
    """
    complete: list[str] = []
    item: list[str] = []
    lines = text.split("\n")
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if item and (not line.strip() or _begins_item(item, line, following)):
            complete.append("\n".join(item))
            item = []
        if line.strip():
            item.append(line)
        else:
            complete.append(line)
    return [*complete, "\n".join(item)] if item else complete


def _begins_item(item: list[str], line: str, following: str) -> bool:
    """Whether ``line`` is not part of ``item``: back at its indentation, with deeper lines before
    or after it.
    """
    indent = _indent(item[0])
    if _indent(line) > indent:
        return False
    deeper_after = bool(following.strip()) and _indent(following) > _indent(line)
    return deeper_after or _indent(item[-1]) > indent


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
