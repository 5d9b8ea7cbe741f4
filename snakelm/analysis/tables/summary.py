"""summary.html: the verdict, what was asked, what it cost, and the command that does it again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..changed_settings import asked, changed_keys
from ..cost import spent, total
from ..figures.style import human
from ..run_record import Record
from ..verdict import Scores, resumes, scores, seconds_in_words, sentences, warnings
from .cost import energy, money
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
        _tuning(record),
        _comparison(found),
        _tests(record),
        element("h2", "What was asked"),
        facts(asked(record.config)),
        _changed(record),
        element("h2", "The run"),
        facts((name, value) for name, value in _facts(record) if value),
        _rerun(record),
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
        element(
            "span",
            f" · primed PPMd {compressor:.3f}" if compressor is not None else "",
            class_="soft",
        ),
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
    body = [
        [[name, _bar(pair, most, name == "this model")], *map(_bits, pair)] for name, pair in known
    ]
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
    return element(
        "div", class_="bar model" if own else "bar", style=f"width:{100 * (value or 0) / most:.1f}%"
    )


def _bits(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _tuning(record: Record) -> Html | None:
    """What instruction tuning did to answers it was not shown; nothing for a run without it."""
    result = record.result("train_sft")
    before, after = result.get("val_loss_before"), result.get("val_loss")
    if (
        record.config.export != "sft"
        or not isinstance(before, float)
        or not isinstance(after, float)
    ):
        return None
    said = f"Tuned on conversations: held-out answers cost {before:.3f} nats a token before, {after:.3f} after."
    return element("p", said, class_="soft")


def _tests(record: Record) -> list[Html]:
    """Right answers of both models in each task; tasks that this run can't be asked are left
    out.
    """
    body = []
    for name, task in (record.evaluation.get("tasks") or {}).items():
        found = [
            ((task.get(model) or {}).get(score) or {})
            for model in ("base", "tuned")
            for score in ("acc", "exact")
        ]
        base, tuned = (next((f for f in found[i : i + 2] if "value" in f), {}) for i in (0, 2))
        if base or tuned:
            body.append([name, _percent(task.get("chance")), _interval(base), _interval(tuned)])
    if not body:
        return []
    head = ["task", "by chance", "base model", "tuned model"]
    return [
        element("h2", "Right answers"),
        element("div", rows(head, body, numbers=range(1, 4)), class_="wide"),
        element(
            "p", "With the range that holds the true share in 95 of 100 such tests.", class_="soft"
        ),
    ]


def _interval(found: Mapping[str, Any]) -> str:
    return (
        f"{found['value']:.0%} ({found['low']:.0%}–{found['high']:.0%})"
        if "value" in found
        else "–"
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _changed(record: Record) -> list[Html]:
    """Keys that differ from the preset's, long values cut: all of them stand on the page of the
    configuration.
    """
    keys = [(key, value[:300], plain[:300]) for key, value, plain in changed_keys(record.config)]
    if not keys:
        return [
            element("p", f"Nothing differs from the preset {record.config.preset}.", class_="soft")
        ]
    return [
        element("p", f"Keys that differ from the preset {record.config.preset}:", class_="soft"),
        rows(["key", "here", "preset"], keys),
    ]


def _cost(record: Record) -> str | None:
    steps = spent(record)
    whole = total(steps)
    return (
        f"{energy(whole.kwh)}, {money(whole.money, record.config.cost)} (estimates)"
        if steps
        else None
    )


def _facts(record: Record) -> list[tuple[str, str | None]]:
    metrics, result = record.metrics, record.result()
    tokens, epochs, speed = (
        metrics.last("tokens"),
        metrics.last("epoch"),
        metrics.last("tokens_per_second"),
    )
    parameters = result.get("parameters")
    processor = metrics.last("cpu_seconds")
    return [
        ("parameters", f"{parameters:,}" if isinstance(parameters, int) else None),
        (
            "training tokens",
            f"{human(tokens)} ({epochs:.2f} times the training text)"
            if tokens and epochs
            else None,
        ),
        (
            "steps",
            f"{metrics.last('step'):,.0f} of {record.config.train.steps:,}"
            if len(metrics)
            else None,
        ),
        ("time to train", seconds_in_words(metrics.last("seconds"))),
        ("CPU time to train", seconds_in_words(processor) if processor else None),
        ("energy and cost of it all", _cost(record)),
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
            return ", ".join(
                f"{value} CPUs" if key == "cpus" else str(value)
                for key, value in sorted(host.items())
            )
    return None


def _rerun(record: Record) -> list[Html]:
    if not record.rerun:
        return []
    return [element("h2", "Do it again"), element("pre", record.rerun)]
