"""What makes the tree readable and a program can see: one class of a name, docstrings, paragraphs,
nothing endless. CONTRIBUTING.md has what only people can see.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(
    f for top in ("snakelm", "pytorch_ext", "scripts") for f in (ROOT / top).rglob("*.py")
)

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

LONGEST_FILE = 400  # lines
LONGEST_FUNCTION = 60
LONGER = {
    "snakelm/training/loop.py:run": "the training loop reads from top to bottom in one piece",
}
PARAGRAPHS_FROM = 15, 4  # lines and statements of a body that is to have a blank line


class Function(NamedTuple):
    """A function, and the lines of its file."""

    file: Path
    node: FunctionNode
    lines: list[str]

    @property
    def place(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.node.lineno}: {self.node.name}"

    @property
    def body(self) -> list[ast.stmt]:
        """Its statements, less the docstring."""
        return self.node.body[1:] if ast.get_docstring(self.node) else self.node.body


def functions() -> Iterator[Function]:
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, FunctionNode):
                yield Function(file, node, text.splitlines())


def decorators(node: FunctionNode) -> set[str]:
    return {ast.unparse(one) for one in node.decorator_list}


def test_a_class_name_is_defined_once():
    places = defaultdict(list)
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert places
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert not twice, f"rename all but one: {twice}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_a_module_says_what_it_is_and_ends(file):
    text = file.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "begin with a docstring: what the module is for"
    count = len(text.splitlines())
    assert count <= LONGEST_FILE, f"{count} lines: a module of one idea has at most {LONGEST_FILE}"


def test_what_is_public_has_a_docstring():
    """A step's main is described by its module."""
    without = [
        f"{file.relative_to(ROOT)}:{node.lineno}: {node.name}"
        for file in FILES
        for node in ast.parse(file.read_bytes()).body
        if isinstance(node, FunctionNode | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not (node.name == "main" and file.is_relative_to(ROOT / "scripts"))
        and not (isinstance(node, FunctionNode) and "overload" in decorators(node))
    ]
    assert not without, "\n".join(without)


def test_a_function_ends():
    long = {
        f"{one.file.relative_to(ROOT)}:{one.node.name}": length
        for one in functions()
        if (length := one.node.end_lineno - one.node.lineno + 1) >= LONGEST_FUNCTION
    }
    assert long.keys() == LONGER.keys(), f"{long}: split what is longer, or give a reason here"


def test_long_functions_have_paragraphs():
    lines, statements = PARAGRAPHS_FROM
    dense = []
    for one in functions():
        span = one.lines[one.body[0].lineno - 1 : one.node.end_lineno] if one.body else []
        if len(span) >= lines and len(one.body) >= statements and all(map(str.strip, span)):
            dense.append(one.place)
    assert not dense, "a blank line between paragraphs, please:\n" + "\n".join(dense)
