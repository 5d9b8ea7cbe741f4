"""The settings files that stand between the configuration and a step, so that a step reruns exactly
when it must.

`results/config/<step>-<hash>.yaml` holds the keys that a step declares, without those that change
nothing, and the digest of the step's code. Its name is its content: another setting is another
input file, going back to an earlier setting is the earlier file with its earlier time, and editing
one key leaves every step alone that does not declare it.

Training's file leaves the code out: weeks of work are not thrown away over an edit; `changed_since`
says so.

A file also says which one came before it, where the step was last run with other settings: of two
checkouts that share a results folder each remembers by itself what it ran (last_settings.py).
"""

import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from ..config import SETTINGS_MARK, SHOWN_MARK, Config, content_digits
from ..errors import UserError
from ..files import write_if_changed
from ..publishing import public_path, without_secrets
from .code_digest import code_digest
from .hints import snakemake
from .last_settings import after_others, last_settings
from .manifest import manifest_path, read_manifest
from .step import Step

__all__ = ["changed_since", "public_copy", "settings_file", "shown_file"]


def settings_file(
    results: str | Path, config: Config, step: Step, values: Mapping[str, str] | None = None
) -> str:
    """Writes, unless it is there, and names the file with what changes the result of ``step``.

    ``values``: the step's flags that choose an item of a list, as `source` does.
    """
    counted = step.settings_of(config, values)
    body = yaml.safe_dump(counted, sort_keys=True, allow_unicode=True) if counted else ""
    code = f"# code: {code_digest(step.script)['meaning']}\n" if step.code_triggers else ""
    text = f"{SETTINGS_MARK} {step.name}\n{code}{body}"

    chosen = "".join(f".{value}" for value in (values or {}).values())
    stem = f"{step.name}{chosen}"
    text = after_others(text, last_settings(Path(results, "config"), stem))
    path = Path(results, "config", f"{stem}-{content_digits(text.encode())}.yaml")
    write_if_changed(path, text)
    return path.as_posix()


def shown_file(results: str | Path, config: Config, step: Step) -> str:
    """The keys of ``step`` that change only what is shown or kept; overwritten in place, an input
    of no rule.
    """
    path = Path(results, "config", f"{step.name}-shown.yaml")
    body = yaml.safe_dump(step.shown_of(config), sort_keys=True, allow_unicode=True)
    write_if_changed(path, f"{SHOWN_MARK} {step.name}, {content_digits(body.encode())}\n{body}")
    return path.as_posix()


def public_copy(results: str | Path, file: str | Path) -> str:
    """The user's configuration file as the report may hold it: ``file`` itself, or a copy without
    passwords, keys and home folder where it has any, or is not below the working directory.
    """
    text = Path(file).read_text(encoding="utf-8", errors="replace")
    home = str(Path.home())
    shown = without_secrets(text.replace(home, "~") if len(home) > 1 else text)
    here = Path(os.path.relpath(file))
    if shown == text and public_path(here) == here.as_posix():
        return here.as_posix()

    copy = Path(results, "config", f"shown-{Path(file).name}")
    write_if_changed(copy, shown)
    return copy.as_posix()


def changed_since(artefact: str | Path, step: Step) -> list[str]:
    """What to tell a user whose artefact was made by other code than there is now; nothing when it
    is the same.
    """
    if not manifest_path(artefact).is_file():
        return []
    try:
        made_by = read_manifest(artefact)["code"]
    except (UserError, KeyError):
        return [
            f"{manifest_path(artefact)}: cannot be read, so nobody can say what made {artefact}"
        ]

    now = code_digest(step.script)
    if made_by == now:
        return []
    same = made_by["meaning"] == now["meaning"]
    what = "only comments or docstrings differ" if same else "what it does may differ"
    return [
        f"{artefact} was made by another version of {step.relative_path} or of what it imports "
        f"({what}); it is kept. To make it anew: "
        f"{snakemake(str(artefact), '--forcerun', str(artefact))}"
    ]
