"""Every file that a step reads, damaged in every way: the step stops before it has done anything,
and its message has the file, what is in it, what should be, and what to do.

The run that is damaged is a small one, made here by the steps themselves.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from snakelm.errors import UserError
from snakelm.workflow.manifest import manifest_path
from tests.faults.damages import DAMAGES, Damage
from tests.faults.small_run import SmallRun
from tests.faults.table import Trial

TOLD = re.compile(
    r"not as \w+ wrote it \(found SHA-256 [0-9a-f]{12}…, expected [0-9a-f]{12}… by .*manifest\.json"
    r".*delete it and run the same command again"
)
AGAIN = re.compile("run its step again|run the same command again")
REWRITTEN = re.compile("changed since the workflow wrote it.*delete it and run the same command")


def trials(folder: Path, whole: bool) -> Iterator[Trial]:
    """Each file of each step with each damage; the sample takes one damage a file, in turn."""
    run = SmallRun(folder, whole)
    run.make()
    kinds: dict[str, Damage] = {**DAMAGES, "another file's bytes": _of_another(run)}

    for count, (what, step, target, told) in enumerate(_targets(run)):
        for place, (kind, damage) in enumerate(kinds.items()):
            if whole or place == count % len(kinds):
                yield Trial(
                    f"{what}: {kind}",
                    f"{step} reads {target.relative_to(folder)}",
                    lambda args=(run, step, target, damage, told): _refused(*args),
                )


def _targets(run: SmallRun) -> Iterator[tuple[str, str, Path, re.Pattern[str]]]:
    """What is damaged: its kind, the step that reads it, the file, and what is to be said."""
    for step, path in run.read():
        yield "file", step, path, TOLD
        if manifest_path(path).is_file():  # else its manifest is that of another file
            yield "manifest", step, manifest_path(path), AGAIN
    for step in run.names:
        for path in run.settings(step):
            yield "settings", step, path, REWRITTEN


def _of_another(run: SmallRun) -> Damage:
    names = [run.folder / name for name in ("tokenizer/meta.json", "tokenizer/ranks.tiktoken")]

    def damage(path: Path) -> None:
        path.write_bytes(next(other for other in names if other != path).read_bytes())

    return damage


def _refused(
    run: SmallRun, step: str, target: Path, damage: Callable[[Path], None], told: re.Pattern[str]
) -> str:
    """What went wrong; nothing where the step refused ``target`` and said why."""
    settings, kept = run.settings(step), target.read_bytes()
    damage(target)
    changed = target.read_bytes() != kept
    try:
        run.start(step, settings)
    except UserError as error:
        message = str(error)
    else:
        message = ""
    finally:
        target.write_bytes(kept)

    if not changed:
        return "the damage changes nothing"
    if not message:
        return "silent"
    return "" if told.search(message) and str(target) in message else message
