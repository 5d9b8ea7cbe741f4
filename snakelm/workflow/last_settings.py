"""Which settings each step of a results folder was last run with: `results/config/made/<step>`.

Snakemake remembers that too, but in the folder it was started in. Where two checkouts share a
results folder, the files there may be the other one's, and neither their names nor their times say
so: the first would find nothing to be done, and hold the other one's model.
"""

from pathlib import Path

from ..config import NAMED_BY_CONTENT, content_digits
from ..files import write_if_changed

__all__ = ["after_others", "last_settings", "note_settings"]

AFTER = "# after"


def note_settings(settings: Path, log: Path | None) -> None:
    """Writes down that a step begins with a settings file of the workflow. Before it writes
    anything, so that a run which is killed half-way has said so.

    Nothing for a run by hand, which has settings of its own or logs elsewhere: its outputs are not
    those of the results folder.
    """
    place = settings.absolute().parent
    ours = NAMED_BY_CONTENT.fullmatch(settings.name) if place.name == "config" else None
    if ours and log and place.parent / "logs" in log.absolute().parents:
        write_if_changed(_record(place, ours[1]), settings.name + "\n")


def last_settings(folder: Path, stem: str) -> Path | None:
    """The settings file in ``folder`` that a step was last run with; None where nothing says so.
    ``stem``: how the step's are called, less the digits.
    """
    file = _record(folder, stem)
    if not file.is_file():
        return None
    return folder / Path(file.read_text("utf-8", errors="replace").strip()).name


def after_others(text: str, last: Path | None) -> str:
    """``text``, the settings of a step, as its file is to hold it: with a line that names the
    ``last`` ones where those were others. So it is another file than the one that this checkout
    remembers to have run with, and stays the same until others come between.
    """
    if last is None or last.name.endswith(f"-{content_digits(text.encode())}.yaml"):
        return text

    there = last.read_text("utf-8", errors="replace") if last.is_file() else ""
    ours = content_digits(there.encode()) == last.stem[-12:] and there.partition(AFTER)[0] == text
    return there if ours else f"{text}{AFTER} {last.name}\n"


def _record(folder: Path, stem: str) -> Path:
    return folder / "made" / stem
