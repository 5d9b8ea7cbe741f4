"""The configuration as plain YAML types, all or part of it: what settings files, manifests and
fingerprints are made of.

Their hashes depend on every byte: keys stand in the order of the schema, floats stay floats.
"""

from collections.abc import Iterable
from typing import Any

from .schema import Config
from .section import Section, is_cosmetic

__all__ = ["as_mapping", "config_view", "every_key"]


def as_mapping(
    config: Config, sections: Iterable[str] = (), *, cosmetic: bool = True
) -> dict[str, Any]:
    """The config as plain YAML types: the keys in ``sections``, or all when none are named.

    Without ``cosmetic``, keys that don't change a result are left out; what is left is what a
    fingerprint is made of.
    """
    return config_view(config, tuple(sections) or Config.model_fields, cosmetic=cosmetic)


def config_view(config: Config, keys: Iterable[str], *, cosmetic: bool) -> dict[str, Any]:
    """Some ``keys`` of the config as plain YAML types, nested as in a file.

    A key is one of the top level ("model", a section with all its keys) or a dotted one
    ("train.device"); naming a section and a key of it is the same as naming the section. Without
    ``cosmetic``, keys that don't change a result are left out even when they are named. Raises
    KeyError for a key that the schema doesn't have.
    """
    wanted = set(keys)
    if unknown := wanted - Config.model_fields.keys() - set(every_key()):
        raise KeyError(f"no such key of the configuration: {', '.join(sorted(unknown))}")

    view: dict[str, Any] = {}
    for name, value in _kept(config, cosmetic):
        if name in wanted:
            view[name] = _plain(value, cosmetic)
        elif isinstance(value, Section):
            inside = [
                (key, item) for key, item in _kept(value, cosmetic) if f"{name}.{key}" in wanted
            ]
            if inside:
                view[name] = {key: _plain(item, cosmetic) for key, item in inside}
    return view


def every_key() -> list[str]:
    """All keys of the schema, dotted: "seed", "train.lr", …; a list of sections is one key."""
    keys: list[str] = []
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            keys += [f"{name}.{key}" for key in field.annotation.model_fields]
        else:
            keys.append(name)
    return keys


def _kept(section: Section, cosmetic: bool) -> list[tuple[str, Any]]:
    """Names and values of a section's keys, in order; cosmetic ones only with ``cosmetic``."""
    return [
        (name, getattr(section, name))
        for name, field in type(section).model_fields.items()
        if cosmetic or not is_cosmetic(field)
    ]


def _plain(value: Any, cosmetic: bool) -> Any:
    if isinstance(value, Section):
        return {name: _plain(item, cosmetic) for name, item in _kept(value, cosmetic)}
    if isinstance(value, list):
        return [_plain(item, cosmetic) for item in value]
    return dict(value) if isinstance(value, dict) else value
