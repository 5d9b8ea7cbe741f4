"""What the docs name exists: paths, links, make targets, keys, settings, flags, steps, floors."""

import functools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from snakelm.config import Config, as_mapping, from_mapping, load_config
from snakelm.workflow.step import load_steps
from tests.test_imports import ROOMS

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL_DOCS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md")
DOCS = [*(ROOT / name for name in TOP_LEVEL_DOCS), *sorted((ROOT / "docs").glob("*.md"))]
GENERATED = {"TRAINING_CONFIG.md"}
TOP = {p.name for p in ROOT.iterdir()}
COLUMNS = 100
OURS = ("scripts/", "benchmarks/")

# `model.pt` and the like are files, not keys of a section.
FILES = {"bin", "gguf", "html", "idx", "json", "pt", "py", "safetensors", "svg"}

every_doc = pytest.mark.parametrize("doc", DOCS, ids=lambda p: p.relative_to(ROOT).as_posix())


@functools.cache
def text_of(doc: Path) -> str:
    return doc.read_text(encoding="utf-8")


def parts(doc: Path) -> tuple[str, list[tuple[str, str]]]:
    """(the text outside of fences, [(language, what is inside) of each fence])."""
    pieces = re.split(r"^```(\w*)\n(.*?)^```$", text_of(doc), flags=re.MULTILINE | re.DOTALL)
    return "\n".join(pieces[::3]), list(zip(pieces[1::3], pieces[2::3], strict=True))


def commands(doc: Path) -> list[str]:
    """Lines of shell fences, and spans of code; a line that ends in a backslash goes on."""
    prose, fences = parts(doc)
    lines = [
        line
        for language, body in fences
        if language in ("", "sh")
        for line in body.replace("\\\n", " ").splitlines()
    ]
    return [line.split(" #")[0] for line in lines] + spans(prose)


def spans(prose: str) -> list[str]:
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@every_doc
def test_paths_named_in_backticks_exist(doc):
    for name in re.findall(r"`([\w./-]+/[\w./-]*)`", text_of(doc)):
        if name.split("/")[0] in TOP - {"results"}:
            assert (ROOT / name).exists(), f"{doc.name} names {name}"


@every_doc
def test_links_lead_somewhere(doc):
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", parts(doc)[0]):
        linked = doc.parent / target if target else doc
        assert linked.exists(), f"{doc.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", text_of(linked), flags=re.MULTILINE)
            assert anchor in map(slug, headings), f"{doc.name} links to {target}#{anchor}"


def test_make_targets_named_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = {(doc.name, command) for doc in DOCS for command in commands(doc)}
    targets = {(doc, match[1]) for doc, c in named if (match := re.match(r"make ([a-z]+)\b", c))}
    assert ("README.md", "model") in targets
    for doc, target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"{doc} names make {target}"


def test_configuration_keys_named_exist():
    config = as_mapping(load_config())
    for doc in DOCS:
        for section, key in re.findall(r"`(\w+)\.(\w+)`", text_of(doc)):
            if isinstance(config.get(section), dict) and key not in FILES:
                assert key in config[section], f"{doc.name} names {section}.{key}"


@every_doc
def test_settings_shown_are_valid(doc):
    """Settings in YAML, in a fence or as a span, are read as a user's file would be."""
    prose, fences = parts(doc)
    shown = [body for language, body in fences if language == "yaml"]
    shown += [span for span in spans(prose) if re.match(r"\w+: ?[^:]", span)]
    for text in shown:
        if text.partition(":")[0] not in Config.model_fields or re.search(r"…(?!\")| \| ", text):
            continue  # another file's, or left open on purpose
        from_mapping(yaml.safe_load(text))


@every_doc
def test_scripts_take_the_flags_that_are_shown(doc):
    for command in commands(doc):
        for name, rest in re.findall(r"(?:^|\s)((?:[\w/]+/)?\w+\.py)(\s.*)", command):
            scripts = [*ROOT.glob(f"scripts/*/{Path(name).name}"), ROOT / name]
            script = next((file for file in scripts if file.as_posix().endswith(f"/{name}")), None)
            if script is None or not script.relative_to(ROOT).as_posix().startswith(OURS):
                continue
            for flag in re.findall(r"(?<=\s)--[a-z][\w-]*", rest):
                assert flag in flags_of(script), f"{doc.name}: {name} has no {flag}"


@functools.cache
def flags_of(script: Path) -> set[str]:
    step = load_steps().get(script.stem)
    if step is not None and step.script == script:
        return {flag for action in step.parser()._actions for flag in action.option_strings}
    return set(re.findall(r'"(--[\w-]+)"', script.read_text(encoding="utf-8")))


def test_the_hub_takes_the_commands_that_are_shown():
    cli = shutil.which("hf", path=Path(sys.executable).parent)
    if cli is None:
        pytest.skip("huggingface_hub is not installed")

    shown = [c for doc in DOCS for c in commands(doc) if c.startswith("hf ")]
    assert any(command.startswith("hf upload") for command in shown)
    for command in shown:
        words = command.split()
        verbs = [word for word in words[1:3] if re.fullmatch("[a-z]+", word)]
        asked = subprocess.run([cli, *verbs, "--help"], capture_output=True, text=True)
        assert asked.returncode == 0, command
        for flag in (word for word in words if word.startswith("--")):
            assert flag in asked.stdout, f"{command}: no {flag}"


def test_every_step_is_explained_and_every_step_explained_exists():
    doc = ROOT / "docs/TRAINING_PROCESS.md"
    tables = [line for line in text_of(doc).splitlines() if line.startswith("| `")]
    named = {name for line in tables for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    config = set(Config.model_fields)
    assert set(load_steps()) <= named, "a step is missing from the tables"
    assert named - config <= set(load_steps()), "the tables name a step that is none"


@every_doc
def test_snakemake_commands_name_files_that_a_rule_makes(doc):
    made = "".join(file.read_text() for file in sorted((ROOT / "rules").glob("*.smk")))
    made += (ROOT / "snakelm/workflow/artefacts.py").read_text()
    for command in commands(doc):
        if "snakemake " in command:
            for target in re.findall(r"\sresults/([\w./-]+\.\w+)", command):
                assert f'{Path(target).name}"' in made, f"{doc.name} asks for results/{target}"


@every_doc
def test_prose_keeps_to_a_hundred_columns(doc):
    """Not tables, code, links or long spans, which cannot be broken."""
    if doc.name in GENERATED:
        return
    for line in parts(doc)[0].splitlines():
        if len(line) > COLUMNS and not line.startswith(("|", "!", "`")):
            pytest.fail(f"{doc.name}: {len(line)} columns: {line[:60]}…")


def test_the_floors_of_the_rooms_are_those_that_the_imports_are_held_to():
    rows = re.findall(
        r"^\| (\d+) \| (.+) \|$",
        text_of(ROOT / "docs/PROJECT_STRUCTURE.md"),
        flags=re.MULTILINE,
    )
    floors = {int(floor): re.findall(r"`(\w+)`", rooms) for floor, rooms in rows}
    assert [set(floors[floor]) for floor in sorted(floors)] == [set(rooms) for rooms in ROOMS]
