"""sources.html: what went in: each source, its files by hash, what was taken of it, and under what
licence it is.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...config import Source
from ...files import human_bytes
from ..funnel import Stage, funnel
from ..run_record import Record
from .page import Html, element, facts, rows, write_page

__all__ = ["write_sources"]

NOT_SAID = "not said: whoever brought the text knows"
MOST_FILES = 200  # of a source that are listed; the manifest has all


def write_sources(record: Record, path: str | Path) -> None:
    """The page of sources; one that wasn't sampled yet has only what the configuration says."""
    sampled = {_stem(m): m for m in record.made_by("sample_data")}
    collected = {_stem(m): m for m in record.made_by("collect")}
    write_page(
        path,
        "Sources",
        _by_step(funnel(record)),
        [
            _source(source, sampled.get(str(source.name), {}), collected.get(str(source.name), {}))
            for source in record.config.sources
        ],
    )


def _by_step(stages: list[Stage]) -> list[Html]:
    """Documents of each source after each step that tells sources apart."""
    told = [stage for stage in stages if "" not in stage.documents]
    if not told:
        return []
    names = sorted({name for stage in told for name in stage.documents})
    body = [[name, *(f"{stage.documents.get(name, 0):,}" for stage in told)] for name in names]
    total = [["all", *(f"{stage.total:,}" for stage in told)]] if len(names) > 1 else []
    table = rows(
        ["source", *(stage.name for stage in told)], body + total, numbers=range(1, len(told) + 1)
    )
    return [element("h2", "Documents left after each step"), element("div", table, class_="wide")]


def _source(source: Source, sampled: Mapping[str, Any], collected: Mapping[str, Any]) -> Html:
    return element(
        "section",
        element("h2", source.name),
        facts(_facts(source, sampled, collected)),
        _files(sampled),
        _packages(collected),
    )


def _facts(
    source: Source, sampled: Mapping[str, Any], collected: Mapping[str, Any]
) -> Iterator[tuple[str, object]]:
    counts = _mapping(sampled.get("counts"))
    given = source.path or source.url
    yield (
        "from",
        given
        if isinstance(given, str)
        else ", ".join(given)
        if given
        else f"built in: {source.builtin}",
    )
    if not _packages(collected):
        own_words = "made by this project" if source.builtin else NOT_SAID
        yield "licence", getattr(source, "licence", None) or own_words
    if "read" in counts:
        unfit = (
            sum(_mapping(counts.get("invalid")).values())
            + counts.get("null", 0)
            + counts.get("empty", 0)
        )
        yield "rows read", f"{counts['read']:,}" + (f", of them unfit {unfit:,}" if unfit else "")
        yield "documents taken", f"{counts.get('taken', 0):,}"
    if isinstance(sampled.get("text_bytes"), int):
        yield "text", human_bytes(sampled["text_bytes"])
    for what, key in (("unreadable files", "bad_files"), ("files given twice", "duplicate_files")):
        if counts.get(key):
            yield what, ", ".join(map(str, counts[key]))[:2000]


def _files(sampled: Mapping[str, Any]) -> list[Html]:
    files = [_mapping(file) for file in sampled.get("inputs") or []]
    if not files:
        return []
    body = [
        (
            [file.get("path"), element("div", _bytes(file.get("bytes")), class_="soft")],
            element("small", file.get("sha256")),
        )
        for file in files[:MOST_FILES]
    ]
    more = len(files) - MOST_FILES
    note = element(
        "p", f"… and {more:,} more; the manifest of the sampled documents has all.", class_="soft"
    )
    return [rows(["file", "SHA-256"], body), note if more > 0 else Html("")]


def _packages(collected: Mapping[str, Any]) -> list[Html]:
    """Packages that a built-in corpus was taken from, with their licences."""
    packages = [
        p
        for p in _mapping(collected.get("collected")).get("packages") or []
        if isinstance(p, Mapping)
    ]
    if not packages:
        return []
    columns = ["package", "version", "licence", "documents", "characters"]
    body = ([_shown(package.get(column)) for column in columns] for package in packages)
    return [
        element("p", element("b", "Packages it is taken from")),
        element("div", rows(columns, body, numbers=[3, 4]), class_="wide"),
    ]


def _stem(manifest: Mapping[str, Any]) -> str:
    """`…/sampled/docs.parquet` → `docs`."""
    name = (
        str(_mapping(manifest.get("artefact")).get("path", "?"))
        .replace("\\", "/")
        .rsplit("/", 1)[-1]
    )
    return name.removesuffix(".parquet")


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _bytes(value: Any) -> str:
    return f"{value:,} bytes" if isinstance(value, int) else ""


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)
