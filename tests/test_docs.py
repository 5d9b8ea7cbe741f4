"""What the docs name exists: files, folders, make targets, configuration keys."""

import re
from pathlib import Path

import pytest

from snakelm.config import as_mapping, load_config

ROOT = Path(__file__).resolve().parents[1]
DOCS = [ROOT / "README.md", ROOT / "config/README.md", *sorted((ROOT / "docs").glob("*.md"))]
TOP = {p.name for p in ROOT.iterdir()}


@pytest.mark.parametrize("doc", DOCS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_paths_named_in_backticks_exist(doc):
    for name in re.findall(r"`([\w./-]+/[\w./-]*)`", doc.read_text(encoding="utf-8")):
        if name.split("/")[0] in TOP - {"results"}:
            assert (ROOT / name).exists(), f"{doc.name} names {name}"


@pytest.mark.parametrize("doc", DOCS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(doc):
    for target in re.findall(r"\]\(([^)#:]+)\)", doc.read_text(encoding="utf-8")):
        assert (doc.parent / target).exists(), f"{doc.name} links to {target}"


def test_make_targets_named_exist():
    makefile = (ROOT / "Makefile").read_text()
    for doc in DOCS:
        for target in re.findall(r"`make (\w+)`", doc.read_text(encoding="utf-8")):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), (
                f"{doc.name} names make {target}"
            )


FILES = {
    "bin",
    "gguf",
    "html",
    "idx",
    "json",
    "pt",
    "py",
    "safetensors",
    "svg",
}  # `model.pt` is no key


def test_configuration_keys_named_exist():
    config = as_mapping(load_config())
    for doc in DOCS:
        for section, key in re.findall(r"`(\w+)\.(\w+)`", doc.read_text(encoding="utf-8")):
            if isinstance(config.get(section), dict) and key not in FILES:
                assert key in config[section], f"{doc.name} names {section}.{key}"
