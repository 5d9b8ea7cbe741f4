"""Writes what is said about the configuration from the schema itself: config/schema.json and
docs/TRAINING_CONFIG.md.

`python -m snakelm.config.docs` writes both; a test compares them with what this module makes, so
they can't drift.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from ..files import write_if_changed
from .messages import bounds, choices, type_name
from .presets import PRESETS
from .schema import Config
from .section import Section, is_cosmetic, unit

__all__ = ["json_schema", "main", "markdown"]

ROOT = Path(__file__).resolve().parents[2]
INTRODUCTION = """# Configuration

Generated from `snakelm/config/`; change it there and run `python -m snakelm.config.docs`.

A run is `config/config.yaml` with your own file on top:
`snakemake --cores 8 results/final_model.pt --configfile my.yaml`.
Values come in three layers: the defaults below, the preset's, yours. Unknown keys, wrong types and
values out of range are errors before any job starts. Keys marked *shown only* change what you see
or keep, never the trained bytes, so editing them starts nothing again.

A file of your own can be as short as

```yaml
sources: [{path: "my/*.parquet", text: body}]
preset: smoke
```
"""


class _Untitled(GenerateJsonSchema):
    """pydantic's JSON Schema without a title for every key, which says its name again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema() -> JsonSchemaValue:
    """The configuration as JSON Schema (draft 2020-12), for editors."""
    schema = Config.model_json_schema(schema_generator=_Untitled)
    for section in (schema, *schema["$defs"].values()):
        section["description"] = _in_one_line(section["description"])
        for about in section["properties"].values():
            if "unit" in about:  # editors show descriptions, not keywords of ours
                about["description"] += f" ({about['unit']})"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "snakelm configuration",
    }


def markdown() -> str:
    """docs/TRAINING_CONFIG.md: a table per section, then the presets."""
    parts = [INTRODUCTION, _table("Top level", Config)]
    parts += [_table(f"`{name}`", section) for name, section in _sections_in("", Config)]

    parts.append(
        "## Presets\n\nWhat each sets beside the defaults (`snakelm/config/presets.py`).\n"
    )
    for name, values in PRESETS.items():
        rows = [f"| `{key}` | {_show(value)} |" for key, value in _dotted(values)]
        body = "\n".join(["| key | value |", "|---|---|", *rows]) if rows else "The defaults above."
        parts.append(f"### {name}\n\n{body}\n")
    return "\n".join(parts)


def _sections_in(where: str, section: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    """Every section below another with its dotted path; `sources[]` for those of a list."""
    for name, field in section.model_fields.items():
        is_list = get_origin(field.annotation) is list
        kind = get_args(field.annotation)[0] if is_list else field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            path = f"{where}{name}{'[]' * is_list}"
            yield path, kind
            yield from _sections_in(f"{path}.", kind)


def _table(title: str, section: type[Section]) -> str:
    """The keys of one section; sections inside it have tables of their own."""
    rows = [
        f"## {title}\n\n{_in_one_line(section.__doc__ or '')}\n",
        "| key | default | allowed | what it is |",
        "|---|---|---|---|",
    ]
    for name, field in section.model_fields.items():
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
            default = _show(field.get_default(call_default_factory=True))
            rows.append(f"| `{name}` | {default} | {_allowed(field)} | {_about(field)} |")
    return "\n".join(rows) + "\n"


def _about(field: FieldInfo) -> str:
    counted = f" [{unit(field)}]" if unit(field) else ""
    return f"{field.description}{counted}" + " *(shown only)*" * is_cosmetic(field)


def _allowed(field: FieldInfo) -> str:
    if names := choices(field.annotation):
        return ", ".join(f"`{name}`" for name in names)
    signs = {"gt": ">", "ge": "≥", "le": "≤"}
    limits = [f"{signs[name]} {limit}" for name, limit in bounds(field)]
    return ", ".join([type_name(field.annotation), *limits])


def _show(value: Any) -> str:
    """A value as JSON; of a section in a list, what differs from its defaults."""
    if isinstance(value, list):
        value = [
            item.model_dump(exclude_defaults=True) if isinstance(item, Section) else item
            for item in value
        ]
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _dotted(values: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", value


def _in_one_line(docstring: str) -> str:
    """The first paragraph of a docstring."""
    return " ".join(docstring.strip().partition("\n\n")[0].split())


def main() -> None:
    """Writes both files."""
    write_if_changed(ROOT / "config/schema.json", json.dumps(json_schema(), indent=1) + "\n")
    write_if_changed(ROOT / "docs/TRAINING_CONFIG.md", markdown())


if __name__ == "__main__":
    main()
