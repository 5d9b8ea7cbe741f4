"""The configuration in part: what a step may read of it, and what settings files, manifests and
fingerprints hold of it.

Their hashes depend on every byte: keys stand in the order of the schema, floats stay floats.
"""

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar, get_args

from ..errors import UserError
from ..publishing import without_secrets
from .schema import Config
from .section import Section, is_cosmetic

__all__ = ["as_mapping", "every_key", "public", "restrict"]

S = TypeVar("S", bound=Section)
Tree = dict[str, "Tree | None"]  # keys to what is allowed below them; None: all of it


def as_mapping(
    config: Config, sections: Iterable[str] = (), *, cosmetic: bool | Collection[str] = True
) -> dict[str, Any]:
    """The config as plain YAML types: the keys in ``sections``, or all when none are named. It is
    written down and shown, so addresses in it have no passwords and keys.

    Without ``cosmetic``, keys that don't change a result are left out; what is left is what a
    fingerprint is made of. Names instead of a flag: only those of a section stay (`sources`), or of
    what lies in one (`preferences.sources`). Of a restricted config, what is left of it.
    """
    wanted = set(sections)
    named = cosmetic if isinstance(cosmetic, Collection) else ()
    values: dict[str, Any] = {}
    for name, value in _kept(config, cosmetic is True):
        if wanted and name not in wanted:
            continue
        inside = {one.removeprefix(f"{name}.") for one in named if one.startswith(f"{name}.")}
        if isinstance(value, Section) and inside:
            values[name] = {key: _plain(item, key in inside) for key, item in _kept(value, False)}
        else:
            values[name] = _plain(value, cosmetic is True or name in named)
    return values


def restrict(
    config: Config, keys: Iterable[str], chosen: Mapping[str, str] | None = None
) -> Config:
    """``config`` with these keys alone; reading another one raises `UndeclaredKeyError`.

    A key is one of the top level (`seed`, or a section with all its keys), a dotted one
    (`train.device`), one of every item of a list (`sources[].name`), or one of the item that
    ``chosen`` names (`sources[source].path`, with {"source": its name}). Without a choice those are
    of every item. Raises KeyError for a key that the schema doesn't have, UserError for an item
    that isn't there.
    """
    allowed: Tree = {}
    for key in keys:
        _check_key(key)
        *sections, name = key.split(".")
        below: Tree | None = allowed
        for section in sections:
            below = below.setdefault(section, {}) if below is not None else None
        if below is not None:  # else all of it is allowed already
            below[name] = None
    return _cut(config, allowed, chosen or {})


def public(config: Config) -> Config:
    """``config`` as everything but fetching may know it: no passwords and keys in addresses."""
    sources = [
        source.model_copy(update={"url": _plain(source.__dict__["url"], True)})
        if source.__dict__.get("url")
        else source
        for source in config.__dict__.get("sources", [])
    ]
    return config.model_copy(update={"sources": sources}) if sources else config


def every_key() -> list[str]:
    """All keys of the schema, dotted: "seed", "train.lr", …; a list of sections is one key."""
    keys: list[str] = []
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            keys += [f"{name}.{key}" for key in field.annotation.model_fields]
        else:
            keys.append(name)
    return keys


def _cut(section: S, allowed: Tree | None, chosen: Mapping[str, str]) -> S:
    """A copy of ``section`` that has lost the keys that are not ``allowed``; None allows all."""
    if allowed is None:
        return section

    # What pydantic holds of an instance is its __dict__; a field that is missing there falls
    # through to Section.__getattr__.
    made = section.model_copy()
    made.__dict__.clear()
    for name, below in allowed.items():
        name, _, choice = name.rstrip("]").partition("[")
        value = section.__dict__[name]
        if isinstance(value, Section):
            value = _cut(value, below, chosen)
        elif isinstance(value, list):
            wanted = chosen.get(choice)
            items = [item for item in value if wanted is None or item.name == wanted]
            if wanted is not None and not items:
                raise UserError(_no_item(name, choice, wanted, [item.name for item in value]))
            value = [_cut(item, below, chosen) for item in items]
        made.__dict__[name] = value
    return made


def _no_item(section: str, choice: str, wanted: str, names: list[str]) -> str:
    """`--source: no source 'wikki'; sources are wiki, mine; did you mean wiki?`"""
    close = difflib.get_close_matches(wanted, names, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"--{choice}: no {choice} {wanted!r}; {section} are {', '.join(names)}{hint}"


def _check_key(key: str) -> None:
    kind: Any = Config
    for part in key.split("."):
        name, bracket, _ = part.partition("[")
        fields = kind.model_fields if isinstance(kind, type) and issubclass(kind, Section) else {}
        if name not in fields:
            raise KeyError(f"no such key of the configuration: {key}")
        kind = fields[name].annotation
        if bracket:
            kind = next(iter(get_args(kind)), None)


def _kept(section: Section, cosmetic: bool) -> list[tuple[str, Any]]:
    """Names and values of a section's keys, in order; cosmetic ones only with ``cosmetic``, or
    where another key makes them count.
    """
    decisive = section.decisive()
    return [
        (name, section.__dict__[name])
        for name, field in type(section).model_fields.items()
        if name in section.__dict__ and (cosmetic or name in decisive or not is_cosmetic(field))
    ]


def _plain(value: Any, cosmetic: bool) -> Any:
    if isinstance(value, Section):
        return {name: _plain(item, cosmetic) for name, item in _kept(value, cosmetic)}
    if isinstance(value, list):
        return [_plain(item, cosmetic) for item in value]
    if isinstance(value, str):
        return without_secrets(value)
    return dict(value) if isinstance(value, dict) else value
