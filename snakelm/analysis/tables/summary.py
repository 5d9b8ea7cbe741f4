"""summary.html: the verdict, what it cost, and the command that does it again."""

from pathlib import Path

from ..figures.style import human
from ..funnel import Stage, funnel
from ..record import Record
from ..verdict import Scores, resumes, scores, seconds_in_words, sentences, warnings
from .page import Html, element, facts, rows, write_page

__all__ = ["write_summary"]


def write_summary(record: Record, path: str | Path) -> None:
    """The page a report opens with."""
    found = scores(record)
    first, *others = sentences(found)
    write_page(
        path,
        "Verdict",
        _headline(found),
        element("p", first),
        [element("p", said, class_="soft") for said in others],
        [element("div", said, class_="warn") for said in warnings(record)],
        _comparison(found),
        element("h2", "The run"),
        facts((name, value) for name, value in _facts(record) if value),
        _rerun(record),
        _sources(funnel(record)),
        _steps(record),
    )


def _headline(found: Scores) -> Html:
    model, compressor, clean = found.deciding()
    if model is None:
        return element("p", "no number yet", class_="big")
    better = compressor is not None and model < compressor
    where = " on clean documents" if clean else ""
    return element(
        "p",
        element("span", f"{model:.3f}", class_="big good" if better else "big"),
        f" bits per byte{where}",
        element("span", f" · primed PPMd {compressor:.3f}" if compressor is not None else "", class_="soft"),
    )


def _comparison(found: Scores) -> list[Html]:
    """The model among the baselines, with bars."""
    named = (
        ("this model", found.model),
        ("PPMd, primed with the training text", found.ppmd),
        ("xz -9e, held-out text alone", found.xz),
        ("token frequencies alone", found.unigram),
    )
    known = [(name, pair) for name, pair in named if pair != (None, None)]
    if not known:
        return []
    most = max(value for _, pair in known for value in pair if value is not None)
    body = [[[name, _bar(pair, most, name == "this model")], *map(_bits, pair)] for name, pair in known]
    return [
        element("h2", "Bits per byte, fewer is better"),
        rows(["", "all documents", "clean documents"], body, numbers=[1, 2]),
        element(
            "p",
            "Clean: documents with less than a small share (evaluate.clean_share) of their text in passages that stand "
            "in the training text too. Only there is it plain that a model knows the language and not the passage.",
            class_="soft",
        ),
    ]


def _bar(pair: tuple[float | None, float | None], most: float, own: bool) -> Html:
    value = pair[1] if pair[1] is not None else pair[0]
    return element("div", class_="bar model" if own else "bar", style=f"width:{100 * (value or 0) / most:.1f}%")


def _bits(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _facts(record: Record) -> list[tuple[str, str | None]]:
    metrics, result = record.metrics, record.result()
    tokens, epochs, speed = metrics.last("tokens"), metrics.last("epoch"), metrics.last("tokens_per_second")
    parameters = result.get("parameters")
    processor = metrics.last("cpu_seconds")
    return [
        ("parameters", f"{parameters:,}" if isinstance(parameters, int) else None),
        ("training tokens", f"{human(tokens)} ({epochs:.2f} times the training text)" if tokens and epochs else None),
        ("steps", f"{metrics.last('step'):,.0f} of {record.config.train.steps:,}" if len(metrics) else None),
        ("time to train", seconds_in_words(metrics.last("seconds"))),
        ("CPU time to train", seconds_in_words(processor) if processor else None),
        ("speed at the end", f"{human(speed)} tokens a second" if speed else None),
        ("taken up again", f"{resumes(record)}×" if resumes(record) else None),
        ("preset", record.config.preset),
        ("run", str(result["fingerprint"]) if "fingerprint" in result else None),
        ("host", _host(record)),
        ("git commit", record.commit),
    ]


def _host(record: Record) -> str | None:
    for manifest in record.made_by("train") or list(record.manifests.values())[-1:]:
        host = manifest.get("host")
        if isinstance(host, dict):
            return ", ".join(f"{value} CPUs" if key == "cpus" else str(value) for key, value in sorted(host.items()))
    return None


def _rerun(record: Record) -> list[Html]:
    if not record.rerun:
        return []
    return [element("h2", "Do it again"), element("pre", record.rerun)]


def _sources(stages: list[Stage]) -> list[Html]:
    """Documents of each source after each step that tells sources apart."""
    told = [stage for stage in stages if "" not in stage.documents]
    if not told:
        return []
    names = sorted({name for stage in told for name in stage.documents})
    body = [[name, *(f"{stage.documents.get(name, 0):,}" for stage in told)] for name in names]
    total = [["all", *(f"{stage.total:,}" for stage in told)]] if len(names) > 1 else []
    table = rows(["source", *(stage.name for stage in told)], body + total, numbers=range(1, len(told) + 1))
    return [element("h2", "Documents by source"), table]


def _steps(record: Record) -> list[Html]:
    """Time and memory of every step, as Snakemake measured them."""
    if not record.timings:
        return []
    body = [
        [step, seconds_in_words(t["seconds"]), seconds_in_words(t["cpu_seconds"]), f"{t['peak_mb']:,.0f} MB"]
        for step, t in record.timings.items()
    ]
    table = rows(["step", "time", "CPU time", "peak memory"], body, numbers=[1, 2, 3])
    note = "Of the last start of each step; what a resumed training took before it was interrupted is not in it."
    return [element("h2", "Steps"), table, element("p", note, class_="soft")]
