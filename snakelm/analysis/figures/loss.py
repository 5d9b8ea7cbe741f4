"""Figures of loss.json: where the loss comes from, and the scaling law of the run's curve."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from ...evaluation.loss_record import (
    FittedLaw,
    LossRecord,
    MissingLaw,
    SourceLoss,
    SourceRate,
)
from ...evaluation.records import STAGES, EvaluationRecord, Stage
from ..units import per_character
from .style import AXIS, COLOURS, INK, figure, human, note, shortened, thousands

__all__ = ["FIGURES", "STAGE_COLOURS", "stage_names"]

STAGE_COLOURS: dict[Stage, str] = {"base": COLOURS["blue"], "tuned": COLOURS["orange"]}
MOST_SOURCES = 10
DASHED = (0, (5, 3))


def stage_names(record: LossRecord | EvaluationRecord) -> dict[Stage, str]:
    """What the models of a run are called: the last one after the last thing it learned from."""
    last = "after tuning and preferences" if record.preferred else "after tuning"
    return {"base": "after pretraining", "tuned": last}


def loss_by_position(loss: LossRecord, path: str | Path) -> None:
    """Nats per token over how many tokens of the document the model could see."""
    bins = loss.by_visible
    edges = np.array(bins.edges, np.float64)

    with figure(path) as drawing:
        axes = drawing.subplots()
        for stage in STAGES:
            if (losses := bins.of(stage)) is not None:
                x, y = _middles(edges, losses)
                colour, name = STAGE_COLOURS[stage], stage_names(loss)[stage]
                axes.plot(x, y, color=colour, label=name, marker="o", markersize=3)

        axes.set_xscale("log", base=2)
        thousands(axes.xaxis)
        axes.set_title("Loss over what the model can see")
        axes.set_xlabel("tokens of the document before the one to predict")
        axes.set_ylabel("nats per token")
        axes.legend()


def _middles(edges: np.ndarray, values: Sequence[float | None]) -> tuple[np.ndarray, np.ndarray]:
    """The bins' middles on a logarithmic axis and their values, without the empty ones."""
    middles = np.sqrt(edges[:-1] * np.maximum(edges[:-1], edges[1:] - 1))
    there = [i for i, value in enumerate(values) if value is not None]
    return middles[there], np.array([values[i] for i in there], np.float64)


def loss_by_frequency(loss: LossRecord, path: str | Path) -> None:
    """Nats per token over how often the token occurs in the training text, with what its frequency
    alone gives; below, how much of the held-out text such tokens are.
    """
    bins = loss.by_frequency
    filled = [i for i, tokens in enumerate(bins.tokens) if tokens]
    places = np.arange(len(filled))

    with figure(path, (5.4, 4.4)) as drawing:
        above, below = drawing.subplots(2, 1, sharex=True, height_ratios=[3, 1])

        def line(losses: Sequence[float | None], **style: object) -> None:
            above.plot(places, [losses[i] for i in filled], marker="o", ms=3, **style)

        line(bins.frequency_alone, color=AXIS, linestyle=DASHED, label="by frequency alone")
        for stage in STAGES:
            if (losses := bins.of(stage)) is not None:
                line(losses, color=STAGE_COLOURS[stage], label=stage_names(loss)[stage])
        above.set_ylim(bottom=0)
        above.set_ylabel("nats per token")
        above.set_title("Loss of rare and of common tokens")
        above.legend()

        tokens = np.array([bins.tokens[i] for i in filled], np.float64)
        below.bar(places, tokens / max(1.0, tokens.sum()), color=COLOURS["faint"])
        labels = [_range(bins.edges[i], bins.edges[i + 1]) for i in filled]
        below.set_xticks(places, labels, rotation=45, ha="right", fontsize=8)
        below.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        below.set_ylabel("of the text")
        below.set_xlabel("how often the token occurs in the training text")


def _range(first: int, end: int) -> str:
    return human(first) if end == first + 1 else f"{human(first)}–{human(end - 1)}"


def loss_by_source(loss: LossRecord, path: str | Path) -> None:
    """Bits per byte of each source's held-out documents: the middle half, nine tenths, and the rate
    of all its text; and its bits per character, where some script has several bytes for one.
    """
    largest = sorted(loss.sources.items(), key=lambda pair: -pair[1].bytes)[:MOST_SOURCES]
    sources = [(name, source) for name, source in largest if source.base]

    with figure(path, (5.4, 1.5 + 0.62 * max(1, len(sources)))) as drawing:
        axes = drawing.subplots()
        if not sources:
            note(axes, "No held-out text.")
            return

        for row, (_, source) in enumerate(sources):
            _spreads(axes, row, source, loss)

        left_out = len(loss.sources) - len(sources)
        some = f" ({left_out} smaller sources left out)" if left_out else ""
        axes.set_title(f"Bits per byte of held-out documents{some}")
        names = [f"{shortened(name, 16)}\n{source.documents:,}" for name, source in sources]
        axes.set_yticks(range(len(sources)), names)
        for label in axes.get_yticklabels():
            label.set_parse_math(False)  # a source may be called $x$
        axes.set_ylim(len(sources) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel("bits per byte" + (", ◇ per character" if loss.other_scripts() else ""))
        below = -0.28 if len(sources) < 3 else -0.14
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, below), ncols=2)


def _spreads(axes: Axes, row: int, source: SourceLoss, loss: LossRecord) -> None:
    """The stages of a source, one above the other; the first row names them, with the rates of all
    sources together.
    """
    for stage in STAGES:
        if rate := source.of(stage):
            y = row + (0.15 if stage == "tuned" else -0.15)
            name = None
            if row == 0 and stage in loss.stages:
                name = f"{stage_names(loss)[stage]}: {loss.stages[stage].all.value:.3f} of all text"
            _spread(axes, y, rate, STAGE_COLOURS[stage], name)

            bits = per_character(rate.value, source.bytes, source.characters)
            if bits is not None and loss.other_scripts():
                colour = STAGE_COLOURS[stage]
                axes.plot([bits], [y], color=colour, marker="D", ms=6, mfc="none", linestyle="")


def _spread(axes: Axes, y: float, rate: SourceRate, colour: str, name: str | None) -> None:
    low, quarter, _, three_quarters, high = rate.quantiles
    axes.plot([low, high], [y, y], color=colour, linewidth=1.2)
    axes.plot(
        [quarter, three_quarters],
        [y, y],
        color=colour,
        linewidth=6,
        alpha=0.55,
        solid_capstyle="butt",
    )
    axes.plot([rate.value], [y], color=colour, marker="o", ms=6, linestyle="", label=name)


def scaling_law(loss: LossRecord, path: str | Path) -> None:
    """The run's curve, the law fitted to it and what it predicts for ten times the tokens; or why
    there is none.
    """
    # The held-out text's, if it has enough points: it is what one wants to know.
    fitted = [
        (name, law)
        for name, law in sorted(loss.law.items())  # "held_out" before "training"
        if isinstance(law, FittedLaw)
    ]
    with figure(path) as drawing:
        axes = drawing.subplots()
        if fitted:
            _draw_law(axes, *fitted[0])
            return
        reasons = [
            f"{name.replace('_', '-')}: {law.reason}"
            for name, law in loss.law.items()
            if isinstance(law, MissingLaw)
        ]
        note(axes, "\n".join(["No law can be fitted.", *reasons]))


def _draw_law(axes: Axes, name: str, law: FittedLaw) -> None:
    curve, held_out = law.curve, name == "held_out"
    axes.fill_between(
        curve.tokens, curve.low, curve.high, color=COLOURS["faint"], alpha=0.35, linewidth=0
    )
    axes.plot(
        law.measured.tokens,
        law.measured.loss,
        color=COLOURS["orange" if held_out else "blue"],
        marker="o",
        markersize=2.5,
        linestyle="",
        label="measured",
    )
    axes.plot(curve.tokens, curve.loss, color=INK, linewidth=1.3, label=_law_in_words(law))
    axes.axvline(law.last_tokens, color=AXIS, linestyle=":", ymin=0.3, label="the run's end")

    axes.set_xscale("log")
    thousands(axes.xaxis)
    axes.set_title("The scaling law of this run, to ten times its tokens")
    axes.set_xlabel("training tokens")
    axes.set_ylabel("held-out text, bits per byte" if held_out else "training text, nats per token")
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower left")


def _law_in_words(law: FittedLaw) -> str:
    power, floor = law.power, law.floor
    return (
        f"E + A·D⁻ᵃ: a = {power.value:.2f} ({power.low:.2f} to {power.high:.2f}), "
        f"E = {floor.value:.2f} ({floor.low:.2f} to {floor.high:.2f})"
    )


FIGURES: dict[str, Callable[[LossRecord, Path], None]] = {
    "loss_by_source": loss_by_source,
    "loss_by_position": loss_by_position,
    "loss_by_frequency": loss_by_frequency,
    "scaling_law": scaling_law,
}
