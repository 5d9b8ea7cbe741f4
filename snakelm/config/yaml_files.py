"""YAML as users and programs write it into configuration files, or JSON, read with care.

PyYAML's safe loader lets two things pass that cost a user a day or the machine its memory: a key
that is written twice (the last one wins, silently), and merges of merges (`<<: [*a, *a]`), which
double with every level. Whatever is wrong with a file is a UserError of one line.
"""

from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..json_files import read_json

__all__ = ["read_yaml"]

MERGE = "tag:yaml.org,2002:merge"  # the key `<<`


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file, of plain types; an empty file is an empty mapping. A file that is
    called `.json` is JSON, which may be indented by tabs.
    """
    if file.suffix == ".json":
        return read_json(file, remedy="correct it, or name another file")
    try:
        values = _Loader(file.read_bytes().decode("utf-8-sig")).get_single_data()
    except FileNotFoundError:
        raise UserError(f"{file}: no such config file") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except RecursionError:
        raise UserError(f"{file}: not YAML that can be read: nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        raise UserError(f"{file}: {_in_one_line(error)}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, 2024-13-45, 5,000 digits
        raise UserError(f"{file}: not YAML: {' '.join(str(error).split())}") from None

    if not isinstance(values, dict | None):
        raise UserError(f"{file}: found {type(values).__name__}, expected `key: value` lines")
    return values or {}


class _DuplicateKey(yaml.MarkedYAMLError):
    """A key that is written twice in one mapping."""


class _Loader(yaml.SafeLoader):
    """Plain types only; refuses a key that is written twice in one mapping."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Resolves `<<`. Every mapping comes through here before it is built, and again for each
        merge of it into another.
        """
        first: dict[Any, yaml.Node] = {}
        for key, _ in node.value:
            earlier = first.setdefault(_identity(key), key)
            if earlier is not key and key.tag != MERGE:
                raise _DuplicateKey(
                    problem=f"key {key.value} is written twice, first in line "
                    f"{earlier.start_mark.line + 1}; keep one",
                    problem_mark=key.start_mark,
                )

        super().flatten_mapping(node)

        # The last of the same keys counts, as in the dict; dropping the others here keeps merges of
        # merges from growing exponentially.
        node.value = list({_identity(key): (key, value) for key, value in node.value}.values())


def _identity(key: yaml.Node) -> Any:
    return (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)


def _in_one_line(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}: " if mark else ""
    problem = " ".join(f"{error.context or ''} {error.problem or ''}".split())
    return where + (problem if isinstance(error, _DuplicateKey) else f"not YAML: {problem}")
