"""The settings files that stand between the configuration and a step, so that a step reruns exactly
when it must.

`results/config/<step>-<hash>.yaml` holds the sections a step reads, without the keys that change
nothing, and the digest of the step's code. Its name is its content: another setting is another
input file, going back to an earlier setting is the earlier file with its earlier time, and editing
one section leaves every other step alone.

Training's file leaves the code out: weeks of work are not thrown away over an edit; `changed_since`
says so instead.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ..config import Config, as_mapping
from ..errors import UserError
from ..files import write_if_changed
from .code_digest import ROOT, code_digest
from .manifest import manifest_path, read_manifest

__all__ = ["changed_since", "settings_file", "shown_file"]

CODE_IS_NO_TRIGGER = frozenset({"training/train", "training/train_sft"})


def settings_file(results: str | Path, config: Config, step: str, sections: Iterable[str]) -> str:
    """Writes, unless it's there, and names the file with the result-changing ``sections`` for
    ``step``.
    """
    body = yaml.safe_dump(
        as_mapping(config, sections, cosmetic=False), sort_keys=True, allow_unicode=True
    )
    code = (
        ""
        if step in CODE_IS_NO_TRIGGER
        else f"# code: {code_digest(ROOT / 'scripts' / f'{step}.py')['meaning']}\n"
    )
    text = code + body
    name = f"{Path(step).name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.yaml"
    path = Path(results, "config", name)
    if not path.exists():
        write_if_changed(path, text)
    return path.as_posix()


def shown_file(results: str | Path, config: Config, step: str, sections: Iterable[str]) -> str:
    """The keys of ``sections`` that change only what is shown or kept; overwritten in place, an
    input of no rule.

    A list with such keys in its items, as ``sources`` has, stands there whole: it takes the other
    file's place.
    """
    whole, counted = (as_mapping(config, sections, cosmetic=flag) for flag in (True, False))
    shown = {name: _shown(value, counted[name]) for name, value in whole.items()}
    path = Path(results, "config", f"{Path(step).name}-shown.yaml")
    write_if_changed(path, yaml.safe_dump(shown, sort_keys=True, allow_unicode=True))
    return path.as_posix()


def _shown(whole: Any, counted: Any) -> Any:
    return (
        {k: v for k, v in whole.items() if v != counted.get(k)}
        if isinstance(whole, dict)
        else whole
    )


def changed_since(artefact: str | Path, script: str) -> list[str]:
    """What to tell a person whose artefact was made by other code than there is now; nothing when
    it's the same.
    """
    if not manifest_path(artefact).is_file():
        return []
    try:
        made_by = read_manifest(artefact)["code"]
    except (UserError, KeyError):
        return [f"{manifest_path(artefact)}: can't be read, so nobody can say what made {artefact}"]
    now = code_digest(ROOT / script)
    if made_by == now:
        return []
    what = (
        "only comments or docstrings differ"
        if made_by["meaning"] == now["meaning"]
        else "what it does may differ"
    )
    return [
        f"{artefact} was made by another version of {script} or of what it imports ({what}); it is kept. "
        f"To make it anew: snakemake --cores 8 --forcerun {Path(script).stem} {artefact}"
    ]
