"""docs/TROUBLESHOOTING.md quotes messages that exist: each is found among the source's texts."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/TROUBLESHOOTING.md").read_text(encoding="utf-8")
OTHERS = "(Snakemake's)"
ROWS = [row.split("|")[1].strip() for row in re.findall(r"^\| `.*\|$", PAGE, re.MULTILINE)]
QUOTED = [re.match(r"`([^`]+)`", row)[1] for row in ROWS if OTHERS not in row]


@functools.cache
def texts():
    """All texts of the library, with a mark where something is put in."""
    found = []
    for file in sorted((ROOT / "snakelm").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [getattr(part, "value", "") for part in node.values]
                found.append("".join(part if isinstance(part, str) else "…" for part in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    found += [re.sub(r'"\s+f?"', "", file.read_text()) for file in (ROOT / "rules").glob("*.smk")]
    return found


@pytest.mark.parametrize("message", QUOTED)
def test_a_message_that_is_explained_exists(message):
    parts = [re.escape(part) for part in re.split(r"\s*…\s*", message) if part]
    pattern = re.compile(r"[\s\S]{0,90}?".join(parts))
    assert any(pattern.search(text) for text in texts()), f"nothing says {message!r}"


def test_there_are_messages():
    assert len(QUOTED) > 20
