"""evaluation.html: what share of each task is right, with intervals; items to look at; the scatter
over seeds.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..figures.evaluation import MEASURES
from .loss import STAGES, two_lines
from .page import Html, element, rows, write_page

__all__ = ["write_evaluation"]

CUT = 300  # characters of a text


def write_evaluation(
    table: Mapping[str, Any], scatter: Mapping[str, Any], path: str | Path
) -> None:
    """``table``: evaluation.json; ``scatter``: of snakelm.analysis.seeds."""
    write_page(
        path,
        "Tasks",
        element(
            "p", "What share of the items is right; small: 95% intervals (Wilson's).", class_="soft"
        ),
        element(
            "div", rows(("task", *STAGES.values()), _tasks(table), range(1, 3)), class_="facts"
        ),
        [
            element("p", f"{name}: left out, it {task['left_out']}.")
            for name, task in _left_out(table)
        ],
        [element("div", said, class_="warn") for said in _cut(table)],
        _scatter(scatter),
        [_examples(name, task) for name, task in table["tasks"].items() if "base" in task],
    )


def _tasks(table: Mapping[str, Any]) -> Iterator[tuple]:
    for name, task in table["tasks"].items():
        for key, words in MEASURES.items():
            if key in task.get("base", {}):
                chance = f", guessing {task['chance']:.0%}" if "chance" in task else ""
                what = element("small", f"{words} · {task['items']:,} items{chance}")
                shares = (
                    two_lines(task[stage][key], ".1%") if stage in task else None
                    for stage in STAGES
                )
                yield [element("div", name[:60]), what], *shares


def _left_out(table: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, task) for name, task in table["tasks"].items() if "left_out" in task]


def _cut(table: Mapping[str, Any]) -> Iterator[str]:
    for name, task in table["tasks"].items():
        if cut := task.get("base", {}).get("cut"):
            yield f"{name}: {cut:,} of {task['items']:,} questions are too long for the model and lost their beginning."


def _scatter(scatter: Mapping[str, Any]) -> list[Html]:
    if not scatter["runs"][1:] and not scatter["left_out"]:
        return []
    told = [
        element("p", f"{one['results']}: not counted, {one['why']}.", class_="soft")
        for one in scatter["left_out"]
    ]
    if not scatter["runs"][1:]:
        return [
            element("h2", "Over seeds"),
            element("p", "No other run differs in its seed alone."),
            *told,
        ]
    seeds = ", ".join(str(run["seed"]) for run in scatter["runs"])
    body = [
        (
            name,
            f"{one['mean']:.4f}",
            None if one["sd"] is None else f"± {one['sd']:.4f}",
            len(one["values"]),
        )
        for name, one in scatter["measures"].items()
    ]
    return [
        element("h2", f"Over {len(scatter['runs'])} seeds"),
        element(
            "p",
            f"Runs with the same settings and the seeds {seeds}; ±: one standard deviation.",
            class_="soft",
        ),
        rows(("", "mean", "deviation", "runs"), body, range(1, 4)),
        *told,
    ]


def _examples(name: str, task: Mapping[str, Any]) -> Html:
    stage = "tuned" if "tuned" in task else "base"
    shown = [
        _choice(one) if task["kind"] == "choice" else _answer(one)
        for one in task[stage]["examples"]
    ]
    how = (
        "asked in a conversation" if task[stage]["as"] == "conversation" else "asked as plain text"
    )
    if task["kind"] == "choice":
        how += "; ✓ the right choice, → the model's"
    return element(
        "section",
        element("h2", name[:60]),
        element("p", f"{STAGES[stage]}, {how}", class_="soft"),
        shown,
    )


def _choice(one: Mapping[str, Any]) -> Html:
    lines = []
    for number, text in enumerate(one["choices"]):
        sign = "✓ " if number == one["gold"] else "  "
        lines.append(
            element(
                "p", f"{sign}{'→ ' if number == one['said'] else ''}", element("bdi", text[:CUT])
            )
        )
    return element("div", element("pre", one["question"][-CUT:], dir="auto"), lines)


def _answer(one: Mapping[str, Any]) -> Html:
    return element(
        "div",
        element("p", element("bdi", one["question"][:CUT])),
        element("pre", ("✓ " if one["exact"] else "✗ ") + one["said"][:CUT], dir="auto"),
        None
        if one["exact"]
        else element("p", "expected: ", element("bdi", one["answers"][0][:CUT]), class_="soft"),
    )
