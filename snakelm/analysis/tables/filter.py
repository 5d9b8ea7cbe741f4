"""filter.html: what the filter kept of each source, how good it is, and the texts it was least sure
of.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .page import Html, element, rows, write_page

__all__ = ["write_filter"]

KINDS = {
    "setfit": "SetFit",
    "static": "static student",
    "cascade": "cascade",
    "frozen": "base model, untuned",
}


def write_filter(
    table: Mapping[str, Any],
    manifest: Mapping[str, Any],
    nearest: Mapping[str, Any],
    path: str | Path,
) -> None:
    """``table``: setfit_train.json; ``manifest``: of the filtered documents; ``nearest``:
    near_threshold.json.
    """
    used = KINDS.get(str(manifest.get("filter")), manifest.get("filter"))
    threshold = f"{nearest['threshold']:g}"
    write_page(
        path,
        "The academic filter",
        element(
            "p",
            f"Documents are kept from a score of {threshold} on; scored by: {used}.",
            class_="soft",
        ),
        element("h2", "Kept, by source"),
        rows(
            ("source", "documents", "kept", "share", "bytes kept", "read by SetFit"),
            _sources(manifest),
            range(1, 6),
        ),
        element("h2", "How good it is"),
        element("p", _words(table), class_="soft"),
        rows(
            ("", "accuracy", "precision", "recall", "as SetFit", "documents per CPU-second"),
            _kinds(table),
            range(1, 6),
        ),
        [_source(name, sides) for name, sides in nearest["sources"].items()],
    )


def _sources(manifest: Mapping[str, Any]) -> Iterator[tuple]:
    for name, counts in manifest["sources"].items():
        share = counts["kept"] / counts["documents"] if counts["documents"] else None
        yield (
            name,
            f"{counts['documents']:,}",
            f"{counts['kept']:,}",
            _percent(share),
            f"{counts['kept_bytes']:,}",
            f"{counts['by_setfit']:,}",
        )


def _words(table: Mapping[str, Any]) -> str:
    held_out = table["held_out"]["setfit"]["texts"]
    return (
        f"Accuracy, precision and recall on {held_out} labelled texts that were not trained on; agreement with SetFit "
        f"and speed on {table['documents']:,} documents of this run that nothing was chosen on."
    )


def _kinds(table: Mapping[str, Any]) -> Iterator[tuple]:
    for kind, found in table["held_out"].items():
        speed = table["documents_per_cpu_second"].get(kind)
        shares = (_percent(found[name]) for name in ("accuracy", "precision", "recall"))
        alike = _percent(table["agreement"].get(kind), 2)
        yield KINDS.get(kind, kind), *shares, alike, None if speed is None else f"{speed:,.0f}"


def _source(name: str, sides: Mapping[str, Any]) -> Html:
    return element(
        "section",
        element("h2", f"{name}: nearest to the threshold"),
        *(_side(word, sides[word]) for word in ("kept", "dropped")),
    )


def _side(word: str, samples: list[Mapping[str, Any]]) -> list[Html]:
    heading = element("p", element("b", word.capitalize()), None if samples else ": none")
    return [
        heading,
        *(
            element("pre", element("span", f"{s['score']:.3f}  ", class_="prompt"), s["text"])
            for s in samples
        ),
    ]


def _percent(share: float | None, digits: int = 1) -> str | None:
    return None if share is None else f"{share:.{digits}%}"
