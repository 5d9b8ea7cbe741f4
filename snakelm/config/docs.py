"""Writes what is said about the configuration from the schema itself: config/schema.json and
docs/TRAINING_CONFIG.md.

`python -m snakelm.config.docs` writes both; a test compares them with what this module makes, so
they can't drift.
"""

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any

from ..files import write_if_changed
from .checks import Key, type_name
from .load import Config
from .presets import PRESETS

__all__ = ["json_schema", "main", "markdown"]

ROOT = Path(__file__).resolve().parents[2]
INTRODUCTION = """# Configuration

Generated from `snakelm/config/`; change it there and run `python -m snakelm.config.docs`.

A run is `config/config.yaml` with your own file on top:
`snakemake --cores 8 results/final_model.pt --configfile my.yaml`.
Values come in three layers: the defaults below, the preset's, yours. Unknown keys, wrong types and values out of range
are errors before any job starts. Keys marked *shown only* change what you see or keep, never the trained bytes, so
editing them starts nothing again.

A file of your own can be as short as

```yaml
sources: [{path: "my/*.parquet", text: body}]
preset: smoke
```
"""


def json_schema() -> dict[str, Any]:
    """The configuration as JSON Schema (draft 2020-12), for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "snakelm configuration",
        **_object(Config),
    }


def _object(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {
        "type": "object",
        "description": _summary(kind),
        "additionalProperties": False,
        "properties": {f.name: _property(hints[f.name], f) for f in dataclasses.fields(kind)},
    }


def _property(hint: Any, field: dataclasses.Field) -> dict[str, Any]:
    if dataclasses.is_dataclass(hint):
        return _object(hint)
    rule: Key = field.metadata["key"]
    unit = f" ({rule.unit})" if rule.unit else ""
    made = {"description": rule.reason + unit, **_kind(hint)}
    bounds = {"minimum": rule.low, "maximum": rule.high, "exclusiveMinimum": rule.above}
    made |= {name: value for name, value in bounds.items() if value is not None}
    if rule.choices:
        made["enum"] = [*rule.choices, None] if _optional(hint) else list(rule.choices)
    default = _default(field)
    return made if isinstance(default, list) else {**made, "default": default}


def _kind(hint: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(hint):
        return _object(hint)
    if typing.get_origin(hint) is list:
        return {"type": "array", "items": _kind(typing.get_args(hint)[0])}
    if typing.get_origin(hint) is dict:
        return {"type": "object", "additionalProperties": _kind(typing.get_args(hint)[1])}
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [{"type": "null"} if a is type(None) else _kind(a) for a in typing.get_args(hint)]
        return {"anyOf": kinds}
    return {"type": {int: "integer", float: "number", str: "string", bool: "boolean"}[hint]}


def markdown() -> str:
    """docs/TRAINING_CONFIG.md: a table per section, then the presets."""
    parts = [INTRODUCTION, _table("Top level", Config)]
    hints = typing.get_type_hints(Config)
    for field in dataclasses.fields(Config):
        parts += _tables(field.name, hints[field.name])
    parts.append("## Presets\n\nWhat each sets beside the defaults (`snakelm/presets.py`).\n")
    for name, values in PRESETS.items():
        rows = [f"| `{key}` | {_show(value)} |" for key, value in _flat(values)]
        body = "\n".join(["| key | value |", "|---|---|", *rows]) if rows else "The defaults above."
        parts.append(f"### {name}\n\n{body}\n")
    return "\n".join(parts)


def _tables(name: str, hint: Any) -> list[str]:
    """The table of a section or of a list of sections, then those of the lists inside it."""
    if typing.get_origin(hint) is list and dataclasses.is_dataclass(typing.get_args(hint)[0]):
        return [_table(f"`{name}[]`", typing.get_args(hint)[0])]
    if not dataclasses.is_dataclass(hint):
        return []
    hints = typing.get_type_hints(hint)
    inside = [
        table
        for f in dataclasses.fields(hint)
        for table in _tables(f"{name}.{f.name}", hints[f.name])
    ]
    return [_table(f"`{name}`", hint), *inside]


def _table(title: str, kind: type) -> str:
    hints = typing.get_type_hints(kind)
    rows = [
        f"## {title}\n\n{_summary(kind)}\n\n| key | default | allowed | what it is |",
        "|---|---|---|---|",
    ]
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if not dataclasses.is_dataclass(hint):
            rule = field.metadata["key"]
            what = (
                rule.reason
                + (f" [{rule.unit}]" if rule.unit else "")
                + (" *(shown only)*" if rule.cosmetic else "")
            )
            rows.append(
                f"| `{field.name}` | {_show(_default(field))} | {_allowed(hint, rule)} | {what} |"
            )
    return "\n".join(rows) + "\n"


def _allowed(hint: Any, rule: Key) -> str:
    if rule.choices:
        return ", ".join(f"`{c}`" for c in rule.choices)
    low = (
        [f"> {rule.above:g}"]
        if rule.above is not None
        else [f"≥ {rule.low:g}"]
        if rule.low is not None
        else []
    )
    high = [f"≤ {rule.high:g}"] if rule.high is not None else []
    return ", ".join([type_name(hint), *low, *high])


def _show(value: Any) -> str:
    if isinstance(value, list):
        made = [
            {
                k: v
                for k, v in (dataclasses.asdict(x) if dataclasses.is_dataclass(x) else x).items()
                if k in ("builtin", "limit") and v is not None
            }
            for x in value
            if not isinstance(x, str)
        ] or value
        return f"`{json.dumps(made)}`"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _flat(values: dict, where: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in values.items():
        found += (
            _flat(value, f"{where}{key}.")
            if isinstance(value, dict)
            else [(f"{where}{key}", value)]
        )
    return found


def _default(field: dataclasses.Field) -> Any:
    return field.default if field.default is not dataclasses.MISSING else field.default_factory()


def _optional(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


def _summary(kind: type) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def main() -> None:
    """Writes both files."""
    write_if_changed(ROOT / "config/schema.json", json.dumps(json_schema(), indent=1) + "\n")
    write_if_changed(ROOT / "docs/TRAINING_CONFIG.md", markdown())


if __name__ == "__main__":
    main()
