"""What a source ablation leaves behind for the next run: the sources with new weights, as a
configuration file, and its figures as a table for other tools.
"""

import csv
import io
from collections.abc import Sequence
from typing import Any

import yaml

from ..config import Config, Source
from ..data.tokens.mixtures import MixturePlan
from .records import Interval
from .source_ablation_record import MixtureFit, SourceAblationRecord, SourceEffect

__all__ = ["as_configuration", "as_table", "proposed_weights"]

LEAST = 0.01  # of its tokens, or of a document: a source with less is left out
MOST = 100.0  # that sources[].weight may be


def proposed_weights(
    effects: Sequence[SourceEffect], plan: MixturePlan, fit: MixtureFit | None
) -> dict[str, float | None]:
    """The new weight of each source; None to leave it out. The most helpful one stays."""
    total = sum(plan.tokens.values())
    proposed: dict[str, float | None] = {}
    for one in effects:
        factor = fit.shares[one.name] * total / plan.tokens[one.name] if fit and fit.taken else 1.0
        hurts = not (fit and fit.taken) and one.verdict == "hurts"
        weight = one.weight * factor
        proposed[one.name] = None if hurts or min(factor, weight) < LEAST else weight
    if not any(proposed.values()):
        proposed[effects[0].name] = effects[0].weight

    # Only their ratios matter, and a weight has three digits that mean something.
    over = max(1.0, max(weight or 0.0 for weight in proposed.values()) / MOST)
    return {
        name: None if weight is None else float(f"{weight / over:.3g}")
        for name, weight in proposed.items()
    }


def as_configuration(record: SourceAblationRecord, config: Config) -> str:
    """YAML that goes on top of the run's own: its sources with the proposed weights."""
    proposed = {one.name: one.proposed for one in record.sources}
    sources = [
        {**_given(source), "weight": proposed[source.name or ""]}
        for source in config.sources
        if proposed[source.name or ""] is not None
    ]

    lines = [
        "# Weights that `snakemake source_ablation` proposes (docs/TRAINING_PROCESS.md). Put it",
        "# behind your own: --configfile my.yaml weights.yaml",
        f"# judged by held-out text of {', '.join(record.judge_by)}",
    ]
    for one in record.sources:
        weight = "left out" if one.proposed is None else f"weight {one.weight:g} → {one.proposed:g}"
        lines.append(f"# {one.name}: {one.verdict}, {one.effect.in_words('+.4f')}; {weight}")

    kept = {"source_ablation": {"seeds": []}, "sources": sources}
    return "\n".join([*lines, yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)])


def _given(source: Source) -> dict[str, Any]:
    """The keys of a source that aren't as they are anyway."""
    defaults = {name: field.default for name, field in Source.model_fields.items()}
    return {name: value for name, value in source.model_dump().items() if value != defaults[name]}


def as_table(record: SourceAblationRecord) -> str:
    """CSV with a row for each source, the most helpful first."""
    others = list(record.bpb_on)
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    bounds = [f"{name}{end}" for name in ("effect", "elsewhere") for end in ("", "_low", "_high")]

    table.writerow(
        ["source", "share", "verdict", *bounds, "weight", "proposed", *(f"on_{o}" for o in others)]
    )

    for one in record.sources:
        on = [_numbers(one.on[other])[0] for other in others]
        table.writerow(
            [
                one.name,
                one.share,
                one.verdict,
                *_numbers(one.effect),
                *_numbers(one.elsewhere),
                one.weight,
                "" if one.proposed is None else one.proposed,
                *on,
            ]
        )
    return written.getvalue()


def _numbers(interval: Interval | None) -> list[float | str]:
    if interval is None:
        return ["", "", ""]
    each = (interval.value, interval.low, interval.high)
    return ["" if value is None else value for value in each]
