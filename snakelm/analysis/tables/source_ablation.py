"""source_ablation.html: what each source does for held-out text, where it does it, the weights that
follow, and each mixture that was trained.
"""

from collections.abc import Iterator
from pathlib import Path

from ...evaluation.records import Interval
from ...evaluation.source_ablation_record import SourceAblationRecord, SourceEffect
from ..pages import write_page
from ..units import human

__all__ = ["sentences", "write_source_ablation"]


def write_source_ablation(record: SourceAblationRecord, path: str | Path) -> None:
    """The page of ``record``."""
    names = list(record.bpb_on)
    runs = sorted(record.runs, key=lambda run: run.bpb)
    write_page(
        path,
        "source_ablation.html",
        sentences=list(sentences(record)),
        names=names,
        sources=[_source(one) for one in record.sources],
        matrix=[
            ["all sources", *(_value(record.bpb_on[name], ".3f") for name in names)],
            *(
                [f"without {one.name}", *(_value(one.on[name], "+.3f") for name in names)]
                for one in record.sources
            ),
        ],
        runs=[
            [
                run.mixture,
                f"{run.seed}",
                f"{run.bpb:.4f}",
                *(f"{record.shares[run.mixture][name]:.0%}" for name in names),
            ]
            for run in runs
        ],
    )


def sentences(record: SourceAblationRecord) -> Iterator[str]:
    """What may be said of the study, and what may not."""
    for verdict, said in (
        ("helps", "Worse without: {}."),
        ("hurts", "Better without: {}."),
        ("can't be told", "Within chance, so nobody can tell: {}."),
    ):
        found = [one.name for one in record.sources if one.verdict == verdict]
        if found:
            yield said.format(", ".join(found))
    if len(record.seeds) < 2:
        yield "One seed: there are no intervals. Give source_ablation.seeds more."

    yield (
        f"Judged by {record.documents:,} held-out documents ({human(record.bytes)} bytes"
        f"{', clean' * record.clean}) of {', '.join(record.judge_by)}; proxies of "
        f"{record.parameters:,} parameters, {human(record.proxy_tokens)} tokens each "
        f"({record.epochs:.2f} epochs of the mixture of all), {len(record.seeds)} seeds."
    )
    judged = [one.name for one in record.sources if one.judged and one.verdict == "helps"]
    if judged:
        yield (
            f"Text of {', '.join(judged)} is among what is judged by, which makes leaving it out "
            "costly by construction: see what it does elsewhere."
        )
    yield from _of_fit(record)


def _of_fit(record: SourceAblationRecord) -> Iterator[str]:
    fit = record.fit
    if fit is None:
        return
    shares = ", ".join(f"{name} {share:.0%}" for name, share in fit.shares.items())
    rank = "" if fit.rank is None else f", rank correlation {fit.rank:.2f}"
    yield (
        f"Fitted over {len(record.shares)} mixtures, the best is {shares}: predicted "
        f"{fit.gain.in_words('+.4f')} bits per byte against all sources as they are (a mixture is "
        f"predicted from the others with an error of {fit.error:.4f}{rank})."
    )
    if not fit.taken:
        yield "That gain is not beyond chance, so it changes no weight."


def _source(one: SourceEffect) -> list[str]:
    elsewhere = one.elsewhere
    return [
        one.name,
        f"{one.share:.1%}",
        f"{one.effect.value:+.4f}",
        one.effect.bounds("+.4f"),
        one.verdict,
        "–" if elsewhere is None else f"{elsewhere.value:+.4f}",
        "–" if elsewhere is None else elsewhere.bounds("+.4f"),
        f"{one.epochs:.2f}",
        f"{one.weight:g}",
        "left out" if one.proposed is None else f"{one.proposed:g}",
    ]


def _value(interval: Interval | None, style: str) -> str:
    return "–" if interval is None else f"{interval.value:{style}}"
