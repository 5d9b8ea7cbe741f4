"""Figures of loss.json: where the loss comes from, and the law of the run's curve."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .style import AXIS, COLOURS, INK, figure, human, note, thousands

__all__ = ["FIGURES", "NAMES", "STAGE_COLOURS"]

NAMES = {"base": "after pretraining", "tuned": "after tuning"}
STAGE_COLOURS = {"base": COLOURS["blue"], "tuned": COLOURS["orange"]}
MOST_SOURCES = 10
DASHED = (0, (5, 3))


def loss_by_position(table: Mapping[str, Any], path: str | Path) -> None:
    """Nats per token over how many tokens of the document the model could see."""
    with figure(path) as drawing:
        axes = drawing.subplots()
        bins = table["by_visible"]
        edges = np.array(bins["edges"], np.float64)
        for stage in _stages(bins):
            x, y = _steps(edges, bins[stage])
            axes.plot(
                x, y, color=STAGE_COLOURS[stage], label=NAMES[stage], marker="o", markersize=3
            )
        axes.set_xscale("log", base=2)
        thousands(axes.xaxis)
        axes.set_title("Loss over what the model can see")
        axes.set_xlabel("tokens of the document before the one to guess")
        axes.set_ylabel("nats per token")
        axes.legend()


def loss_by_frequency(table: Mapping[str, Any], path: str | Path) -> None:
    """Nats per token over how often the token stands in the training text, with what its frequency
    alone gives.
    """
    with figure(path, (5.4, 4.4)) as drawing:
        above, below = drawing.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        bins = table["by_frequency"]
        there = [i for i, tokens in enumerate(bins["tokens"]) if tokens]
        places = np.arange(len(there))
        drawn = {"frequency_alone": (AXIS, DASHED, "by frequency alone")}
        drawn |= {stage: (STAGE_COLOURS[stage], "-", NAMES[stage]) for stage in _stages(bins)}
        for key, (colour, style, name) in drawn.items():
            above.plot(
                places,
                [bins[key][i] for i in there],
                color=colour,
                linestyle=style,
                label=name,
                marker="o",
                ms=3,
            )
        shares = np.array([bins["tokens"][i] for i in there], np.float64)
        below.bar(places, shares / max(1.0, shares.sum()), color=COLOURS["faint"])
        edges = bins["edges"]
        below.set_xticks(
            places,
            [_range(edges[i], edges[i + 1]) for i in there],
            rotation=45,
            ha="right",
            fontsize=8,
        )
        below.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        below.set_ylabel("of the text")
        below.set_xlabel("how often the token stands in the training text")
        above.set_ylim(bottom=0)
        above.set_ylabel("nats per token")
        above.set_title("Loss of rare and of common tokens")
        above.legend()


def loss_by_source(table: Mapping[str, Any], path: str | Path) -> None:
    """Bits per byte of each source's held-out documents: the middle half, nine tenths, and the rate
    of the whole.
    """
    sources = sorted(table["sources"].items(), key=lambda pair: -pair[1]["bytes"])[:MOST_SOURCES]
    sources = [(name, values) for name, values in sources if values.get("base")]
    with figure(path, (5.4, 1.5 + 0.62 * max(1, len(sources)))) as drawing:
        axes = drawing.subplots()
        if not sources:
            note(axes, "No held-out text.")
            return
        for row, (_, values) in enumerate(sources):
            for stage in [name for name in NAMES if values.get(name)]:
                _spread(
                    axes,
                    row + (0.15 if stage == "tuned" else -0.15),
                    values[stage],
                    stage,
                    row == 0,
                )
        left = len(table["sources"]) - len(sources)
        axes.set_title(
            "Bits per byte of held-out documents"
            + (f" ({left} smaller sources left out)" if left else "")
        )
        axes.set_yticks(
            range(len(sources)),
            [f"{_short(name)}\n{values['documents']:,}" for name, values in sources],
        )
        for text in axes.get_yticklabels():
            text.set_parse_math(False)
        axes.set_ylim(len(sources) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel("bits per byte")
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.45, -0.28 if len(sources) < 3 else -0.14), ncols=2
        )


def scaling_law(table: Mapping[str, Any], path: str | Path) -> None:
    """The run's curve, the law fitted to it and what it says of ten times the tokens; or why there
    is none.
    """
    laws = table["law"]
    chosen = next(
        (laws[name] for name in ("held_out", "training") if "none" not in laws[name]), None
    )
    with figure(path) as drawing:
        axes = drawing.subplots()
        if chosen is None:
            note(
                axes,
                "No law can be fitted.\n"
                + "\n".join(f"{n.replace('_', '-')}: {w['none']}" for n, w in laws.items()),
            )
            return
        held_out = chosen is laws["held_out"]
        curve, points = chosen["curve"], chosen["measured"]
        colour = COLOURS["orange" if held_out else "blue"]
        axes.fill_between(
            curve["tokens"],
            curve["low"],
            curve["high"],
            color=COLOURS["faint"],
            alpha=0.35,
            linewidth=0,
        )
        axes.plot(
            points["tokens"],
            points["loss"],
            color=colour,
            marker="o",
            markersize=2.5,
            linestyle="",
            label="measured",
        )
        axes.plot(
            curve["tokens"], curve["loss"], color=INK, linewidth=1.3, label=_law_in_words(chosen)
        )
        axes.axvline(
            chosen["last_tokens"], color=AXIS, linestyle=":", ymin=0.3, label="the run's end"
        )
        axes.set_xscale("log")
        thousands(axes.xaxis)
        axes.set_title("The law of this run's curve, to ten times its tokens")
        axes.set_xlabel("training tokens")
        axes.set_ylabel(
            "held-out text, bits per byte" if held_out else "training text, nats per token"
        )
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower left")


def _law_in_words(law: Mapping[str, Any]) -> str:
    power, floor = law["power"], law["floor"]
    return (
        f"E + A·D⁻ᵃ: a = {power['value']:.2f} ({power['low']:.2f} to {power['high']:.2f}), "
        f"E = {floor['value']:.2f} ({floor['low']:.2f} to {floor['high']:.2f})"
    )


def _spread(axes: Axes, y: float, values: Mapping[str, Any], stage: str, named: bool) -> None:
    low, quarter, _, three_quarters, high = values["quantiles"]
    colour = STAGE_COLOURS[stage]
    axes.plot([low, high], [y, y], color=colour, linewidth=1.2)
    axes.plot(
        [quarter, three_quarters],
        [y, y],
        color=colour,
        linewidth=6,
        alpha=0.55,
        solid_capstyle="butt",
    )
    label = f"{NAMES[stage]}: {values['value']:.3f}" if named else None
    axes.plot(
        [values["value"]], [y], color=colour, marker="o", markersize=6, linestyle="", label=label
    )


def _stages(bins: Mapping[str, Any]) -> list[str]:
    return [name for name in NAMES if name in bins]


def _steps(edges: np.ndarray, values: Sequence[float | None]) -> tuple[np.ndarray, np.ndarray]:
    """The bins' middles and values, without the empty ones."""
    middles = np.sqrt(edges[:-1] * np.maximum(edges[:-1], edges[1:] - 1))
    there = [i for i, value in enumerate(values) if value is not None]
    return middles[there], np.array([values[i] for i in there], np.float64)


def _range(first: int, end: int) -> str:
    return human(first) if end == first + 1 else f"{human(first)}–{human(end - 1)}"


def _short(text: str, most: int = 16) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


FIGURES: dict[str, Callable[[Mapping[str, Any], Path], None]] = {
    "loss_by_source": loss_by_source,
    "loss_by_position": loss_by_position,
    "loss_by_frequency": loss_by_frequency,
    "scaling_law": scaling_law,
}
